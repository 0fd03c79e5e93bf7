"""Measures that mislead, on ellipsoids whose volume is known: random-direction radii and the trace. Draws a figure.

Run: python tests/benchmarks/volume_measures.py [misleading.png]
"""

import numpy as np
from asked import words

from slt.geometry.volume import log_ellipsoid
from slt.report.plots.base import CHAINS, new_figure
from slt.studies.sharpness import radius_growth, spread_spectrum

DIMS = (10, 100, 1000, 10_000)
SIZES = (1, 10, 100, 1000, 10_000)
LEVELS = 50
"""Distinct eigenvalues of the large ellipsoids: draws are then sums of 50 chi-squares, not of 10 000 normals."""


def ellipsoid(dim):
    """Eigenvalues over three decades, half of them flat before c = 1e-3 is added: H + (lambda + c) I."""
    curved = np.repeat(np.logspace(-3, 0, min(LEVELS, dim // 2)), dim // 2 // min(LEVELS, dim // 2))
    return np.concatenate([np.zeros(dim - curved.size), curved]) + 1e-3


def plot_misleading(growths, spectra):
    """Radii that never reach the volume above; equal traces with unequal volumes below.

    Args:
        growths: of ellipsoids, one for each dimension.
        spectra: for each dimension, spectra of one trace.
    """
    figure, (top, bottom) = new_figure(2, height=7.5)
    for i, growth in enumerate(growths):
        color, per_dim = CHAINS[i % len(CHAINS)], growth.dim
        top.plot(growth.num_directions, growth.median / per_dim, "o-", ms=4, color=color, label=f"n = {growth.dim:,}")
        top.fill_between(
            growth.num_directions, growth.low / per_dim, growth.high / per_dim, color=color, alpha=0.2, lw=0
        )
    top.axhline(0, color="black", ls="--", lw=0.8)
    top.set(xscale="log", xlabel="random directions N", ylabel="median error of log V / n  [nats]",
            title="Random-direction radii: unbiased, below the truth, and growing with N")  # fmt: skip
    top.legend(fontsize="small")
    for i, family in enumerate(spectra):
        volumes = np.array([log_ellipsoid(float(np.log(h).sum()), h.size, threshold=1.0) for h in family])
        decades = [np.log10(h.max() / h.min()) for h in family]
        bottom.plot(decades, (volumes - volumes[0]) / len(family[0]), "o-", ms=4, color=CHAINS[i % len(CHAINS)],
                    label=f"log V / n, n = {len(family[0]):,}")  # fmt: skip
    traces = np.array([[h.mean() for h in family] for family in spectra])
    bottom.plot(decades, traces[0] - traces[0, 0], color="black", lw=2, ls=":", label="tr H / n")
    bottom.set(xlabel="spread of the eigenvalues  [decades]", ylabel="change from equal eigenvalues",
               title="Trace: the same for all of these ellipsoids")  # fmt: skip
    bottom.legend(fontsize="small")
    return figure


def main():
    figure = words(__doc__, "FIGURE")
    rng = np.random.default_rng(0)
    growths = [radius_growth(rng, ellipsoid(dim), SIZES, repetitions=100) for dim in DIMS]
    print("median error of log V [nats] by number of directions")
    print("n".rjust(8), *(f"{size:>12,}" for size in SIZES))
    for growth in growths:
        print(f"{growth.dim:8,}", *(f"{value:12.1f}" for value in growth.median))
    spectra = [[spread_spectrum(dim, decades) for decades in range(7)] for dim in DIMS]
    gains = [0.5 * (np.log(h[0]).mean() - np.log(h[-1]).mean()) for h in spectra]
    print("change of log V/n [nats] over 6 decades of spread at one trace, by n:", *(f"{gain:.2f}" for gain in gains))
    if figure:
        plot_misleading(growths, spectra).savefig(figure[0])


if __name__ == "__main__":
    main()
