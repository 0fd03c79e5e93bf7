"""Curvature around one point: the dense Hessian spectrum of a loss and what a harmonic landscape would give."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt.targets.target import Target

DENSE_DIM = 4096
"""Most parameters for which the dense Hessian is formed."""


def hessian_eigenvalues(target: Target) -> Float[np.ndarray, " dim"]:
    """All eigenvalues of the Hessian of L_n at w*, ascending [nats/datum per squared unit], from the dense matrix.

    Raises:
        ValueError: more than 4096 parameters.
    """
    flat, unravel = ravel_pytree(target.minimum)
    if flat.size > DENSE_DIM:
        raise ValueError(f"hessian_eigenvalues: {flat.size} parameters; the dense Hessian is formed up to {DENSE_DIM}.")

    @jax.jit
    def dense(x: Array, data: Array) -> Array:
        def gradient(y: Array) -> Array:
            return jax.grad(lambda z: target.loss(unravel(z), data))(y)

        return jax.lax.map(lambda v: jax.jvp(gradient, (x,), (v,))[1], jnp.eye(x.size, dtype=x.dtype), batch_size=16)

    matrix = np.asarray(dense(flat, target.data), np.float64)
    return np.linalg.eigvalsh((matrix + matrix.T) / 2)


def harmonic_llc(eigenvalues: Float[np.ndarray, " dim"], *, nbeta: float, precision: float) -> float:
    r"""$\tfrac12\sum_i \lambda_i/(\lambda_i + \gamma/(n\beta))$: the estimate of a quadratic loss.

    Args:
        eigenvalues: of the Hessian of L_n [nats/datum per squared unit].
        precision: gamma, weight decay n beta a included [nats per squared unit].
    """
    positive = np.maximum(eigenvalues, 0.0)
    return float(0.5 * np.sum(positive / np.maximum(positive + precision / nbeta, 1e-300)))
