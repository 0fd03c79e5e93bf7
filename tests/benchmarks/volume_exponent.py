"""The exponent of the volume against lambda, and the Hessian's beside it, on singular potentials.

Run: python tests/benchmarks/volume_exponent.py [--cases pow2,x2y2] [--seed 0] [--figure exponent.png]
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console, Group
from rich.text import Text

from slt import potential, potential_target, volume_scaling
from slt.geometry.exponent import Scaling, on_grid
from slt.report.plots.base import BLUE, GREEN, GREY, VERMILION, new_figure
from slt.report.tables.base import Column, fraction, plus_minus, table, verdict

CASES = "pow2,pow4,x2y2,x2y4,parabola,rrr_3_3_2_0"
"""x^2, x^4, x^2 y^2, x^2 y^4, (y - x^2)^2, and reduced rank 3 x 2 x 3 at zero."""


def target_of(name):
    entry = potential(name)
    minimum = jnp.asarray(entry.minimum, float)
    if "gaussian" in entry.priors:
        return entry, potential_target(entry.energy, minimum, nbeta=1.0)
    return entry, potential_target(entry.energy, minimum, nbeta=1.0, box=entry.box, log_weight=entry.log_weight)


def scaling_table(scalings: list[tuple[str, float | None, Scaling]]):
    """Name, exact lambda (or None), the exponent of the volume with its error, and what the Hessian gives.

    Args:
        scalings: (name, exact lambda or None, result) of every case.
    """
    rows = []
    for name, exact, found in scalings:
        rlct = found.exponent.rlct
        off = "–" if exact is None else f"{100 * (rlct.value / exact - 1):+.1f} %"
        z = "–" if exact is None else f"{(rlct.value - exact) / rlct.mcse:+.1f}"
        half = "–" if found.rank is None else fraction(found.rank / 2)
        wrong = exact is not None and found.rank is not None and abs(found.rank / 2 - exact) > 1e-9
        rows.append((
            name, "–" if exact is None else fraction(exact), plus_minus(rlct), z, off,
            f"{found.exponent.multiplicity} ({found.exponent.probability:.0%})", plus_minus(found.exponent.local),
            Text(half, style="red" if wrong else ""), fraction(found.dim / 2), verdict(found.verdict.status),
        ))  # fmt: skip
    heads = ("λ", "exponent ± error", "z", "off", "m", "raw slope", "rank H / 2", "d / 2")
    columns = [Column("case", side="fold"), *map(Column, heads), Column("verdict", side="whole")]
    reasons = [Text(f"• {name}: {r}") for name, _, found in scalings for r in found.verdict.reasons]
    return Group(table("Exponent of the volume, d log V / d log ε", columns, rows), *reasons)


def plot_exponent(scaling: Scaling, *, rlct: float | None = None):
    """Log V against log epsilon of every replicate above; local slopes with 90 % intervals and lambda below.

    Args:
        rlct: the exact value, if known.
    """
    figure, (top, bottom) = new_figure(2, height=6.5, sharex=True, height_ratios=(3, 2))
    exponent, hessian = scaling.exponent, None if scaling.rank is None else scaling.rank / 2
    for levels, volumes in zip(scaling.log_epsilon, scaling.log_volume, strict=True):
        top.plot(levels / np.log(10), volumes / np.log(10), color=BLUE, lw=0.4, alpha=0.5)
    low, high = exponent.log_epsilon
    top.axvspan(low / np.log(10), high / np.log(10), color=GREY, alpha=0.15, lw=0, label="fitted")
    top.set(ylabel="log₁₀ P(K < ε)")
    top.legend(frameon=False)
    grid = np.linspace(high, low, 13)
    slopes = np.diff(on_grid(scaling.log_epsilon, scaling.log_volume, grid), axis=1) / np.diff(grid)
    middle, error = (grid[1:] + grid[:-1]) / 2 / np.log(10), slopes.std(0, ddof=1) / len(slopes) ** 0.5
    bottom.errorbar(middle, slopes.mean(0), yerr=1.8 * error, fmt="o", ms=4, color=BLUE, capsize=3, label="local slope")
    bottom.axhspan(*exponent.rlct.interval(0.9), color=GREEN, alpha=0.25, lw=0, label=f"λ = {exponent.rlct}")
    for value, color, label in ((rlct, "black", "exact λ"), (hessian, VERMILION, "rank H / 2")):
        if value is not None:
            bottom.axhline(value, color=color, ls="--", lw=1, label=label)
    bottom.set(xlabel="log₁₀ ε  [nats/datum]", ylabel="d log V / d log ε")
    bottom.legend(frameon=False, fontsize="small", ncols=2)
    return figure


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
