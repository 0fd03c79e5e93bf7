"""What all figures share: colours, an empty figure, markers with intervals, logarithmic scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from slt._types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
CHAINS = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9")
"""Colours that the colour-blind can tell apart (Okabe & Ito 2008)."""


def new_figure(num_rows: int = 1, *, height: float = 4.2, **options: Any) -> tuple[Figure, Any]:
    """An empty figure 7 inches wide and its axes; options go to `Figure.subplots`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib; install it with: pip install matplotlib") from error
    figure = Figure(figsize=(7, height), dpi=150, layout="constrained")
    axes = figure.subplots(num_rows, **options)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def log_scale(set_scale: Callable[..., None], values: ArrayLike) -> None:
    """Logarithmic; linear around zero where zero or less occurs."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if np.all(values > 0):
        set_scale("log")
    else:
        set_scale("symlog", linthresh=min(values[values > 0], default=1.0) / 2)


def points(
    ax: Axes, x: np.ndarray, estimates: Sequence[Estimate], converged: np.ndarray,
    *, label: str, color: str = BLUE, marker: str = "o",
) -> None:  # fmt: skip
    """Markers with 90 % intervals; an error that is not finite has no bar."""
    values = np.array([estimate.value for estimate in estimates])
    bounds = np.array([estimate.interval(0.9) for estimate in estimates]).reshape(-1, 2)
    bars = np.where(np.isfinite(bounds), np.abs(bounds - values[:, None]), 0.0)
    ax.errorbar(x, values, yerr=bars.T, fmt="none", ecolor=color, capsize=3, lw=1)
    markers(ax, x, values, converged, label=label, color=color, marker=marker)


def markers(
    ax: Axes, x: np.ndarray, y: np.ndarray, converged: np.ndarray,
    *, label: str | None = None, color: str = BLUE, marker: str = "o",
) -> None:  # fmt: skip
    """Filled where converged, hollow where not."""
    ax.plot(x[converged], y[converged], ls="none", marker=marker, color=color, label=label)
    if not converged.all():
        ax.plot(x[~converged], y[~converged], ls="none", marker=marker, mfc="white", mec=color, label="not converged")
