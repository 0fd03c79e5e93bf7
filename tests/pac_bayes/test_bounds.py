import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slt._types import Estimate
from slt.pac_bayes import bounds
from slt.pac_bayes.bernstein import empirical_bernstein_bound, split_kl_bound, unexpected_bernstein_bound
from slt.pac_bayes.catoni import catoni_bound, catoni_grid_bound, catoni_union_bound, linear_catoni_bound
from slt.pac_bayes.kl import KL

POSTERIOR = {
    bounds.kl_bound: 0.08866011,
    bounds.langford_seeger_bound: 0.08947259,
    bounds.dziugaite_roy_bound: 0.08947489,
    bounds.mcallester_bound: 0.12358466,
    bounds.mcallester_1999_bound: 0.13186217,
    bounds.quadratic_bound: 0.09547355,
    bounds.lambda_bound: 0.09547355,
    bounds.refined_pinsker_bound: 0.10456687,
    catoni_grid_bound: 0.08851513,
    catoni_union_bound: 0.09172285,
}
"""Golden values at q = 0.05, KL = 100, n = 10 000, delta = 0.05."""
PLAIN = [*POSTERIOR, bounds.exact_kl_bound, bounds.kl_lower_bound]


@pytest.mark.parametrize(("bound", "golden"), POSTERIOR.items(), ids=[bound.__name__ for bound in POSTERIOR])
def test_golden_values(bound, golden):
    assert bound(0.05, 100.0, num_data=10_000, delta=0.05) == pytest.approx(golden, abs=6e-9)


def test_golden_values_of_bounds_with_an_argument_of_their_own():
    setting = {"num_data": 10_000, "delta": 0.05}
    assert catoni_bound(0.05, 100.0, trade_off=0.6004, **setting) == pytest.approx(0.08754291, abs=6e-9)
    assert catoni_union_bound(0.05, 100.0, alpha=1 + 1e-4, **setting) == pytest.approx(0.09221687, abs=6e-9)
    assert bounds.best_trade_off(0.05, bounds.complexity(100.0, 10_000, 0.05)) == pytest.approx(0.476295, abs=6e-7)
    assert bounds.realizable_bound(-100.0, **setting) == pytest.approx(0.01216702, abs=6e-9)
    assert bounds.marginal_likelihood_bound(-100.0, **setting) == pytest.approx(0.01145522, abs=6e-9)
    assert bounds.holdout_bound(50, 1000) == pytest.approx(0.06286340, abs=6e-9)
    assert bounds.holdout_chernoff_bound(0.05, 1000) == pytest.approx(0.06868475, abs=6e-9)
    assert bounds.single_draw_bound(0.05, 100.0, **setting) == pytest.approx(0.08866011, abs=6e-9)


def test_bounds_without_a_golden_value_by_hand():
    """The published formulas, written out once more."""
    q, s, v, k, n, d = 0.2, 0.1, 0.06, 20.0, 2000, 0.05
    count = math.ceil(math.log2(0.5 * math.sqrt(n / math.log(1 / d))))
    bernstein = []
    for i in range(1, count + 1):
        g = 2.0**-i
        bernstein.append(q + (-g - math.log(1 - g)) / g * s + (k + math.log(count / d)) / (g * n))
    found = unexpected_bernstein_bound(q, s, k, num_data=n, delta=d)
    assert found == pytest.approx(min(bernstein), rel=1e-12)

    nu1 = math.ceil(math.log(math.sqrt((math.e - 2) * n / (4 * math.log(2 / d)))) / math.log(1.15)) + 1
    nu2 = math.ceil(math.log(0.5 * math.sqrt((n - 1) / math.log(2 / d) + 1) + 0.5) / math.log(1.15))
    nats1, nats2 = k + math.log(2 * nu1 / d), k + math.log(2 * nu2 / d)
    bar = v + 2.15 * math.sqrt(v * nats2 / (2 * (n - 1))) + 2.3 * nats2 / (n - 1)
    assert nats1 / ((math.e - 2) * bar) < n
    wide = q + 2.15 * math.sqrt((math.e - 2) * bar * nats1 / n)
    assert empirical_bernstein_bound(q, v, k, num_data=n, delta=d) == pytest.approx(wide, rel=1e-12)
    assert empirical_bernstein_bound(q, 0.0, 2000.0, num_data=n, delta=d) == pytest.approx(
        q + 2 * (2000.0 + math.log(2 * nu1 / d)) / n, rel=1e-12
    )

    c = (k + math.log(2 * 2 * math.sqrt(n) / d)) / n
    pieces = 0.5 * bounds.kl_inverse_upper(0.3, c) + 0.25 * bounds.kl_inverse_upper(0.1, c)
    found = split_kl_bound([0.3, 0.1], k, levels=(-1.0, -0.5, -0.25), num_data=n, delta=d)
    assert found == pytest.approx(-1 + pieces, rel=1e-12)
    assert linear_catoni_bound(q, k, num_data=n, delta=d, trade_off=100.0) == pytest.approx(
        q + 100 / (8 * n) + (k + math.log(20)) / 100, rel=1e-12
    )


