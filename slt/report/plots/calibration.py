"""The learning coefficient over step size, localisation and temperature, and where to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slt.report.plots.base import CHAINS, GREY, log_scale, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_calibration(calibration: Any) -> Figure:
    r"""$\hat\lambda$ against the step, a panel for each $n\beta$, a colour for each $\gamma$; distrusted cells hollow.

    The dashed line is the automatic step; the panel and the line of the target's own $n\beta$ and $\gamma$ are bold.
    """
    nbetas = sorted({point.nbeta for point in calibration.points})
    gammas = sorted({point.localization for point in calibration.points})
    figure, axes = new_figure(1, height=3.6, ncols=len(nbetas), sharey=True, squeeze=False)
    for ax, nbeta in zip(axes[0], nbetas, strict=True):
        for color, gamma in zip(CHAINS, gammas, strict=False):
            cells = [p for p in calibration.points if (p.nbeta, p.localization) == (nbeta, gamma)]
            own = np.isclose(nbeta, calibration.nbeta) and np.isclose(gamma, calibration.localization)
            _line(ax, cells, color, f"γ = {gamma:.3g}", bold=bool(own))
        ax.axvline(1.0, color=GREY, ls="--", lw=1)
        own = np.isclose(nbeta, calibration.nbeta)
        ax.set_title(
            f"nβ = {nbeta:.4g}" + " (the target's)" * bool(own), fontsize="small", fontweight="bold" if own else None
        )
        ax.set_xlabel("step over the automatic one")
        factors = sorted({p.step_factor for p in calibration.points})
        ax.set_xscale("log")
        ax.set_xticks(factors, [f"{factor:g}" for factor in factors], fontsize=6)
        ax.minorticks_off()
    log_scale(axes[0][0].set_yscale, [p.estimate.value for p in calibration.points])
    axes[0][0].set_ylabel("local learning coefficient λ̂")
    (hollow,) = axes[0][0].plot([], [], ls="none", marker="o", mfc="white", mec=GREY, label="not to be trusted")
    (cross,) = axes[0][0].plot([], [], ls="none", marker="x", color=GREY, label="diverged")
    handles = axes[0][0].get_legend_handles_labels()[0]
    shown = [handle for handle in handles if handle not in (hollow, cross)]
    figure.legend(handles=[*shown, hollow, cross], loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    return figure


def _line(ax: Any, cells: list, color: str, label: str, *, bold: bool) -> None:
    x = np.array([cell.step_factor for cell in cells])
    y = np.array([cell.estimate.value for cell in cells])
    error = np.array([cell.estimate.mcse for cell in cells])
    ax.errorbar(
        x, y, yerr=np.where(np.isfinite(error), error, 0), color=color, lw=2 if bold else 0.8, capsize=2, label=label
    )
    trusted = np.array([cell.trusted for cell in cells])
    for chosen, fill in ((trusted, color), (~trusted, "white")):
        ax.plot(x[chosen], y[chosen], ls="none", marker="o", color=color, mfc=fill)
    lost = x[~np.isfinite(y)]
    ax.plot(lost, np.full(len(lost), 0.03), ls="none", marker="x", color=GREY, transform=ax.get_xaxis_transform())
