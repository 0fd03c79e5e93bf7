"""Figures of basin volumes: treatments against the threshold, exponents, and measures that mislead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from slt.geometry.sharpness import RadiusGrowth
from slt.geometry.volume import VolumeRow, log_ellipsoid
from slt.geometry.volume_scaling import Scaling, on_grid
from slt.plotting.base import BLUE, CHAINS, GREEN, GREY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_volumes(thresholds: Sequence[float], rows: Sequence[Sequence[VolumeRow]]) -> Figure:
    """Every treatment and estimator against T: Lebesgue volumes above, bits under the initialisation below.

    Values that are infinite, undefined or of another dimension leave a gap or are not drawn.

    Args:
        thresholds: T [nats/datum]; rows: the rows at each.

    Raises:
        ValueError: no thresholds, or not one list of rows for each.
    """
    if not len(thresholds) or len(thresholds) != len(rows):
        raise ValueError(f"plot_volumes: {len(thresholds)} thresholds and {len(rows)} lists of rows; give as many.")
    figure, axes = new_figure(2, height=7.5, sharex=True)
    T = np.asarray(thresholds, float)
    for measure, ax in zip(("lebesgue", "initialisation"), axes, strict=True):
        names = [row.treatment.split(", λ")[0] for row in rows[0] if row.measure == measure]
        for i, name in enumerate(names):
            found = [next(r for r in at if r.measure == measure and r.treatment.startswith(name)) for at in rows]
            values = np.array([row.log_volume if measure == "lebesgue" else row.bits for row in found])
            scale = 1.0 if measure == "lebesgue" else np.log(2)
            error = np.array([row.error if np.isfinite(row.error) else 0.0 for row in found]) / scale
            if np.isfinite(values).any():
                values[~np.isfinite(values)] = np.nan
                style = {"color": CHAINS[i % len(CHAINS)], "marker": "osv^Dx"[i % 6], "ms": 4, "label": name}
                ax.errorbar(T, values, yerr=1.645 * error, capsize=2, lw=1, **style)
        ax.set_xscale("log")
        ax.legend(fontsize="small")
    axes[0].set(ylabel="log volume  [nats, units of w]")
    axes[1].set(ylabel="bits that locate the basin", xlabel="threshold T  [nats/datum]")
    return figure


def plot_exponent(scaling: Scaling, *, rlct: float | None = None) -> Figure:
    """Log V against log epsilon of every replicate above; local slopes with 90 % intervals and lambda below.

    Args:
        rlct: the exact value, if known.
    """
    figure, (top, bottom) = new_figure(2, height=6.5, sharex=True, height_ratios=(3, 2))
    exponent, hessian = scaling.exponent, None if scaling.rank is None else scaling.rank / 2
    for levels, volumes in zip(scaling.log_epsilon, scaling.log_volume, strict=True):
        top.plot(levels / np.log(10), volumes / np.log(10), color=BLUE, lw=0.4, alpha=0.5)
    low, high = exponent.log_epsilon
    top.axvspan(low / np.log(10), high / np.log(10), color=GREY, alpha=0.15, lw=0, label="fitted")
    top.set(ylabel="log₁₀ P(K < ε)")
    top.legend(frameon=False)
    grid = np.linspace(high, low, 13)
    slopes = np.diff(on_grid(scaling.log_epsilon, scaling.log_volume, grid), axis=1) / np.diff(grid)
    middle, error = (grid[1:] + grid[:-1]) / 2 / np.log(10), slopes.std(0, ddof=1) / len(slopes) ** 0.5
    bottom.errorbar(middle, slopes.mean(0), yerr=1.8 * error, fmt="o", ms=4, color=BLUE, capsize=3, label="local slope")
    bottom.axhspan(*exponent.rlct.interval(0.9), color=GREEN, alpha=0.25, lw=0, label=f"λ = {exponent.rlct}")
    for value, color, label in ((rlct, "black", "exact λ"), (hessian, VERMILION, "rank H / 2")):
        if value is not None:
            bottom.axhline(value, color=color, ls="--", lw=1, label=label)
    bottom.set(xlabel="log₁₀ ε  [nats/datum]", ylabel="d log V / d log ε")
    bottom.legend(frameon=False, fontsize="small", ncols=2)
    return figure


def plot_misleading(growths: Sequence[RadiusGrowth], spectra: Sequence[Sequence[np.ndarray]]) -> Figure:
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
