"""Stages of a training run: stretches of checkpoints over which the learning coefficient rises, falls or stays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slt._types import Estimate
from slt.stats.checks import finite

RESOLUTION = 0.05
"""What counts as noise beside the standard errors, as a part of the range of the series."""


class Stage(NamedTuple):
    """Checkpoints first to last, and "rises", "falls" or "stays"."""

    first: int
    last: int
    trend: str


def stages(estimates: Sequence[Estimate]) -> list[Stage]:
    r"""Cut a series into stretches on each of which $\hat\lambda$ is a straight line in the number of the checkpoint.

    The number of cuts has the lowest $\chi^2 + 3k\log N$ over k stretches of at least 3 points (three numbers per
    stretch: two of the line and its end), with the error $\sqrt{\mathrm{mcse}^2 + (0.05\,\mathrm{range})^2}$. A stretch
    rises or falls where its line moves by more than 2 such errors. The answer depends on which checkpoints are given.

    Raises:
        ValueError: fewer than 3 estimates, or one that is not finite.

    Source: optimal partitioning, Jackson et al. 2005, arXiv:math/0309285; the penalty: Schwarz 1978.
    """
    if len(estimates) < 3:
        raise ValueError(f"stages: {len(estimates)} estimates; at least 3 are needed, one of each checkpoint.")
    advice = "leave out the checkpoints that have no number, or sample them longer."
    values = finite("stages", [estimate.value for estimate in estimates], ("checkpoint",), advice, what="estimate")
    spread = finite("stages", [estimate.mcse for estimate in estimates], ("checkpoint",), advice, what="error")
    errors = np.hypot(spread, max(RESOLUTION * np.ptp(values), 1e-12))
    starts = _partition(values, errors)
    ends = [*(start - 1 for start in starts[1:]), len(values) - 1]
    return [Stage(a, b, _trend(values[a : b + 1], errors[a : b + 1])) for a, b in zip(starts, ends, strict=True)]


def _partition(values: np.ndarray, errors: np.ndarray) -> list[int]:
    """First index of every stretch, by dynamic programming over the last cut."""
    count, penalty = len(values), 3 * np.log(len(values))
    best, cut = np.full(count + 1, np.inf), np.zeros(count + 1, int)
    best[0] = 0.0
    for end in range(3, count + 1):
        costs = [best[start] + _misfit(values[start:end], errors[start:end]) + penalty for start in range(end - 2)]
        cut[end] = int(np.argmin(costs))
        best[end] = costs[cut[end]]
    starts, end = [], count
    while end > 0:
        starts.append(int(cut[end]))
        end = cut[end]
    return starts[::-1]


def _misfit(values: np.ndarray, errors: np.ndarray) -> float:
    return float(np.sum(((values - _line(values, errors)) / errors) ** 2))


def _line(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    x = np.arange(len(values))
    return np.polyval(np.polyfit(x, values, 1, w=1 / errors), x)


def _trend(values: np.ndarray, errors: np.ndarray) -> str:
    line = _line(values, errors)
    change = (line[-1] - line[0]) / np.mean(errors)
    return "stays" if abs(change) <= 2 else "rises" if change > 0 else "falls"
