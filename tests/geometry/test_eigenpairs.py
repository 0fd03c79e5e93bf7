"""Extreme eigenpairs against the dense matrix."""

import jax
import numpy as np
import pytest
from geometry.matrices import classifier

from slt.geometry import eigenpairs
from slt.geometry.eigenpairs import extreme_eigenpairs, smallest_eigenvalue
from slt.geometry.operators import dense, hessian

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


def test_what_cannot_be_had_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="top"):
        extreme_eigenpairs(OPERATOR, 0)
    monkeypatch.setattr(eigenpairs, "SMALL", 0)
    with pytest.raises(ValueError, match="smallest_eigenvalue"):
        extreme_eigenpairs(OPERATOR, 10, end="bottom", max_products=21)
