"""Minima of XOR nets: what stopping hides and settling shows."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from slt.studies.rashomon.minima import find_minima, mlp_residuals
from slt.targets.networks import mlp_loss

XOR = {
    "inputs": np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
    "targets": np.array([[0.0], [1.0], [1.0], [0.0]]),
}


@pytest.fixture(scope="module")
def tanh_minima():
    return find_minima(jax.random.key(0), (2, 3, 1), XOR, num_runs=18, num_steps=2000)


def test_stopped_counts_spread_and_settled_ones_do_not(tanh_minima):
    """Rank G = 4 at every exact tanh fit of XOR, so d - 4 = 9 zeros, and no other count."""
    exact = tanh_minima.settled & (tanh_minima.loss < 1e-20)
    assert exact.sum() > 10
    assert (tanh_minima.bottom.gap()[0][exact] == 9).all()
    assert (tanh_minima.bottom.gap()[1][exact] > 8).all()
    assert len(np.unique(tanh_minima.stopped.near_zero(1e-3))) > 1
    assert tanh_minima.loss[exact].max() < tanh_minima.found.loss.min()


def test_flat_rows_are_the_settled_parameters(tanh_minima):
    assert tanh_minima.flat.dtype == np.float64
    last = ravel_pytree(jax.tree.map(lambda a: a[-1], tanh_minima.params))[0]
    np.testing.assert_allclose(tanh_minima.flat[-1], last, rtol=1e-6)


def test_residuals_square_to_the_mean_loss(tanh_minima):
    one = jax.tree.map(lambda a: a[0] + 0.1, tanh_minima.params)
    with jax.enable_x64(True):
        residuals = np.asarray(mlp_residuals(one, XOR)(tanh_minima.flat[0] + 0.1))
        mean = np.mean(mlp_loss("tanh", "squared_error")(one, XOR))
    assert residuals.shape == (4,)
    assert 0.5 * float(residuals @ residuals) == pytest.approx(float(mean), rel=1e-12)


def test_weight_decay_leaves_no_direction_flat():
    found = find_minima(jax.random.key(1), (2, 3, 1), XOR, num_runs=8, weight_decay=1e-3, max_loss=2e-2, num_steps=2000)
    assert found.settled.any()
    assert (found.bottom.eigenvalues[found.settled] > 0).all()


def test_an_ensemble_that_fits_nothing_says_how_far_it_came():
    with pytest.raises(ValueError, match=r"none of 2 runs reached 1e-12; the lowest loss is"):
        find_minima(jax.random.key(0), (2, 1, 1), XOR, num_runs=2, max_loss=1e-12, num_steps=200)
