"""Coverage of the 90 % interval of log Z from replicates of tempered SMC with so few temperatures that log Z spreads.

Potentials with an exact log Z, a fixed ladder (so that Z is unbiased), groups of replicates as a run has them; beside
it the mean of the logs, which is too low by half their variance.

Run: python tests/benchmarks/log_evidence_coverage.py [--replicates 32] [--groups 50]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from slt.catalogue.registry import potential
from slt.samplers.tempering import tempered_smc
from slt.stats.replicates import log_mean, replicate_mean

NBETA = 1e4
PARTICLES = 64
CASES = [("quad_r2_d2", 4), ("quad_r2_d2", 6), ("quad_r2_d2", 14), ("x2y2", 3), ("x2y2", 6), ("x2y4", 2), ("x2y4", 4)]
"""Potential and number of temperatures: the fewer, the wider log Z spreads."""


def logs(name: str, rungs: int, number: int) -> tuple[np.ndarray, float]:
    """log Z of many replicates on one ladder, and the exact one."""
    entry = potential(name)
    dim = entry.dim
    smc = tempered_smc(
        lambda w: NBETA * entry.energy(w),
        lambda w: -0.5 * w @ w,
        lambda key: jax.random.normal(key, (dim,)),
        num_particles=PARTICLES,
        num_replicates=number,
        num_moves=3,
    )
    ladder = jnp.asarray(np.geomspace(NBETA ** (1 / rungs - 1), 1, rungs))
    path = smc.climb(jax.random.key(0), ladder)
    return np.asarray(path.log_evidence[:, -1], np.float64), float(entry.exact(NBETA, localization=1.0).log_evidence)


def main() -> None:
    """One line a case: spread, skewness, coverage of the log of the mean and of the mean of the logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=32)
    parser.add_argument("--groups", type=int, default=50)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name, rungs in CASES:
        values, exact = logs(name, rungs, options.groups * options.replicates)
        groups = values.reshape(options.groups, options.replicates)
        line = [f"{name:12} {rungs:2} temperatures: spread {values.std():.2f}"]
        line.append(f"skewness {((values - values.mean()) ** 3).mean() / values.std() ** 3:+.2f}")
        whole = log_mean(values)
        line.append(f"bias of all {(whole.value - exact) / whole.mcse:+.1f} errors")
        for label, law in (("log of mean", log_mean), ("mean of logs", replicate_mean)):
            intervals = [law(group).interval(0.9) for group in groups]
            line.append(f"{label} covers {np.mean([low <= exact <= high for low, high in intervals]):.0%}")
        print(", ".join(line), flush=True)


if __name__ == "__main__":
    main()
