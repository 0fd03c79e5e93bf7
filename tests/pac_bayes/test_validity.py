import numpy as np
import pytest
from scipy import stats
from simulated_bounds import SCENARIOS, planted, violations

from slt.pac_bayes import holdout
from slt.pac_bayes.bounds import FAMILIES

DELTA = 0.05


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_bound_is_violated_more_often_than_delta(name):
    """A bound violated exactly delta of the time would fail here once in 1e6 runs, one at 1.5 delta passes 1 in 1e4."""
    rates = violations(SCENARIOS[name], 2000, delta=DELTA)
    assert len(rates) == len(FAMILIES) + 3
    allowed = stats.binom.isf(1e-6, 2000, DELTA) / 2000
    assert {bound: rate for bound, rate in rates.items() if rate > allowed} == {}


def test_the_simulation_tells_a_wrong_bound():
    erm = planted(SCENARIOS["empirical risk minimiser"], 2000, delta=DELTA)
    one = planted(SCENARIOS["one hypothesis, n = 50"], 2000, delta=DELTA)
    assert erm["kl, divergence left out"] > 2 * DELTA
    assert one["kl, confidence left out"] > 2 * DELTA


@pytest.mark.parametrize("bound", ["holdout", "chernoff", "limits"])
def test_bounds_on_held_out_data_fail_at_most_delta_of_the_time_by_enumeration(bound):
    n, k = 100, np.arange(101)
    low, high = holdout.monte_carlo_interval(k / n, n, delta=DELTA)
    upper = {
        "holdout": holdout.holdout_bound(k, n),
        "chernoff": holdout.holdout_chernoff_bound(k / n, n),
        "limits": high,
    }
    p = np.linspace(0.001, 0.999, 997)[:, None]
    fails = p > upper[bound]
    if bound == "limits":
        fails = fails | (p < low)
    rates = (stats.binom.pmf(k, n, p) * fails).sum(1)
    assert rates.max() <= DELTA
    if bound == "holdout":
        assert rates.max() > 0.9 * DELTA  # exact: no room is given away
