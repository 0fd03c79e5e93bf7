"""Figures of certificates: bounds beside test errors, the and the pushforward against time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slt.estimate.comparison.certified import Certificates
from slt.report.plots.base import BLUE, GREEN, GREY, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_certificates(report: Certificates) -> Figure:
    """Each bound with the error that went into it and the test error; above 1/2 a coin does as well."""
    figure, ax = new_figure(height=3.2)
    rows = report.certificates
    place = np.arange(len(rows))[::-1]
    ax.barh(place, [row.bound for row in rows], color=BLUE, alpha=0.35, height=0.6, label="bound")
    ax.plot([row.train_error for row in rows], place, ls="none", marker="o", color=ORANGE, label="error used")
    ax.plot([row.test_error for row in rows], place, ls="none", marker="D", color=VERMILION, label="test error")
    ax.axvline(0.5, color=GREY, ls=":", label="a coin")
    ax.set_yticks(place, [row.posterior for row in rows])
    ax.set(xlabel=f"error; bounds hold with probability {rows[0].confidence:.0%}", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure


def plot_stopping(report: Certificates) -> Figure:
    """Error, bound, and log dQ/dP of one training against time: what limits the certificate of the pushforward."""
    figure, (upper, lower) = new_figure(2, height=5.0, sharex=True)
    steps = np.array([stop.steps for stop in report.curve])
    upper.plot(steps, [stop.train_error for stop in report.curve], marker="o", color=ORANGE, label="train error")
    upper.plot(steps, [stop.test_error for stop in report.curve], marker="D", color=VERMILION, label="test error")
    upper.plot(steps, [stop.bound for stop in report.curve], marker="s", color=BLUE, label="bound")
    upper.axhline(0.5, color=GREY, ls=":", label="a coin")
    upper.set(ylabel="error")
    lower.plot(steps, [stop.log_ratio for stop in report.curve], marker="s", color=GREEN)
    lower.set(xlabel="steps of gradient descent", ylabel="log dQ/dP  [nats]")
    lower.set_xscale("symlog", linthresh=min(steps[steps > 0], default=1))
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    return figure
