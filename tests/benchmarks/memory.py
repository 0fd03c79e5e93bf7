"""Peak memory of 1e3 and 1e5 draws of the same chains, losses kept and positions not: the ratio should be 1.

Each run is a process of its own; 4 chains of an 11 k-parameter MLP, batch 8.
Run: python tests/benchmarks/memory.py
"""

import argparse
import resource
import subprocess
import sys


def run(num_draws: int) -> None:
    import jax
    import jax.numpy as jnp
    from speed import WIDTHS, build

    from slt.samplers.langevin import leimkuhler_matthews
    from slt.samplers.run import sample

    target = build(WIDTHS["11k"])
    starts = jax.tree.map(lambda a: jnp.repeat(a[None], 4, 0), target.minimum)
    kernel = leimkuhler_matthews(target.energy, step_size=1e-9)
    draws = sample(
        jax.random.key(0), kernel, starts, target.data, observe=target.loss, num_draws=num_draws, batch_size=8
    )
    assert draws.loss.shape == (4, num_draws)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, help="run this many in this process and print its peak memory [MiB]")
    chosen = parser.parse_args().draws
    if chosen is not None:
        run(chosen)
        return
    peaks = []
    for num_draws in (1_000, 100_000):
        command = [sys.executable, __file__, "--draws", str(num_draws)]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"{num_draws:7,d} draws: peak {peaks[-1]:.0f} MiB", flush=True)
    print(f"ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
