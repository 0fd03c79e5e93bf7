r"""The Gaussian posterior of a quadratic loss, $N(w^*, (n\beta H^+ + \gamma')^{-1})$, and functions to second order.

Negative curvature counts as none, so that the prior alone confines those directions. Whatever a sampled posterior says
beyond this is of the loss where it is not quadratic.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from slt._types import Params
from slt.geometry.operators import dense, hessian
from slt.jit import shared_jit
from slt.targets.target import Target

LARGEST = 3000
"""Most parameters of which the Gaussian is formed: some ten seconds of one core."""
AT_ONCE = 16


class Harmonic(NamedTuple):
    """hessian: of L_n at w*, on flat vectors. nbeta, precision: of the posterior and its prior."""

    hessian: Float[np.ndarray, "dim dim"]
    nbeta: float
    precision: float


def harmonic(target: Target) -> Harmonic:
    """The Gaussian posterior of a target.

    Raises:
        ValueError: more than 3000 parameters, a prior that is no proper Gaussian, or a Hessian that is not finite.
    """
    precision = target.prior.proper_gaussian("harmonic").precision
    if target.num_params > LARGEST:
        raise ValueError(
            f"The Gaussian baseline needs the dense Hessian, which is formed up to {LARGEST} parameters; this target "
            f"samples {target.num_params}. Select fewer by `trainable`."
        )
    return Harmonic(dense(hessian(target)), target.nbeta, precision)


def shifts(
    law: Harmonic, number: int, *, seed: int, chosen: Int[np.ndarray, " chosen"] | None = None
) -> Float[np.ndarray, "draw dim"]:
    """Draws of w - w*, flat; of chosen coordinates alone, all others 0, where these are given."""
    index = np.arange(len(law.hessian)) if chosen is None else chosen
    values, vectors = np.linalg.eigh(law.hessian[np.ix_(index, index)])
    width = (law.nbeta * np.maximum(values, 0) + law.precision) ** -0.5
    draws = np.zeros((number, len(law.hessian)))
    draws[:, index] = (np.random.default_rng(seed).normal(size=(number, len(index))) * width) @ vectors.T
    return draws


def second_order(
    values: Callable[[Params], Array], minimum: Params, flat_shifts: Float[np.ndarray, "draw dim"]
) -> Float[np.ndarray, "draw value"]:
    """Changes of a function from w* to w* + shift, to second order."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, minimum))
    moved = jax.vmap(unravel)(jnp.asarray(flat_shifts, flat.dtype))
    return np.asarray(_second_order(values, unravel(flat), moved))


@shared_jit
def _second_order(values: Callable, minimum: Params, moved: Params) -> Array:
    def one(shift: Params) -> Array:
        def along(t: Array) -> Array:
            return values(jax.tree.map(lambda w, s: w + t * s, minimum, shift))

        zero, unit = (jnp.asarray(number, jax.tree.leaves(minimum)[0].dtype) for number in (0, 1))
        slope, curvature = jax.jvp(lambda t: jax.jvp(along, (t,), (unit,))[1], (zero,), (unit,))
        return slope + curvature / 2

    return jax.lax.map(one, moved, batch_size=AT_ONCE)
