"""Figures of phase transitions: the polygons of the toy model of superposition, and posterior mass against n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from slt._types import Estimate
from slt.catalogue.superposition import CriticalPoint
from slt.report.plots.base import CHAINS, GREY, new_figure, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_polygons(polygons: Sequence[CriticalPoint]) -> Figure:
    """The vectors W_i of each critical point, with its loss and learning coefficient."""
    figure, axes = new_figure(1, height=2.9, ncols=len(polygons), sharex=True, sharey=True)
    for ax, point in zip(np.ravel(axes), polygons, strict=True):
        c = len(point.position) // 3
        W = point.position[: 2 * c].reshape(2, c)
        on = np.hypot(*W) > 1e-9
        for x, y in W.T:
            ax.annotate("", xy=(x, y), xytext=(0, 0), arrowprops={"arrowstyle": "-|>", "color": CHAINS[0], "lw": 1.5})
        corners = np.concatenate([W[:, on], W[:, on][:, :1]], axis=1)
        ax.plot(*corners, color=GREY, lw=0.8, ls="--")
        ax.plot(0, 0, marker="o", ms=3 + 5 * (~on).any(), color=CHAINS[3] if (~on).any() else "black")
        rlct = "depends on the direction" if point.rlct is None else f"{float(point.rlct):g}"
        ax.set(title=f"{point.name}-gon: L = {point.loss:.4f}\nλ = {rlct}", aspect="equal", xlim=(-1.6, 1.6),
               ylim=(-1.6, 1.6))  # fmt: skip
        ax.title.set_fontsize(9)
    return figure


def plot_phases(
    num_data: Sequence[float],
    masses: Mapping[str, Sequence[Estimate]],
    log_odds: Sequence[Estimate],
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Figure:
    """Posterior mass of each phase against n, with 90 % intervals; below, the log odds of two phases and theory.

    Args:
        masses: of each phase, by its label. log_odds: of the later phase against the earlier one.
        predictions: label -> (n, log odds), drawn as lines.
    """
    figure, (top, bottom) = new_figure(2, height=6.2, sharex=True)
    n = np.asarray(num_data, float)
    everywhere = np.ones(len(n), bool)
    for (label, estimates), color in zip(masses.items(), CHAINS, strict=False):
        points(top, n, estimates, everywhere, label=label, color=color)
        top.plot(n, [estimate.value for estimate in estimates], color=color, lw=1)
    top.set(ylabel="posterior mass", ylim=(-0.02, 1.02))
    top.legend()
    bottom.axhline(0, color=GREY, lw=0.8)
    points(bottom, n, log_odds, everywhere, label="measured, 90 % interval", color="black")
    for (label, (x, y)), style in zip(predictions.items(), ("-", "--", ":"), strict=False):
        bottom.plot(x, y, ls=style, color=CHAINS[1], label=label)
    low, high = min(odds.value for odds in log_odds), max(odds.value for odds in log_odds)
    bottom.set(xlabel="number of data n", ylabel="log posterior odds  [nats]", ylim=(1.5 * low - 1, 1.3 * high + 1))
    bottom.legend()
    return figure
