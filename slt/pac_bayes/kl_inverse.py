r"""$\mathrm{kl}(q \Vert p) = q\ln\frac qp + (1-q)\ln\frac{1-q}{1-p}$ of two Bernoulli laws and its inverses in p.

JAX arrays are worked on in their own dtype, inside `jit` and `grad` too, as training objectives need it. Plain numbers
and NumPy arrays are worked on in float64, and NumPy comes back.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

ITERATIONS = 60
"""Halvings of the bracket: more than the mantissa of float64 has bits."""


def _kl_at_distance(q: Array, d: Array) -> Array:
    """kl(q || q + d), to full relative precision for small d."""
    safe, rest = jnp.where(q > 0, q, 1.0), jnp.where(q < 1, 1 - q, 1.0)
    return -jnp.where(q > 0, q * jnp.log1p(d / safe), 0.0) - jnp.where(q < 1, rest * jnp.log1p(-d / rest), 0.0)


def kl_inverse_upper(q: ArrayLike, c: ArrayLike) -> Array | np.ndarray:
    r"""$\sup\{p : \mathrm{kl}(q \Vert p) \le c\}$, elementwise, with the derivative of the implicit function.

    Args:
        q: mean of a loss in [0, 1].
        c: [nats], at least 0.

    Raises:
        ValueError: q outside [0, 1] or c below 0, where they are plain numbers.

    Source: Langford & Seeger 2001; the derivative: Reeb et al. 2018, arXiv:1810.12263.
    """
    return _evaluate(_upper, q, c)


def kl_inverse_lower(q: ArrayLike, c: ArrayLike) -> Array | np.ndarray:
    r"""$\inf\{p : \mathrm{kl}(q \Vert p) \le c\}$; otherwise as `kl_inverse_upper`."""
    return _evaluate(_lower, q, c)


def _evaluate(inverse, q: ArrayLike, c: ArrayLike) -> Array | np.ndarray:
    if isinstance(q, jax.Array) or isinstance(c, jax.Array):
        dtype = jnp.result_type(q, c, 1.0)
        return jax.jit(inverse)(*jnp.broadcast_arrays(jnp.asarray(q, dtype), jnp.asarray(c, dtype)))
    mean, nats = np.broadcast_arrays(np.asarray(q, np.float64), np.asarray(c, np.float64))
    if not (((mean >= 0) & (mean <= 1)).all() and (nats >= 0).all()):
        raise ValueError(f"kl inverse: q is {q} and c is {c}; q must lie in [0, 1] and c be at least 0.")
    with jax.enable_x64(True):
        return np.asarray(jax.jit(inverse)(jnp.asarray(mean), jnp.asarray(nats)))


@jax.custom_jvp
def _upper(q: Array, c: Array) -> Array:
    return _bisect(q, c, jnp.ones_like(q))


@jax.custom_jvp
def _lower(q: Array, c: Array) -> Array:
    return _bisect(q, c, jnp.zeros_like(q))


def _bisect(q: Array, c: Array, outside: Array) -> Array:
    """Halve the distance from q between 0, where kl = 0, and one where kl >= c; the far end is the safe side."""

    def halve(_, bracket):
        near, far = bracket
        middle = (near + far) / 2
        fits = _kl_at_distance(q, middle) <= c
        return jnp.where(fits, middle, near), jnp.where(fits, far, middle)

    return q + jax.lax.fori_loop(0, ITERATIONS, halve, (jnp.zeros_like(q), outside - q))[1]


def _derivative(inverse, primals, tangents):
    """db/dq = -(d_q kl)/(d_b kl), db/dc = 1/(d_b kl) at b = inverse(q, c); cut where infinite: in q at 0, 1."""
    (q, c), (dq, dc) = primals, tangents
    b, tiny = inverse(q, c), jnp.finfo(q.dtype).tiny
    by_b = (1 - q) / (1 - b) - q / b
    by_q = jnp.log(jnp.maximum(q, tiny) / b) - jnp.log(jnp.maximum(1 - q, tiny) / (1 - b))
    return b, (dc - by_q * dq) / by_b


_upper.defjvp(partial(_derivative, _upper))
_lower.defjvp(partial(_derivative, _lower))
