"""Estimators on draws whose law is known: where the landscape is a power law, nβ(L − L*) is Gamma(λ, 1).

Each comparison has a false-failure rate of 1e-6 and its resolution in the call.
"""

import numpy as np
import pytest
from helpers import assert_agrees
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import signal, stats

from slt.stats.learning_coefficient import llc, llc_two_temperature, llc_variance
from slt.stats.replicates import replicate_mean

FALSE_FAIL = 1e-6
NBETA = 250.0
ESTIMATORS = {"mean": llc, "variance": llc_variance, "two_temperature": llc_two_temperature}
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


def gamma_losses(rlct, shape=(8, 5000), seed=0):
    return np.random.default_rng(seed).gamma(rlct, size=shape) / NBETA


def autoregressive(coefficient, shape, seed):
    """Stationary AR(1) of mean 0 and variance 1, along the last axis."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=shape) * np.sqrt(1 - coefficient**2)
    noise[:, 0] = rng.normal(size=shape[0])
    return signal.lfilter([1.0], [1.0, -coefficient], noise, axis=1)


def covered(truth, estimates, probability):
    """How many of the intervals hold the truth, as a two-sided binomial p-value of that probability."""
    count = sum(low <= truth <= high for low, high in (e.interval(probability) for e in estimates))
    return count / len(estimates), stats.binomtest(count, len(estimates), probability).pvalue


@every_estimator
@pytest.mark.parametrize("rlct", [0.25, 0.5, 3.0, 20.0])
def test_gamma_draws_give_the_learning_coefficient(estimator, rlct):
    got = estimator(gamma_losses(rlct), nbeta=NBETA)
    assert_agrees(got, rlct, resolution=0.15 * max(rlct, 1), false_fail=FALSE_FAIL)


@pytest.mark.parametrize("ratio", [0.8, 1.2, 2.0])
def test_two_temperatures_agree_for_colder_and_hotter_second_ones(ratio):
    got = llc_two_temperature(gamma_losses(2.0), nbeta=NBETA, ratio=ratio)
    assert_agrees(got, 2.0, resolution=0.3, false_fail=FALSE_FAIL)


@every_estimator
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_intervals_cover_as_often_as_they_say(estimator, probability):
    """200 replicates of 4 x 1000 draws; binomial, false-failure rate 1e-4; resolves 15 % at a coverage of one half."""
    estimates = [estimator(gamma_losses(1.5, (4, 1000), seed), nbeta=NBETA) for seed in range(200)]
    share, pvalue = covered(1.5, estimates, probability)
    assert pvalue > 1e-4, f"coverage {share:.2f}"


@pytest.mark.parametrize("coefficient", [0.5, 0.95])
def test_the_error_of_the_mean_accounts_for_autocorrelation(coefficient):
    """AR(1) of 4 x 2000 draws: variance of the mean is (1 + a)/(1 − a)/8000; its estimate is right within 25 %.

    Intervals over 100 replicates cover: false-failure rate 1e-4. Ignoring autocorrelation the error is 1.7 and 6.2
    times too small, and 90 % intervals cover 66 % and 21 %.
    """
    estimates = [llc(5 + autoregressive(coefficient, (4, 2000), seed), nbeta=1.0) for seed in range(100)]
    exact = np.sqrt((1 + coefficient) / (1 - coefficient) / 8000)
    assert np.median([e.mcse for e in estimates]) == pytest.approx(exact, rel=0.25)
    share, pvalue = covered(5.0, estimates, 0.9)
    assert pvalue > 1e-4, f"coverage {share:.2f}"
    assert_agrees(replicate_mean([e.value for e in estimates]), 5.0, resolution=0.1, false_fail=FALSE_FAIL)


def test_chains_that_disagree_widen_the_error():
    """Two chains around 1, two around 2: no error bar may be smaller than a quarter of that."""
    losses = 1 + 0.1 * np.random.default_rng(0).normal(size=(4, 500)) + np.array([[0], [0], [1], [1]])
    assert llc(losses, nbeta=1.0).mcse > 0.1


losses = arrays(np.float64, (3, 20), elements=st.floats(0, 10, width=32), unique=True)


@every_estimator
@settings(max_examples=25, deadline=None)
@given(losses, st.floats(0.1, 100))
def test_only_nbeta_times_the_loss_matters(estimator, values, factor):
    want, got = estimator(values, nbeta=2.0), estimator(factor * values, nbeta=2.0 / factor)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(losses, st.floats(0.1, 100))
def test_mean_is_linear_and_variance_quadratic_in_the_loss(values, factor):
    one, other = llc(values, nbeta=1.0), llc(factor * values, nbeta=1.0)
    np.testing.assert_allclose(other[:2], np.multiply(one[:2], factor), rtol=1e-6)
    one, other = llc_variance(values, nbeta=1.0), llc_variance(factor * values, nbeta=1.0)
    np.testing.assert_allclose(other[:2], np.multiply(one[:2], factor**2), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(losses, st.floats(-10, 10))
def test_a_shift_of_the_baseline_moves_the_mean_and_nothing_else(values, shift):
    one, other = llc(values, nbeta=3.0), llc(values + shift, nbeta=3.0)
    assert other.value == pytest.approx(one.value + 3 * shift, abs=1e-6)
    assert other.mcse == pytest.approx(one.mcse, rel=1e-5)
    for estimator in (llc_variance, llc_two_temperature):
        one, other = estimator(values, nbeta=3.0), estimator(values + shift, nbeta=3.0)
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)


@every_estimator
@pytest.mark.parametrize("shape", [(1, 100), (4, 3), (100,), (2, 10, 3), (0, 10)])
def test_a_wrong_shape_is_refused(estimator, shape):
    with pytest.raises(ValueError, match="at least 2 chains and 4 draws"):
        estimator(np.ones(shape), nbeta=1.0)


@every_estimator
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_by_chain_and_draw(estimator, value):
    values = gamma_losses(1.0, (3, 10))
    values[2, 7] = value
    with pytest.raises(ValueError, match="chain 2, draw 7"):
        estimator(values, nbeta=1.0)


@pytest.mark.parametrize(
    ("ratio", "rule"),
    [(0.0, "positive and finite"), (-1.0, "positive and finite"), (1.0, "differ from 1"), (np.nan, "number")],
)
def test_a_wrong_ratio_is_refused(ratio, rule):
    with pytest.raises(ValueError, match=f"ratio is {ratio}.* must be .*{rule}"):
        llc_two_temperature(gamma_losses(1.0), nbeta=NBETA, ratio=ratio)


def test_replicates_have_the_student_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    got = replicate_mean(values)
    assert got.value == 4.0
    assert got.mcse == pytest.approx(stats.sem(values))
    assert got.dof == 3
    low, high = got.interval(0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 3, 4.0, stats.sem(values)))
    with pytest.raises(ValueError, match="at least 2 numbers"):
        replicate_mean(values[:1])


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5, 2.0])
def test_an_interval_of_no_probability_is_refused(probability):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        replicate_mean(np.arange(3.0)).interval(probability)
