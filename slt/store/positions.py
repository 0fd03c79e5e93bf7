"""Positions, a tree of parameters, as the variables of a posterior: one a leaf, with the way to it beside."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from slt.store.naming import array, safe_name

Leaf = tuple[np.ndarray, dict[str, str]]


def named_leaves(positions: Any) -> dict[str, Leaf]:
    """{variable name: (leaf, what is stored beside it)}."""
    named: dict[str, Leaf] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(positions)[0]:
        steps = [_step(key) for key in path]
        name = safe_name(".".join(str(step) for _, step in steps) or "position", named)
        values = np.asarray(leaf)
        named[name] = (_storable(values), {"path": json.dumps(steps), "stored_dtype": values.dtype.name})
    return named


def read_positions(variables: Mapping[Any, xr.DataArray]) -> Any:
    """The tree again: dicts and lists as such, tuples as lists, any other node as a dict."""
    root: dict[Any, Any] = {}
    for variable in variables.values():
        node, steps = root, [("key", ""), *map(tuple, json.loads(variable.attrs["path"]))]
        for step in steps[:-1]:
            node = node.setdefault(step, {})
        node[steps[-1]] = array(variable, "chain", "draw").astype(jnp.dtype(variable.attrs["stored_dtype"]))
    return _containers(root[("key", "")])


def _step(key: Any) -> tuple[str, str | int]:
    if isinstance(key, jax.tree_util.SequenceKey):
        return "index", key.idx
    if isinstance(key, jax.tree_util.DictKey) and isinstance(key.key, int):
        return "key", key.key
    return "key", jax.tree_util.keystr((key,), simple=True)


def _containers(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if all(kind == "index" for kind, _ in node):
        return [_containers(value) for _, value in sorted(node.items(), key=lambda item: item[0][1])]
    return {key: _containers(value) for (_, key), value in node.items()}


def _storable(values: np.ndarray) -> np.ndarray:
    """No file knows numbers of 16 bits in all their kinds; float32 holds every one of them."""
    half = values.dtype.itemsize < 4 and jnp.issubdtype(values.dtype, jnp.floating)
    return values.astype(np.float32) if half else values
