"""Tables whose rows are NamedTuples of numbers and text: in a tree, and validation rows in CSV."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from slt._types import Estimate
from slt.draws import ValidationRow
from slt.store.files import ENDS, check_output, made_by, open_datatree, write

FORMAT = "slt-tables-1"


def save_tables(
    tables: Mapping[str, Sequence[Any]],
    path: str | os.PathLike,
    *,
    kind: str,
    config: str = "",
    overwrite: bool = False,
) -> Path:
    """Write tables whose rows are NamedTuples of numbers and text: a group a table, a variable a column.

    Args:
        tables: rows by name; an empty table is left out.
        path: as for `save`. kind: what they are the tables of. config, overwrite: as for `save`.

    Raises:
        FileExistsError, ValueError: as `save`.
    """
    path = check_output(path, overwrite=overwrite)
    tree = xr.DataTree(
        children={
            name: xr.DataTree(xr.Dataset({field: ("row", list(column)) for field, column in _columns(rows).items()}))
            for name, rows in tables.items()
            if rows
        }
    )
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
    return {name: _rows(tree.children.get(name), row) for name, row in row_types.items()}


def _rows(table: xr.DataTree | None, row: Any) -> list[Any]:
    if table is None:
        return []
    columns = [table[field].to_numpy().tolist() for field in row._fields]
    return [row(*values) for values in zip(*columns, strict=True)]


def _columns(rows: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(rows[0]._fields, zip(*rows, strict=True), strict=True))


def stored_kind(path: str | os.PathLike) -> str:
    """The kind of stored tables, or "estimate" for a result of `save`; raises as `load`."""
    return str(open_datatree(path).attrs.get("kind", "estimate"))


def save_rows(rows: Sequence[ValidationRow], path: str | os.PathLike) -> None:
    """Write validation rows as CSV, one line each, the estimate as value, mcse and dof."""
    rest = [name for name in ValidationRow._fields if name != "estimate"]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*rest, *(f"estimate{end}" for end in ENDS)])
        writer.writerows([*(getattr(row, name) for name in rest), *row.estimate] for row in rows)


def load_rows(path: str | os.PathLike) -> list[ValidationRow]:
    """The rows `save_rows` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}; `slt validate --output` writes one.")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [_row(fields) for fields in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a table of `slt validate` ({type(error).__name__}: {error}); give one it wrote."
        ) from error


def _row(fields: dict[str, str]) -> ValidationRow:
    estimate = Estimate(*(float(fields[f"estimate{end}"]) for end in ENDS))
    kinds = {name: kind for name, kind in ValidationRow.__annotations__.items() if name != "estimate"}
    return ValidationRow(estimate=estimate, **{name: kind(fields[name]) for name, kind in kinds.items()})
