"""Measures of ensembles: coefficients against exact values, correlations against cases whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

from slt._types import Estimate
from slt.studies.rashomon.measures import ensemble_llc, equipartition, frequencies, rank_correlation


def test_coefficients_of_quadratics_are_their_harmonic_values():
    """L = w^T diag(h) w/2: exactly the sum of (h_i/2)/(h_i + gamma/nbeta). False failures 1e-5, resolution 6 % of 1."""
    scales = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.01, 0.0]])
    nbeta, gamma = 1e3, 1.0
    for row in scales:
        found = ensemble_llc(
            jax.random.key(0),
            lambda w, d, row=row: 0.5 * jnp.sum(row * w**2) * jnp.ones(1),
            jnp.zeros((2, 3)),
            None,
            jnp.ones(2),
            nbeta=nbeta,
            localization=gamma,
            num_draws=12_000,
        )
        exact = float(jnp.sum(0.5 * row / (row + gamma / nbeta)))
        for i in range(2):
            estimate = Estimate(found.value[i], found.mcse[i], found.dof[i])
            assert_agrees(estimate, exact, resolution=0.06, false_fail=1e-5)
        assert found.value[0] != found.value[1]
        assert (found.rhat < 1.02).all()


def test_frequencies_count_functions():
    labels = np.array([[0, 1], [1, 1], [0, 1], [0, 0], [0, 1]])
    share, number = frequencies(labels)
    np.testing.assert_allclose(share, [0.6, 0.2, 0.6, 0.2, 0.6])
    assert number[0] == number[2] == number[4] == 0
    assert len(set(number.tolist())) == 3


def test_a_correlation_counts_groups_and_not_runs():
    """Twenty groups without any relation: 100 copies of each leave the interval as wide as it was."""
    rng = np.random.default_rng(0)
    measure, outcome = rng.normal(size=(2, 20))
    groups = np.arange(20)
    once = rank_correlation(measure, outcome, groups)
    often = rank_correlation(*(np.tile(v, 100) for v in (measure, outcome, groups)))
    assert once.verdict == often.verdict == "undecided"
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=1e-9)
    assert rank_correlation(measure, measure**3, groups).value == 1
    assert rank_correlation(measure, -measure, groups).verdict == "negative"
    assert "same" in rank_correlation(np.ones(20), outcome, groups).verdict


def test_the_surprisal_of_uniform_classes_has_no_spread():
    mean, spread = equipartition(np.full(8, 0.25))
    assert mean == pytest.approx(np.log(4))
    assert spread == 0


def test_refusals():
    with pytest.raises(ValueError, match="even"):
        ensemble_llc(jax.random.key(0), lambda w, d: w, jnp.zeros((1, 1)), None, jnp.ones(1), num_chains=3)
    with pytest.raises(ValueError, match="at least 4"):
        rank_correlation(np.arange(3.0), np.arange(3.0), np.arange(3))
