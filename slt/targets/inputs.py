"""Checks of what a user hands to a target: each refusal says what was given, what is allowed, and what to do."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from slt._types import Params, Scalar

LossPerDatum = Callable[[Params, Any], Float[Array, " batch"]]


def check_data(data: PyTree[Array]) -> int:
    """Number n of rows; raises ValueError on too few, unequal or non-finite ones."""
    if isinstance(data, list) and all(leaf.ndim == 0 for leaf in jax.tree.leaves(data)):
        raise ValueError(
            "loss_target: data is a list of numbers, each read as a column; give an array, np.array(data)."
        )
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1:
        raise ValueError(
            f"loss_target: the leading axes of data are {sizes}; all arrays need the same number n of rows."
        )
    n = sizes.pop()
    if n < 3:
        raise ValueError(f"loss_target: data has n = {n} rows; at least 3 are needed, since beta = 1/log n.")
    for leaf in jax.tree.leaves(data):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError("loss_target: data holds NaN or infinite values; remove or impute those rows first.")
    return n


def as_params(params: Any) -> Params:
    """Leaves as arrays; half precision, in which no posterior is resolved, becomes float32.

    Raises:
        ValueError: no leaf, or one that is no number, such as the name of an activation.
    """

    def one(path: Any, leaf: Any) -> Array:
        try:
            array = jnp.asarray(leaf)
        except (TypeError, ValueError):
            where = jax.tree_util.keystr(path) or "params"
            raise ValueError(
                f"params: {where} is {leaf!r}, no array; bind what is not sampled into the loss."
            ) from None
        return array.astype(jnp.float32) if array.dtype in (jnp.float16, jnp.bfloat16) else array

    if not jax.tree.leaves(params):
        raise ValueError(f"params is {params!r}; it holds no parameter to sample.")
    return jax.tree_util.tree_map_with_path(one, params)


def check_params(params: Params) -> None:
    """Raises ValueError unless every leaf is floating point and finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        where = jax.tree_util.keystr(path) or "params"
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params: {where} has dtype {leaf.dtype}; every sampled leaf must be floating point.")
        if not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"params: {where} holds NaN or infinite values; give a trained, finite minimum.")


def check_loss(loss: LossPerDatum, params: Params, data: PyTree[Array]) -> None:
    """Raises ValueError unless two rows give two losses."""
    rows = jax.tree.map(lambda a: a[:2], data)
    try:
        shape = jax.eval_shape(loss, params, rows).shape
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"loss_target: loss(params, rows) failed on two rows of data; do params fit it? {error}"
        ) from error
    if shape != (2,):
        raise ValueError(
            f"loss_target: loss(params, rows) of 2 rows has shape {shape}; it must return one value per row, (2,)."
        )


def check_rows(loss: LossPerDatum, params: Params, data: PyTree[Array], losses: Float[Array, " n"]) -> None:
    """Raises ValueError where the loss of a row depends on the rows beside it; `losses` are those of all data."""
    alone = loss(params, jax.tree.map(lambda a: a[:2], data))
    if not bool(jnp.allclose(alone, losses[:2], rtol=0.05, atol=1e-3)):
        raise ValueError(
            f"loss_target: the loss of row 0 is {losses[0]:.6g} in all data and {alone[0]:.6g} in two rows; it "
            "may not depend on other rows. Look for targets (n,) against outputs (n, 1), or for batch statistics."
        )


def check_temperature(beta: float | None, n: int) -> float:
    """beta, 1/log n by default; raises ValueError unless positive and finite."""
    beta = 1 / math.log(n) if beta is None else float(beta)
    if not (beta > 0 and math.isfinite(beta)):
        raise ValueError(
            f"inverse_temperature is {beta}; it must be positive and finite (1/log n = {1 / math.log(n):.4g})."
        )
    return beta


def check_localization(gamma: float | None, params: Params) -> float:
    """gamma, d/|w*|^2 by default; raises ValueError unless finite and at least 0."""
    if gamma is None:
        square = float(dot(params, params))
        gamma = size(params) / square if square > 0 else 1.0
    if not (gamma >= 0 and math.isfinite(gamma)):
        raise ValueError(f"localization is {gamma}; gamma must be finite and at least 0.")
    return float(gamma)


def dot(a: Params, b: Params) -> Scalar:
    """Inner product of two pytrees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.vdot(x, y), a, b))


def size(params: Params) -> int:
    """Number of entries of a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
