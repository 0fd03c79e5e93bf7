"""Compilation shared by calls that differ in numbers alone: other checkpoints, localisations, steps, temperatures."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

KEEP = 256
"""Programs that each function keeps; the one used longest ago is dropped, and with it what its functions hold."""


class _Static:
    """All of some arguments but their arrays; 1, 1.0 and True are three."""

    def __init__(self, treedef: Any, values: tuple) -> None:
        self.treedef, self.values = treedef, values
        self.kinds = tuple(map(type, values))

    def __hash__(self) -> int:
        return hash((self.treedef, self.values, self.kinds))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and (self.treedef, self.values, self.kinds) == (
            other.treedef,
            other.values,
            other.kinds,
        )


def shared_jit(function: Callable) -> Callable:
    """`jax.jit` whose arguments may hold anything: arrays are traced, all else is static and must be hashable.

    Functions passed as `jax.tree_util.Partial` of a named function and arrays, and those that `slt.targets.loss.trace`
    makes, are therefore equal up to numbers.
    """

    @functools.lru_cache(maxsize=KEEP)
    def compiled(_: _Static) -> Callable:
        # the static part is an argument again: arrays of another shape are traced with the functions of their own call
        @functools.partial(jax.jit, static_argnums=0)
        @functools.wraps(function)
        def run(static: _Static, arrays: list) -> Any:
            leaves = [s if a is None else a for a, s in zip(arrays, static.values, strict=True)]
            args, named = static.treedef.unflatten(leaves)
            return function(*args, **named)

        return run

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        leaves, treedef = jax.tree.flatten((args, named))
        traced = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        static = _Static(treedef, tuple(None if t else leaf for leaf, t in zip(leaves, traced, strict=True)))
        return compiled(static)(static, [leaf if t else None for leaf, t in zip(leaves, traced, strict=True)])

    return call
