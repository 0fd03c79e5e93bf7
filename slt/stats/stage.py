"""Stages of a training run: stretches of checkpoints over which the learning coefficient rises, falls or stays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from slt._options import checked
from slt._types import Estimate
from slt.stats.checks import finite

RESOLUTION = 0.05
"""What counts as noise beside the standard errors, as a part of the range of the series."""
LEAST = 3
"""Points of a stretch."""


class Stage(NamedTuple):
    """Checkpoints first to last, "rises", "falls" or "stays", and the interval of `first`, earliest to latest.

    The border to the stage before so lies after checkpoint earliest - 1 and not after checkpoint latest. The first
    stage has none: its three numbers are 0.
    """

    first: int
    last: int
    trend: str
    earliest: int
    latest: int


@checked
def stages(estimates: Sequence[Estimate], *, probability: float = 0.9) -> list[Stage]:
    r"""Cut a series into stretches on each of which $\hat\lambda$ is a straight line in the number of the checkpoint.

    The number of cuts has the lowest $\chi^2 + 3k\log N$ over k stretches of at least 3 points (three numbers per
    stretch: two of the line and its end), with the error $\sqrt{\mathrm{mcse}^2 + (0.05\,\mathrm{range})^2}$. A stretch
    rises or falls where its line moves by more than 2 such errors. The answer depends on which checkpoints are given.

    The interval of a border is that of its posterior given k, over all cuts into k stretches, each as likely
    beforehand, with all values at the two ends of every line alike: $p(\mathrm{cuts}) \propto \prod_j e^{-\chi_j^2/2}
    (m_j - 1)\,|X_j^\top W_j X_j|^{-1/2}$ over stretches of m points, their designs X (1, number) and weights W of the
    points. Errors are taken for independent, as those of `estimate_series` are, whose points have seeds of their own;
    of estimates that share a seed they move together, and the interval is wrong.

    Args:
        estimates: one of each checkpoint, in order.
        probability: of an interval, at least; ends are checkpoints, so that it is often more.

    Raises:
        ValueError: fewer than 3 estimates, one that is not finite, or a probability not in (0, 1).

    Source: optimal partitioning, Jackson et al. 2005, arXiv:math/0309285; the penalty: Schwarz 1978; the posterior:
    Fearnhead 2006, doi:10.1007/s11222-006-8450-8.
    """
    if len(estimates) < LEAST:
        raise ValueError(f"stages: {len(estimates)} estimates; at least 3 are needed, one of each checkpoint.")
    if not 0 < probability < 1:
        raise ValueError(f"stages: probability is {probability}; it must lie strictly between 0 and 1.")
    advice = "leave out the checkpoints that have no number, or sample them longer."
    values = finite("stages", [estimate.value for estimate in estimates], ("checkpoint",), advice, what="estimate")
    spread = finite("stages", [estimate.mcse for estimate in estimates], ("checkpoint",), advice, what="error")
    errors = np.hypot(spread, max(RESOLUTION * np.ptp(values), 1e-12))
    misfit, volume = _lines(values, errors)
    starts = _partition(misfit)
    ends = [*(start - 1 for start in starts[1:]), len(values) - 1]
    laws = _borders(volume - misfit / 2, len(starts))
    between = [(0, 0), *(_central(law, start, probability) for law, start in zip(laws, starts[1:], strict=True))]
    return [
        Stage(a, b, _trend(values[a : b + 1], errors[a : b + 1]), *interval)
        for a, b, interval in zip(starts, ends, between, strict=True)
    ]


def _lines(values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chi^2 of the line through points a to b - 1, and the log of its volume, dims (a, b); inf, -inf of too few."""
    count = len(values)
    place, weight = np.arange(count), errors**-2
    misfit, volume = np.full((2, count + 1, count + 1), np.inf) * np.array([1.0, -1.0])[:, None, None]
    for a in range(count - LEAST + 1):
        w, x, y = weight[a:], place[a:] - a, values[a:] - values[a]
        total, wx, wxx, wy, wxy, wyy = (np.cumsum(w * part) for part in (1.0, x, x * x, y, x * y, y * y))
        at = slice(LEAST - 1, None)
        square = (total * wxx - wx**2)[at]
        slope = (total * wxy - wx * wy)[at] / square
        level = (wy[at] - slope * wx[at]) / total[at]
        misfit[a, a + LEAST :] = np.maximum(wyy[at] - level * wy[at] - slope * wxy[at], 0.0)
        volume[a, a + LEAST :] = np.log(x[at]) - 0.5 * np.log(square)
    return misfit, volume


def _partition(misfit: Float[np.ndarray, "start end"]) -> list[int]:
    """First index of every stretch, by dynamic programming over the last cut."""
    count = len(misfit) - 1
    penalty = 3 * np.log(count)
    best, cut = np.full(count + 1, np.inf), np.zeros(count + 1, int)
    best[0] = 0.0
    for end in range(LEAST, count + 1):
        costs = best[:end] + misfit[:end, end] + penalty
        cut[end] = int(np.argmin(costs))
        best[end] = costs[cut[end]]
    starts, end = [], count
    while end > 0:
        starts.append(int(cut[end]))
        end = cut[end]
    return starts[::-1]


def _borders(evidence: Float[np.ndarray, "start end"], stretches: int) -> Float[np.ndarray, "border start"]:
    """Probability that a stretch after the first starts at each index, given how many there are."""
    first = np.full(len(evidence), -np.inf)
    first[0] = 0.0
    before, after = [first], [first[::-1]]
    for _ in range(stretches - 1):
        before.append(np.asarray(logsumexp(before[-1][:, None] + evidence, axis=0)))
        after.append(np.asarray(logsumexp(evidence + after[-1], axis=1)))
    logs = np.array([b + a for b, a in zip(before[1:], after[:0:-1], strict=True)]).reshape(-1, len(evidence))
    return np.exp(logs - logsumexp(logs, axis=1, keepdims=True))


def _central(law: Float[np.ndarray, " start"], start: int, probability: float) -> tuple[int, int]:
    """Ends of the central interval; the start that was chosen is in it."""
    below, tail = np.cumsum(law), (1 - probability) / 2
    low, high = np.searchsorted(below, [tail, 1 - tail - 1e-12])
    return min(int(low), start), max(int(high), start)


def _trend(values: np.ndarray, errors: np.ndarray) -> str:
    x = np.arange(len(values))
    slope = np.polyfit(x, values, 1, w=1 / errors)[0]
    change = slope * x[-1] / np.mean(errors)
    return "stays" if abs(change) <= 2 else "rises" if change > 0 else "falls"
