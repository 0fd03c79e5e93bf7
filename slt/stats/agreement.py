"""Would another run rank the rows alike? From halves of the chains of one, column by column.

Whatever the chains of a run share with each other and not with another run, such as a start, halves do not see.
"""

import itertools

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float
from scipy import stats

RANKED = 5
"""Rows of which a ranking can be compared."""
HALVINGS = 10
"""Ways of halving the chains that are compared, at most."""
AGREEMENT = 0.8
"""Spearman correlation of two runs, less its error, below which a column is refused."""


def rank_agreement(first: Float[np.ndarray, " row"], second: Float[np.ndarray, " row"]) -> float:
    """Spearman correlation of the same rows in two independent halves; NaN of few rows, 0 where nothing differs."""
    if len(first) < RANKED:
        return float("nan")
    ranks = stats.rankdata(first), stats.rankdata(second)
    return float(np.corrcoef(*ranks)[0, 1]) if min(np.ptp(r) for r in ranks) > 0 else 0.0


def halvings(number: int) -> list[Bool[np.ndarray, " chain"]]:
    """Which chains are in the first of two halves: all ways of up to 5 chains, HALVINGS random but fixed ones of more.

    One way alone is a noisy witness: four chains have three.
    """
    others = range(1, number)
    if number <= 5:
        chosen = list(itertools.combinations(others, (number + 1) // 2 - 1))
        chosen += list(itertools.combinations(others, number // 2 - 1)) if number % 2 else []
    else:
        rng = np.random.default_rng(0)
        chosen = [1 + rng.permutation(number - 1)[: number // 2 - 1] for _ in range(HALVINGS)]
    return [np.isin(np.arange(number), [0, *first]) for first in chosen]


def halves_agreement(chains: Float[np.ndarray, "chain row"]) -> float:
    """Mean over the halvings of the `rank_agreement` of the means of each half."""
    found = [rank_agreement(chains[first].mean(0), chains[~first].mean(0)) for first in halvings(len(chains))]
    return float(np.mean(found))


def runs_agreement(agreement: Float[ArrayLike, "..."]) -> Float[np.ndarray, "..."]:
    """Spearman correlation of two runs as long as this one, from that of its halves (Spearman & Brown 1910)."""
    half = np.maximum(np.asarray(agreement, float), -0.5)
    return np.maximum(2 * half / (1 + half), -1.0)


def agreement_bound(agreement: Float[ArrayLike, "..."], num_rows: int) -> Float[np.ndarray, "..."]:
    """`runs_agreement` less one standard error of so many rows (Bonett & Wright 2000); NaN of few rows.

    doi:10.1007/BF02294183. The rows share their draws, and the halvings their chains: it is a rough one.
    """
    if num_rows < RANKED:
        return np.full(np.shape(agreement), np.nan)
    half = np.clip(np.asarray(agreement, float), -0.999999, 0.999999)
    return runs_agreement(np.tanh(np.arctanh(half) - np.sqrt((1 + half**2 / 2) / (num_rows - 3))))
