"""What halves of the chains foretell of another run, and which columns pass."""

import numpy as np
import pytest
from scipy import stats

from slt.stats.agreement import agreement_bound, halves_agreement, halvings, rank_agreement, runs_agreement


def test_ranks_are_compared_where_there_are_some():
    assert np.isnan(rank_agreement(np.arange(3.0), np.arange(3.0)))
    assert rank_agreement(np.ones(9), np.arange(9.0)) == 0
    assert rank_agreement(np.arange(9.0), np.arange(9.0) ** 3) == pytest.approx(1)


def test_every_way_of_halving_a_few_chains_is_compared():
    for number, ways in ((2, 1), (3, 3), (4, 3), (5, 10), (8, 10)):
        found = halvings(number)
        assert len(found) == ways
        assert all(first[0] and first.sum() in (number // 2, (number + 1) // 2) for first in found)
    chains = np.random.default_rng(0).normal(size=(4, 50))
    pairs = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    by_hand = [stats.spearmanr(chains[list(a)].mean(0), chains[list(b)].mean(0))[0] for a, b in pairs]
    assert halves_agreement(chains) == pytest.approx(np.mean(by_hand))
    assert np.isnan(agreement_bound(0.9, 4))


def test_columns_that_pass_agree_between_runs_and_what_halves_foretell_comes_true():
    """200 columns of 80 rows, signal and noise of all ratios: a second run is drawn, and compared by Spearman.

    What halves foretell of it is right to 0.02 in the mean where there is something to foretell (5 errors). A column
    that passes has 0.8 in truth, less twice its error; one of 0.9 fails in 5 % at most. A median would pass them all.
    """
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(200, 80))
    noise = 10 ** rng.uniform(-1, 0.5, (200, 1))
    first, second = ((signal + noise * rng.normal(size=(4, 200, 80)) * 2) for _ in range(2))
    half = np.array([halves_agreement(first[:, j]) for j in range(200)])
    found = np.array([stats.spearmanr(first[:, j].mean(0), second[:, j].mean(0))[0] for j in range(200)])
    exact = 6 / np.pi * np.arcsin(1 / (1 + noise[:, 0] ** 2) / 2)  # Spearman's rho of normal pairs
    assert abs(np.mean((runs_agreement(half) - found)[exact > 0.5])) < 0.02
    passed = agreement_bound(half, 80) >= 0.8
    assert 0.3 < passed.mean() < 0.7
    assert exact[passed].min() > 0.8 - 2 * (1 - 0.8**2) / 80**0.5
    assert passed[exact > 0.9].mean() > 0.95
    assert not passed[exact < 0.7].any()
