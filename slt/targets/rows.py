"""What a user hands over as data, as rows: arrays, memory maps that stay on disk, batches, a `datasets` object.

A memory map is read row by row, from inside compiled code, as batches ask for it; what the device holds is the row
numbers. Everything else is held in memory. `in_chunks` bounds the memory of one evaluation of the loss.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from slt.targets.inputs import LossPerDatum


def as_rows(data: Any) -> PyTree[Array]:
    """Data as a pytree of arrays with one leading axis.

    Args:
        data: arrays (of NumPy, JAX or PyTorch) in a tuple, list or dict; a Hugging Face `datasets.Dataset`, or finite
            `IterableDataset`, whose columns become the entries of a dict; or a finite iterable of batches of such, e.g.
            a data loader, which is gone through once and joined.

    Raises:
        ValueError: an iterable without batches, several splits of a dataset, or a column that is not rectangular.
    """
    if hasattr(data, "column_names") and hasattr(data, "with_format"):
        return _columns(data)
    if hasattr(data, "column_name"):  # a single column of a dataset
        return np.asarray(data[:])
    if isinstance(data, Iterable) and not isinstance(data, tuple | list | Mapping) and not hasattr(data, "dtype"):
        batches = [jax.tree.map(np.asarray, batch) for batch in data]
        if not batches:
            raise ValueError("data: the iterable holds no batches; an exhausted generator cannot be read twice.")
        return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    return jax.tree.map(lambda a: a if isinstance(a, np.memmap | jax.Array) else np.asarray(a), data)


def _columns(data: Any) -> dict[str, np.ndarray]:
    """Of a dataset, in the precision they are stored in; of a stream, in that of Python's numbers."""
    if isinstance(data, Mapping):
        splits = ", ".join(data)
        raise ValueError(
            f"data: this is a dictionary of splits ({splits}); give one, such as data['{next(iter(data))}']."
        )
    if hasattr(data, "__len__"):
        columns = data.with_format("numpy", dtype=None)[:]
    else:
        batches = list(data.with_format(None).iter(batch_size=1000))
        columns = {name: [row for batch in batches for row in batch[name]] for name in (batches or [{}])[0]}
    columns = {name: _rectangular(column) for name, column in columns.items()}
    wrong = [name for name, column in columns.items() if column.dtype.kind not in "biuf"]
    if wrong:
        raise ValueError(
            f"data: the columns {', '.join(wrong)} have rows of unequal shape or no number type; "
            "pad, tokenise or remove them first."
        )
    return columns


def _rectangular(column: Any) -> np.ndarray:
    try:
        return np.asarray(column)
    except ValueError:  # ragged
        return np.asarray(column, object)


def on_device(loss: LossPerDatum, data: Any) -> tuple[LossPerDatum, PyTree[Array]]:
    """The loss and the rows it takes on the device: row numbers where a leaf of the data is a memory map.

    Raises:
        ValueError: as `as_rows`, a leaf that holds no numbers, or leaves of unequal length beside a memory map.
    """
    rows = as_rows(data)
    leaves = jax.tree.leaves(rows)
    if not any(isinstance(leaf, np.memmap) for leaf in leaves):
        return loss, jax.tree_util.tree_map_with_path(_column, rows)
    sizes = {len(leaf) for leaf in leaves}
    if len(sizes) != 1:
        raise ValueError(f"data: the leading axes are {sizes}; all arrays need the same number n of rows.")
    read = _reader(jax.tree.map(lambda a: a if isinstance(a, np.memmap) else np.asarray(a), rows))
    return lambda params, index: loss(params, read(index)), jnp.arange(sizes.pop(), dtype=jnp.int32)


def _column(path: Any, column: Any) -> Array:
    try:
        return jnp.asarray(column)
    except TypeError:
        where = jax.tree_util.keystr(path) or "the array"
        raise ValueError(f"data: {where} holds {np.asarray(column).dtype}, no numbers; encode it first.") from None


def in_chunks(loss: LossPerDatum, size: int) -> LossPerDatum:
    """The same loss, `size` rows at a time, its gradient accumulated: memory is that of a chunk.

    Activations are not kept but computed anew in the backward pass, a third more work.
    """
    if size < 1:
        raise ValueError(f"chunk_size is {size}; at least 1 row has to be seen at a time.")

    def chunked(params: Any, rows: Any) -> Array:
        count = jax.tree.leaves(rows)[0].shape[0]
        whole = count // size * size
        if count <= size:
            return loss(params, rows)
        one = jax.checkpoint(lambda part: loss(params, part))
        parts = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), rows)
        values = jax.lax.map(one, parts).reshape(-1)
        if whole == count:
            return values
        return jnp.concatenate([values, one(jax.tree.map(lambda a: a[whole:], rows))])

    return chunked


def _reader(rows: PyTree[np.ndarray]) -> Callable[[Array], PyTree[Array]]:
    """Row numbers -> rows, by a host callback; floats arrive in the default precision."""
    kinds = jax.tree.map(lambda a: jax.dtypes.canonicalize_dtype(a.dtype), rows)

    def fetch(index: np.ndarray) -> PyTree[np.ndarray]:
        return jax.tree.map(lambda a, kind: np.asarray(a[np.asarray(index)], kind), rows, kinds)

    def read(index: Array) -> PyTree[Array]:
        shapes = jax.tree.map(lambda a, kind: jax.ShapeDtypeStruct(index.shape + a.shape[1:], kind), rows, kinds)
        return jax.pure_callback(fetch, shapes, index, vmap_method="broadcast_all")

    return read
