"""A target seen from its minimum: the excess loss on flat float64 vectors, its gradient and its dense eigenbasis."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Params, Scalar
from slt.targets.target import Target

DENSE_DIM = 4096
"""Most parameters for which the dense eigenbasis is formed."""


class LocalLoss(NamedTuple):
    """Excess loss around w*; everything in float64, whatever the target was given in.

    loss: (flat w, data) -> L_n(w) - L_n(w*) [nats/datum], exactly 0 at w*. center: w*, flat. unravel: back to params.
    data: to be passed on, so that it is no constant of the compiled function. gradient: of the loss at w*.
    """

    loss: Callable[[Array, Any], Scalar]
    center: Float[np.ndarray, " dim"]
    unravel: Callable[[Array], Params]
    data: Any
    gradient: Float[np.ndarray, " dim"]


class Eigenbasis(NamedTuple):
    """Of the Hessian of L_n at w*: values ascending [nats/datum per squared unit], vectors in columns."""

    values: Float[np.ndarray, " dim"]
    vectors: Float[np.ndarray, "dim dim"]


def local_loss(target: Target) -> LocalLoss:
    """The target's loss in float64, measured again from its value at w*."""
    with jax.enable_x64(True):
        center, unravel = ravel_pytree(jax.tree.map(_double, target.minimum))
        data = jax.tree.map(_double, target.data)
        floor = jax.jit(lambda d: target.loss(unravel(center), d))(data)

        def loss(x: Array, data: Any) -> Scalar:
            return target.loss(unravel(x), data) - floor

        gradient = jax.jit(jax.grad(loss))(center, data)
        return LocalLoss(loss, np.asarray(center), unravel, data, np.asarray(gradient))


def eigenbasis(local: LocalLoss) -> Eigenbasis:
    """Dense eigendecomposition of the Hessian at w*.

    Raises:
        ValueError: more than 4096 parameters, or an entry of the Hessian that is not finite.
    """
    dim = local.center.size
    if dim > DENSE_DIM:
        raise ValueError(f"eigenbasis: {dim} parameters; the dense Hessian is formed up to {DENSE_DIM}.")
    with jax.enable_x64(True):

        @jax.jit
        def dense(x: Array, data: Any) -> Array:
            def column(v: Array) -> Array:
                return jax.jvp(lambda y: jax.grad(local.loss)(y, data), (x,), (v,))[1]

            return jax.lax.map(column, jnp.eye(dim, dtype=x.dtype), batch_size=16)

        matrix = np.asarray(dense(jnp.asarray(local.center), local.data))
    if not np.isfinite(matrix).all():
        bad = int((~np.isfinite(matrix)).any(1).sum())
        raise ValueError(
            f"eigenbasis: {bad} columns of the Hessian are not finite; the loss is not twice differentiable at w*."
        )
    return Eigenbasis(*np.linalg.eigh((matrix + matrix.T) / 2))


def _double(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf.astype(np.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
