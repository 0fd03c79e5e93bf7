"""Tables of linear responses: the largest answers of each column, and what may be said of all."""

import math
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from slt.report.tables.base import Column, fixed, number, reason_lines, table, verdict
from slt.stats.response import Response

TOP = 5
"""Rows that are shown of a column."""
COLUMNS = 8
"""Columns that are shown."""
WORDS = {
    "influence": "dE[observable] by the weight of a datum [unit of the observable]",
    "susceptibility": "of components to data, up to a factor of each [nats/datum]",
}
NUMBERS = {
    "agreement": "agreement of two such runs, Spearman, median column (1 is best)",
    "least_agreement": "agreement of two such runs, worst column",
    "rhat": "R̂ of the worst row or column (1 is best)",
    "ess": "effective draws of the worst",
    "share": "variance of the rows in the shared mode",
    "between": "covariance between chains, share of all",
    "doubt": "Gaussian baseline: relative change over the second half of its directions",
    "heat": "heat of minibatches, share of the energy",
    "datum_gradients": "gradients of one datum",
    "seconds": "time [s]",
}


def response_table(found: Response) -> RenderableType:
    """The largest answers of the first columns with errors, given the shared mode, and under a Gaussian posterior."""
    columns = [
        Column("data", "row", "fold"),
        Column("answer ± error", "answer"),
        Column("z-score", lambda e: fixed(scores[e.row, e.column], 2)),
        Column("given shared mode", "given_mode"),
        Column("Gaussian", lambda e: e.harmonic if math.isfinite(e.harmonic.value) else "–"),
        Column("≠ 0", lambda e: "yes" if e.differs else "no"),
    ]
    scores = _scores(found)
    parts: list[Any] = [Text(f"{found.kind.capitalize()}: {WORDS.get(found.kind, '')}", style="bold")]
    for name in found.columns[:COLUMNS]:
        parts.append(table(_title(found, name), columns, found.entries(name, top=TOP)))
    if len(found.columns) > COLUMNS:
        parts.append(Text(f"{len(found.columns) - COLUMNS} more columns are in the stored result."))
    known = [(label, number(found.diagnostics[name])) for name, label in NUMBERS.items() if name in found.diagnostics]
    rows = [*known, None, ("verdict", verdict(found.verdict.status))]
    parts.append(table("The whole table", [Column("", side="whole"), Column("")], rows, show_header=False))
    return Group(*parts, *_lines(found))


def _scores(found: Response) -> dict[tuple[str, str], float]:
    values, _ = found.standardised()
    first = found.columns[:COLUMNS]
    return {(r, c): float(values[i, j]) for i, r in enumerate(found.rows) for j, c in enumerate(first)}


def _title(found: Response, name: str) -> str:
    agreement = float(found.agreement[found.columns.index(name)])
    said = f", Spearman between halves of the chains {agreement:.2f}" if math.isfinite(agreement) else ""
    return f"{name}: the {min(TOP, len(found.rows))} largest of {len(found.rows)}{said}"


def _lines(found: Response) -> list[Text]:
    baseline = str(found.settings.get("baseline", ""))
    return [
        Text(found.statement()),
        *([Text(f"No Gaussian baseline: {baseline}")] if baseline else []),
        *reason_lines(found.verdict),
    ]
