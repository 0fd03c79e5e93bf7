"""Tables whose rows are NamedTuples of numbers and text: in a tree, or in CSV."""

import csv
import io
import json
import os
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import xarray as xr

from slt._rows import ENDS, flat, heads
from slt._types import Estimate
from slt.store.files import check_output, made_by, open_datatree, reading, replacing, write

FORMAT = "slt-tables-1"


def save_tables(
    tables: Mapping[str, Sequence[Any]],
    path: str | os.PathLike,
    *,
    kind: str,
    config: str = "",
    overwrite: bool = False,
) -> Path:
    """Write tables whose rows are NamedTuples: a group a table, a variable a column, three for an `Estimate`.

    Args:
        tables: rows by name; an empty table is left out.
        path: as for `save`. kind: what they are the tables of. config, overwrite: as for `save`.

    Raises:
        FileExistsError, ValueError: as `save`.
    """
    path = check_output(path, overwrite=overwrite)
    tree = xr.DataTree(children={name: xr.DataTree(to_dataset(rows)) for name, rows in tables.items() if rows})
    tree.attrs = {"slt_format": FORMAT, "kind": kind} | made_by(config, "")
    return write(tree, path)


def load_tables(path: str | os.PathLike, row_types: Mapping[str, type], *, kind: str) -> dict[str, list[Any]]:
    """The rows `save_tables` wrote, by name; raises as `load`.

    Args:
        row_types: the NamedTuple of each table.
        kind: what they must be the tables of.
    """
    tree = open_datatree(path)
    if (tree.attrs.get("slt_format"), tree.attrs.get("kind")) != (FORMAT, kind):
        raise ValueError(f"{path} holds no tables of `{kind}`; give a result that it wrote.")
    found = {name: tree.children.get(name) for name in row_types}
    with reading(f"The tables of {path}"):
        return {name: [] if table is None else _from_dataset(table, row_types[name]) for name, table in found.items()}


def to_dataset(rows: Sequence[Any]) -> xr.Dataset:
    """Rows of one NamedTuple as an `xarray.Dataset` along "row"; its `to_dataframe()` is the pandas table."""
    cells = zip(*(flat(row) for row in rows), strict=True)
    names = heads(type(rows[0]))
    return xr.Dataset({name: ("row", list(column)) for name, column in zip(names, cells, strict=True)})


def _from_dataset(table: xr.DataTree, row_type: Any) -> list[Any]:
    columns = {head: table[head].to_numpy().tolist() for head in heads(row_type)}
    return [_row(row_type, dict(zip(columns, cells, strict=True))) for cells in zip(*columns.values(), strict=True)]


def stored_kind(path: str | os.PathLike) -> str:
    """The kind of stored tables, or "estimate" for a result of `save`; raises as `load`."""
    return str(open_datatree(path).attrs.get("kind", "estimate"))


def save_rows(rows: Sequence[Any], path: str | os.PathLike) -> None:
    """Write rows as CSV, whole or not at all, one line each; an estimate is its value, mcse and dof."""
    with replacing(Path(path)) as new, open(new, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads(type(rows[0])))
        writer.writerows(flat(row) for row in rows)


def load_rows(path: str | os.PathLike, row_type: Any) -> list[Any]:
    """The rows `save_rows` wrote, as that NamedTuple.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}; `slt validate --output` writes one.")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            text = file.read()
        if not text.endswith("\n"):
            raise ValueError("its last line is cut off")
        return [_row(row_type, fields) for fields in csv.DictReader(io.StringIO(text, newline=""))]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a table of `slt validate` ({type(error).__name__}: {error}); give one it wrote."
        ) from error


def _row(row_type: Any, fields: Mapping[str, Any]) -> Any:
    def read(name: str, kind: Any) -> Any:
        if kind is Estimate:
            return Estimate(*(float(fields[name + end]) for end in ENDS))
        if kind is Fraction or typing.get_origin(kind) is tuple:
            found = json.loads(fields[name])
            return Fraction(found) if kind is Fraction else tuple(found)
        return kind(fields[name]) if kind in (bool, int, float) else str(fields[name])

    return row_type(**{name: read(name, kind) for name, kind in row_type.__annotations__.items()})
