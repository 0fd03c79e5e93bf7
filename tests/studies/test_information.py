"""Information loss by layer on nets built to lose it."""

import jax
import numpy as np
import pytest

from slt.geometry.operators import mlp_network
from slt.studies import information
from slt.studies.information import information_loss
from slt.targets.networks import mlp_init

RNG = np.random.default_rng(0)


def net(widths, inputs, activation, change=None, seed=0):
    params = jax.tree.map(np.array, mlp_init(jax.random.key(seed), widths))
    for layer in params.values():
        layer["bias"] = RNG.normal(size=layer["bias"].shape).astype(np.float32)
    if change is not None:
        change(params)
    data = {"inputs": inputs, "targets": np.zeros((len(inputs), widths[-1]))}
    return mlp_network(params, data, activation=activation, loss="squared_error")


def test_a_smooth_net_with_parameters_enough_loses_nothing():
    report = information_loss(net((3, 8, 1), RNG.normal(size=(10, 3)), "tanh"), activation="tanh")
    assert (report.rank, report.deficit, report.explained) == (10, 0, 0)
    assert [layer.distinct for layer in report.layers] == [10, 10]


def test_a_layer_that_ignores_a_coordinate_merges_inputs_but_keeps_the_rank():
    """Its weights from the second coordinate are zero: merged, yet the gradients of those weights tell inputs apart."""
    inputs = np.array([[x, y] for x in (-1.0, 0.3, 1.2) for y in (-1.0, 1.0)])

    def ignore(params):
        params["layer_0"]["weight"][1] = 0

    report = information_loss(net((2, 9, 1), inputs, "tanh", ignore), activation="tanh")
    first = report.layers[0]
    assert (first.distinct, report.deficit, report.explained) == (3, 0, 0)
    assert first.gradients_after == 0
    assert first.gradients_before > 0.1
    assert first.rank_after == 3


def test_dead_relus_lose_rank_and_the_layer_is_named():
    """Every unit of the second layer is dead for inputs with x < 0: after it they are one.

    Six of the ten inputs merge, so five of their rows of G are copies.
    """
    inputs = np.concatenate([RNG.uniform(-2, -1, 6), RNG.uniform(0.5, 2, 4)])[:, None]

    def die(params):
        params["layer_0"] = {"weight": np.array([[1.0, 1.3, 0.7]]), "bias": np.array([5.0, 4.0, 6.0])}
        params["layer_1"] = {"weight": np.full((3, 4), 0.4) + 0.1 * np.eye(3, 4), "bias": np.full(4, -7.2)}

    report = information_loss(net((1, 3, 4, 1), inputs, "relu", die), activation="relu")
    assert [layer.distinct for layer in report.layers] == [10, 5, 5]
    assert [layer.explained for layer in report.layers] == [0, 5, 0]
    assert report.layers[1].gradients_after == report.layers[1].gradients_before == 0
    assert report.deficit == report.explained + report.affine
    assert report.rank <= min(layer.bound for layer in report.layers)


def test_inputs_in_one_linear_region_give_affine_gradients():
    """All units on: ten inputs of two dimensions give three rows."""

    def on(params):
        params["layer_0"]["bias"] = np.full(4, 50.0)

    inputs = RNG.normal(size=(10, 2))
    report = information_loss(net((2, 4, 1), inputs, "relu", on), activation="relu")
    assert (report.rank, report.deficit, report.explained, report.affine) == (3, 7, 0, 7)


def test_pairs_are_compared_in_blocks_and_not_beyond_ten_thousand_rows(monkeypatch):
    activations = np.round(np.random.default_rng(0).normal(size=(50, 2)))
    whole = information._groups(activations, 1e-10)
    assert [int(np.flatnonzero((activations == row).all(1))[0]) for row in activations] == whole.tolist()
    monkeypatch.setattr(information, "BLOCK", 300)
    np.testing.assert_array_equal(information._groups(activations, 1e-10), whole)
    rows = np.zeros((10_001, 1), np.float32)
    subject = mlp_network(mlp_init(jax.random.key(0), (1, 1)), {"inputs": rows, "targets": rows}, loss="squared_error")
    with pytest.raises(ValueError, match="10,001 rows"):
        information_loss(subject, activation="tanh")


def test_bounds_hold_and_dead_units_are_counted():
    for seed in range(3):
        report = information_loss(net((2, 3, 3, 2), RNG.normal(size=(15, 2)), "relu", seed=seed), activation="relu")
        assert report.rank <= min(layer.bound for layer in report.layers)
        assert report.rank == report.layers[0].rank_from
        assert report.explained <= report.deficit or report.num_outputs > report.num_params

    def kill(params):
        params["layer_0"]["bias"][:] = [-50, 1, 1]

    killed = information_loss(net((2, 3, 1), RNG.normal(size=(15, 2)), "relu", kill), activation="relu")
    assert killed.layers[0].dead == 1
    assert killed.live == killed.num_params - 4  # two weights, a bias, and the weight out of it
