"""What a user hands over as data, as rows: arrays, tables, memory maps that stay on disk, data sets, batches.

A memory map is read row by row, from inside compiled code, as batches ask for it; what the device holds is the row
numbers. Everything else is held in memory. `in_chunks` bounds the memory of one evaluation of the loss.
"""

import numbers
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from slt.targets.columns import as_array, fitted, loss_dtype
from slt.targets.inputs import LossPerDatum


def as_rows(data: Any) -> PyTree[Array]:
    """Data as a pytree of arrays with one leading axis, unrounded.

    Args:
        data: columns, in a tuple, dict or list, or one alone: arrays of any library (also memory maps, Series, nested
            lists of numbers); or a table whose columns become the entries of a dict: a pandas or polars DataFrame, an
            xarray or Hugging Face data set, a structured array; or rows or batches of such, one after the other: a list
            of tuples or dicts, a PyTorch data set or loader, any finite iterable. What could be either is a batch.

    Raises:
        ValueError: nothing in it, several splits of a dataset, what `as_array` refuses, or items that do not fit.
    """
    return _read(data, "data")


def _read(data: Any, where: str) -> Any:
    if data is None:
        return None
    if isinstance(data, str | bytes | os.PathLike | set | frozenset):
        raise ValueError(f"{where} is {str(data)[:80]!r} (a {type(data).__name__}); read it first and give arrays.")
    for applies, read in READERS:
        if applies(data):
            return read(data, where)
    raise ValueError(
        f"{where} is a {type(data).__name__}; give arrays in a tuple or dict, a table, or an iterable of batches."
    )


def _is_plain(data: Any) -> bool:
    """A number, or nested lists of them."""
    if isinstance(data, list):
        return bool(data) and all(map(_is_plain, data))
    return data is None or isinstance(data, numbers.Number | np.bool_)


def _is_array(data: Any) -> bool:
    return isinstance(data, np.ndarray | jax.Array) or (hasattr(data, "dtype") and hasattr(data, "shape"))


def _names(data: Any) -> list:
    names = getattr(data, "column_names", getattr(data, "columns", ()))
    return [] if callable(names) else list(names)


def _is_table(data: Any) -> bool:
    names = _names(data)
    return bool(names) and hasattr(data, "__getitem__") and all(isinstance(n, str | int | tuple) for n in names)


