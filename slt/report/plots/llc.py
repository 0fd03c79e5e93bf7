"""Figures of learning coefficients: traces, profiles over the localisation, validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from slt.draws import Result
from slt.estimate.validation import ValidationRow
from slt.report.plots.base import BLUE, CHAINS, GREY, ORANGE, log_scale, markers, new_figure, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 2000
"""Longer traces are thinned for drawing, the running mean is not."""


def plot_trace(result: Result) -> Figure:
    r"""$n\beta(L_n(w) - L_n(w^*))$ of every draw and chain, its running mean, and $\hat\lambda$, where it should end.

    Warm-up has negative draw numbers and a shade. Chains that diverged are drawn, but are not in the running mean.
    """
    figure, ax = new_figure()
    draws, nbeta = result.draws, float(result.settings["nbeta"])
    warmup = draws.warmup_loss.shape[1]
    for chain, (before, after) in enumerate(zip(draws.warmup_loss, draws.loss, strict=True)):
        values = nbeta * np.concatenate([before, after])
        step = max(1, len(values) // MAX_POINTS)
        ax.plot(np.arange(-warmup, len(after))[::step], values[::step],
                color=CHAINS[chain % len(CHAINS)], lw=0.5, alpha=0.5)  # fmt: skip
    if warmup:
        ax.axvspan(-warmup, 0, color=GREY, alpha=0.2, lw=0, label="warm-up, never averaged")
    _running_mean(ax, nbeta * draws.loss[draws.first_divergence < 0])
    estimate = result.estimates["llc"]
    ax.axhline(estimate.value, color="black", ls="--", label=f"λ̂ = {estimate}")
    ax.set(xlabel="draw", ylabel="nβ (L(w) − L(w*))  [nats]", title=_title(result))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def plot_profile(results: Sequence[Result]) -> Figure:
    r"""$\hat\lambda(\gamma)$ with 90 % intervals, the harmonic prediction and d/2; points not converged are hollow.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("plot_profile: there are no results; give at least one.")
    figure, ax = new_figure()
    results = sorted(results, key=lambda result: float(result.settings["localization"]))
    gamma = np.array([float(result.settings["localization"]) for result in results])
    estimates = [result.estimates["llc"] for result in results]
    converged = np.array([result.verdict.status == "converged" for result in results])
    if all("harmonic" in result.diagnostics for result in results):
        harmonic = [result.diagnostics["harmonic"] for result in results]
        ax.plot(gamma, harmonic, color=ORANGE, ls="-.", marker="x", label="harmonic prediction")
    ax.plot(gamma, [estimate.value for estimate in estimates], color=BLUE, lw=0.8)
    points(ax, gamma, estimates, converged, label="λ̂, 90 % interval")
    for x, estimate in zip(gamma, estimates, strict=True):
        place = {"xytext": (-5, -12), "textcoords": "offset points", "ha": "right", "size": 8}
        ax.annotate(str(estimate), (x, estimate.value), **place)
    if "num_params" in results[0].settings:
        half = float(results[0].settings["num_params"]) / 2
        ax.axhline(half, color=GREY, ls=":", label=f"d/2 = {half:g}")
    ax.margins(x=0.18, y=0.12)  # room for the numbers beside the points
    log_scale(ax.set_xscale, gamma)
    log_scale(ax.set_yscale, [estimate.interval()[0] for estimate in estimates])
    ax.set(xlabel="localisation γ  [1 / unit of w²]", ylabel="local learning coefficient λ̂")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure


def plot_validation(rows: Sequence[ValidationRow]) -> Figure:
    """Estimates against exact values with 90 % intervals; below, the gaps in standard errors, named beyond 3."""
    figure, (top, bottom) = new_figure(2, height=6.5, sharex=True, height_ratios=(3, 2))
    rows = [row for row in rows if np.isfinite(row.estimate.value)]
    exact = np.array([row.exact for row in rows])
    converged = np.array([row.status == "converged" for row in rows], bool)
    points(top, exact, [row.estimate for row in rows], converged, label="λ̂, 90 % interval")
    ends = [exact.min(), exact.max()] if rows else [0.1, 1.0]
    top.plot(ends, ends, color="black", ls="--", lw=0.8, label="exact")
    if all(row.exact > 0 and row.estimate.value > 0 for row in rows):
        top.set(xscale="log", yscale="log")
    top.set(ylabel="estimate λ̂")
    top.legend()
    bottom.axhspan(-3, 3, color=GREY, alpha=0.2, lw=0)
    bottom.axhline(0, color="black", ls="--", lw=0.8)
    z = np.array([row.z for row in rows])
    markers(bottom, exact, z, converged)
    for row in rows:
        if abs(row.z) > 3:
            bottom.annotate(row.case, (row.exact, row.z), xytext=(4, 2), textcoords="offset points", fontsize=7)
    bottom.set(xlabel="exact nβ E[L(w) − L(w*)] at the same nβ", ylabel="gap  [standard errors]")
    return figure


def _running_mean(ax: Axes, values: np.ndarray) -> None:
    """Mean of all draws so far, and its standard error from the spread of the chains."""
    chains, count = values.shape
    if not chains:
        return
    means = np.cumsum(values, axis=1, dtype=np.float64) / np.arange(1, count + 1)
    mean = means.mean(axis=0)
    ax.plot(np.arange(count), mean, color="black", lw=1.5, label="running mean ± error over chains")
    if chains > 1:
        error = means.std(axis=0, ddof=1) / np.sqrt(chains)
        ax.fill_between(np.arange(count), mean - error, mean + error, color="black", alpha=0.35, lw=0)


def _title(result: Result) -> str:
    parts = [f"{symbol} = {float(result.settings[name]):.4g}" for name, symbol in
             (("localization", "γ"), ("nbeta", "nβ"), ("step_size", "ε")) if name in result.settings]  # fmt: skip
    return f"{', '.join(parts)}: {result.verdict.status}"
