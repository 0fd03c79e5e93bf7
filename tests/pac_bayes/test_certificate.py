import numpy as np
import pytest

from slt._types import Estimate
from slt.pac_bayes.bounds import FAMILIES, family_bound, kl_bound
from slt.pac_bayes.certificate import bound_table
from slt.pac_bayes.holdout import monte_carlo_interval
from slt.pac_bayes.kl import KL

EVENTS = 5


def test_every_family_is_in_the_table_alone_and_paid_for():
    found = bound_table(0.05, 100.0, num_data=10_000)
    rows = {row.family: row for row in found.rows}
    assert list(rows) == [name for name in FAMILIES if FAMILIES[name].listed]
    assert len({row.event for row in found.rows}) == EVENTS
    for name, row in rows.items():
        assert row.event == FAMILIES[name].event
        assert row.alone == family_bound(name, 0.05, 100.0, num_data=10_000, delta=0.05)
        assert row.paid == family_bound(name, 0.05, 100.0, num_data=10_000, delta=0.05 / EVENTS)


def test_the_tightest_is_the_least_of_those_paid_for():
    found = bound_table(0.05, 100.0, num_data=10_000)
    assert found.bound == min(row.paid for row in found.rows)
    assert found.bound == next(row.paid for row in found.rows if row.family == found.family)
    assert found.delta_event == pytest.approx(0.01)
    assert found.bound > family_bound("kl, exact constant", 0.05, 100.0, num_data=10_000)


def test_bounds_of_one_event_cost_nothing_to_choose_from():
    found = bound_table(0.05, 100.0, num_data=10_000, families=["kl", "McAllester", "quadratic"])
    assert found.bound == kl_bound(0.05, 100.0, num_data=10_000)
    assert found.delta_event == found.delta == 0.05


def test_draws_are_paid_for_from_delta():
    found = bound_table(0.05, 100.0, num_data=10_000, num_draws=1000, families=["kl"])
    _, risk = monte_carlo_interval(0.05, 1000, delta=0.01)
    assert found.risk == risk > 0.05
    assert found.delta_monte_carlo + found.delta_event == pytest.approx(0.05)
    assert found.bound == kl_bound(risk, 100.0, num_data=10_000, delta=0.04)


def test_a_loss_between_0_and_1_gains_from_its_second_moment():
    plain, better = (bound_table(0.2, 10.0, num_data=5000, second_moment=s) for s in (None, 0.05))
    assert "Bernstein" in better.family
    assert better.bound < 0.95 * plain.bound
    noisy = bound_table(0.2, 10.0, num_data=5000, second_moment=0.05, num_draws=200)
    assert noisy.bound > better.bound
    low, high = monte_carlo_interval(0.2, 200, delta=0.005)
    assert noisy.risk == high
    _, square = monte_carlo_interval(0.05, 200, delta=0.005)
    row = next(row for row in noisy.rows if row.family == "empirical Bernstein")
    variance = 5000 / 4999 * (square - low**2)
    assert row.paid == family_bound(row.family, high, 10.0, variance=variance, num_data=5000, delta=0.04 / EVENTS)


def test_the_variance_of_a_zero_one_loss_is_that_of_its_risk():
    row = next(r for r in bound_table(0.1, 10.0, num_data=5000).rows if r.family == "empirical Bernstein")
    variance = 5000 / 4999 * 0.1 * 0.9
    assert row.alone == family_bound(row.family, 0.1, 10.0, variance=variance, num_data=5000)


def test_a_vacuous_certificate_says_so():
    assert bound_table(0.5, 1e6, num_data=100).vacuous
    assert not bound_table(0.05, 100.0, num_data=10_000).vacuous


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"families": ["f_bbb"]}, "f_bbb"),
        ({"families": []}, "choose from"),
        ({"families": ["Catoni"]}, "trade_off is nan; C must be positive, finite, chosen beforehand"),
        ({"risk": 1.2}, "the loss must lie in"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"num_data": 1}, "num_data is 1"),
        ({"num_draws": 0}, "num_draws"),
        ({"second_moment": 0.5}, "second_moment"),
        ({"second_moment": 0.001}, r"second_moment is 0.001.* between 0.01\d* and 0.1"),
        ({"num_data": np.inf}, "num_data is inf"),
        ({"kl": KL(Estimate(10.0, 0.0), "lower", "moment match")}, "lower"),
        ({"kl": KL(Estimate(10.0, 0.0), "none")}, "none"),
        ({"kl": KL(Estimate(10.0, 0.5), "exact")}, "single_draw_bound"),
        ({"kl": np.nan}, "NaN"),
    ],
)
def test_what_certifies_nothing_is_refused(change, match):
    arguments = {"risk": 0.1, "kl": 10.0, "num_data": 1000} | change
    with pytest.raises(ValueError, match=match):
        bound_table(arguments.pop("risk"), arguments.pop("kl"), **arguments)