def _table(data: Any, where: str) -> dict[Any, Any]:
    names = _names(data)
    twice = [str(name) for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{where} has several columns {twice[0]!r}; rename or drop one.")
    return _mapping({name: data[name] for name in names}, where)


def _labelled(data: Any, where: str) -> dict[Any, Any]:
    """An xarray.Dataset; its rows are the first dimension that all variables share."""
    first = {str(name): str(variable.dims[0]) if variable.dims else "none" for name, variable in data.data_vars.items()}
    if len(set(first.values())) > 1:
        raise ValueError(f"{where} has the first dimensions {first}; transpose it so that the rows come first in each.")
    return _mapping({str(name): data[name] for name in data.data_vars}, where)


def _mapping(data: Mapping, where: str) -> dict[Any, Any]:
    kinds = {type(name) for name in data}
    if len(kinds) > 1:
        raise ValueError(
            f"{where} has names of several types ({', '.join(sorted(k.__name__ for k in kinds))}); give texts."
        )
    _check_index(data.values(), where)
    return {name: _read(column, f"{where}[{name!r}]") for name, column in data.items()}


def _fields(data: Any, where: str) -> dict[str, Any]:
    return {name: _read(data[name], f"{where}[{name!r}]") for name in data.dtype.names}


def _tuple(data: tuple, where: str) -> tuple:
    _check_index(data, where)
    columns = [_read(column, f"{where}[{i}]") for i, column in enumerate(data)]
    return type(data)(*columns) if hasattr(data, "_fields") else tuple(columns)


def _list(data: list, where: str) -> Any:
    """Columns; but tuples and dicts in a list are rows or batches."""
    if any(isinstance(item, tuple | Mapping) for item in data):
        return _joined(data, where)
    columns = list(_tuple(tuple(data), where))
    shapes = {np.shape(column) if _is_array(column) else () for column in columns}
    shape = shapes.pop() if len(shapes) == 1 else ()
    if len(shape) == 1 and shape[0] < len(columns):
        raise ValueError(
            f"{where} is a list of {len(columns)} arrays of {shape[0]} numbers; give np.stack(data) if these "
            "are rows, "
            "tuple(data) if they are columns."
        )
    return columns


def _items(data: Any, where: str) -> Any:
    """What has a length and can be indexed by number: a PyTorch data set of rows, and its like."""
    torch = sys.modules.get("torch.utils.data")
    if torch is not None and isinstance(data, torch.IterableDataset):
        return _joined(data, where)
    rows = torch is not None and isinstance(data, torch.Dataset)
    items = [data[i] for i in range(len(data))]
    return _joined(items, where, rows=rows or None, indexed=type(data).__name__)


def _joined(data: Iterable, where: str, *, rows: bool | None = None, indexed: str = "") -> Any:
    """Items that are rows stacked, items that are batches concatenated.

    They are rows where an item has a single number among its leaves, or leaves of unequal length.
    """
    items = [_read(item, f"{where}, item {i}") for i, item in enumerate(data)]
    if not items:
        raise ValueError(f"{where}: the iterable holds no batches; an exhausted generator cannot be read twice.")
    trees = [jax.tree.structure(item) for item in items]
    odd = next((i for i, tree in enumerate(trees) if tree != trees[0]), None)
    if odd is not None:
        raise ValueError(f"{where}: item {odd} is {trees[odd]} where item 0 is {trees[0]}; all need the same columns.")
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(item)] for item in items]
    if rows is None:
        rows = any(len({shape[:1] for shape in item}) > 1 or () in item for item in shapes)
        if indexed and not rows and len(items) > 1 and all(item == shapes[0] for item in shapes):
            raise ValueError(
                f"{where}: the items of the {indexed} have the shapes {shapes[0]} and may be rows "
                "or batches; "
                "give arrays, by np.stack where they are rows, by np.concatenate where they are batches."
            )
    due = [shape if rows else shape[1:] for shape in shapes[0]]
    odd = next((i for i, item in enumerate(shapes) if [s if rows else s[1:] for s in item] != due), None)
    if odd is not None:
        kind = "a row" if rows else "a batch of rows"
        raise ValueError(
            f"{where}: item {odd} has the shapes {shapes[odd]} where item 0 has {shapes[0]}, each read as {kind}; pad "
            "or cut them to one shape."
        )
    return jax.tree.map(lambda *parts: np.stack(parts) if rows else np.concatenate(parts), *items)


def _node(data: Any, where: str) -> Any:
    """A class that JAX knows as a pytree."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(data)
    return treedef.unflatten([_read(leaf, where + jax.tree_util.keystr(path)) for path, leaf in leaves])


def _check_index(columns: Iterable, where: str) -> None:
    """Pandas would pair rows by their labels, arrays pair them by position: both have to be the same."""
    labels = [column.index for column in columns if hasattr(column, "iloc")]
    if any(not label.equals(labels[0]) for label in labels):
        raise ValueError(
            f"{where} has columns whose pandas indices differ, so that their rows may not belong together; join them, "
            "or take .to_numpy() of each."
        )


def _hugging_face(data: Any, where: str) -> dict[str, Any]:
    """Of a Hugging Face dataset, in the precision they are stored in; of a stream, in that of Python's numbers."""
    if isinstance(data, Mapping):
        splits = ", ".join(data)
        raise ValueError(
            f"{where}: this is a dictionary of splits ({splits}); give one, such as {where}['{next(iter(data))}']."
        )
    if hasattr(data, "__len__"):
        columns = data.with_format("numpy", dtype=None)[:]
    else:
        batches = list(data.with_format(None).iter(batch_size=1000))
        columns = {name: [row for batch in batches for row in batch[name]] for name in (batches or [{}])[0]}
    return {name: as_array(column, f"{where}[{name!r}]") for name, column in columns.items()}


READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Any]], ...] = (
    (lambda data: hasattr(data, "column_names") and hasattr(data, "with_format"), _hugging_face),
    (lambda data: hasattr(data, "column_name"), lambda data, where: as_array(data[:], where)),
    (lambda data: hasattr(data, "data_vars"), _labelled),
    (lambda data: isinstance(data, Mapping), _mapping),
    (lambda data: _is_array(data) and getattr(data.dtype, "names", None) is not None, _fields),
    (_is_array, as_array),
    (_is_table, _table),
    (lambda data: hasattr(data, "__array__") or hasattr(data, "__array_interface__") or _is_plain(data), as_array),
    (lambda data: isinstance(data, tuple), _tuple),
    (lambda data: isinstance(data, list), _list),
    (lambda data: not jax.tree_util.all_leaves([data]), _node),
    (lambda data: hasattr(data, "__len__") and hasattr(data, "__getitem__"), _items),
    (lambda data: isinstance(data, Iterable), _joined),
)
"""What data may be and how it is read; the first that applies. `as_rows` describes them."""


