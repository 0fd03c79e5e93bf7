"""The fit of (lambda, m) on exact free energies of the catalogue, n beta up to 1e12, with simulated Monte Carlo noise.

What it shows is the model error of the fit alone, without a sampler: how often the 90 % interval of lambda covers, and
how often m is stated, and stated wrongly.

Run: python tests/benchmarks/free_energy_fit.py [--noise 0.003] [NAME ...]
"""

import argparse

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from slt.catalogue.registry import Potential, potential, potentials
from slt.stats.free_energy import fit_rlct

TEMPERATURES = 10.0 ** np.arange(-1, 12.01, 0.5)
REPLICATES = 32


def curve(entry: Potential, prior: str, x: np.ndarray) -> np.ndarray:
    """log Z at log n beta = x, by quadrature and a cubic through values and slopes."""
    moments = [entry.exact(s, localization=None if prior == "uniform" else 1.0) for s in TEMPERATURES]
    values, slopes = [m.log_evidence for m in moments], [-m.mean for m in moments]
    return CubicHermiteSpline(np.log(TEMPERATURES), values, slopes)(x)


def main() -> None:
    """A line for every case that is not covered, or stated wrongly; then the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(potentials()))
    parser.add_argument("--noise", type=float, default=0.003, help="standard error of a slope over one e-fold")
    options = parser.parse_args()
    x = np.arange(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[-1]), 0.6)
    counts = dict.fromkeys(("cases", "covered", "stated", "wrong"), 0)
    known = [entry for entry in map(potential, options.names) if entry.exact is not None]
    cases = [(entry, prior) for entry in known for prior in entry.priors]
    for seed, (entry, prior) in enumerate(cases):
        steps = np.random.default_rng(seed).normal(size=(REPLICATES, len(x)))
        noise = np.cumsum(options.noise * np.sqrt(REPLICATES) * 0.6 * steps, axis=1)
        fit = fit_rlct(np.exp(x), curve(entry, prior, x) + noise, num_params=entry.dim)
        low, high = fit.rlct.interval(0.9)
        covered, wrong = low <= float(entry.rlct) <= high, fit.multiplicity not in (None, entry.multiplicity)
        stated = fit.multiplicity is not None
        for key, value in zip(counts, (True, covered, stated, wrong), strict=True):
            counts[key] += value
        if wrong or not covered:
            print(
                entry.name,
                prior,
                f"exact {entry.rlct}, {entry.multiplicity}; found {fit.rlct}",
                fit.probabilities,
                flush=True,
            )
    print(counts)


if __name__ == "__main__":
    main()
