import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slt._types import Estimate
from slt.pac_bayes import bounds, holdout
from slt.pac_bayes.bernstein import split_kl_bound
from slt.pac_bayes.bounds import FAMILIES, family_bound, kl_bound, kl_lower_bound
from slt.pac_bayes.kl import KL
from slt.pac_bayes.kl_inverse import kl_inverse_upper

GOLDEN = {
    "kl": 0.08866011,
    "Langford-Seeger": 0.08947259,
    "Dziugaite-Roy": 0.08947489,
    "McAllester": 0.12358466,
    "McAllester 1999": 0.13186217,
    "quadratic": 0.09547355,
    "Thiemann λ": 0.09547355,
    "refined Pinsker": 0.10456687,
    "Catoni": 0.08754291,
    "Catoni, grid": 0.08851513,
    "Catoni, α union": 0.09172285,
}
"""At q = 0.05, KL = 100, n = 10 000, delta = 0.05, and C = 0.6004."""
CHOSEN = {"Catoni": {"trade_off": 0.6004}, "Catoni, linear": {"trade_off": 100.0}}


def of_family(name):
    return partial(family_bound, name, **CHOSEN.get(name, {}))


BOUNDS = {name: of_family(name) for name in FAMILIES} | {"kl_bound": kl_bound, "kl_lower_bound": kl_lower_bound}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    assert of_family(name)(0.05, 100.0, num_data=10_000, delta=0.05) == pytest.approx(GOLDEN[name], abs=6e-9)


def test_every_family_has_a_value_to_check_and_a_source():
    by_hand = {"kl, exact constant", "unexpected Bernstein", "empirical Bernstein", "Catoni, linear"}
    assert set(GOLDEN) | by_hand == set(FAMILIES)
    for family in FAMILIES.values():
        assert family.source
        assert family.validity
        assert family.bound.__doc__.startswith(("$", "The least `"))
    assert kl_bound(0.05, 100.0, num_data=10_000) == family_bound("kl", 0.05, 100.0, num_data=10_000)


def test_golden_values_of_bounds_with_an_argument_of_their_own():
    setting = {"num_data": 10_000, "delta": 0.05}
    narrow = family_bound("Catoni, α union", 0.05, 100.0, alpha=1 + 1e-4, **setting)
    assert narrow == pytest.approx(0.09221687, abs=6e-9)
    assert bounds.best_trade_off(0.05, bounds.complexity(100.0, 10_000, 0.05)) == pytest.approx(0.476295, abs=6e-7)
    assert holdout.realizable_bound(-100.0, **setting) == pytest.approx(0.01216702, abs=6e-9)
    assert holdout.marginal_likelihood_bound(-100.0, **setting) == pytest.approx(0.01145522, abs=6e-9)
    assert holdout.holdout_bound(50, 1000) == pytest.approx(0.06286340, abs=6e-9)
    assert holdout.holdout_chernoff_bound(0.05, 1000) == pytest.approx(0.06868475, abs=6e-9)
    assert holdout.single_draw_bound(0.05, 100.0, **setting) == pytest.approx(0.08866011, abs=6e-9)


def test_bounds_without_a_golden_value_by_hand():
    """The published formulas, written out once more."""
    q, s, v, k, n, d = 0.2, 0.1, 0.06, 20.0, 2000, 0.05
    count = math.ceil(math.log2(0.5 * math.sqrt(n / math.log(1 / d))))
    bernstein = []
    for i in range(1, count + 1):
        g = 2.0**-i
        bernstein.append(q + (-g - math.log(1 - g)) / g * s + (k + math.log(count / d)) / (g * n))
    found = family_bound("unexpected Bernstein", q, k, second_moment=s, num_data=n, delta=d)
    assert found == pytest.approx(min(bernstein), rel=1e-12)

    nu1 = math.ceil(math.log(math.sqrt((math.e - 2) * n / (4 * math.log(2 / d)))) / math.log(1.15)) + 1
    nu2 = math.ceil(math.log(0.5 * math.sqrt((n - 1) / math.log(2 / d) + 1) + 0.5) / math.log(1.15))
    nats1, nats2 = k + math.log(2 * nu1 / d), k + math.log(2 * nu2 / d)
    bar = v + 2.15 * math.sqrt(v * nats2 / (2 * (n - 1))) + 2.3 * nats2 / (n - 1)
    assert nats1 / ((math.e - 2) * bar) < n
    wide = q + 2.15 * math.sqrt((math.e - 2) * bar * nats1 / n)
    empirical = partial(family_bound, "empirical Bernstein", num_data=n, delta=d)
    assert empirical(q, k, variance=v) == pytest.approx(wide, rel=1e-12)
    narrow = q + 2 * (2000.0 + math.log(2 * nu1 / d)) / n
    assert empirical(q, 2000.0, variance=0.0) == pytest.approx(narrow, rel=1e-12)

    c = (k + math.log(2 * 2 * math.sqrt(n) / d)) / n
    pieces = 0.5 * kl_inverse_upper(0.3, c) + 0.25 * kl_inverse_upper(0.1, c)
    found = split_kl_bound([0.3, 0.1], k, levels=(-1.0, -0.5, -0.25), num_data=n, delta=d)
    assert found == pytest.approx(-1 + pieces, rel=1e-12)
    linear = q + 100 / (8 * n) + (k + math.log(20)) / 100
    assert of_family("Catoni, linear")(q, k, num_data=n, delta=d) == pytest.approx(linear, rel=1e-12)


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
        family_bound(name, q, kl, **given_)
        for name in (
            "kl, exact constant", "kl", "Langford-Seeger", "quadratic", "Thiemann λ", "refined Pinsker", "McAllester",
        )
    )  # fmt: skip
    slack = 1 + 1e-9
    assert kl_lower_bound(q, kl, **given_) <= q <= exact <= plain * slack
    assert plain <= langford * slack
    assert plain <= min(quadratic, classic, refined) * slack
    assert quadratic == pytest.approx(trade_off, rel=1e-9)
    assert trade_off <= family_bound("Thiemann λ", q, kl, trade_off=0.5, **given_) * slack


