"""The free energy along a tempering run, and the law that was read off from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from slt.report.plots.base import BLUE, GREY, ORANGE, new_figure
from slt.stats.free_energy import RlctFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_free_energy(
    nbeta: Float[np.ndarray, " temperature"],
    log_evidence: Float[np.ndarray, "replicate temperature"],
    fit: RlctFit | None = None,
) -> Figure:
    r"""$-\log Z$ against $\log n\beta$ with the law $\lambda\log n\beta - (m-1)\log\log n\beta + c$; below, its slope.

    The slope is $\mathbb{E}[n\beta K]$, which comes near lambda only as 1/log: the reason for the joint fit.

    Args:
        nbeta: n beta of each temperature [1].
        log_evidence: log Z of each replicate [nats].
        fit: posterior of (lambda, m); its likeliest m and the lambda given that are drawn.
    """
    figure, (top, bottom) = new_figure(2, height=6.5, sharex=True, height_ratios=(3, 2))
    mean, x = -log_evidence.mean(0), np.log(nbeta)
    middle = np.exp((x[1:] + x[:-1]) / 2)
    slopes = -np.diff(log_evidence, axis=1) / np.diff(x)
    error = slopes.std(0, ddof=1) / np.sqrt(len(slopes))
    top.plot(nbeta, mean, color=BLUE, marker=".", ls="none", label="tempering")
    bottom.errorbar(middle, slopes.mean(0), yerr=error, color=BLUE, fmt=".", lw=0.8, label="slope ± standard error")
    if fit is not None and fit.probabilities:
        best = max(fit.probabilities, key=lambda m: fit.probabilities[m])
        rlct, late = fit.rlct_given[best].value, x > max(1.5, x[0] + 0.4 * (x[-1] - x[0]))
        law = rlct * x[late] - (best - 1) * np.log(x[late])
        label = f"λ = {rlct:.4g}, m = {best} (probability {fit.probabilities[best]:.3f})"
        top.plot(nbeta[late], law + (mean[late] - law).mean(), color=ORANGE, label=label)
        bottom.plot(nbeta[late], rlct - (best - 1) / x[late], color=ORANGE, label="λ − (m − 1)/log nβ")
        bottom.axhline(rlct, color=GREY, ls=":", label="λ")
    top.set(xscale="log", ylabel="−log Z  [nats]")
    bottom.set(xscale="log", xlabel="nβ", ylabel="slope  [1]")
    top.legend(frameon=False)
    bottom.legend(frameon=False, fontsize="small")
    return figure
