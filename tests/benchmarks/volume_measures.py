"""Measures that mislead, on ellipsoids whose volume is known: random-direction radii and the trace. Draws a figure.

Run: python tests/benchmarks/volume_measures.py [misleading.png]
"""

import sys

import numpy as np

from slt.geometry.sharpness import radius_growth, spread_spectrum
from slt.plotting import plot_misleading

DIMS = (10, 100, 1000, 10_000)
SIZES = (1, 10, 100, 1000, 10_000)
LEVELS = 50
"""Distinct eigenvalues of the large ellipsoids: draws are then sums of 50 chi-squares, not of 10 000 normals."""


def ellipsoid(dim):
    """Eigenvalues over three decades, half of them flat before c = 1e-3 is added: H + (lambda + c) I."""
    curved = np.repeat(np.logspace(-3, 0, min(LEVELS, dim // 2)), dim // 2 // min(LEVELS, dim // 2))
    return np.concatenate([np.zeros(dim - curved.size), curved]) + 1e-3


def main():
    rng = np.random.default_rng(0)
    growths = [radius_growth(rng, ellipsoid(dim), SIZES, repetitions=100) for dim in DIMS]
    print("median error of log V [nats] by number of directions")
    print("n".rjust(8), *(f"{size:>12,}" for size in SIZES))
    for growth in growths:
        print(f"{growth.dim:8,}", *(f"{value:12.1f}" for value in growth.median))
    spectra = [[spread_spectrum(dim, decades) for decades in range(7)] for dim in DIMS]
    gains = [0.5 * (np.log(h[0]).mean() - np.log(h[-1]).mean()) for h in spectra]
    print("change of log V/n [nats] over 6 decades of spread at one trace, by n:", *(f"{gain:.2f}" for gain in gains))
    if len(sys.argv) > 1:
        plot_misleading(growths, spectra).savefig(sys.argv[1])


if __name__ == "__main__":
    main()
