"""Many chains at once: vectorised, one after the other, or spread over the devices of one process or of several."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from slt._types import Batch, Key, Params

VMAP_LIMIT = 30_000
"""Parameters per chain above which lax.map over chains is no slower than vmap, and needs less memory."""


def over_chains(method: str | int, positions: Params, mesh: Mesh | None = None) -> Callable:
    """(fn, args, shared) -> fn(arg, shared) for every entry of the leading axis of args, on every device its share."""
    leaves = jax.tree.leaves(positions)
    size = sum(leaf.size for leaf in leaves) // leaves[0].shape[0]
    vmapped = method == "vmap" or (method == "auto" and size <= VMAP_LIMIT)

    def over(fn: Callable, args: Any, shared: Any) -> Any:
        if isinstance(method, int):
            return jax.lax.map(lambda a: fn(a, shared), args, batch_size=method)
        if vmapped:
            return jax.vmap(fn, in_axes=(0, None))(args, shared)
        return jax.lax.map(lambda a: fn(a, shared), args)

    if mesh is None or "chain" not in mesh.axis_names:
        return over
    split, whole = PartitionSpec("chain"), PartitionSpec()
    return lambda fn, args, shared: jax.shard_map(
        lambda a, s: over(fn, a, s), mesh=mesh, in_specs=(split, whole), out_specs=split, axis_names={"chain"},
        check_vma=False,
    )(args, shared)  # fmt: skip


def checked_mesh(mesh: Mesh) -> Mesh:
    """The mesh with axes that the compiler may use as it likes."""
    if not mesh.axis_names or set(mesh.axis_names) - {"chain", "data"}:
        raise ValueError(
            f"runner: the axes of the mesh are {mesh.axis_names}; name them 'chain', 'data' or both, e.g. "
            "jax.make_mesh((2,), ('chain',))."
        )
    return Mesh(mesh.devices, mesh.axis_names)


def on_mesh(init: Callable, advance: Callable, mesh: Mesh) -> tuple[Callable, Callable]:
    """Both functions of a `Runner` with their arguments placed: chains and rows split, the rest on every device."""

    def put(tree: Any, axis: str | None = None) -> Any:
        parts = mesh.shape.get(axis, 1) if axis else 1
        uneven = [leaf.shape[0] for leaf in jax.tree.leaves(tree) if parts > 1 and leaf.shape[0] % parts]
        if uneven:
            raise ValueError(
                f"runner: {uneven[0]} {'chains' if axis == 'chain' else 'rows'} do not split evenly over the {parts} "
                f"devices of the axis {axis!r}; give a multiple, or a smaller axis."
            )
        sharding = NamedSharding(mesh, PartitionSpec(axis) if parts > 1 else PartitionSpec())
        return jax.tree.map(lambda leaf: _placed(leaf, sharding), tree)

    def placed_init(key: Key, positions: Params, data: Batch) -> Any:
        return init(put(key), put(positions, "chain"), put(data, "data"))

    def placed_advance(chains: Any, data: Batch, num_draws: int) -> Any:
        states = put(chains.states, "chain")
        return advance(chains._replace(states=states, key=put(chains.key), index=put(chains.index)),
                       put(data, "data"), num_draws)  # fmt: skip

    return placed_init, placed_advance


def _placed(leaf: Any, sharding: NamedSharding) -> Array:
    """An array of this process as one of all processes, each of which holds the same."""
    if jax.process_count() == 1 or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding)
    if is_key(leaf):
        return jax.random.wrap_key_data(_placed(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def is_key(leaf: Any) -> bool:
    """Whether an array holds typed random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
