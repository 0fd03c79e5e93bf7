"""Extreme eigenpairs against the dense matrix."""

import jax
import numpy as np
import pytest
from geometry.matrices import classifier

from slt.geometry import eigenpairs
from slt.geometry.eigenpairs import extreme_eigenpairs, smallest_eigenvalue
from slt.geometry.operators import Operator, dense, hessian

OPERATOR = hessian(classifier(widths=(4, 8, 3)))


@pytest.mark.parametrize("small", [1000, 0], ids=["dense", "arpack"])
def test_the_top_pairs_are_those_of_the_dense_matrix(small, monkeypatch):
    monkeypatch.setattr(eigenpairs, "SMALL", small)
    pairs = extreme_eigenpairs(OPERATOR, 4)
    np.testing.assert_allclose(pairs.values, np.linalg.eigvalsh(dense(OPERATOR))[::-1][:4], rtol=1e-8)
    assert np.all(pairs.residuals < 1e-8)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(4), atol=1e-8)


def test_the_smallest_eigenvalue_lies_between_its_bounds():
    low, high = smallest_eigenvalue(OPERATOR, jax.random.key(0), num_steps=20)
    smallest = extreme_eigenpairs(OPERATOR, 1, end="bottom").values[0]
    assert low < smallest <= high + 1e-12


def symmetric(matrix):
    matrix = np.asarray(matrix, np.float64)
    return Operator(lambda v, a: a @ v, (matrix,), len(matrix), np.dtype(np.float64), -np.inf, 0.0, 1.0), matrix


Q = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
REST = np.random.default_rng(1).uniform(0, 1, 56)
EDGES = {
    "d = 1": [[3.0]], "d = 1, negative": [[-3.0]], "d = 1, zero": [[0.0]], "d = 2": [[1, 2], [2, -1]],
    "d = 2, zero": np.zeros((2, 2)), "zero": np.zeros((60, 60)), "identity": np.eye(60), "minus identity": -np.eye(60),
    "rank one": np.outer(Q[0], Q[0]), "rank one, negative": -np.outer(Q[0], Q[0]),
    "crowded top": Q @ np.diag([5.0] * 4 + [1.0] * 56) @ Q.T, "two levels": np.diag([2.0] * 30 + [1.0] * 30),
    "nearly alike": Q @ np.diag([5.0, 5 - 1e-9, 5 - 2e-9, 4.0, *REST]) @ Q.T, "small": 1e-100 * np.eye(60),
}  # fmt: skip


@pytest.mark.parametrize("small", [1000, 0], ids=["dense", "arpack"])
@pytest.mark.parametrize("matrix", EDGES.values(), ids=EDGES)
def test_both_ends_of_spectra_at_the_edge(matrix, small, monkeypatch):
    monkeypatch.setattr(eigenpairs, "SMALL", small)
    operator, matrix = symmetric(matrix)
    values = np.linalg.eigvalsh(matrix)
    size = np.abs(values).max()
    for end, expected in (("top", values[::-1]), ("bottom", values)):
        for count in {1, min(3, len(matrix))}:
            pairs = extreme_eigenpairs(operator, count, end=end)
            np.testing.assert_allclose(pairs.values, expected[:count], rtol=0, atol=1e-10 * size)
            np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(count), atol=1e-8)
            assert pairs.residuals.max() <= 1e-8 * size
    low, high = smallest_eigenvalue(operator, jax.random.key(0), num_steps=40)
    assert low - 1e-10 * size <= values[0] <= high + 1e-10 * size


def test_what_cannot_be_had_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="top"):
        extreme_eigenpairs(OPERATOR, 0)
    monkeypatch.setattr(eigenpairs, "SMALL", 0)
    with pytest.raises(ValueError, match="smallest_eigenvalue"):
        extreme_eigenpairs(OPERATOR, 10, end="bottom", max_products=21)
