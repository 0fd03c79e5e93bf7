"""Ensembles, settling and spectra on losses whose minima are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from slt.studies.rashomon.ensemble import TOGETHER, in_groups, settle, train_ensemble
from slt.studies.rashomon.spectra import spectra
from slt.targets.networks import mlp_init, mlp_loss, regularised

XOR = {
    "inputs": np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
    "targets": np.array([[0.0], [1.0], [1.0], [0.0]]),
}
LOSS = mlp_loss("tanh", "squared_error")


def init(key):
    return mlp_init(key, (2, 4, 1))


@pytest.fixture(scope="module")
def xor_ensemble():
    with jax.enable_x64(True):
        found = train_ensemble(jax.random.key(0), init, LOSS, XOR, num_runs=12, max_loss=1e-3)
        bottom, lowest = settle(regularised(LOSS, 0.0), found.params, XOR)
        return found, bottom, lowest, spectra(regularised(LOSS, 0.0), bottom, XOR)


def test_every_run_stops_at_the_first_step_below_the_asked_loss(xor_ensemble):
    found = xor_ensemble[0]
    assert found.fitted.all()
    assert (found.loss <= 1e-3).all()
    assert (found.loss > 1e-4).all()  # it went on no further
    assert len(np.unique(found.steps)) > 6


def test_gradient_descent_follows_its_recursion():
    """L = (w - 3)^2/2 for every datum: w_t = 3 + (1 - eta)^t (w_0 - 3), stopped at the first t with L <= 1/8."""
    rows = jnp.zeros(5)
    found = train_ensemble(
        jax.random.key(1),
        lambda key: jax.random.uniform(key, minval=-1.0, maxval=1.0),
        lambda w, x: 0.5 * (w - 3 + x) ** 2,
        rows,
        num_runs=6,
        optimizer=optax.sgd(0.1),
        max_loss=0.125,
    )
    steps = np.ceil(np.log(0.5 / (3 - found.start)) / np.log(0.9))
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_allclose(found.params, 3 + 0.9**steps * (found.start - 3), rtol=1e-5)


def test_minibatch_runs_of_one_seed_are_equal_and_differ_between_runs():
    def run():
        return train_ensemble(
            jax.random.key(2), init, LOSS, XOR, num_runs=2, num_steps=200, max_loss=1e-9, batch_size=2
        )

    first, again = run(), run()
    np.testing.assert_array_equal(first.loss, again.loss)
    assert first.loss[0] != first.loss[1]


def test_runs_that_never_fit_are_told_apart():
    found = train_ensemble(jax.random.key(3), init, LOSS, XOR, num_runs=2, num_steps=200, max_loss=1e-12)
    assert not found.fitted.any()
    assert (found.steps == 200).all()


def test_settling_reaches_a_perfect_fit_near_by(xor_ensemble):
    found, bottom, lowest, _ = xor_ensemble
    assert (lowest < 1e-25).all()
    moved = sum(np.sum((bottom[k][p] - found.params[k][p]) ** 2) for k in bottom for p in bottom[k])
    size = sum(np.sum(found.params[k][p] ** 2) for k in bottom for p in bottom[k])
    assert moved < 0.05 * size


def test_settling_leaves_a_saddle_and_stays_put_along_a_flat_set():
    """L = (x^2 - 1)^2/4 + 0 y: from x = 0.01, next to the saddle, to x = 1, with y untouched."""
    with jax.enable_x64(True):
        points, lowest = settle(lambda w, d: 0.25 * (w[0] ** 2 - 1) ** 2 + 0 * w[1], np.array([[0.01, 7.0]]), None)
    np.testing.assert_allclose(points, [[1.0, 7.0]], atol=1e-8)
    assert lowest[0] < 1e-20


@pytest.mark.parametrize("runs", [1, TOGETHER - 1, TOGETHER, TOGETHER + 3])
def test_groups_leave_out_no_run_and_add_none(runs):
    numbers = {"w": np.arange(runs, dtype=np.float32)}
    doubled, shifted = in_groups(lambda w, d: (2 * w["w"], w["w"] + d), numbers, jnp.float32(1))
    np.testing.assert_array_equal(doubled, 2 * numbers["w"])
    np.testing.assert_array_equal(shifted, numbers["w"] + 1)


def test_settling_ends_where_the_objective_cannot_fall_and_not_before():
    """L = 3 + (w - 1)^2 from afar: the bottom to rounding, though L stays far from zero."""
    with jax.enable_x64(True):
        points, lowest = settle(lambda w, d: 3 + jnp.sum((w - d) ** 2), np.array([[50.0], [-7.0]]), jnp.ones(1))
    np.testing.assert_allclose(points, 1.0, atol=1e-7)
    np.testing.assert_allclose(lowest, 3.0, rtol=1e-15)


def test_the_rank_at_a_perfect_fit_is_the_number_of_data(xor_ensemble):
    """rank H = rank G = 4 at generic minima, so 17 - 4 = 13 zeros, and a gap of many decades says so."""
    found = xor_ensemble[3]
    counts, gaps = found.gap()
    assert (counts == 13).all()
    assert (gaps > 8).all()
    np.testing.assert_array_equal(found.near_zero(1e-8), counts)


def test_spectra_of_a_quadratic_are_its_eigenvalues():
    scale = np.array([0.0, 1e-5, 1.0, 4.0])
    with jax.enable_x64(True):
        found = spectra(lambda w, d: 0.5 * jnp.sum(d * w**2), np.ones((3, 4)), jnp.asarray(scale))
    np.testing.assert_allclose(found.eigenvalues, np.tile(scale, (3, 1)), atol=1e-14)
    assert found.near_zero(1e-3).tolist() == [2, 2, 2]
    assert found.near_zero(1e-8).tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.gradient_norm, np.linalg.norm(scale))


def test_counting_below_rounding_is_refused():
    found = spectra(lambda w, d: jnp.sum(w**2), np.ones((1, 3), np.float32), None)
    with pytest.raises(ValueError, match="float64"):
        found.near_zero(1e-8)


@pytest.mark.parametrize("bad", [{"num_runs": 0}, {"num_steps": 0}])
def test_counts_below_one_are_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        train_ensemble(jax.random.key(0), init, LOSS, XOR, **({"num_runs": 1} | bad))


def test_a_diverged_run_is_named():
    with pytest.raises(ValueError, match="run 1"):
        spectra(lambda w, d: jnp.sum(w**2), np.array([[1.0], [np.nan]]), None)
