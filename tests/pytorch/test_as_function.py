"""What takes a function of parameters works on PyTorch models in one line, `as_function`, as on the same net in JAX."""

import jax
import numpy as np
import pytest
from pytorch.test_interop_torch import LABELS, WEIGHTS, Net, X, nested, plain

import slt
from slt.estimate.volume import posterior_volume
from slt.pac_bayes import gradient_descent, push_forward, pushforward_kl
from slt.pac_bayes.laws import flat_loss
from slt.targets import as_function
from slt.targets.gaussian import gaussian_law
from slt.targets.networks import cross_entropy

ROWS = (X, LABELS)


def loss_of(apply):
    return lambda w, rows: cross_entropy(apply(w, rows[0]), rows[1])


def models():
    """(params, loss) of the PyTorch model and of the same in JAX."""
    params, apply = as_function(Net(), WEIGHTS)
    return (params, loss_of(apply)), (params, loss_of(lambda w, x: plain(nested(w), x)))


def both(function):
    return tuple(function(params, loss) for params, loss in models())


def test_the_function_is_the_model_and_goes_on_as_one():
    net = Net()
    params, apply = as_function(net)
    moved = jax.tree.map(lambda a: a + 0.1, params)
    again = slt.model_target((apply, moved), "cross_entropy", ROWS)
    direct = slt.model_target(net, "cross_entropy", ROWS, weights=moved)
    assert again.loss_at_minimum == pytest.approx(direct.loss_at_minimum, rel=1e-6)
    assert set(params) == {"first/weight", "first/bias", "second/weight", "second/bias"}


def test_polish_finds_the_minimum_that_it_finds_in_jax():
    def polished(params, loss):
        w = slt.polish(loss, params, ROWS, weight_decay=0.05, adam_steps=50, lbfgs_steps=60)
        return w, float(loss(w, ROWS).mean()) + 0.025 * sum(float((leaf**2).sum()) for leaf in w.values())

    (ours, value), (theirs, expected) = both(polished)
    assert value == pytest.approx(expected, rel=1e-5)
    for name, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[name], atol=1e-3)
    assert value < 0.9 * both(lambda w, loss: float(loss(w, ROWS).mean()))[0]


def test_the_pushforward_has_the_density_that_it_has_in_jax():
    """In float64, with exact determinants of 44 parameters."""

    def pushed(params, loss):
        law = gaussian_law(np.zeros(44), np.full(44, 0.5))
        training = gradient_descent(flat_loss(loss, params), step_size=0.1)
        return push_forward(jax.random.key(0), law.draw(jax.random.key(1), 4), training, ROWS, law=law, times=(0, 5))

    ours, theirs = both(pushed)
    np.testing.assert_allclose(ours.positions, theirs.positions, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.log_ratio, theirs.log_ratio, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-9)
    assert pushforward_kl(ours).value.value > 0
    assert ours.loss[:, 1].mean() < ours.loss[:, 0].mean()


def test_volumes_are_those_of_jax():
    def rows(params, loss):
        w = slt.polish(loss, params, ROWS, weight_decay=0.05, adam_steps=0, lbfgs_steps=60)
        target = slt.loss_target(loss, w, ROWS, localization=1.0, weight_decay=0.05)
        return slt.basin_volumes(target, estimators=("hessian", "radial"), num_rays=100), posterior_volume(target)

    (ours, volume), (theirs, expected) = both(rows)
    assert volume.value == pytest.approx(expected.value, rel=1e-3)
    assert [row.treatment for row in ours] == [row.treatment for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert np.isfinite(row.log_volume) == np.isfinite(other.log_volume)
        if np.isfinite(row.log_volume):
            assert row.log_volume == pytest.approx(other.log_volume, rel=5e-3, abs=4 * (row.error + other.error))
