"""What is summed up of the positions of a run while it goes on: looks in batches, and which of them count."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from slt.draws import Result

LOOKS_PER_BATCH = 4
MAX_BATCHES = 64
"""Even; memory is that of as many sums, however long the run."""


class Batch(NamedTuple):
    """Consecutive looks: how many, and what they saw."""

    looks: int
    seen: Any


def add(
    batches: list[Batch], new: Batch, join: Callable[[Any, Any], Any], *,
    least: int | None = None, most: int | None = None,
) -> list[Batch]:  # fmt: skip
    """A look joins the last batch until that is full; where there are too many batches, each two become one."""
    full = max(least or LOOKS_PER_BATCH, batches[0].looks) if batches else 1
    if batches and batches[-1].looks < full:
        return [*batches[:-1], _both(batches[-1], new, join)]
    if len(batches) == (most or MAX_BATCHES):
        batches = [_both(a, b, join) for a, b in zip(batches[::2], batches[1::2], strict=True)]
    return [*batches, new]


def _both(a: Batch, b: Batch, join: Callable[[Any, Any], Any]) -> Batch:
    return Batch(a.looks + b.looks, join(a.seen, b.seen))


def counted(seen: dict[int, list[Batch]], result: Result) -> list[list[Any]]:
    """Of every group of chains of the last start, what batches of equal length saw after its warm-up."""
    warm, draws = result.draws.warmup_loss.shape[1], result.draws.loss.shape[1]
    skip = warm / (warm + draws) if result.settings["sampler"] == "chains" else 0.0
    last = [batches for group, batches in sorted(seen.items()) if group // 2 == max(seen) // 2]
    groups = [[b.seen for b in batches if b.looks == batches[0].looks] for batches in last]
    return [batches[math.ceil(skip * len(batches)) :] for batches in groups]


def alive(result: Result, number: int) -> np.ndarray:
    """Which of so many chains have not diverged; replicates that do not count in the estimate are seen all the same."""
    finite = np.asarray(result.draws.first_divergence) < 0
    return finite if len(finite) == number else np.ones(number, bool)
