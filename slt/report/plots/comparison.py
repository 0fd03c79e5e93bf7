"""Figures of a comparison: every measure with its error bar, a panel a scale, and rank correlations over minima."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slt._types import Estimate
from slt.estimate.comparison.rows import Comparison
from slt.report.plots.base import BLUE, CHAINS, GREY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "dimension": "on the scale of λ",
    "nats": "nats, under the prior",
    "volume": "nats, in units of w",
    "loss": "nats/datum",
    "error": "error, and bounds on it",
}
MARKERS = "osD^vP"


def plot_comparison(comparison: Comparison) -> Figure:
    """A dot with its 90 % interval for every number that may be used; what is refused or missing has none.

    Raises:
        ValueError: no number in any panel.
    """
    rows = [row for row in comparison.measures if row.known and np.isfinite(row.value)]
    names = {group: list(dict.fromkeys(r.measure for r in rows if r.group == group))[::-1] for group in PANELS}
    names = {group: some for group, some in names.items() if some}
    if not names:
        raise ValueError("plot_comparison: there is no number that may be used; see the reasons in the table.")
    heights = [len(some) + 1.5 for some in names.values()]
    figure, axes = new_figure(
        len(names), height=0.24 * sum(heights) + 1.0, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    subjects = [head.subject for head in comparison.subjects]
    for ax, (group, some) in zip(axes[:, 0], names.items(), strict=True):
        for i, subject in enumerate(subjects):
            mine = [row for row in rows if row.subject == subject and row.group == group]
            place = np.array([some.index(row.measure) for row in mine]) + _shift(i, len(subjects))
            bars = [_half_width(row.value, row.error) for row in mine]
            style = {"color": CHAINS[i % len(CHAINS)], "marker": MARKERS[i % len(MARKERS)], "ms": 4, "capsize": 2}
            ax.errorbar([row.value for row in mine], place, xerr=bars, ls="none", label=subject, **style)
        ax.set_yticks(range(len(some)), some, fontsize="small")
        ax.set(xlabel=PANELS[group], ylim=(-0.6, len(some) - 0.4))
        ax.grid(axis="y", color="0.93")
        values = np.array([row.value for row in rows if row.group == group])
        if (values > 0).all() and values.max() > 50 * values.min():
            ax.set_xscale("log")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def plot_correlations(comparison: Comparison) -> Figure:
    """Rank correlation of every measure with every outcome and its 90 % interval, sorted within an outcome.

    Raises:
        ValueError: no correlation is known.
    """
    known = [row for row in comparison.correlations if np.isfinite(row.value)]
    outcomes = list(dict.fromkeys(row.outcome for row in known))
    if not outcomes:
        raise ValueError("plot_correlations: no correlation is known; compare at least 4 minima that differ.")
    most = max(sum(row.outcome == outcome for row in known) for outcome in outcomes)
    figure, axes = new_figure(1, height=0.24 * most + 1.4, ncols=len(outcomes), squeeze=False)
    for ax, outcome in zip(axes[0], outcomes, strict=True):
        rows = sorted((row for row in known if row.outcome == outcome), key=lambda row: row.value)
        for i, row in enumerate(rows):
            color = GREY if row.low <= 0 <= row.high else BLUE
            ax.plot([row.low, row.high], [i, i], color=color, lw=1)
            ax.plot(row.value, i, marker="o", ms=4, color=color)
        ax.axvline(0, color="black", lw=0.8)
        ax.set_yticks(range(len(rows)), [row.measure for row in rows], fontsize="small")
        ax.set(xlim=(-1.05, 1.05), xlabel=f"ρ with {outcome}")
    return figure


def _shift(i: int, count: int) -> float:
    """Minima one above the other within a line."""
    return 0.0 if count == 1 else 0.6 * (0.5 - i / (count - 1))


def _half_width(value: float, error: float) -> float:
    low, high = Estimate(value, error).interval(0.9)
    return (high - low) / 2 if np.isfinite(high - low) else 0.0
