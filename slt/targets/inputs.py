"""Checks of what a user hands to a target: each refusal says what was given, what is allowed, and what to do."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path
from jaxtyping import Array, Float, PyTree

from slt._types import Params, Scalar
from slt.forks import check_not_forked
from slt.targets.columns import WIDER, as_array
from slt.targets.loss import Traced, at_rows, trace

LossPerDatum = Callable[[Params, Any], Float[Array, " batch"]]


def check_data(data: PyTree[Array], *, least: int = 3) -> int:
    """Number n of rows of what `on_device` has read; raises ValueError on fewer than `least` or unequal ones."""
    sizes = {f"data{keystr(path)}": len(leaf) if leaf.ndim else 0 for path, leaf in tree_leaves_with_path(data)}
    if not sizes:
        raise ValueError("data holds no array; give one, or several in a tuple or dict.")
    if len(set(sizes.values())) != 1:
        given = ", ".join(f"{n} rows in {where}" for where, n in sizes.items())
        raise ValueError(f"data: the leading axes differ ({given}); all arrays need the same number n of rows.")
    where, n = next(iter(sizes.items()))
    if not jax.tree.leaves(data)[0].ndim:
        raise ValueError(f"{where} is a single number; give an array whose leading axis are the n rows.")
    if n < least:
        reason = ", since beta = 1/log n" if least == 3 else ""
        raise ValueError(f"data has n = {n} rows; at least {least} are needed{reason}.")
    return n


def as_params(params: Any) -> Params:
    """Leaves as arrays in the default precision of JAX: half precision, in which no posterior is resolved, becomes
    float32, and everything float64 where jax_enable_x64 is on, so that no driver mixes the two.

    Raises:
        ValueError: no leaf, one that is no number, such as the name of an activation, masked, or beyond float32.
    """
    check_not_forked()
    if not sum(np.size(leaf) for leaf in jax.tree.leaves(params)):
        raise ValueError(f"params is {params!r}; it holds no parameter to sample: give a pytree of float arrays.")
    return jax.tree_util.tree_map_with_path(_parameter, params)


def _parameter(path: Any, leaf: Any) -> Array:
    where = f"params{keystr(path)}"
    try:
        array = jnp.asarray(as_array(leaf, where) if isinstance(leaf, np.ndarray) else leaf)
    except TypeError:
        raise ValueError(f"{where} is {leaf!r}, no array; bind what is not sampled into the loss.") from None
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    given, array = np.asarray(leaf), array.astype(float)
    if (
        array.dtype == jnp.float32
        and given.dtype == np.float64
        and bool(np.isfinite(given).all() & ~jnp.isfinite(array).all())
    ):
        raise ValueError(f"{where} holds {np.max(np.abs(given)):.3g}, beyond float32; rescale it, {WIDER}.")
    return array


def check_params(params: Params) -> None:
    """Raises ValueError unless every leaf is floating point and finite."""
    for path, leaf in tree_leaves_with_path(params):
        where = f"params{keystr(path)}"
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{where} has dtype {leaf.dtype}; every sampled leaf must be floating point.")
        if not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"{where} holds NaN or infinite values; give a trained, finite minimum.")


def traced_loss(loss: LossPerDatum, params: Params, data: PyTree[Array], chunk: int) -> Traced:
    """The loss as it is now, for any number of rows; raises ValueError as `check_loss`."""
    n = jax.tree.leaves(data)[0].shape[0]
    few, many = at_rows(data, 2), at_rows(data, max(min(n, chunk), 1))
    try:
        traced = trace(loss, (params, few), (params, many))
    except Exception as error:  # of any framework
        raise _failed(few, error) from error
    check_loss(traced, params, few)
    return traced


def check_loss(loss: LossPerDatum, params: Params, data: PyTree[Array]) -> None:
    """Raises ValueError unless two rows give two losses, real numbers."""
    rows = at_rows(data, 2)
    try:
        result = jax.eval_shape(loss, params, rows)
    except Exception as error:  # of any framework
        raise _failed(rows, error) from error
    if getattr(result, "shape", None) != (2,):
        given = f"has shape {result.shape}" if hasattr(result, "shape") else f"is a {type(result).__name__}"
        raise ValueError(f"loss_target: loss(params, rows) of 2 rows {given}; it must return one value per row, (2,).")
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise ValueError(f"loss_target: loss(params, rows) is {result.dtype}; it must return real floats [nats/datum].")


def _failed(rows: PyTree[Array], error: Exception) -> ValueError:
    return ValueError(
        f"loss_target: loss(params, rows) failed on two rows of data, which is {shapes(rows)}; do params "
        f"fit it? {error}"
    )


def check_potential(potential: Any, minimum: Params) -> None:
    """Raises ValueError unless a potential gives one real number, traced."""
    try:
        result = jax.eval_shape(potential, minimum)
    except Exception as error:
        raise ValueError(
            f"potential_target: the potential failed at the minimum, {shapes(minimum)}; give a function of it "
            "in jax.numpy, "
            f"with jnp.where for branches. {error}"
        ) from error
    if getattr(result, "shape", None) != () or not jnp.issubdtype(result.dtype, jnp.floating):
        given = f"{result.dtype} of shape {result.shape}" if hasattr(result, "shape") else f"a {type(result).__name__}"
        raise ValueError(
            f"potential_target: the potential is {given}; it must return one number, a real float, e.g. a sum."
        )


def shapes(rows: PyTree[Array]) -> str:
    """For error messages: dtype and shape of every array."""
    return str(jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", rows)).replace("'", "")


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
