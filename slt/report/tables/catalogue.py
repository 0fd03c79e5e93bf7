"""Tables of what is known exactly: potentials and their estimates, a polynomial's λ, volumes of a basin."""

import math
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from slt.catalogue.registry import Row
from slt.estimate.validation import ValidationRow
from slt.exact.rlct import ExactRlct
from slt.geometry.volume import VolumeRow
from slt.report.tables.base import Column, Notes, fixed, fraction, table, verdict


def validation_table(rows: Sequence[ValidationRow]) -> RenderableType:
    """Estimates beside exact values, and under them how many agree, how many are covered, and which mislead."""
    columns = [
        Column("case", "case", "fold"),
        Column("λ", lambda r: fraction(r.rlct)),
        Column("m", "multiplicity"),
        Column("nβ", "nbeta"),
        Column("exact at nβ", lambda r: f"{r.exact:.4f}"),
        Column("estimate ± error", "estimate"),
        Column("z", lambda r: Text(fixed(r.z, 1), style="bold red" if abs(r.z) > 3 else "")),
        Column("seed", "seed"),
        Column("verdict", lambda r: verdict(r.status), "whole"),
        Column("s", lambda r: f"{r.seconds:.1f}"),
    ]
    seeds = len({row.seed for row in rows}) > 1
    kept = [column for column in columns if seeds or column.head != "seed"]
    return Group(table("Estimates against exact values", kept, rows), *_summary(rows))


def potentials_table(rows: Sequence[Row]) -> RenderableType:
    """The catalogue of analytic potentials; sources are listed once each, by number, under it."""
    notes = Notes()
    columns = [
        Column("name", "name", "fold"),
        Column("K(w)", "formula", "fold"),
        Column("d", "dim"),
        Column("λ", lambda r: str(r.rlct)),
        Column("m", "multiplicity"),
        Column("finite n", lambda r: "exact" if r.exact else "–", "whole"),
        Column("source", lambda r: notes.mark(r.source).strip()),
    ]
    shown = table("Analytic potentials", columns, rows)
    return Group(shown, Text(f"{len(rows)} potentials."), *notes.lines())


def exact_table(found: ExactRlct) -> RenderableType:
    """λ, m, the face that decides, whether it is exact and why, and the steps on the way."""
    exact = found.status == "exact"
    value = f"{found.rlct}" if found.rlct.denominator == 1 else f"{found.rlct} = {float(found.rlct):.6g}"
    rows: list[tuple] = [
        ("learning coefficient λ", value if exact else f"≤ {value}"),
        ("multiplicity m", found.multiplicity if exact else f"{found.multiplicity}, of the bound"),
        ("status", Text(found.status, style="green" if exact else "yellow")),
        ("why", found.reason),
        *([("face", "{" + ", ".join(found.face) + "}")] if found.face else []),
        *((f"step {number}", step) for number, step in enumerate(found.steps, 1)),
        ("variables", ", ".join(found.variables)),
    ]
    columns = [Column("", side="whole"), Column("", side="text")]
    return table("Real log canonical threshold", columns, rows, show_header=False)


def volume_table(rows: Sequence[VolumeRow]) -> RenderableType:
    """One row for each treatment and estimator: log volume with its error, bits, measure; every reason under it."""
    notes = Notes()
    columns = [
        Column("treatment", lambda r: r.treatment + notes.mark(r.reason), "fold"),
        Column("log V, nats", lambda r: f"{r.log_volume:.2f}" if _known(r) else _unknown(r.log_volume)),
        Column("error", lambda r: "–" if not _known(r) else "exact" if r.error == 0 else f"{r.error:.2g}"),
        Column("bits, −log₂ V", lambda r: f"{r.bits:.1f}" if _known(r) else "–"),
        Column("measure", "measure", "whole"),
    ]
    return Group(table("Basin volume", columns, rows), *notes.lines())


def agrees(row: ValidationRow) -> bool:
    """|estimate - exact| <= max(3 mcse, 0.01)."""
    return abs(row.estimate.value - row.exact) <= max(3 * row.estimate.mcse, 0.01)


def covers(row: ValidationRow) -> bool:
    """The 90 % interval holds the exact value."""
    low, high = row.estimate.interval(0.9)
    return low <= row.exact <= high


def _summary(rows: Sequence[ValidationRow]) -> list[Text]:
    converged = [row for row in rows if row.status == "converged"]
    misleading = [row for row in converged if not agrees(row)]
    lines = [
        _share("Within max(3 errors, 0.01) of the exact value", agrees, rows),
        _share("The same, of those called converged", agrees, converged),
        _share("90 % interval covers the exact value, of those called converged", covers, converged),
        Text(f"Time: {sum(row.seconds for row in rows):.0f} s."),
    ]
    if misleading:
        names = ", ".join(f"{row.case} (seed {row.seed}, z = {fixed(row.z, 1)})" for row in misleading)
        lines.append(Text(f"Called converged on a wrong value: {names}.", style="bold red"))
    return lines


def _share(what: str, holds: Callable[[ValidationRow], bool], rows: Sequence[ValidationRow]) -> Text:
    count = sum(map(holds, rows))
    percent = f" ({100 * count / len(rows):.0f} %)" if rows else ""
    return Text(f"{what}: {count} of {len(rows)}{percent}.")


def _known(row: VolumeRow) -> bool:
    return math.isfinite(row.log_volume)


def _unknown(value: float) -> str:
    return "undefined" if math.isnan(value) else "∞" if value > 0 else "−∞"
