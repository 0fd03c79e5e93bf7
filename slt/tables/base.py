"""What all tables share: an empty table, and how numbers, intervals and verdicts are written."""

import math
from fractions import Fraction

from rich import box
from rich.table import Table
from rich.text import Text

from slt._types import Estimate

COLOURS = {"converged": "green", "not converged": "yellow", "biased": "red", "not a minimum": "red"}


def new_table(title: str, *, show_header: bool = True) -> Table:
    """An empty table in the style of all."""
    style = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    return Table(title=title, show_header=show_header, **style)


def add_row(table: Table, *cells: str | Text) -> None:
    """As Text, lest rich read a bracket as markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def plus_minus(estimate: Estimate) -> str:
    """Value ± error, both to the second digit of the error."""
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
    return Text(status, style=COLOURS.get(status, "magenta"))


def fixed(value: float, decimals: int) -> str:
    """That many decimals where finite."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else number(value)


def _decimals(estimate: Estimate) -> int:
    return min(8, max(0, 1 - math.floor(math.log10(estimate.mcse)))) if estimate.mcse > 0 else 4
