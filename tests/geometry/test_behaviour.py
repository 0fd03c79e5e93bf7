"""Claims about the behaviour of a net: manifolds, ranks at minima, kinds of flat dimension, kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from geometry import xor
from geometry.matrices import classifier

from slt.geometry.behaviour import (
    behaviour_manifold,
    behavioural_gradients,
    flat_dimensions,
    kernel_alignment,
    neural_tangent_kernel,
    rank_claim,
)
from slt.geometry.operators import network

KEY = jax.random.key(0)


def product_net(a, b, x=(1.0, 2.0, -1.0)):
    """f = a b x with squared error, fitted perfectly where targets are its own outputs."""
    inputs = np.asarray(x)[:, None]
    outputs = lambda w, rows: w["a"] * w["b"] * rows["inputs"]  # noqa: E731
    loss = lambda z, rows: 0.5 * jnp.sum((z - rows["targets"]) ** 2, 1)  # noqa: E731
    params = {"a": np.asarray(a, float), "b": np.asarray(b, float)}
    return network(outputs, loss, params, {"inputs": inputs, "targets": a * b * inputs})


def test_gradients_of_a_product_are_the_other_factor():
    gradients = behavioural_gradients(product_net(3.0, 2.0))
    np.testing.assert_allclose(gradients, np.outer([1.0, 2.0, -1.0], [2.0, 3.0]))


def test_the_kernel_of_a_product_vanishes_at_zero_while_its_activations_do_not():
    x = np.array([1.0, 2.0, -1.0])
    assert np.all(neural_tangent_kernel(product_net(0.0, 0.0)) == 0)
    np.testing.assert_allclose(neural_tangent_kernel(product_net(3.0, 2.0)), 13 * np.outer(x, x))
    assert kernel_alignment(neural_tangent_kernel(product_net(3.0, 2.0)), np.outer(x, x)) == pytest.approx(1)
    assert kernel_alignment(neural_tangent_kernel(product_net(0.0, 0.0)), np.outer(x, x)) == 0


def test_the_manifold_of_a_product_is_a_hyperbola_and_at_zero_a_cross():
    regular = behaviour_manifold(product_net(1.0, 2.0), KEY)
    assert (regular.rank.rank, regular.dimension, regular.holds) == (1, 1, True)
    assert regular.tangent[1] < 0.2 * regular.tangent[0]
    assert regular.outputs < 1e-12
    crossing = behaviour_manifold(product_net(0.0, 0.0), KEY)
    assert (crossing.rank.rank, crossing.dimension, crossing.holds) == (0, 1, True)  # 1 < n - rank G = 2


def test_a_net_that_is_seen_by_every_parameter_has_an_isolated_behaviour():
    manifold = behaviour_manifold(classifier(widths=(2, 2, 2), n=30), KEY, num_points=1)
    assert (manifold.dimension, manifold.rank.nullity, manifold.holds) == (0, 0, True)


@pytest.mark.parametrize("name", ["MSE", "BCE", "CE, probabilities"])
def test_ranks_are_equal_at_a_perfect_fit(name):
    claim = rank_claim(xor.fitted(*xor.LOSSES[name]))
    assert claim.equal
    assert claim.hessian.rank == 4
    assert min(claim.hessian.gap, claim.gradients.gap) > 5
    assert claim.residual_share < 1e-10
    assert claim.loss_curvature > 0.05


def test_raw_logits_are_a_counterexample():
    claim = rank_claim(xor.fitted(*xor.LOSSES["CE, raw logits"]))
    assert not claim.equal
    assert (claim.hessian.rank, claim.gradients.rank) == (4, 8)
    assert claim.residual_share < 1e-10
    assert claim.loss_curvature < 1e-12
    assert "flat directions" in claim.reason


def test_another_critical_point_is_a_counterexample():
    claim = rank_claim(xor.saddle())
    assert not claim.equal
    assert (claim.hessian.rank, claim.gradients.rank) == (5, 1)  # a bias, and two units of +- pairs
    assert claim.gradient_norm < 1e-15
    assert claim.residual_share > 0.1
    assert "no perfect fit" in claim.reason


def test_a_point_that_is_not_critical_is_refused_with_its_gradient():
    with pytest.raises(ValueError, match=r"not at a critical point: \|grad L\| = 0\.\d"):
        rank_claim(classifier())


def test_kinds_of_flat_dimension_of_a_product():
    """w = (a, b, c, d) with f = a b x + c d [x > 5]: trivial along a b, another function along (c, d), which the data
    x < 5 do not see; at a = b = 0 the second direction of (a, b) leaves the set.
    """

    def build(a, b):
        outputs = lambda w, rows: (  # noqa: E731
            w["a"] * w["b"] * rows["inputs"] + w["c"] * w["d"] * (rows["inputs"] > 5)
        )
        loss = lambda z, rows: 0.5 * jnp.sum((z - rows["targets"]) ** 2, 1)  # noqa: E731
        inputs = np.array([[1.0], [2.0]])
        params = {name: np.asarray(value) for name, value in {"a": a, "b": b, "c": 0.5, "d": 0.7}.items()}
        return network(outputs, loss, params, {"inputs": inputs, "targets": a * b * inputs})

    elsewhere = {"inputs": np.linspace(-10, 10, 40)[:, None], "targets": np.zeros((40, 1))}
    order = np.random.default_rng(0).permutation(40)
    elsewhere = {name: value[order] for name, value in elsewhere.items()}
    regular = flat_dimensions(build(1.0, 2.0), elsewhere, KEY)
    assert regular[:3] == (0, 1, 2)
    assert regular.trivial_change < 1e-10 < 1e-4 < regular.different_change
    assert flat_dimensions(build(0.0, 0.0), elsewhere, KEY)[:3] == (1, 1, 2)
    with pytest.raises(ValueError, match="at least 2"):
        flat_dimensions(build(1.0, 2.0), {name: value[:1] for name, value in elsewhere.items()}, KEY)
