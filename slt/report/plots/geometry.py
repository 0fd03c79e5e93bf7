"""Figures of the landscape around one point: spectral density, rank by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from slt.geometry.spectrum import Spectrum, density
from slt.report.plots.base import BLUE, GREEN, GREY, ORANGE, VERMILION, new_figure
from slt.studies.information import InformationLoss

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_density(
    spectrum: Spectrum, *, exact: Float[np.ndarray, " dim"] | None = None, width: float | None = None
) -> Figure:
    """Density of the eigenvalues on a logarithmic scale, and how many are larger than a threshold.

    Args:
        exact: all eigenvalues, where they are known: a histogram and a step function beside the sampled curves.
        width: blur of the density, as for `density`.
    """
    figure, (top, bottom) = new_figure(2, height=6.4)
    if exact is None and spectrum.exact:
        exact = spectrum.gauss.nodes[0]
    _density(top, spectrum, exact, width)
    _exceedance(bottom, spectrum, exact)
    return figure


def plot_rank_by_layer(report: InformationLoss) -> Figure:
    """Rank of the gradients by layer, and the inputs that are still told apart after it."""
    figure, (top, bottom) = new_figure(2, height=5.6, sharex=True)
    x = np.arange(len(report.layers))
    bars = (("rank", "own parameters", BLUE), ("rank_from", "this and later layers", ORANGE))
    for shift, (field, label, color) in zip((-0.2, 0.2), bars, strict=True):
        top.bar(x + shift, [getattr(layer, field) for layer in report.layers], 0.38, color=color, label=label)
    top.axhline(min(report.num_outputs, report.num_params), color=GREY, ls="--", lw=1, label="full rank")
    top.set(ylabel="rank of G")
    top.legend(frameon=False, fontsize="small")
    bottom.bar(
        x - 0.2, [layer.distinct for layer in report.layers], 0.38, color=GREEN, label="distinct inputs after it"
    )
    bottom.bar(
        x + 0.2, [layer.explained for layer in report.layers], 0.38, color=VERMILION, label="rank lost by merging"
    )
    bottom.set(xticks=x, xticklabels=[layer.name for layer in report.layers], ylabel="number")
    bottom.legend(frameon=False, fontsize="small")
    parts = f"{report.explained} by merged inputs, {report.affine} by shared linear regions"
    top.set_title(f"rank {report.rank}, deficit {report.deficit}: {parts}", loc="left")
    return figure


def _density(ax: Axes, spectrum: Spectrum, exact: np.ndarray | None, width: float | None) -> None:
    spread = max(spectrum.lambda_max - spectrum.lambda_min, spectrum.noise_floor)
    grid = np.linspace(spectrum.lambda_min - 0.05 * spread, spectrum.lambda_max + 0.05 * spread, 2000)
    values = density(spectrum, grid, width=width)
    if exact is not None:
        ax.hist(exact, bins=100, density=True, color=GREY, alpha=0.6, label="all eigenvalues")
    if not spectrum.exact:
        label = f"Lanczos, {len(spectrum.steps)} probes of {int(spectrum.steps.min())} steps"
        ax.plot(grid, values, color=BLUE, lw=1.5, label=label)
    ax.set(yscale="log", ylim=(0.1 / spectrum.dim / spread, None), ylabel="density")
    ax.set_xlabel("eigenvalue [nats/datum per squared unit]")
    ax.legend(frameon=False)


def _exceedance(ax: Axes, spectrum: Spectrum, exact: np.ndarray | None) -> None:
    nodes, weights = (a.ravel() for a in spectrum.gauss)
    sizes = np.abs(nodes)
    order = np.argsort(-sizes)
    low = max(spectrum.resolution / 100, spectrum.noise_floor, 1e-300)
    if exact is not None:
        values = np.sort(np.abs(exact))[::-1]
        ax.step(values, np.arange(1, values.size + 1), where="post", color=GREY, lw=3, label="all eigenvalues")
    if not spectrum.exact:
        count = np.cumsum(weights[order]) * spectrum.dim / len(spectrum.steps)
        ax.plot(sizes[order], count, color=BLUE, lw=1.5, label="Lanczos")
        ax.axvspan(low, spectrum.resolution, color=ORANGE, alpha=0.2, lw=0, label="below the resolution")
    ax.set(xscale="log", yscale="log", xlim=(low, 2 * spectrum.radius), ylim=(0.5, 2 * spectrum.dim))
    ax.set(xlabel="threshold on |eigenvalue|", ylabel="eigenvalues above it")
    ax.legend(frameon=False)
