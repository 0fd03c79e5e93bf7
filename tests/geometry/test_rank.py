"""Ranks with their gaps."""

from pathlib import Path

import jax
import numpy as np
import pytest
from geometry.matrices import classifier

from slt.geometry.behaviour import behavioural_gradients
from slt.geometry.operators import hessian, mlp_network
from slt.geometry.rank import numerical_rank, rank_of_values, symmetric_rank, symmetric_rank_of_values


def of_rank(r, rows=40, columns=25, smallest=1e-2, seed=0):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, r)))[0] for n in (rows, columns))
    return (left * np.logspace(0, np.log10(smallest), r)) @ right.T


@pytest.mark.parametrize("r", [1, 7, 25])
@pytest.mark.parametrize("smallest", [1.0, 1e-6])
def test_the_rank_of_a_product_is_its_inner_dimension(r, smallest):
    rank = numerical_rank(of_rank(r, smallest=smallest))
    assert (rank.rank, rank.nullity) == (r, 25 - r) or (smallest < 1 and r == 1)
    assert rank.status == "gap"
    assert rank.by_tolerance[1e-9] == rank.rank


@pytest.mark.parametrize("negative", [0, 1, 3])
def test_negative_eigenvalues_that_count_are_said(negative):
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    values = np.array([-2.0] * negative + [1.0, 3.0, 5.0] + [-1e-17] * (9 - negative))
    rank = symmetric_rank_of_values(np.linalg.eigvalsh((q * values) @ q.T))
    assert (rank.rank, rank.negative) == (3 + negative, negative)
    assert ("negative" in rank.reason) == (negative > 0)


def test_values_that_decay_evenly_have_no_gap():
    rank = rank_of_values(np.logspace(0, -20, 100), (100, 100))
    assert rank.status == "no gap"
    assert rank.by_tolerance == {1e-3: 15, 1e-6: 30, 1e-9: 45, 1e-12: 60}
    assert "widest gap is" in rank.reason


def test_two_scales_are_both_named():
    rank = rank_of_values(np.array([1.0, 0.9, 1e-8, 0.9e-8, 1e-17]), (5, 5))
    assert (rank.rank, rank.gap > 7) == (2, True)
    assert "at rank 4" in rank.reason


def test_zero_has_rank_zero():
    assert numerical_rank(np.zeros((3, 4)))[:3] == (0, np.inf, "gap")


def test_the_gram_matrix_loses_what_the_jacobian_shows():
    matrix = of_rank(12, smallest=1e-9)
    assert numerical_rank(matrix).by_tolerance[1e-12] == 12
    assert np.sum(np.linalg.eigvalsh(matrix @ matrix.T) > 1e-24) != 12


def test_softmax_shift_leaves_hidden_units_plus_one_null_directions():
    """Any function of log-probabilities of a net with 6 hidden units is blind to 6 + 1 directions; its Hessian, too."""
    net = classifier(widths=(4, 6, 3), n=60)
    log_probs = net._replace(outputs=lambda w, rows: jax.nn.log_softmax(net.outputs(w, rows)))
    rank = numerical_rank(behavioural_gradients(log_probs))
    assert (rank.status, rank.nullity) == ("gap", 7)
    assert rank.gap > 5
    whole = symmetric_rank(hessian(net))
    assert (whole.status, whole.nullity) == ("gap", 7)
    assert numerical_rank(behavioural_gradients(net)).nullity == 0  # the logits themselves see every parameter


def test_relu_units_have_one_scale_each_too_many():
    """Each hidden ReLU unit can be scaled up and its output down: as many null directions as hidden units."""
    rng = np.random.default_rng(0)
    params = {
        "layer_0": {"weight": rng.normal(size=(3, 5)), "bias": rng.normal(size=5)},
        "layer_1": {"weight": rng.normal(size=(5, 2)), "bias": rng.normal(size=2)},
    }
    data = {"inputs": rng.normal(size=(200, 3)), "targets": np.zeros((200, 2))}
    net = mlp_network(params, data, activation="relu", loss="squared_error")
    assert numerical_rank(behavioural_gradients(net)).nullity == 5


def test_what_no_rank_can_be_told_of_is_refused():
    with pytest.raises(ValueError, match="float32"):
        numerical_rank(np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        numerical_rank(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="rows and columns"):
        numerical_rank(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="float64"):
        symmetric_rank(hessian(classifier(), dtype=np.float32))


def test_the_hessian_of_the_benchmark_problem_has_its_49_analytic_zeros():
    """MLP 20-48-48-5 with cross entropy: softmax shift makes 48 + 1 directions null. Its stored float64 eigenvalues."""
    file = Path(__file__).parents[1] / "benchmarks" / "geometry_problem_eigenvalues.npy"
    rank = rank_of_values(np.sort(np.abs(np.load(file)))[::-1], (3605, 3605))
    assert (rank.status, rank.nullity) == ("gap", 49)
    assert rank.gap > 5
    assert rank.by_tolerance[1e-3] < 2000  # what a bare 1e-3 would say
