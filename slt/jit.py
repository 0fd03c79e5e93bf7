"""Compilation shared by calls that differ in numbers alone: other checkpoints, localisations, steps, temperatures."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

KEEP = 32
"""Programs that each function keeps; the one used longest ago is dropped, and with it what its functions hold."""


def shared_jit(function: Callable) -> Callable:
    """`jax.jit` whose arguments may hold anything: arrays are traced, all else is static and must be hashable.

    Functions passed as `jax.tree_util.Partial` of a named function and arrays are therefore equal up to numbers.
    """

    @functools.lru_cache(maxsize=KEEP)
    def compiled(treedef: Any, statics: tuple) -> Callable:
        @functools.wraps(function)
        def run(arrays: list) -> Any:
            leaves = [s if a is None else a for a, s in zip(arrays, statics, strict=True)]
            args, named = treedef.unflatten(leaves)
            return function(*args, **named)

        return jax.jit(run)

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        leaves, treedef = jax.tree.flatten((args, named))
        traced = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        statics = tuple(None if t else leaf for leaf, t in zip(leaves, traced, strict=True))
        return compiled(treedef, statics)([leaf if t else None for leaf, t in zip(leaves, traced, strict=True)])

    return call
