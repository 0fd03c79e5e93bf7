"""Whether one measure of many minima predicts another number of theirs: a rank correlation with its uncertainty."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


class Correlation(NamedTuple):
    """Spearman's rank correlation and its 90 % bootstrap interval over groups; verdict: what may be said of it."""

    value: float
    low: float
    high: float
    verdict: str


def rank_correlation(
    measure: Float[np.ndarray, " run"],
    outcome: Float[np.ndarray, " run"],
    groups: Int[np.ndarray, " run"],
    *,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Correlation:
    """Spearman's rho between group means of a measure and of an outcome, with a bootstrap over groups.

    The groups, such as functions, are the unit: runs that found one function share its frequency, and as units they
    would make any interval too narrow.

    Raises:
        ValueError: fewer than 4 groups with a finite measure.
    """
    finite = np.isfinite(measure) & np.isfinite(outcome)
    names = np.unique(groups[finite])
    if len(names) < 4:
        raise ValueError(f"rank_correlation: {len(names)} groups with finite values; at least 4 are needed.")
    pairs = np.array([[v[finite & (groups == g)].mean() for v in (measure, outcome)] for g in names])
    if np.ptp(pairs[:, 0]) <= 1e-9 * np.abs(pairs[:, 0]).max():
        return Correlation(np.nan, np.nan, np.nan, "the measure is the same in every group")
    rng = np.random.default_rng(seed)
    resampled = pairs[rng.integers(0, len(pairs), (num_resamples, len(pairs)))]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.array([np.corrcoef(*stats.rankdata(r, axis=0).T)[0, 1] for r in resampled])
    low, high = np.nanquantile(values, [0.05, 0.95])
    verdict = "positive" if low > 0 else "negative" if high < 0 else "undecided"
    value = np.corrcoef(*stats.rankdata(pairs, axis=0).T)[0, 1]
    return Correlation(float(value), float(low), float(high), verdict)
