"""The exponent of the volume against lambda, and the Hessian's beside it, on singular potentials.

Run: python tests/benchmarks/volume_exponent.py [--cases pow2,x2y2] [--seed 0] [--figure exponent.png]
"""

import argparse
import time

import jax
import jax.numpy as jnp
from rich.console import Console

from slt import potential, potential_target, volume_scaling
from slt.plotting import plot_exponent
from slt.tables import scaling_table

CASES = "pow2,pow4,x2y2,x2y4,parabola,rrr_3_3_2_0"
"""x^2, x^4, x^2 y^2, x^2 y^4, (y - x^2)^2, and reduced rank 3 x 2 x 3 at zero."""


def target_of(name):
    entry = potential(name)
    minimum = jnp.asarray(entry.minimum, float)
    if "gaussian" in entry.priors:
        return entry, potential_target(entry.energy, minimum, nbeta=1.0)
    return entry, potential_target(entry.energy, minimum, nbeta=1.0, box=entry.box, log_weight=entry.log_weight)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="draw the last case here")
    chosen = parser.parse_args()
    rows = []
    with jax.enable_x64(True):
        for name in chosen.cases.split(","):
            entry, target = target_of(name)
            wall, cpu = time.perf_counter(), time.process_time()
            found = volume_scaling(target, seed=chosen.seed)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{name}: exact {entry.rlct} (m = {entry.multiplicity}), {found.exponent.rlct}, "
                  f"{wall:.0f} s wall, {cpu:.0f} s CPU", flush=True)  # fmt: skip
            rows.append((f"{name}: {entry.formula}", float(entry.rlct), found))
    Console(width=120).print(scaling_table(rows))
    if chosen.figure:
        plot_exponent(rows[-1][2], rlct=rows[-1][1]).savefig(chosen.figure)


if __name__ == "__main__":
    main()
