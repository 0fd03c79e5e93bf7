"""`estimate_free_energy` on a potential whose free energy is exact at every n beta; what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

import slt
from slt.report.plots import plot_free_energy

FALSE_FAIL = 1e-6


@pytest.fixture(scope="module")
def plane():
    """K = |w|² in 2 variables under N(0, 1): -log Z = log(1 + 2 n beta), lambda = m = 1."""
    target = slt.potential_target(lambda w: w @ w, jnp.zeros(2), nbeta=100.0)
    return slt.estimate_free_energy(target, num_particles=256, max_nbeta=1e8)


def test_both_integrals_are_exact_at_the_targets_own_temperature(plane):
    for name in ("free_energy", "thermodynamic"):
        assert_agrees(plane.estimates[name], np.log(201.0), resolution=0.15, false_fail=FALSE_FAIL)


def test_every_rung_has_its_free_energy_and_its_energy(plane):
    """At 1e-6 over all rungs together."""
    count = len(plane.log_evidence)
    for values, exact in (
        (-plane.log_evidence, np.log1p(2 * plane.nbeta)),
        (plane.mean_energy, 2 * plane.nbeta / (1 + 2 * plane.nbeta)),
    ):
        z = (values.mean(0) - exact) / (values.std(0, ddof=1) / np.sqrt(count))
        assert np.abs(z).max() < 8
    assert plane.nbeta[-1] == 1e8
    assert np.isclose(plane.nbeta, 100.0).any()


def test_coefficient_and_multiplicity(plane):
    assert plane.fit.multiplicity == 1
    assert_agrees(plane.estimates["rlct"], 1.0, resolution=0.1, false_fail=FALSE_FAIL)
    assert plane.verdict.status == "converged"


def test_the_figure_shows_the_law(plane):
    figure = plot_free_energy(plane.nbeta, plane.log_evidence, plane.fit)
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert any("m = 1" in label for label in labels)


def test_what_has_no_free_energy_is_refused():
    with pytest.raises(ValueError, match="the prior is improper"):
        slt.estimate_free_energy(slt.potential_target(lambda w: w @ w, jnp.zeros(2), nbeta=10.0, localization=0.0))
    target = slt.potential_target(lambda w: w @ w, jnp.zeros(2), nbeta=10.0)
    with pytest.raises(ValueError, match=r"below the target's n beta = 10.0"):
        slt.estimate_free_energy(target, max_nbeta=1.0)
    with pytest.raises(ValueError, match="at least 8 are needed"):
        slt.estimate_free_energy(target, num_replicates=4)
