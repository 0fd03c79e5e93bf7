"""Tempered SMC against closed forms and quadrature; errors are between its independent replicates.

Every comparison has a false-failure rate of 1e-6 and its resolution in the call.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agrees

from slt.catalogue.registry import potential
from slt.samplers.tempering import tempered_smc
from slt.stats.replicates import replicate_mean
from slt.targets.target import potential_target

FALSE_FAIL = 1e-6


def smc_of(target, **options):
    return tempered_smc(
        lambda w: target.nbeta * target.loss(w, target.data),
        target.prior.log_density,
        target.prior.draw,
        log_weight=target.prior.log_weight,
        fold=target.prior.fold,
        **({"num_particles": 512, "num_replicates": 16} | options),
    )


def estimates(target, *, num_sweeps=25, **options):
    """Estimates of E[U] and of log Z, and the tempered replicates with their energies."""
    smc = smc_of(target, **options)
    current = smc.run(jax.random.key(0))
    moved, energies, _ = smc.sweep(jax.random.key(1), current, num_sweeps)
    assert np.asarray(current.finished).all()
    mean = replicate_mean(np.asarray(energies, np.float64).mean((1, 2)))
    return mean, replicate_mean(np.asarray(current.log_evidence, np.float64)), (current, moved, energies)


@pytest.fixture(scope="module")
def gaussian():
    """K = Σ h w²/2 in a pytree of 3 parameters, under N(0, 1/γ)."""
    curvature = {"a": jnp.array([1.0, 100.0]), "b": jnp.array(0.01)}
    nbeta, gamma = 50.0, 2.0
    target = potential_target(
        lambda w: 0.5 * (jnp.sum(curvature["a"] * w["a"] ** 2) + curvature["b"] * w["b"] ** 2),
        jax.tree.map(jnp.zeros_like, curvature), nbeta=nbeta, localization=gamma,
    )  # fmt: skip
    h = nbeta * np.array([1.0, 100.0, 0.01])
    exact = {"mean": 0.5 * np.sum(h / (h + gamma)), "log_evidence": -0.5 * np.sum(np.log1p(h / gamma))}
    return estimates(target), exact


def test_energy_and_evidence_of_a_gaussian(gaussian):
    (mean, evidence, _), exact = gaussian
    assert_agrees(mean, exact["mean"], resolution=0.06, false_fail=FALSE_FAIL)
    assert_agrees(evidence, exact["log_evidence"], resolution=0.25, false_fail=FALSE_FAIL)


def test_shapes(gaussian):
    (_, _, (current, moved, energies)), _ = gaussian
    assert energies.shape == (16, 25, 512)
    assert current.states.position.shape == moved.states.position.shape == (16, 512, 3)
    assert current.log_evidence.shape == current.num_temperatures.shape == (16,)
    assert (np.asarray(current.num_temperatures) > 1).all()


def test_replicates_are_independent(gaussian):
    """Particle i of one replicate and of another: |r| < 6/sqrt(512) among 120 pairs; 1 if they shared a key.

    Right after the last resampling, copies of a particle count once: half of 512 are left.
    """
    (_, _, (current, moved, energies)), _ = gaussian
    resampled = np.asarray(current.states.position)[:, :, 0]
    assert np.abs(np.corrcoef(resampled) - np.eye(16)).max() < 6 / np.sqrt(256)
    assert len(np.unique(current.log_evidence)) == 16
    particles = np.asarray(moved.states.position)[:, :, 0]
    assert np.abs(np.corrcoef(particles) - np.eye(16)).max() < 6 / np.sqrt(512)
    final = np.asarray(energies)[:, -1]
    assert np.abs(np.corrcoef(final) - np.eye(16)).max() < 6 / np.sqrt(512)


@pytest.mark.parametrize("localization", [1.0, pytest.param(None, marks=pytest.mark.slow)], ids=["gaussian", "box"])
def test_crossing_valleys(localization):
    """E[nβK] and log Z of x²y² by quadrature: where NUTS at its defaults is 10 % low."""
    entry, nbeta = potential("x2y2"), 1e3
    exact = entry.exact(nbeta, localization=localization)
    box = entry.box if localization is None else None
    target = potential_target(entry.energy, jnp.zeros(2), nbeta=nbeta, localization=localization, box=box)
    mean, evidence, _ = estimates(target, num_sweeps=50)
    assert_agrees(mean, exact.mean, resolution=0.05, false_fail=FALSE_FAIL)
    assert_agrees(evidence, exact.log_evidence, resolution=0.15, false_fail=FALSE_FAIL)


def test_weight_of_the_prior_enters_energy_and_evidence():
    """Prior ∝ exp(3 w) on [0, 1], U = 5 w: E[U] and Z = ∫ e^{−2w} / ∫ e^{3w} by hand; resolution 5 %."""
    target = potential_target(
        lambda w: jnp.sum(w), jnp.zeros(1), nbeta=5.0, box=(0.0, 1.0), log_weight=lambda w: 3 * jnp.sum(w)
    )
    mean, _, _ = estimates(target)
    exact = 5 * (0.5 - np.exp(-2) / (1 - np.exp(-2)))
    assert_agrees(mean, exact, resolution=0.05 * exact, false_fail=FALSE_FAIL)


def test_the_same_key_gives_the_same_replicates(gaussian):
    target = potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=10.0)
    smc = smc_of(target, num_particles=16, num_replicates=2)
    one, two, three = (smc.run(jax.random.key(k)).log_evidence for k in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.isclose(one, three).any()


def test_a_schedule_that_may_not_finish_says_so():
    target = potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=1e6)
    current = smc_of(target, num_particles=16, num_replicates=2, max_temperatures=2).run(jax.random.key(0))
    assert not np.asarray(current.finished).any()


@pytest.mark.parametrize("options", [{"num_replicates": 1}, {"num_particles": 4}])
def test_too_few_are_refused(options):
    target = potential_target(lambda w: jnp.sum(w**2), jnp.zeros(2), nbeta=10.0)
    with pytest.raises(ValueError, match="at least 2 of 8 are needed"):
        smc_of(target, **options)
