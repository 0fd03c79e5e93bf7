"""Masses of phases: exact where replicates agree, errors against their known spread."""

import numpy as np
import pytest

from slt._types import Estimate
from slt.stats.phases import crossing, phase_log_odds, phase_mass

EVEN = np.zeros(40)


def draws(seed, replicates=40, particles=100, mass=0.3):
    return np.random.default_rng(seed).random((replicates, particles)) < mass


def test_a_mass_is_weighted_by_the_evidence():
    inside = np.array([[True, True], [True, False], [False, False]])
    assert phase_mass(inside, np.log([1.0, 2.0, 5.0])).value == pytest.approx((1 * 1 + 2 * 0.5) / 8)


def test_the_error_of_a_mass_is_that_of_independent_particles():
    """Binomial, sqrt(p(1-p)/N); the mean of 200 errors is known to 1 %."""
    errors = [phase_mass(draws(seed), EVEN).mcse for seed in range(200)]
    assert np.mean(errors) == pytest.approx(np.sqrt(0.3 * 0.7 / 4000), rel=0.03)


def test_log_odds_and_their_error():
    """Two exclusive phases of masses p and q: the error of log(p/q) is sqrt((1/p + 1/q)/N)."""
    found = []
    for seed in range(200):
        u = np.random.default_rng(seed).random((40, 100))
        found.append(phase_log_odds(u < 0.3, u > 0.8, EVEN))
    values = np.array([odds.value for odds in found])
    assert values.mean() == pytest.approx(np.log(1.5), abs=0.02)
    assert np.mean([odds.mcse for odds in found]) == pytest.approx(np.sqrt((1 / 0.3 + 1 / 0.2) / 4000), rel=0.05)


def test_the_crossing_is_interpolated_with_its_error():
    odds = [Estimate(-3.0, 0.1, 15), Estimate(-1.0, 0.2, 15), Estimate(3.0, 0.4, 15)]
    found = crossing([100, 200, 400], odds)
    assert found.value == pytest.approx(250)
    assert found.mcse == pytest.approx(50 * np.hypot(0.75 * 0.2, 0.25 * 0.4))


def test_refusals():
    with pytest.raises(ValueError, match="do not pass zero"):
        crossing([1, 2], [Estimate(1.0, 0.1), Estimate(2.0, 0.1)])
    with pytest.raises(ValueError, match="fewer than 2 replicates"):
        phase_log_odds(draws(0), np.zeros((40, 100), bool), EVEN)
    with pytest.raises(ValueError, match="one evidence a replicate"):
        phase_mass(draws(0), np.zeros(3))
