"""The learning coefficient, further measures and the loss along a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from slt.draws import Result
from slt.report.plots.base import BLUE, CHAINS, GREEN, GREY, ORANGE, VERMILION, log_scale, new_figure, points
from slt.stats.stage import stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES = {"train_loss": "train loss", "test_loss": "test loss"}
MEASURES = {"llc": "λ̂", "singular_fluctuation": "ν̂", "volume": "log V  [nats]"}
COLOURS = (BLUE, *CHAINS[4:], GREEN, ORANGE)
SHADES = {"rises": "#E8F1F8", "falls": "#FBEDE3", "stays": "white"}


def plot_series(results: Sequence[Result], *, label: str = "training step") -> Figure:
    r"""$\hat\lambda$ and every further measure with 90 % intervals, losses below; stages of $\hat\lambda$ shaded.

    A grey band is the 90 % interval of the border between two stages.

    Hollow: the run did not converge. A cross on the axis: refused, there is no number.

    Raises:
        ValueError: fewer than 2 results, or one without the setting "checkpoint".
    """
    if len(results) < 2 or any("checkpoint" not in result.settings for result in results):
        raise ValueError("plot_series: give at least 2 results of `estimate_series`.")
    names = ["llc", *(n for n in results[0].estimates if not n.startswith(("llc", "log_evidence")))]
    figure, axes = new_figure(
        len(names) + 1, height=4 + 2 * len(names), sharex=True, height_ratios=(3, *[2] * len(names))
    )
    steps = np.array([float(result.settings["checkpoint"]) for result in results])
    for ax, name, color in zip(axes, names, COLOURS * len(names), strict=False):
        _draw_measure(ax, steps, results, name, color)
    bottom = axes[-1]
    for color, (name, text) in zip(CHAINS[1:], LOSSES.items(), strict=False):
        if all(name in result.diagnostics for result in results):
            losses = [result.diagnostics[name] for result in results]
            bottom.plot(steps, losses, color=color, marker=".", label=text)
    log_scale(bottom.set_xscale, steps)
    _mark_stages(axes, steps, [result.estimates["llc"] for result in results])
    log_scale(bottom.set_yscale, [result.diagnostics.get(name, np.nan) for result in results for name in LOSSES])
    gamma, nbeta = (float(results[0].settings[name]) for name in ("localization", "nbeta"))
    axes[0].set_title(f"γ = {gamma:.4g}, nβ = {nbeta:.4g}")
    bottom.set(xlabel=label, ylabel="loss  [nats/datum]")
    figure.legend(*_once(axes), loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    figure.align_ylabels(axes)
    return figure


def _draw_measure(ax: Axes, steps: np.ndarray, results: Sequence[Result], name: str, color: str) -> None:
    """Points joined by a line, and a cross on the axis where there is no number."""
    estimates = [result.estimates[name] for result in results]
    known = np.isfinite([estimate.value for estimate in estimates])
    converged = np.array([name != "llc" or result.verdict.status == "converged" for result in results])
    text = MEASURES.get(name, name.replace("_", " "))
    exact = all(estimate.mcse == 0 for estimate, k in zip(estimates, known, strict=True) if k)
    ax.plot(steps, [estimate.value for estimate in estimates], color=color, lw=0.8)
    points(ax, steps[known], [e for e, k in zip(estimates, known, strict=True) if k], converged[known],
           label=text.split("  [")[0] + (", exact" if exact else ", 90 % interval"), color=color)  # fmt: skip
    if not known.all():
        ax.plot(steps[~known], np.full((~known).sum(), 0.04), transform=ax.get_xaxis_transform(), ls="none", marker="x",
                color=VERMILION, label="refused", clip_on=False)  # fmt: skip
    ax.margins(y=0.1)  # room for the names of stages and the crosses
    ax.set_ylabel(f"local learning coefficient {text}" if name == "llc" else text)


def _once(axes: Sequence[Axes]) -> tuple[list, list]:
    """Handles and labels of all panels, each label once."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    return list(found.values()), list(found)


def _mark_stages(axes: Sequence[Axes], steps: np.ndarray, estimates) -> None:
    """A shade and a word for every stage, up to the first checkpoint of the next, and a band for every border."""
    if len(steps) < 3 or not all(np.isfinite(estimate.value) for estimate in estimates):
        return
    for stage in stages(estimates):
        low, high = steps[stage.first], steps[min(stage.last + 1, len(steps) - 1)]
        for ax in axes:
            ax.axvspan(low, high, color=SHADES[stage.trend], lw=0, zorder=0)
            ax.axvline(high, color=GREY, lw=0.6, ls=":", zorder=0)
        axes[0].annotate(stage.trend, (low, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -10),
                         textcoords="offset points", fontsize=7, color="#555555")  # fmt: skip
        if stage.first:
            between = steps[stage.earliest - 1], steps[stage.latest]
            for ax in axes:
                ax.axvspan(*between, color=GREY, alpha=0.25, lw=0, zorder=0, label="border of stages, 90 % interval")
