"""Linear responses as a heat map, and their principal components beside those of a Gaussian posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slt.report.plots.base import BLUE, ORANGE, new_figure
from slt.stats.response import Response

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 40
"""Rows or columns up to which each has its name."""


def plot_response(found: Response) -> Figure:
    """Every answer as a z-score of its column, ordered by the first principal component; dots differ from 0."""
    values, _ = found.standardised()
    values = np.nan_to_num(values)
    order = np.argsort(_components(values)[0][:, 0], kind="stable")
    figure, ax = new_figure(height=min(2 + 0.16 * len(found.rows), 8))
    limit = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
    shown = ax.imshow(values[order], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if values.size <= 2000:
        y, x = np.nonzero(found.differ()[order])
        ax.plot(x, y, ls="none", marker=".", ms=2, color="black")
    if len(found.rows) <= NAMED:
        ax.set_yticks(range(len(found.rows)), [found.rows[i] for i in order], fontsize=6)
    if len(found.columns) <= NAMED:
        ax.set_xticks(range(len(found.columns)), found.columns, fontsize=6, rotation=90)
    ax.set(xlabel="observable" if found.kind == "influence" else "component", ylabel="data")
    ax.set_title(f"{found.kind}, {found.verdict.status}", fontsize="small")
    figure.colorbar(shown, ax=ax, label="z-score of the column")
    return figure


def plot_components(found: Response) -> Figure:
    """Share of each principal component of the standardised columns, and the first two scores of the data.

    Raises:
        ValueError: fewer than 3 rows or 2 columns.
    """
    if len(found.rows) < 3 or len(found.columns) < 2:
        raise ValueError(f"plot_components: the table is {found.value.shape}; it takes at least 3 rows and 2 columns.")
    figure, (left, right) = new_figure(1, height=3.4, ncols=2)
    for values, label, color in ((found.value, "sampled", BLUE), (found.harmonic, "Gaussian", ORANGE)):
        if not np.isfinite(values).all():
            continue
        scores, shares = _components(np.nan_to_num((values - values.mean(0)) / values.std(0)))
        left.plot(np.arange(1, len(shares[:10]) + 1), shares[:10], marker="o", color=color, label=label)
        right.plot(scores[:, 0], scores[:, 1], ls="none", marker=".", color=color, label=label)
    left.set(xlabel="principal component", ylabel="share of the variance", ylim=(0, 1))
    right.set(xlabel="first score of the data", ylabel="second score")
    left.legend(frameon=False, fontsize="small")
    return figure


def _components(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the rows, dims (row, component), and shares of the variance; the sign is that of a positive sum."""
    left, sizes, right = np.linalg.svd(values - values.mean(0), full_matrices=False)
    sign = np.where(right.sum(1) >= 0, 1.0, -1.0)
    total = max(float((sizes**2).sum()), 1e-300)
    return left * sizes * sign, sizes**2 / total
