"""Localising priors: a Gaussian about w*, or a box with reflecting walls."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array

from slt._types import Key, Params, Scalar
from slt.targets.inputs import dot


def gaussian_prior(center: Params, gamma: float, decay: float = 0.0) -> tuple[Callable, Callable | None]:
    """Log of exp(-(gamma/2)|w - w*|^2 - (decay/2)|w|^2), and a draw of that Gaussian (None where it is flat)."""
    precision = gamma + decay

    def draw(key: Key) -> Params:
        flat, unravel = ravel_pytree(center)
        return unravel(
            flat * (gamma / precision) + jax.random.normal(key, flat.shape, flat.dtype) / math.sqrt(precision)
        )

    log_prior = Partial(_log_gaussian, center, jnp.asarray(gamma), jnp.asarray(decay) if decay else None)
    return log_prior, draw if precision > 0 else None


def _log_gaussian(center: Params, gamma: Scalar, decay: Scalar | None, w: Params) -> Scalar:
    shift = jax.tree.map(jnp.subtract, w, center)
    value = -0.5 * gamma * dot(shift, shift)
    return value if decay is None else value - 0.5 * decay * dot(w, w)


def box_prior(box: tuple[Any, Any], minimum: Params) -> tuple[Callable, Callable, Callable]:
    """Log density (0), a uniform draw, and the reflection at the walls; a side is a number, or as `minimum` is."""
    low, high = (_side(side, minimum) for side in box)
    (flat_low, unravel), (flat_high, _), (point, _) = map(ravel_pytree, (low, high, minimum))
    if not bool((flat_high > flat_low).all()):
        raise ValueError(f"potential_target: box is {box}; every upper side must exceed the lower one.")
    if not bool(((point >= flat_low) & (point <= flat_high)).all()):
        raise ValueError(
            f"potential_target: the minimum {minimum} lies outside the box {box}; give a box that holds it."
        )

    def fold(w: Params) -> Params:
        return jax.tree.map(_reflected, w, low, high)

    def draw(key: Key) -> Params:
        return unravel(jax.random.uniform(key, point.shape, point.dtype, minval=flat_low, maxval=flat_high))

    return lambda w: jnp.zeros(()), draw, fold


def _side(side: Any, minimum: Params) -> Params:
    sides = jax.tree.map(lambda _: side, minimum) if jnp.isscalar(side) else side
    return jax.tree.map(lambda leaf, a: jnp.broadcast_to(jnp.asarray(a, leaf.dtype), leaf.shape), minimum, sides)


def _reflected(w: Array, low: Array, high: Array) -> Array:
    width = high - low
    phase = jnp.mod((w - low) / width, 2.0)
    return low + width * jnp.where(phase < 1, phase, 2 - phase)