@pytest.mark.parametrize("n", [2, 5, 17, 100])
def test_the_exact_constant_is_the_binomial_sum_between_its_limits(n):
    k = np.arange(n + 1)
    direct = sum(stats.binom.pmf(j, n, j / n) for j in k)
    assert math.exp(bounds.log_xi(n)) == pytest.approx(direct, rel=1e-11)
    assert math.sqrt(n) <= direct <= 2 * math.sqrt(n)


def test_the_exact_constant_of_many_data_follows_its_expansion_in_constant_memory():
    n = 10**9
    assert math.exp(bounds.log_xi(n)) == pytest.approx(math.sqrt(math.pi * n / 2) + 2 / 3, rel=1e-5)


@settings(deadline=None)
@given(st.floats(1e-4, 0.5), st.floats(0, 200), st.integers(8, 100_000), st.floats(1e-4, 0.5))
def test_the_order_of_the_bounds(q, kl, n, delta):
    given_ = {"num_data": n, "delta": delta}
    exact, plain, langford, quadratic, trade_off, refined, classic = (
        bound(q, kl, **given_)
        for bound in (
            bounds.exact_kl_bound, bounds.kl_bound, bounds.langford_seeger_bound, bounds.quadratic_bound,
            bounds.lambda_bound, bounds.refined_pinsker_bound, bounds.mcallester_bound,
        )
    )  # fmt: skip
    slack = 1 + 1e-9
    assert bounds.kl_lower_bound(q, kl, **given_) <= q <= exact <= plain * slack
    assert plain <= langford * slack
    assert plain <= min(quadratic, classic, refined) * slack
    assert quadratic == pytest.approx(trade_off, rel=1e-9)
    assert trade_off <= bounds.lambda_bound(q, kl, trade_off=0.5, **given_) * slack


def test_every_bound_maps_over_arrays():
    q, kl = np.array([0.05, 0.2, 0.5]), np.array([0.0, 10.0, 100.0])
    for bound in PLAIN:
        together = bound(q, kl, num_data=500)
        np.testing.assert_allclose(together, [bound(*pair, num_data=500) for pair in zip(q, kl, strict=True)])
    np.testing.assert_allclose(
        unexpected_bernstein_bound(q, q, kl, num_data=500),
        [unexpected_bernstein_bound(a, a, b, num_data=500) for a, b in zip(q, kl, strict=True)],
    )
    np.testing.assert_allclose(
        split_kl_bound(q[:, None], kl, levels=(0, 1), num_data=500), bounds.kl_bound(q, kl, num_data=500)
    )


@pytest.mark.parametrize("errors", [0, 3, 50, 99, 100])
def test_the_test_set_bound_inverts_the_binomial_tail(errors):
    p = bounds.holdout_bound(errors, 100)
    if errors == 100:
        assert p == 1
    else:
        assert stats.binom.cdf(errors, 100, p) == pytest.approx(0.05, rel=1e-9)


def test_a_single_draw_may_gain_but_not_below_its_empirical_risk():
    assert bounds.single_draw_bound(0.1, -1e3, num_data=100) == pytest.approx(0.1)
    assert bounds.single_draw_bound(0.1, 5.0, num_data=100) == bounds.kl_bound(0.1, 5.0, num_data=100)


