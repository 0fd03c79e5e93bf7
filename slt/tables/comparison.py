"""Tables of a comparison: every measure of every minimum, and what the measures predict over many minima."""

import itertools
import math

from rich.console import Group, RenderableType
from rich.text import Text

from slt._types import Estimate
from slt.draws import Compared, Comparison, Measure
from slt.tables.base import add_row, new_table, number, plus_minus

GROUPS = {
    "dimension": "dimensions, on the scale of λ [1]",
    "count": "multiplicity",
    "nats": "prices under the prior [nats]",
    "volume": "volumes in units of w, as −log V [nats]",
    "total": "all data, L(w*) included [nats]",
    "loss": "losses [nats/datum]",
    "error": "errors and bounds on them [1]",
    "curvature": "curvature [nats/datum per unit²]",
    "frequency": "how often it is found [1]",
}
"""In the order of the table."""
SIDE_BY_SIDE = 2
"""Minima beside each other at 100 columns."""


def comparison_table(comparison: Comparison) -> RenderableType:
    """Value ± error and seconds of every measure, two minima beside each other; a number in brackets is a reason.

    Numbers of one heading may be compared with each other. Seconds are those of the computation a number is from,
    which others of the same minimum share.
    """
    parts: list[RenderableType] = []
    for some in itertools.batched(comparison.subjects, SIDE_BY_SIDE):
        parts += _block(comparison, some)
    if comparison.correlations:
        parts.append(correlation_table(comparison))
    return Group(*parts)


def correlation_table(comparison: Comparison) -> RenderableType:
    """Rank correlation of every measure with every outcome."""
    table = new_table("Rank correlation over the minima")
    table.add_column("measure", overflow="fold")
    table.add_column("with", no_wrap=True)
    for head in ("minima", "ρ", "90 % interval"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for row in sorted(comparison.correlations, key=lambda row: (row.outcome, not math.isfinite(row.value))):
        span = f"[{row.low:.2f}, {row.high:.2f}]" if math.isfinite(row.low) else "–"
        value = f"{row.value:.2f}" if math.isfinite(row.value) else "–"
        style = {"positive": "green", "negative": "red"}.get(row.verdict, "")
        add_row(table, row.measure, row.outcome, str(row.number), value, span, Text(row.verdict, style=style))
    return table


def _block(comparison: Comparison, subjects: tuple[Compared, ...]) -> list[RenderableType]:
    table = new_table("Measures")
    table.add_column("", overflow="fold")
    for head in subjects:
        table.add_column(head.subject, justify="right", overflow="fold")
        table.add_column("s", justify="right", no_wrap=True)
    facts = {
        "parameters": lambda head: str(head.num_params),
        "data": lambda head: str(head.num_data or "–"),
        "nβ": lambda head: number(head.nbeta),
        "γ": lambda head: number(head.localization),
        "height T of volumes": lambda head: f"{head.threshold:.3g}",
    }
    for name, fact in facts.items():
        add_row(table, name, *itertools.chain.from_iterable((fact(head), "") for head in subjects))
    notes: list[str] = []
    rows = {(row.subject, row.measure): row for row in comparison.measures}
    for group, title in GROUPS.items():
        names = dict.fromkeys(row.measure for row in comparison.measures if row.group == group)
        names = [name for name in names if any((head.subject, name) in rows for head in subjects)]
        if names:
            table.add_section()
            add_row(table, Text(title, style="bold"), *[""] * (2 * len(subjects)))
        for name in names:
            found = [rows.get((head.subject, name)) for head in subjects]
            cells = [(_cell(row, notes), _seconds(row)) for row in found]
            add_row(table, f"  {name}", *itertools.chain.from_iterable(cells))
    table.add_section()
    total = [("all", number(round(head.seconds, 1))) for head in subjects]
    add_row(table, "seconds", *itertools.chain.from_iterable(total))
    return [table, *(Text(f"[{i}] {note}") for i, note in enumerate(notes, start=1))]


def _cell(row: Measure | None, notes: list[str]) -> Text:
    """The number; "refused" where a verdict speaks against it, a dash where there is none."""
    if row is None:
        return Text("")
    if row.reason and row.reason not in notes:
        notes.append(row.reason)
    mark = f" [{notes.index(row.reason) + 1}]" if row.reason else ""
    if row.status == "not available":
        return Text(f"–{mark}")
    if not row.known:
        return Text(f"refused{mark}", style="red")
    exact = row.error == 0
    return Text(f"{number(row.value) if exact else plus_minus(Estimate(row.value, row.error))}{mark}")


def _seconds(row: Measure | None) -> str:
    return "" if row is None or row.seconds == 0 else f"{row.seconds:.1f}"
