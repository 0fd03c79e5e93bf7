"""Tables of a comparison: every measure of every minimum, and what the measures predict over many minima."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from slt._types import Estimate
from slt.estimate.comparison.rows import Compared, Comparison, Measure
from slt.report.tables.base import Column, Notes, fixed, number, plus_minus, table

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
    styles = {"positive": "green", "negative": "red"}
    columns = [
        Column("measure", "measure", "fold"),
        Column("with", "outcome", "whole"),
        Column("minima", "number"),
        Column("ρ", lambda r: fixed(r.value, 2)),
        Column("90 % interval", lambda r: f"[{r.low:.2f}, {r.high:.2f}]" if math.isfinite(r.low) else "–"),
        Column("verdict", lambda r: Text(r.verdict, style=styles.get(r.verdict, "")), "fold"),
    ]
    rows = sorted(comparison.correlations, key=lambda row: (row.outcome, not math.isfinite(row.value)))
    return table("Rank correlation over the minima", columns, rows)


def _block(comparison: Comparison, subjects: tuple[Compared, ...]) -> list[RenderableType]:
    columns = [Column("", side="fold")]
    for head in subjects:
        columns += [Column(head.subject, side="folded number"), Column("s")]
    facts = {
        "parameters": lambda head: head.num_params,
        "data": lambda head: head.num_data or "–",
        "nβ": lambda head: head.nbeta,
        "γ": lambda head: head.localization,
        "height T of volumes": lambda head: f"{head.threshold:.3g}",
    }
    lines: list[list[Any] | None] = [
        [name, *_side_by_side((fact(head), "") for head in subjects)] for name, fact in facts.items()
    ]
    notes = Notes()
    rows = {(row.subject, row.measure): row for row in comparison.measures}
    for group, title in GROUPS.items():
        names = dict.fromkeys(row.measure for row in comparison.measures if row.group == group)
        names = [name for name in names if any((head.subject, name) in rows for head in subjects)]
        lines += [None, [Text(title, style="bold"), *[""] * (2 * len(subjects))]] if names else []
        for name in names:
            found = [rows.get((head.subject, name)) for head in subjects]
            lines.append([f"  {name}", *_side_by_side((_cell(row, notes), _seconds(row)) for row in found)])
    lines += [None, ["seconds", *_side_by_side(("all", round(head.seconds, 1)) for head in subjects)]]
    return [table("Measures", columns, lines), *notes.lines()]


def _side_by_side(pairs: Iterable[tuple[Any, Any]]) -> Iterable[Any]:
    return itertools.chain.from_iterable(pairs)


def _cell(row: Measure | None, notes: Notes) -> Text:
    """The number; "refused" where a verdict speaks against it, a dash where there is none."""
    if row is None:
        return Text("")
    mark = notes.mark(row.reason)
    if row.status == "not available":
        return Text(f"–{mark}")
    if not row.known:
        return Text(f"refused{mark}", style="red")
    exact = row.error == 0
    return Text(f"{number(row.value) if exact else plus_minus(Estimate(row.value, row.error))}{mark}")


def _seconds(row: Measure | None) -> str:
    return "" if row is None or row.seconds == 0 else f"{row.seconds:.1f}"
