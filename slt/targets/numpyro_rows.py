"""Rows of the data of a NumPyro model: cut where the model on some rows is the same, numbers of rows elsewhere."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from slt._types import Params
from slt.targets.numpyro_checks import Sites, log_likelihoods

SOME, COLUMNS = 5, 16
"""Rows on which a model is tried, and columns of an array without whose extremes it is."""


def cut_rows(
    model: Callable, sites: Sites, data: tuple, named: dict[str, Any], constrain: Callable, points: list[Params]
) -> tuple[Any, Callable]:
    """(rows, log_likelihood(u, rows)): rows of the arrays of length n where that works, row numbers otherwise."""
    leaves, treedef = jax.tree.flatten((data, named))
    long = [_is_long(leaf, sites.size) for leaf in leaves]

    def cut(u: Params, rows: Any) -> Array:
        rest = iter(rows)
        filled = [next(rest) if is_long else leaf for leaf, is_long in zip(leaves, long, strict=True)]
        return log_likelihoods(model, sites, constrain(u), *treedef.unflatten(filled))

    def whole(u: Params, rows: Any) -> Array:
        return log_likelihoods(model, sites, constrain(u), data, named)[sites.rows][rows]

    arrays = [jnp.asarray(leaf)[sites.rows] for leaf, is_long in zip(leaves, long, strict=True) if is_long]
    numbers = jnp.arange(sites.num_data)
    finite = all(bool(jnp.isfinite(a).all()) for a in arrays)  # not so of what is masked at one site of several
    return (arrays, cut) if finite and _agree(cut, arrays, whole, numbers, points) else (numbers, whole)


def _is_long(leaf: Any, size: int) -> bool:
    if not isinstance(leaf, jax.Array | np.ndarray) or leaf.ndim == 0 or len(leaf) != size:
        return False
    return jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool


def _agree(cut: Callable, arrays: list[Array], whole: Callable, numbers: Array, points: list[Params]) -> bool:
    """Whether the model on some rows gives the likelihoods that those rows have in the model on all.

    The rows are traced, as they will be: a model that looks at them with NumPy, counts or branches is not cut.
    """
    in_part, in_whole = jax.jit(cut), jax.jit(whole)
    for point in points:
        full = np.asarray(in_whole(point, numbers))
        for some in _subsets(arrays, len(numbers)):
            try:
                part = np.asarray(in_part(point, [a[some] for a in arrays]))
            except Exception:  # whatever a model raises on rows that it was not written for
                return False
            if part.shape != some.shape or not np.allclose(part, full[some], rtol=1e-4, atol=1e-5, equal_nan=True):
                return False
    return True


def _subsets(arrays: list[Array], n: int) -> list[np.ndarray]:
    """Random rows, one, a few and half of all: without first and last, and without the extremes of each column.

    A model that scales by the largest value, or counts from the first, is the same on rows that hold it.
    """
    rng = np.random.default_rng(0)
    inner = np.arange(1, n - 1)
    few = min(SOME, n - 1)
    found = [rng.choice(inner, 1) for _ in range(3)] + [rng.permutation(n)[: max(n // 2, 1)]]
    found += [rng.choice(inner, few) for _ in range(3)]
    for array in arrays:
        rows = np.asarray(array).reshape(n, -1)
        for column in (*rows.T[:COLUMNS], rows.max(1), rows.min(1)):
            for extreme in (column.min(), column.max()):
                rest = inner[column[inner] != extreme]
                found += [rng.choice(rest, few)] if len(rest) else []
    return found
