"""Products with the Hessian, Gauss-Newton, residual and Fisher matrices, against plain algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from geometry.matrices import classifier
from jax.flatten_util import ravel_pytree

from slt.geometry.operators import (
    cast,
    dense,
    empirical_fisher,
    fisher,
    gauss_newton,
    hessian,
    leaf_slices,
    network,
    precision,
    residual,
)
from slt.targets.networks import cross_entropy
from slt.targets.target import loss_target, potential_target

NETS = [classifier(), classifier(loss="squared_error", activation="relu")]


def plain(net):
    """(Hessian, Gauss-Newton, residual part, empirical Fisher) by jax.hessian and jacobians, all at once."""
    with precision(np.float64):
        params, data = cast(net.params, np.float64), cast(net.data, np.float64)
        flat, unravel = ravel_pytree(params)
        n = data["inputs"].shape[0]
        whole = jax.hessian(lambda w: jnp.mean(net.loss(net.outputs(unravel(w), data), data)))(flat)
        z = net.outputs(params, data)
        jacobian = jax.jacobian(lambda w: net.outputs(unravel(w), data))(flat)
        inner = jax.vmap(lambda u, row: jax.hessian(lambda v: net.loss(v[None], row)[0])(u))(
            z, jax.tree.map(lambda a: a[:, None], data)
        )
        first = jnp.einsum("iap,iab,ibq->pq", jacobian, inner, jacobian) / n
        gradients = jax.jacobian(lambda w: net.loss(net.outputs(unravel(w), data), data))(flat)
        return [np.asarray(m) for m in (whole, first, whole - first, gradients.T @ gradients / n)]


@pytest.mark.parametrize("net", NETS, ids=["cross entropy, tanh", "squared error, relu"])
def test_every_product_is_that_of_the_matrix_it_names(net):
    for build, matrix in zip((hessian, gauss_newton, residual, empirical_fisher), plain(net), strict=True):
        np.testing.assert_allclose(dense(build(net)), matrix, rtol=1e-10, atol=1e-12, err_msg=build.__name__)


def test_chunks_of_rows_sum_to_the_whole():
    for build in (hessian, gauss_newton, residual, empirical_fisher):
        whole, chunked = (dense(build(NETS[0], chunk=chunk)) for chunk in (4096, 7))
        np.testing.assert_allclose(chunked, whole, rtol=1e-10, atol=1e-13)
    assert hessian(NETS[0], chunk=7).gradient_norm == pytest.approx(hessian(NETS[0]).gradient_norm, rel=1e-10)


def test_a_target_has_the_hessian_of_its_loss_in_chunks_too():
    net = NETS[0]
    loss = lambda w, rows: cross_entropy(net.outputs(w, rows), rows["targets"])  # noqa: E731
    target = loss_target(loss, net.params, net.data, localization=3.0)
    assert target.control_variate  # whose gradient correction is linear in w and must not show
    for chunk in (4096, 7):
        np.testing.assert_allclose(dense(hessian(target, chunk=chunk)), plain(net)[0], rtol=1e-6, atol=1e-8)


def test_the_hessian_of_a_potential_is_its_own():
    target = potential_target(lambda w: w[0] ** 2 * 3 + w[0] * w[1], jnp.zeros(2), nbeta=10.0)
    np.testing.assert_allclose(dense(hessian(target)), [[6, 1], [1, 0]])


def test_the_fisher_matrix_of_logits_is_their_gauss_newton_matrix():
    net = NETS[0]

    def draw(key, logits, rows):
        return rows | {"targets": jax.random.categorical(key, logits)}

    sampled = dense(fisher(net, draw, jax.random.key(1), num_draws=400))
    exact = plain(net)[1]
    assert np.linalg.norm(sampled - exact) < 0.1 * np.linalg.norm(exact)  # spread of the draws: 3 %
    observed = plain(net)[3]
    assert np.linalg.norm(observed - exact) > 0.3 * np.linalg.norm(exact)  # observed targets give another matrix


def test_data_are_arguments_of_the_product():
    operator = hessian(NETS[0])
    with precision(np.float64):
        constants = jax.make_jaxpr(operator.product)(jnp.ones(operator.dim), *operator.args).consts
    assert sum(np.size(c) for c in constants) < 100


def test_leaf_slices_point_into_the_flat_vector():
    net = NETS[0]
    flat = ravel_pytree(net.params)[0]
    index = leaf_slices(net.params, ["layer_0", "layer_1"])
    assert sorted(np.concatenate(list(index.values()))) == list(range(flat.size))
    weight = net.params["layer_1"]["weight"]
    assert set(np.asarray(weight).ravel()) <= set(np.asarray(flat[index["layer_1"]]))


def test_bad_networks_are_refused():
    net = NETS[0]
    empty = {name: value[:0] for name, value in net.data.items()}
    with pytest.raises(ValueError, match="at least 1"):
        network(net.outputs, net.loss, net.params, empty)
    with pytest.raises(ValueError, match="they must be"):
        network(lambda w, rows: net.outputs(w, rows)[:, 0], net.loss, net.params, net.data)
    with pytest.raises(ValueError, match="not finite"):
        network(net.outputs, lambda z, rows: jnp.log(-jnp.sum(z**2, 1)), net.params, net.data)
    with pytest.raises(ValueError, match="NaN or infinite"):
        network(net.outputs, net.loss, jax.tree.map(lambda a: a * jnp.nan, net.params), net.data)
    root = potential_target(lambda w: jnp.sqrt(w[0] ** 2) ** 3, jnp.zeros(1), nbeta=1.0)
    with pytest.raises(ValueError, match="not finite"):
        dense(hessian(root))
