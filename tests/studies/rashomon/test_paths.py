"""Paths on sets whose shape is known: a circle is connected, two circles are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.studies.rashomon.paths import bezier, explore, match_units, walk
from slt.targets.networks import mlp_apply, mlp_init

TOLERANCE = 1e-8


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def circle(w):
    return jnp.array([jnp.sum(w**2) - 1.0])


def two_circles(w):
    return jnp.array([(jnp.sum(w**2) - 1.0) * (jnp.sum(w**2) - 4.0)])


def at(angle, radius=1.0):
    return radius * np.array([np.cos(angle), np.sin(angle)])


def test_a_walk_goes_round_the_circle():
    path = walk(circle, at(0.0), at(2.5), step=0.05)
    assert path.connected
    assert path.barrier <= TOLERANCE
    assert path.arc[-1] == pytest.approx(2.5, rel=1e-3)
    np.testing.assert_allclose(np.linalg.norm(path.points, axis=1), 1.0, atol=1e-4)


def test_an_opposite_point_stops_the_walk_but_not_the_tree():
    """The tangent at 0 has no component towards pi."""
    start, goal = at(0.0), at(np.pi)
    assert not walk(circle, start, goal, step=0.05).connected
    path = explore(jax.random.key(0), circle, start, goal, max_tries=200)
    assert path.connected
    assert path.barrier <= TOLERANCE
    assert path.arc[-1] >= np.pi - 1e-3


def test_two_circles_are_not_joined():
    start, goal = at(0.0), at(0.5, 2.0)
    assert not walk(two_circles, start, goal, step=0.05).connected
    path = explore(jax.random.key(1), two_circles, start, goal, max_tries=60)
    assert not path.connected
    assert path.tried > 1


def test_a_curve_bends_round_a_hill_but_not_over_a_ridge():
    def ring(w):
        return (jnp.sum(w**2) - 1.0) ** 2

    around = bezier(jax.random.key(2), ring, at(0.0), at(2.0), tolerance=1e-4)
    assert around.connected

    def ridge(w):
        return (w[0] ** 2 - 1) ** 2

    over = bezier(jax.random.key(3), ridge, np.array([-1.0, 0.0]), np.array([1.0, 0.0]), tolerance=1e-4)
    assert not over.connected
    assert over.barrier == pytest.approx(1.0, abs=1e-3)  # every path crosses w_0 = 0


def test_matching_units_permutes_them_back():
    params = mlp_init(jax.random.key(4), (2, 5, 1))
    order = np.array([3, 1, 4, 0, 2])
    shuffled = {
        "layer_0": {"weight": params["layer_0"]["weight"][:, order], "bias": params["layer_0"]["bias"][order]},
        "layer_1": {"weight": params["layer_1"]["weight"][order], "bias": params["layer_1"]["bias"]},
    }
    back = match_units(shuffled, params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    inputs = np.random.default_rng(0).normal(size=(7, 2))
    np.testing.assert_allclose(mlp_apply(back, inputs), mlp_apply(shuffled, inputs), atol=1e-12)


def test_an_end_outside_the_set_is_refused():
    with pytest.raises(ValueError, match=r"at goal.*settle"):
        walk(circle, at(0.0), at(1.0, 1.1))
    with pytest.raises(ValueError, match="positive"):
        walk(circle, at(0.0), at(1.0), step=0.0)
    with pytest.raises(ValueError, match="control point"):
        bezier(jax.random.key(0), lambda w: w[0], at(0.0), at(1.0), tolerance=1.0, num_bends=0)
    with pytest.raises(ValueError, match="one hidden layer"):
        match_units({"layer_0": {}}, {})
