"""A target seen from its minimum: the excess loss on flat float64 vectors, its gradient and its dense eigenbasis."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from slt._types import Params, Scalar
from slt.geometry.curvature import DENSE_DIM
from slt.geometry.operators import cast, check_finite, dense, hessian, precision
from slt.targets.target import Target


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
    with precision(np.float64):
        center, unravel = ravel_pytree(cast(target.minimum, np.float64))
        data = cast(target.data, np.float64)
        floor = jax.jit(lambda d: target.loss(unravel(center), d))(data)

        def loss(x: Array, data: Any) -> Scalar:
            return target.loss(unravel(x), data) - floor

        gradient = jax.jit(jax.grad(loss))(center, data)
        return LocalLoss(loss, np.asarray(center), unravel, data, np.asarray(gradient))


def eigenbasis_of(function: Callable[..., Scalar]) -> Callable[..., Eigenbasis]:
    """(flat w, *data) -> eigendecomposition of the dense Hessian of `function` there, in float64, compiled once.

    Raises:
        ValueError: when called, an entry that is not finite.
    """
    hessian = jax.jit(jax.hessian(function))

    def basis(x: Float[ArrayLike, " dim"], *data: Any) -> Eigenbasis:
        with precision(np.float64):
            matrix = np.asarray(hessian(jnp.asarray(x, np.float64), *data), np.float64)
        check_finite(matrix)
        return Eigenbasis(*np.linalg.eigh((matrix + matrix.T) / 2))

    return basis


def eigenbasis(target: Target) -> Eigenbasis:
    """Dense eigendecomposition of the Hessian at w*.

    Raises:
        ValueError: more than 5000 parameters, or an entry of the Hessian that is not finite.
    """
    if target.num_params > DENSE_DIM:
        raise ValueError(
            f"eigenbasis: {target.num_params} parameters; the dense Hessian is formed up to {DENSE_DIM}. Use "
            'estimators=["hessian"], which samples log det(H + cI).'
        )
    return Eigenbasis(*np.linalg.eigh(dense(hessian(target))))
