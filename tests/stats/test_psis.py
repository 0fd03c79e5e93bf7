"""Leave-one-out of data that a user has: long rows, saturated and masked data, ties; against closed forms."""

import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from helpers import assert_agrees

from slt import stats
from slt.stats.psis import psis_loo

RNG = np.random.default_rng(0)
EASY = -np.log1p(0.1 * RNG.uniform(size=(4, 500, 5)))


def plain(values):
    """Importance sampling without smoothing, per datum."""
    return np.log(np.exp(-values).mean((0, 1)))


def rows(length, scale, number=10):
    """Draws of the posterior of a mean under N(0, 1) given rows of `length` values of that scale; exact loss."""
    rng = np.random.default_rng(length)
    y = rng.normal(0.3, scale, (number, length))

    def log_evidence(y):
        precision = 1 + y.size / scale**2
        constant = -0.5 * y.size * np.log(2 * np.pi * scale**2) - 0.5 * np.log(precision)
        return constant - 0.5 * (y**2).sum() / scale**2 + 0.5 * (y.sum() / scale**2) ** 2 / precision

    exact = -np.mean([log_evidence(y) - log_evidence(np.delete(y, i, 0)) for i in range(number)])
    precision = 1 + y.size / scale**2
    w = rng.normal(y.sum() / scale**2 / precision, precision**-0.5, (4, 500, 1))
    square = (y**2).sum(1) - 2 * w * y.sum(1) + length * w**2
    return -0.5 * square / scale**2 - 0.5 * length * np.log(2 * np.pi * scale**2), exact


@pytest.mark.parametrize(("length", "scale"), [(100, 1.0), (2000, 1.0), (2000, 0.1), (2000, 1e-4), (100_000, 1.0)])
def test_rows_of_any_length_have_their_closed_form(length, scale):
    """Log-likelihoods from -140,000 to 16,000 nats, at which exp() is 0 or infinite."""
    values, exact = rows(length, scale)
    assert_agrees(psis_loo(values).loss, exact, resolution=0.1, false_fail=1e-6)
    sums = stats.pointwise(values, inverse_temperature=1.0)
    assert_agrees(stats.importance_loo(sums), exact, resolution=0.1, false_fail=1e-6)
    assert abs(stats.waic(sums).value - exact) < 0.2


def test_long_rows_are_those_of_arviz():
    values, _ = rows(300, 1.0)
    elpd, pareto_k, _ = array_stats.loo(np.moveaxis(values, 2, 0))
    found = psis_loo(values)
    np.testing.assert_allclose(-found.values, elpd, atol=0.02)
    assert abs(found.pareto_k - pareto_k).max() < 0.15


@pytest.mark.parametrize("constant", [0.0, -0.7, -3000.0, -1e-300])
@pytest.mark.parametrize("ripple", [0.0, 1e-15, 1.2e-7, 1e-5], ids=["constant", "rounding", "float32", "saturated"])
def test_a_datum_that_is_certain_costs_nobody_anything(constant, ripple):
    """Constant but for rounding: its loss is the constant, k is 0, and the others are what they are without it."""
    values = EASY.copy()
    values[..., 2] = constant - ripple * RNG.integers(0, 3, size=(4, 500))
    found, without = psis_loo(values), psis_loo(np.delete(values, 2, 2))
    assert found.values[2] == pytest.approx(-constant, abs=3 * ripple + 1e-12)
    assert found.pareto_k[2] == 0
    np.testing.assert_allclose(np.delete(found.values, 2), without.values, atol=1e-5)
    assert np.isfinite(found.loss.mcse)


def test_data_that_are_all_masked_have_no_loss_and_no_error():
    values = np.zeros((4, 100, 3))
    assert psis_loo(values).loss[:2] == (0.0, 0.0)
    sums = stats.pointwise(values, inverse_temperature=1.0)
    for criterion in (
        stats.waic,
        stats.importance_loo,
        stats.bayes_loss,
        stats.gibbs_loss,
        stats.functional_variance,
    ):
        assert criterion(sums)[:2] == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_likelihood_of_two_values_is_an_atom_and_not_a_heavy_tail(share):
    """log p is 0 or -2: exact is log((1 - s) + s e^2) of plain importance sampling."""
    values = EASY.copy()
    values[..., 0] = -2.0 * (RNG.uniform(size=(4, 500)) < share)
    found = psis_loo(values)
    assert found.values[0] == pytest.approx(plain(values)[0])
    assert found.pareto_k[0] == 0
    assert abs(found.values[0] - np.log1p(share * np.expm1(2))) < 0.2


def test_chains_that_repeat_their_draws_keep_the_loss():
    """Every draw five times, as of a sampler that refuses most moves; the same value with a wider error."""
    few = np.random.default_rng(1).normal(size=(4, 200, 1))
    values = -0.5 * (few - np.array([0.1, 0.5, -1.0])) ** 2 * 0.3
    once, often = psis_loo(values), psis_loo(np.repeat(values, 5, axis=1))
    np.testing.assert_allclose(once.values, often.values, atol=0.02)
    assert often.loss.mcse == pytest.approx(once.loss.mcse, rel=0.5)


def test_one_draw_that_outweighs_all_is_named():
    values = EASY.copy()
    values[1, 7, 3] = -2000.0
    found = psis_loo(values)
    assert np.flatnonzero(found.pareto_k > 0.7).tolist() == [3]
    assert np.isfinite(found.values).all()


def test_a_chain_that_stays_apart_has_an_error_of_that_size():
    """One chain of four has a lower likelihood by 50 nats: weights are all its own, and the error is of order one."""
    values = EASY.copy()
    values[1] -= 50.0
    assert psis_loo(values).loss.mcse > 0.5
