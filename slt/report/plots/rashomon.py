"""Figures of the Rashomon laboratory: near-zero histograms, slices, paths, wells, embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from slt.report.plots.base import BLUE, GREY, ORANGE, VERMILION, new_figure
from slt.studies.rashomon.paths import Connection
from slt.studies.rashomon.slices import Slice, Wells

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_near_zero(counts: Mapping[str, Mapping[int, Int[np.ndarray, " run"]]], maximum: Mapping[int, int]) -> Figure:
    """Histograms of near-zero eigenvalue counts, a column a width, a row a way of counting.

    Args:
        counts: name of the way of counting -> {width: counts of the runs}.
        maximum: width -> the most there can be, drawn as a dotted line.
    """
    rows, widths = len(counts), sorted(next(iter(counts.values())))
    figure, axes = new_figure(rows, height=1.8 * rows + 0.6, ncols=len(widths), squeeze=False, sharex="col")
    figure.set_size_inches(1.3 * len(widths) + 1.5, 1.8 * rows + 0.6)
    for ax, width in zip(axes[0], widths, strict=True):
        ax.set_title(f"width {width}", fontsize=8)
    for row, (name, by_width) in zip(axes, counts.items(), strict=True):
        row[0].set_ylabel(f"{name}\nruns", fontsize=8)
        for ax, width in zip(row, widths, strict=True):
            found = by_width[width]
            low, high = int(found.min()), max(int(found.max()), maximum[width])
            ax.hist(found, bins=np.arange(low - 0.5, high + 1.5), color=BLUE)
            ax.axvline(maximum[width], color=VERMILION, ls=":")
            ax.tick_params(labelsize=7)
            ax.locator_params(axis="x", integer=True, nbins=4)
            ax.locator_params(axis="y", integer=True, nbins=4)
    figure.supxlabel("near-zero Hessian eigenvalues (dotted: most possible)", fontsize=9)
    return figure


def plot_slices(slices: Mapping[str, Slice], *, max_loss: float) -> Figure:
    """Contours of log10 of the loss on one or more planes; the set at `max_loss` is outlined."""
    figure, axes = new_figure(1, height=3.4, ncols=len(slices), squeeze=False)
    figure.set_size_inches(3.2 * len(slices) + 0.8, 3.4)
    shade = None
    for ax, (name, part) in zip(axes[0], slices.items(), strict=True):
        logs = np.log10(np.maximum(part.loss, 1e-12))
        shade = ax.contourf(part.a, part.b, logs, levels=np.linspace(-8, 1, 19), cmap="viridis", extend="both")
        ax.contour(part.a, part.b, logs, levels=[np.log10(max_loss)], colors=VERMILION, linewidths=1)
        ax.plot(*part.marks.T, "o", color="white", mec="black", ms=4)
        ax.set(title=name, xlabel="first direction", ylabel="second direction", aspect="equal")
        ax.title.set_fontsize(9)
    if shade is not None:
        figure.colorbar(shade, ax=axes[0].tolist(), label="log₁₀ loss  [nats/datum]")
    return figure


def plot_paths(paths: Mapping[str, Connection], *, tolerance: float) -> Figure:
    """Left: the paths in the plane of their two largest principal components; right: loss against arc length."""
    figure, (left, right) = new_figure(1, height=3.6, ncols=2)
    colours = (BLUE, ORANGE, VERMILION, GREY)
    everything = np.concatenate([path.points for path in paths.values()])
    center = everything.mean(0)
    axes = np.linalg.svd(everything - center, full_matrices=False)[2][:2]
    for colour, (name, path) in zip(colours, paths.items(), strict=False):
        flat = (path.points - center) @ axes.T
        left.plot(*flat.T, color=colour, lw=1, label=name)
        left.plot(*flat[[0, -1]].T, "o", color=colour, ms=4)
        right.semilogy(path.arc, np.maximum(path.loss, 1e-32), color=colour, lw=0.8, label=name)
    right.axhline(tolerance, color="black", ls="--", lw=0.8)
    left.set(xlabel="first principal component", ylabel="second")
    right.set(xlabel="arc length  [unit of w]", ylabel="loss  [nats/datum]")
    left.legend(fontsize=7, frameon=False)
    return figure


def plot_wells(flow: Wells, *, title: str = "") -> Figure:
    """Flow lines of a potential in the plane, coloured by the set that each ends in."""
    figure, ax = new_figure(1, height=4.2)
    colours = np.array([BLUE, ORANGE, VERMILION, GREY])
    for line, well in zip(flow.lines, flow.well, strict=True):
        ax.plot(*line.T, color=colours[well], lw=0.6, alpha=0.7)
    ax.plot(*flow.end.T, ".", color="black", ms=3)
    shares = ", ".join(f"{'neither' if w < 0 else f'well {w}'}: {share:.0%}" for w, share in flow.share().items())
    ax.set(xlabel="w₁", ylabel="w₂", title=f"{title}  {shares}".strip(), aspect="equal")
    return figure


def plot_embedding(points: Float[np.ndarray, "point 2"], loss: Sequence[float], *, max_loss: float) -> Figure:
    """Nudged parameters in the plane of their embedding; those at or below `max_loss` are filled."""
    figure, ax = new_figure(1, height=4.2)
    inside = np.asarray(loss) <= max_loss
    ax.plot(*points[~inside].T, ls="none", marker="o", ms=3, mfc="white", mec=GREY, label="higher loss")
    ax.plot(*points[inside].T, ls="none", marker="o", ms=3, color=BLUE, label=f"loss ≤ {max_loss:g}")
    ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2", title=f"{inside.mean():.0%} of the nudges stay in the set")
    ax.legend(frameon=False)
    return figure