def test_every_bound_maps_over_arrays():
    q, kl = np.array([0.05, 0.2, 0.5]), np.array([0.0, 10.0, 100.0])
    for bound in BOUNDS.values():
        together = bound(q, kl, num_data=500)
        np.testing.assert_allclose(together, [bound(*pair, num_data=500) for pair in zip(q, kl, strict=True)])
    split = split_kl_bound(q[:, None], kl, levels=(0, 1), num_data=500)
    np.testing.assert_allclose(split, kl_bound(q, kl, num_data=500))


@pytest.mark.parametrize("errors", [0, 3, 50, 99, 100])
def test_the_test_set_bound_inverts_the_binomial_tail(errors):
    p = holdout.holdout_bound(errors, 100)
    if errors == 100:
        assert p == 1
    else:
        assert stats.binom.cdf(errors, 100, p) == pytest.approx(0.05, rel=1e-9)


def test_a_single_draw_may_gain_but_not_below_its_empirical_risk():
    assert holdout.single_draw_bound(0.1, -1e3, num_data=100) == pytest.approx(0.1)
    assert holdout.single_draw_bound(0.1, 5.0, num_data=100) == kl_bound(0.1, 5.0, num_data=100)


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
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
        ({"num_data": 10.5}, "whole number|must be an integer"),
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
        (lambda: family_bound("Thiemann λ", 0.1, 1.0, num_data=100, trade_off=2.0), "between 0 and 2"),
        (lambda: family_bound("Catoni", 0.1, 1.0, num_data=100, trade_off=0.0), "C must be positive"),
        (lambda: family_bound("Catoni", 0.1, 1.0, num_data=100), "trade_off is nan"),
        (lambda: family_bound("Catoni, linear", 0.1, 1.0, num_data=100, trade_off=np.inf), "positive, finite"),
        (lambda: family_bound("Rademacher", 0.1, 1.0, num_data=100), "choose from kl"),
        (lambda: family_bound("Catoni, α union", 0.1, 1.0, num_data=100, alpha=1.0), "exceed 1"),
        (lambda: holdout.single_draw_bound(1.1, 1.0, num_data=100), "the loss must lie in"),
        (lambda: holdout.single_draw_bound(0.1, KL(Estimate(1.0, 0.0), "lower"), num_data=100), "lower"),
        (lambda: holdout.single_draw_bound(0.1, 1.0, num_data=1), "num_data is 1"),
        (lambda: holdout.single_draw_bound(0.1, 1.0, num_data=100, delta=1.0), "delta"),
        (lambda: holdout.realizable_bound(0.1, num_data=100), "at most 0"),
        (lambda: holdout.realizable_bound(np.nan, num_data=100), "at most 0"),
        (lambda: holdout.realizable_bound(-1.0, num_data=1), "num_data is 1"),
        (lambda: holdout.marginal_likelihood_bound(-1.0, num_data=100, gamma=0.0), "gamma"),
        (lambda: holdout.marginal_likelihood_bound(-1.0, num_data=100, delta=2.0), "delta"),
        (lambda: holdout.holdout_bound(5, 1), "num_test is 1"),
        (lambda: holdout.holdout_bound(5.5, 100), "whole numbers"),
        (lambda: holdout.holdout_bound(101, 100), "whole numbers"),
        (lambda: holdout.holdout_bound(5, 100, delta=0.0), "delta"),
        (lambda: holdout.holdout_chernoff_bound(1.5, 100), "the loss must lie in"),
        (lambda: holdout.monte_carlo_interval(0.5, 0, delta=0.05), "num_draws is 0"),
        (lambda: holdout.monte_carlo_interval(1.5, 10, delta=0.05), "mean is 1.5"),
        (lambda: family_bound("unexpected Bernstein", 0.5, 1.0, second_moment=0.1, num_data=100), "below the square"),
        (lambda: family_bound("unexpected Bernstein", 0.5, 1.0, second_moment=1.1, num_data=100), "second_moment"),
        (lambda: family_bound("empirical Bernstein", 0.5, 1.0, variance=1.1, num_data=100), "variance"),
        (lambda: split_kl_bound([0.5], 1.0, levels=(0, 0), num_data=100), "increasing"),
        (lambda: split_kl_bound([0.1, 0.5], 1.0, levels=(0, 1, 2), num_data=100), "none larger"),
        (lambda: split_kl_bound([0.5], 1.0, levels=(0, 1, 2), num_data=100), "2 levels"),
        (lambda: split_kl_bound([1.5], 1.0, levels=(0, 1), num_data=100), "exceedances is"),
    ],
)
def test_arguments_of_their_own_are_checked(call, match):
    with pytest.raises(ValueError, match=match):
        call()
