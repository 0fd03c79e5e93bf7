r"""Gaussian noise for Langevin kernels: fast, counter based, from two keyed words a step.

Drawing threefry bits costs as much as the gradient of a small network. A Langevin step needs independent N(0, 1)
entries, not cryptography: entry i of a step is erfinv of a 32-bit integer hash of (i, two threefry words of the key).
The tests hold it to the same law as `jax.random.normal`: moments, tails, and independence over entries, steps, chains.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from slt._types import Key, Params


def normal_like(key: Key, tree: Params) -> Params:
    """Independent N(0, 1) entries in the shapes of `tree`, in its dtypes.

    float32 leaves use the integer hash; other dtypes use `jax.random.normal`.
    """
    leaves, treedef = jax.tree.flatten(tree)
    words = jax.random.bits(key, (2,), jnp.uint32)
    offset, noise = 0, []
    for i, leaf in enumerate(leaves):
        if leaf.dtype == jnp.float32:
            noise.append(_hashed_normal(words, offset, leaf.shape))
        else:
            noise.append(jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype))
        offset += leaf.size
    return treedef.unflatten(noise)


def _hashed_normal(words: Array, offset: int, shape: tuple[int, ...]) -> Array:
    """sqrt(2) erfinv(u), u uniform on the 2^23 midpoints of (-1, 1)."""
    counter = jax.lax.iota(jnp.uint32, math.prod(shape)) + jnp.uint32(offset)
    bits = _mix(_mix(counter ^ words[0]) + words[1])
    uniform = ((bits >> 9).astype(jnp.float32) + 0.5) * 2.0**-22 - 1
    return (math.sqrt(2) * jax.lax.erf_inv(uniform)).reshape(shape)


def _mix(x: Array) -> Array:
    """A bijection of 32-bit words, each output bit depending on all input bits (constants: Wellons 2018)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
