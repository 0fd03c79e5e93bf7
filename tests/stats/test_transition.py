"""Crossings of two phases against the published one of the toy model of superposition, and against Lambert's W."""

import numpy as np
import pytest
from scipy.special import lambertw

from slt._types import Estimate
from slt.stats.transition import Phase, compare_free_energies, compare_phases

FIVE, SIX = Phase(0.06874, 7.0), Phase(0.04819, 8.5, 2.7535)


def test_five_gon_to_six_gon():
    """n_cr = 601 (without the constants 445): Chen et al. 2023."""
    assert compare_phases(FIVE, SIX, 601).critical == pytest.approx((601,), abs=1)
    assert compare_phases(FIVE, SIX._replace(constant=0.0), 601).critical[-1] == pytest.approx(445, abs=1)


def test_masses_follow_the_winner():
    found = compare_phases(FIVE, SIX, [200, 601, 2000])
    assert found.mass[0] > 0.99 > 0.6 > found.mass[1] > 0.4 > 0.01 > found.mass[2]
    np.testing.assert_allclose(np.log(found.mass / (1 - found.mass)), found.difference, rtol=1e-9)


def test_both_roots_are_found():
    """-0.01 n + log n - 3 = 0, by both branches of Lambert's W."""
    found = compare_phases(Phase(0.01, 0.0), Phase(0.0, 1.0, -3.0), 100).critical
    exact = [float(np.real(-100 * lambertw(-0.01 * np.exp(3), branch))) for branch in (0, -1)]
    assert found == pytest.approx(exact, rel=1e-9)


def test_equal_phases_never_cross_and_multiplicity_counts():
    assert compare_phases(FIVE, FIVE._replace(constant=1.0), 100).critical == ()
    gap = compare_phases(Phase(0.0, 0.5), Phase(0.0, 0.5, multiplicity=2), 1000).difference
    assert gap == pytest.approx(-np.log(np.log(1000)))


def test_two_estimated_free_energies():
    difference, mass = compare_free_energies(Estimate(10.0, 0.3, 15), Estimate(11.0, 0.4, 31))
    assert difference == pytest.approx((1.0, 0.5, 15))
    assert mass.value == pytest.approx(1 / (1 + np.exp(-1)))
    assert mass.mcse == pytest.approx(0.5 * mass.value * (1 - mass.value))


def test_too_small_a_sample_is_refused():
    with pytest.raises(ValueError, match="every n must be at least 2"):
        compare_phases(FIVE, SIX, [1, 10])