def in_memory(data: Any) -> PyTree[Array]:
    """The rows on the device, memory maps too; raises as `as_rows` and `fitted`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, column: jnp.asarray(np.asarray(fitted(column, f"data{jax.tree_util.keystr(path)}"))), as_rows(data)
    )


def alike(rows: PyTree, like: PyTree, where: str = "test_data") -> PyTree:
    """Rows of other data, in the structure of those of `like`: a list may stand for a tuple.

    Raises:
        ValueError: other names, or rows of another shape.
    """
    due, given = (jax.tree.map(lambda a: tuple(a.shape[1:]), tree) for tree in (like, rows))
    if _as_tuples(due) != _as_tuples(given):
        raise ValueError(
            f"{where} has rows of the shapes {given}; those of the target's data are {due}: give the same."
        )
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(rows))


def _as_tuples(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _as_tuples(part) for name, part in tree.items()}
    return tuple(map(_as_tuples, tree)) if isinstance(tree, list | tuple) else tree


def on_device(data: Any) -> tuple[Callable[[Array], PyTree[Array]] | None, PyTree[Array]]:
    """The rows on the device: row numbers, and what reads those rows, where a leaf of the data is a memory map.

    Raises:
        ValueError: as `as_rows` and `fitted`, or leaves of unequal length beside a memory map.
    """
    rows = jax.tree_util.tree_map_with_path(
        lambda path, column: fitted(column, f"data{jax.tree_util.keystr(path)}"), as_rows(data)
    )
    leaves = jax.tree.leaves(rows)
    if not any(isinstance(leaf, np.memmap) for leaf in leaves):
        return None, rows
    sizes = {len(leaf) for leaf in leaves}
    if len(sizes) != 1:
        raise ValueError(f"data: the leading axes are {sizes}; all arrays need the same number n of rows.")
    read = _reader(jax.tree.map(lambda a: a if isinstance(a, np.memmap) else np.asarray(a), rows))
    return read, jnp.arange(sizes.pop(), dtype=jnp.int32)


def evenly(data: PyTree[Array], number: int) -> PyTree[Array]:
    """So many rows of data on a device, evenly spaced from the first to the last."""
    return jax.tree.map(lambda a: a[jnp.linspace(0, a.shape[0] - 1, number).astype(int)], data)


def in_chunks(loss: LossPerDatum, size: int) -> LossPerDatum:
    """The same loss, `size` rows at a time, its gradient accumulated: memory is that of a chunk.

    Activations are not kept but computed anew in the backward pass, a third more work.
    """
    if size < 1:
        raise ValueError(f"chunk_size is {size}; at least 1 row has to be seen at a time.")
    return Partial(_Chunked(size), loss)


@dataclass(frozen=True)
class _Chunked:
    """A loss of rows in chunks; equal to another where the chunks are."""

    size: int

    def __call__(self, loss: LossPerDatum, params: Any, rows: Any) -> Array:
        size, count = self.size, jax.tree.leaves(rows)[0].shape[0]
        whole = count // size * size
        if count <= size:
            return loss(params, rows)
        one = jax.checkpoint(lambda part: loss(params, part))
        parts = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), rows)
        values = jax.lax.map(one, parts).reshape(-1)
        if whole == count:
            return values
        return jnp.concatenate([values, one(jax.tree.map(lambda a: a[whole:], rows))])


def _reader(rows: PyTree[np.ndarray]) -> Callable[[Array], PyTree[Array]]:
    """Row numbers -> rows, by a host callback, in the dtypes of `loss_dtype`."""
    kinds = jax.tree.map(lambda a: loss_dtype(a.dtype), rows)

    def fetch(index: np.ndarray) -> PyTree[np.ndarray]:
        return jax.tree.map(lambda a, kind: np.asarray(a[np.asarray(index)], kind), rows, kinds)

    def read(index: Array) -> PyTree[Array]:
        shapes = jax.tree.map(lambda a, kind: jax.ShapeDtypeStruct(index.shape + a.shape[1:], kind), rows, kinds)
        return jax.pure_callback(fetch, shapes, index, vmap_method="broadcast_all")

    return read