@pytest.mark.parametrize("bound", PLAIN, ids=[bound.__name__ for bound in PLAIN])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"risk": 1.5}, r"risk is 1\.5; the loss must lie in \[0, 1\]"),
        ({"risk": -0.1}, "the loss must lie in"),
        ({"risk": np.nan}, "the loss must lie in"),
        ({"delta": 0.0}, "delta is"),
        ({"delta": 1.0}, "delta is"),
        ({"num_data": 1}, "num_data is 1"),
        ({"num_data": 0}, "num_data is 0"),
        ({"num_data": 10.5}, "whole number"),
        ({"kl": -1.0}, "at least 0"),
        ({"kl": KL(Estimate(1.0, 0.0), "lower")}, "exact value or an upper"),
        ({"kl": KL(Estimate(1.0, 0.0), "none")}, "exact value or an upper"),
        ({"kl": KL(Estimate(1.0, 0.1), "upper")}, "Monte Carlo error"),
    ],
)
def test_arguments_out_of_range_are_refused_by_every_bound(bound, change, match):
    arguments = {"risk": 0.1, "kl": 1.0, "num_data": 100, "delta": 0.05} | change
    with pytest.raises(ValueError, match=match):
        bound(arguments.pop("risk"), arguments.pop("kl"), **arguments)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: bounds.lambda_bound(0.1, 1.0, num_data=100, trade_off=2.0), "between 0 and 2"),
        (lambda: catoni_bound(0.1, 1.0, num_data=100, trade_off=0.0), "C must be positive"),
        (lambda: linear_catoni_bound(0.1, 1.0, num_data=100, trade_off=np.inf), "positive and finite"),
        (lambda: catoni_union_bound(0.1, 1.0, num_data=100, alpha=1.0), "exceed 1"),
        (lambda: bounds.single_draw_bound(1.1, 1.0, num_data=100), "the loss must lie in"),
        (lambda: bounds.single_draw_bound(0.1, KL(Estimate(1.0, 0.0), "lower"), num_data=100), "lower"),
        (lambda: bounds.single_draw_bound(0.1, 1.0, num_data=1), "num_data is 1"),
        (lambda: bounds.single_draw_bound(0.1, 1.0, num_data=100, delta=1.0), "delta"),
        (lambda: bounds.realizable_bound(0.1, num_data=100), "at most 0"),
        (lambda: bounds.realizable_bound(np.nan, num_data=100), "at most 0"),
        (lambda: bounds.realizable_bound(-1.0, num_data=1), "num_data is 1"),
        (lambda: bounds.marginal_likelihood_bound(-1.0, num_data=100, gamma=0.0), "gamma"),
        (lambda: bounds.marginal_likelihood_bound(-1.0, num_data=100, delta=2.0), "delta"),
        (lambda: bounds.holdout_bound(5, 1), "num_test is 1"),
        (lambda: bounds.holdout_bound(5.5, 100), "whole numbers"),
        (lambda: bounds.holdout_bound(101, 100), "whole numbers"),
        (lambda: bounds.holdout_bound(5, 100, delta=0.0), "delta"),
        (lambda: bounds.holdout_chernoff_bound(1.5, 100), "the loss must lie in"),
        (lambda: bounds.monte_carlo_interval(0.5, 0, delta=0.05), "num_draws is 0"),
        (lambda: bounds.monte_carlo_interval(1.5, 10, delta=0.05), "mean is 1.5"),
        (lambda: unexpected_bernstein_bound(0.5, 0.1, 1.0, num_data=100), "below the square"),
        (lambda: unexpected_bernstein_bound(0.5, 1.1, 1.0, num_data=100), "second_moment"),
        (lambda: empirical_bernstein_bound(0.5, 1.1, 1.0, num_data=100), "variance"),
        (lambda: split_kl_bound([0.5], 1.0, levels=(0, 0), num_data=100), "increasing"),
        (lambda: split_kl_bound([0.1, 0.5], 1.0, levels=(0, 1, 2), num_data=100), "none larger"),
        (lambda: split_kl_bound([0.5], 1.0, levels=(0, 1, 2), num_data=100), "2 levels"),
        (lambda: split_kl_bound([1.5], 1.0, levels=(0, 1), num_data=100), "exceedances is"),
    ],
)
def test_arguments_of_their_own_are_checked(call, match):
    with pytest.raises(ValueError, match=match):
        call()
