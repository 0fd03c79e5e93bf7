"""The learning coefficient and the loss along a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from slt.draws import Result
from slt.estimators.stages import stages
from slt.plotting.base import BLUE, CHAINS, GREY, log_scale, new_figure, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES = {"train_loss": "train loss", "test_loss": "test loss"}
SHADES = {"rises": "#E8F1F8", "falls": "#FBEDE3", "stays": "white"}


def plot_series(results: Sequence[Result], *, label: str = "training step") -> Figure:
    r"""$\hat\lambda$ with 90 % intervals above, losses below, against the checkpoint; stages shaded and named.

    Raises:
        ValueError: fewer than 2 results, or one without the setting "checkpoint".
    """
    if len(results) < 2 or any("checkpoint" not in result.settings for result in results):
        raise ValueError("plot_series: give at least 2 results of `estimate_series`.")
    figure, (top, bottom) = new_figure(2, height=6, sharex=True, height_ratios=(3, 2))
    steps = np.array([float(result.settings["checkpoint"]) for result in results])
    estimates = [result.estimates["llc"] for result in results]
    converged = np.array([result.verdict.status == "converged" for result in results])
    points(top, steps, estimates, converged, label="λ̂, 90 % interval")
    top.plot(steps, [estimate.value for estimate in estimates], color=BLUE, lw=0.8)
    for color, (name, text) in zip(CHAINS[1:], LOSSES.items(), strict=False):
        if all(name in result.diagnostics for result in results):
            losses = [result.diagnostics[name] for result in results]
            bottom.plot(steps, losses, color=color, marker=".", label=text)
    log_scale(bottom.set_xscale, steps)
    _mark_stages(top, bottom, steps, estimates)
    losses = [result.diagnostics.get(name, np.nan) for result in results for name in LOSSES]
    log_scale(bottom.set_yscale, losses)
    gamma, nbeta = (float(results[0].settings[name]) for name in ("localization", "nbeta"))
    top.set(ylabel="local learning coefficient λ̂", title=f"γ = {gamma:.4g}, nβ = {nbeta:.4g}")
    bottom.set(xlabel=label, ylabel="loss  [nats/datum]")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure


def _mark_stages(top, bottom, steps: np.ndarray, estimates) -> None:
    """A shade and a word for every stage, up to the first checkpoint of the next."""
    if len(steps) < 3 or not all(np.isfinite(estimate.value) for estimate in estimates):
        return
    for stage in stages(estimates):
        low, high = steps[stage.first], steps[min(stage.last + 1, len(steps) - 1)]
        for ax in (top, bottom):
            ax.axvspan(low, high, color=SHADES[stage.trend], lw=0, zorder=0)
            ax.axvline(high, color=GREY, lw=0.6, ls=":", zorder=0)
        top.annotate(stage.trend, (low, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -10),
                     textcoords="offset points", fontsize=7, color="#555555")  # fmt: skip
