"""Rows are NamedTuples of cells: text, numbers, and `Estimate`s. What holds them is shown short and becomes a table."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from slt._types import Estimate

ENDS = ("", "_mcse", "_dof")
"""Columns of an estimate, after its name."""
SHOWN = 24
"""Rows of a repr; the rest are counted."""


class Glance(NamedTuple):
    """What a result looks like at a glance: a title, lines of cells, and notes under them."""

    title: str
    lines: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()


def heads(row_type: Any) -> list[str]:
    """Column names of a row type, three for an estimate."""
    kinds = row_type.__annotations__
    return [name + end for name, kind in kinds.items() for end in (ENDS if kind is Estimate else ("",))]


def flat(row: Iterable[Any]) -> list[Any]:
    """The cells of a row: an estimate is three, any other compound of text a line of JSON."""
    cells: list[Any] = []
    for value in row:
        plain = isinstance(value, str | bool | int | float | np.generic)
        cells += value if isinstance(value, Estimate) else [value if plain else json.dumps(value, default=str)]
    return cells


def to_dataframe(rows: Sequence[Any]) -> Any:
    """Rows of one NamedTuple as a `pandas.DataFrame`."""
    import pandas as pd  # a dependency of xarray

    return pd.DataFrame([flat(row) for row in rows], columns=heads(type(rows[0])) if rows else None)


def as_text(self: Any) -> str:
    """`__repr__` of whatever has `glance()`: at most `SHOWN` lines in columns."""
    seen: Glance = self.glance()
    lines = [[_cell(cell) for cell in line] for line in seen.lines[:SHOWN]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)] if lines else []
    body = ["  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    rest = len(seen.lines) - len(lines)
    return "\n".join(
        [seen.title, *body, *([f"  (+{rest} more)"] if rest else []), *(f"  {note}" for note in seen.notes)]
    )


def as_html(self: Any) -> str:
    """`_repr_html_` of whatever has `glance()`."""
    seen: Glance = self.glance()
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(cell))}</td>" for cell in line) + "</tr>" for line in seen.lines
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in seen.notes)
    return f"<div><b>{html.escape(seen.title)}</b><table>{rows}</table>{notes}</div>"


def as_fields(self: Any) -> str:
    """`__repr__` of whatever holds arrays: these are their dtype and shape."""
    return f"{type(self).__name__}({', '.join(f'{name}={_brief(x)}' for name, x in self._asdict().items())})"


def _brief(value: Any) -> str:
    if getattr(value, "shape", ()):
        return f"{value.dtype}{list(value.shape)}"
    if type(value) in (list, tuple, dict):
        parts = [f"{x!r}: {_brief(value[x])}" if isinstance(value, dict) else _brief(x) for x in value]
        more = [f"+{len(parts) - SHOWN} more"] * (len(parts) > SHOWN)
        return f"{type(value).__name__}({', '.join(parts[:SHOWN] + more)})"
    return f"<{getattr(value, '__name__', 'function')}>" if callable(value) else repr(value)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
