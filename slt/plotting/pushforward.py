"""Figures of the pushforward posterior: KL against time, codimension against scale, the implicit prior of functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from slt.pac_bayes.kl import KL
from slt.plotting.base import BLUE, CHAINS, GREY, VERMILION, log_scale, new_figure, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_kl_curve(times: Sequence[int], curve: Sequence[KL], losses: Sequence[float]) -> Figure:
    """KL(Q_t to P) with 90 % intervals above, mean training loss below, against steps.

    Args:
        times: steps. curve: of `kl_curve`. losses: mean loss at every time [nats/datum].

    Raises:
        ValueError: unequal lengths, or none.
    """
    if not len(times) or not len(times) == len(curve) == len(losses):
        raise ValueError(f"plot_kl_curve: {len(times)} times, {len(curve)} divergences, {len(losses)} losses.")
    figure, (top, bottom) = new_figure(2, height=5.5, sharex=True)
    steps = np.asarray(times)
    points(top, steps, [kl.value for kl in curve], np.ones(len(steps), bool), label=f"{curve[0].side}")
    top.set(ylabel="KL(Q_t ‖ P)  [nats]", title=curve[-1].note)
    bottom.plot(steps, losses, color=VERMILION)
    log_scale(bottom.set_yscale, losses)
    bottom.set(xlabel="steps", ylabel="mean loss [nats/datum]")
    return figure


def plot_codimension(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Slope of KL in ln(1/s) against s; dashes: Hessian rank, dots: twice the learning coefficient.

    Args:
        rows: with "name", "scales", "local", "hessian_rank" and "twice_llc" (or None).
    """
    if not rows:
        raise ValueError("plot_codimension: there are no rows; give at least one.")
    count = -(-len(rows) // 3)
    figure, axes = new_figure(count, height=2.1 * count + 0.6, ncols=3, sharex=True)
    for ax, row in zip(np.ravel(axes), rows, strict=False):
        ax.plot(row["scales"], row["local"], color=BLUE, label="slope of KL")
        ax.axhline(row["hessian_rank"], color=VERMILION, ls="--", label="Hessian rank")
        if row["twice_llc"] is not None:
            ax.axhline(row["twice_llc"], color="black", ls=":", label="2λ")
        ax.axvspan(*row["window"], color=GREY, alpha=0.15, lw=0, label="window" if row["status"] == "plateau" else None)
        ax.set(xscale="log", ylim=(0, None))
        ax.set_title(row["name"], fontsize="small")
    for ax in np.ravel(axes)[len(rows) :]:
        ax.set_visible(False)
    figure.supxlabel("smoothing s [prior std]")
    figure.supylabel("−dKL/d ln s")
    handles = {label: h for ax in np.ravel(axes) for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def plot_function_prior(laws: Mapping[str, Sequence[int]]) -> Figure:
    """Share of every function against its rank, on logarithmic axes, with Zipf's 1/rank for the eye.

    Args:
        laws: name -> counts of functions, most frequent first.
    """
    if not laws:
        raise ValueError("plot_function_prior: there are no laws; give at least one.")
    figure, ax = new_figure()
    for color, (name, counts) in zip(CHAINS, laws.items(), strict=False):
        share = np.asarray(counts, float) / np.sum(counts)
        ax.plot(np.arange(1, len(share) + 1), share, ".", ms=4, color=color, label=f"{name}, {len(share)} functions")
    rank = np.arange(1, max(len(c) for c in laws.values()) + 1)
    ax.plot(rank, 1 / rank / np.sum(1 / rank), color=GREY, lw=1, label="1/rank")
    ax.set(xscale="log", yscale="log", xlabel="rank of the function", ylabel="probability")
    ax.legend(frameon=False)
    return figure
