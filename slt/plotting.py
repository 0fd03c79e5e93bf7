"""Figures from stored results. Nothing is estimated here, and matplotlib is imported nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from slt._types import Estimate
from slt.draws import Result, ValidationRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
CHAINS = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9")
"""Colours that the colour-blind can tell apart (Okabe & Ito 2008)."""

MAX_POINTS = 2000
"""Longer traces are thinned for drawing, the running mean is not."""


def plot_trace(result: Result) -> Figure:
    r"""$n\beta(L_n(w) - L_n(w^*))$ of every draw and chain, its running mean, and $\hat\lambda$, where it should end.

    Warm-up has negative draw numbers and a shade. Chains that diverged are drawn, but are not in the running mean.
    """
    figure, ax = _figure()
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
    figure, ax = _figure()
    results = sorted(results, key=lambda result: float(result.settings["localization"]))
    gamma = np.array([float(result.settings["localization"]) for result in results])
    estimates = [result.estimates["llc"] for result in results]
    converged = np.array([result.verdict.status == "converged" for result in results])
    if all("harmonic" in result.diagnostics for result in results):
        harmonic = [result.diagnostics["harmonic"] for result in results]
        ax.plot(gamma, harmonic, color=ORANGE, ls="-.", marker="x", label="harmonic prediction")
    ax.plot(gamma, [estimate.value for estimate in estimates], color=BLUE, lw=0.8)
    _points(ax, gamma, estimates, converged, label="λ̂, 90 % interval")
    for x, estimate in zip(gamma, estimates, strict=True):
        place = {"xytext": (-5, -12), "textcoords": "offset points", "ha": "right", "size": 8}
        ax.annotate(str(estimate), (x, estimate.value), **place)
    if "num_params" in results[0].settings:
        half = float(results[0].settings["num_params"]) / 2
        ax.axhline(half, color=GREY, ls=":", label=f"d/2 = {half:g}")
    ax.margins(x=0.18, y=0.12)  # room for the numbers beside the points
    _log_scale(ax.set_xscale, gamma)
    _log_scale(ax.set_yscale, [estimate.interval()[0] for estimate in estimates])
    ax.set(xlabel="localisation γ  [1 / unit of w²]", ylabel="local learning coefficient λ̂")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure


def plot_step_size(
    pairs: Sequence[tuple[float, Estimate]],
    *,
    extrapolated: Estimate | None = None,
    exact: float | None = None,
) -> Figure:
    r"""$\hat\lambda$ against the step size, with what it should be at step size zero.

    Args:
        pairs: (step size, estimate).
        extrapolated: the estimate at step size zero.
        exact: the exact value.
    """
    figure, ax = _figure()
    steps = np.array([step for step, _ in pairs], float)
    _points(ax, steps, [estimate for _, estimate in pairs], np.ones(len(steps), bool), label="λ̂, 90 % interval")
    if extrapolated is not None:
        one = np.ones(1, bool)
        _points(ax, np.zeros(1), [extrapolated], one, label="extrapolated to zero", color=ORANGE, marker="s")
    if exact is not None:
        ax.axhline(exact, color="black", ls="--", label=f"exact: {exact:.4g}")
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    ax.set(xlabel="step size ε  [unit of w² / nat]", ylabel="local learning coefficient λ̂")
    ax.set_xlim(left=-0.03 * steps.max(), right=1.05 * steps.max())
    ax.legend()
    return figure


def plot_validation(rows: Sequence[ValidationRow]) -> Figure:
    """Estimates against exact values with 90 % intervals; below, the gaps in standard errors, named beyond 3."""
    figure, (top, bottom) = _figure(2, height=6.5, sharex=True, height_ratios=(3, 2))
    rows = [row for row in rows if np.isfinite(row.estimate.value)]
    exact = np.array([row.exact for row in rows])
    converged = np.array([row.status == "converged" for row in rows], bool)
    _points(top, exact, [row.estimate for row in rows], converged, label="λ̂, 90 % interval")
    ends = [exact.min(), exact.max()] if rows else [0.1, 1.0]
    top.plot(ends, ends, color="black", ls="--", lw=0.8, label="exact")
    if all(row.exact > 0 and row.estimate.value > 0 for row in rows):
        top.set(xscale="log", yscale="log")
    top.set(ylabel="estimate λ̂")
    top.legend()
    bottom.axhspan(-3, 3, color=GREY, alpha=0.2, lw=0)
    bottom.axhline(0, color="black", ls="--", lw=0.8)
    z = np.array([row.z for row in rows])
    _markers(bottom, exact, z, converged)
    for row in rows:
        if abs(row.z) > 3:
            bottom.annotate(row.case, (row.exact, row.z), xytext=(4, 2), textcoords="offset points", fontsize=7)
    bottom.set(xlabel="exact nβ E[L(w) − L(w*)] at the same nβ", ylabel="gap  [standard errors]")
    return figure


def _figure(num_rows: int = 1, *, height: float = 4.2, **options: Any) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib; install it with: pip install 'slt-toolkit[plots]'") from error
    figure = Figure(figsize=(7, height), dpi=150, layout="constrained")
    axes = figure.subplots(num_rows, **options)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _log_scale(set_scale: Callable[..., None], values: ArrayLike) -> None:
    """Logarithmic; linear around zero where zero or less occurs."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if np.all(values > 0):
        set_scale("log")
    else:
        set_scale("symlog", linthresh=min(values[values > 0], default=1.0) / 2)


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


def _points(
    ax: Axes, x: np.ndarray, estimates: Sequence[Estimate], converged: np.ndarray,
    *, label: str, color: str = BLUE, marker: str = "o",
) -> None:  # fmt: skip
    """Markers with 90 % intervals; an error that is not finite has no bar."""
    values = np.array([estimate.value for estimate in estimates])
    bounds = np.array([estimate.interval(0.9) for estimate in estimates]).reshape(-1, 2)
    bars = np.where(np.isfinite(bounds), np.abs(bounds - values[:, None]), 0.0)
    ax.errorbar(x, values, yerr=bars.T, fmt="none", ecolor=color, capsize=3, lw=1)
    _markers(ax, x, values, converged, label=label, color=color, marker=marker)


def _markers(
    ax: Axes, x: np.ndarray, y: np.ndarray, converged: np.ndarray,
    *, label: str | None = None, color: str = BLUE, marker: str = "o",
) -> None:  # fmt: skip
    ax.plot(x[converged], y[converged], ls="none", marker=marker, color=color, label=label)
    if not converged.all():
        ax.plot(x[~converged], y[~converged], ls="none", marker=marker, mfc="white", mec=color, label="not converged")


def _title(result: Result) -> str:
    parts = [f"{symbol} = {float(result.settings[name]):.4g}" for name, symbol in
             (("localization", "γ"), ("nbeta", "nβ"), ("step_size", "ε")) if name in result.settings]  # fmt: skip
    return f"{', '.join(parts)}: {result.verdict.status}"
