"""The one renderer: columns and rows become a table; how numbers, intervals, verdicts and reasons are written."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from slt._types import Estimate
from slt.draws import Verdict

COLOURS = {"converged": "green", "not converged": "yellow", "biased": "red", "not a minimum": "red"}


SIDES: dict[str, dict[str, Any]] = {
    "right": {"justify": "right", "no_wrap": True},
    "whole": {"no_wrap": True},
    "fold": {"overflow": "fold"},
    "folded number": {"justify": "right", "overflow": "fold"},
    "text": {},
}
"""Numbers stand right and whole; text is whole, folded anywhere, or wrapped at its words."""


class Column(NamedTuple):
    """head; cell: of a row, by function or by the name of its field, or in its turn; side: one of SIDES."""

    head: str
    cell: Callable[[Any], Any] | str | None = None
    side: str = "right"


def table(title: str, columns: Sequence[Column], rows: Iterable[Any], *, show_header: bool = True) -> Table:
    """A row each; estimates, numbers and text as `shown` writes them; None draws a line."""
    style: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD}
    made = Table(title=Text(title), show_header=show_header, padding=(0, 1, 0, 0), **style)
    for column in columns:
        made.add_column(Text(column.head), **SIDES[column.side])
    for row in rows:
        if row is None:
            made.add_section()
            continue
        made.add_row(*(shown(_cell(column.cell, row, i)) for i, column in enumerate(columns)))
    return made


def _cell(cell: Callable[[Any], Any] | str | None, row: Any, turn: int) -> Any:
    if cell is None:
        return row[turn]
    return getattr(row, cell) if isinstance(cell, str) else cell(row)


def shown(value: Any) -> Text:
    """As Text, lest rich read a bracket as markup."""
    if isinstance(value, Text):
        return value
    return Text(plus_minus(value) if isinstance(value, Estimate) else number(value))


class Notes:
    """Reasons by number, each said once under its table."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def mark(self, reason: str) -> str:
        """The mark of a reason, empty for none."""
        if reason and reason not in self.said:
            self.said.append(reason)
        return f" [{self.said.index(reason) + 1}]" if reason else ""

    def lines(self) -> list[Text]:
        """To be said, once all rows are made."""
        return [Text(f"[{i}] {note}") for i, note in enumerate(self.said, start=1)]


def plus_minus(estimate: Estimate) -> str:
    """Value ± error, both to the second digit of the error; a dash where there is none."""
    if math.isnan(estimate.value):
        return "–"
    if not (math.isfinite(estimate.value) and math.isfinite(estimate.mcse)) or estimate.mcse <= 0:
        return str(estimate)
    decimals = _decimals(estimate)
    return f"{estimate.value:.{decimals}f} ± {estimate.mcse:.{decimals}f}"


def interval(estimate: Estimate) -> str:
    """The 90 % interval, to the second digit of the error."""
    low, high = estimate.interval(0.9)
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return f"[{low:.{_decimals(estimate)}f}, {high:.{_decimals(estimate)}f}]"


def number(value: str | float) -> str:
    """Four significant digits; integers in full, text as it is, NaN as a dash."""
    if isinstance(value, str | int):
        return str(value)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value)
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def fraction(value: float) -> str:
    """A small fraction as such, e.g. 5/6, any other number to four digits."""
    near = Fraction(value).limit_denominator(1000) if math.isfinite(value) else Fraction(0)
    return str(near) if abs(near - value) < 1e-12 else number(value)


def verdict(status: str) -> Text:
    """The status in its colour."""
    return Text(status, style=colour(status))


def reason_lines(verdict: Verdict, refused: Mapping[str, Verdict] | None = None, name: str = "") -> list[Text]:
    """A line for every reason of a verdict and for every estimate that was refused, in their colours."""
    lines = [Text(f"• {name}{reason}", style=colour(verdict.status)) for reason in verdict.reasons]
    for what, refusal in (refused or {}).items():
        text = f"• {name}{what} is refused ({refusal.status}). {' '.join(refusal.reasons)}"
        lines.append(Text(text, style=colour(refusal.status)))
    return lines


def colour(status: str) -> str:
    """Of a verdict."""
    return COLOURS.get(status, "magenta")


def fixed(value: float, decimals: int) -> str:
    """That many decimals where finite."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else number(value)


def _decimals(estimate: Estimate) -> int:
    return min(8, max(0, 1 - math.floor(math.log10(estimate.mcse)))) if estimate.mcse > 0 else 4
