"""Tables of basin volumes and of the exponents of volumes."""

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from slt.geometry.volume import VolumeRow
from slt.geometry.volume_scaling import Scaling
from slt.tables.base import add_row, fraction, new_table, plus_minus, verdict


def volume_table(rows: Sequence[VolumeRow]) -> RenderableType:
    """One row for each treatment and estimator: log volume with its error, bits, measure; every reason under it."""
    table = new_table("Basin volume")
    table.add_column("treatment", overflow="fold")
    for head in ("log V, nats", "error", "bits, −log₂ V"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("measure", no_wrap=True)
    notes: list[str] = []
    for row in rows:
        if row.reason and row.reason not in notes:
            notes.append(row.reason)
        mark = f" [{notes.index(row.reason) + 1}]" if row.reason else ""
        error = "exact" if row.error == 0 else f"{row.error:.2g}"
        known = math.isfinite(row.log_volume)
        value, bits = (f"{row.log_volume:.2f}", f"{row.bits:.1f}") if known else (_unknown(row.log_volume), "–")
        add_row(table, row.treatment + mark, value, error if known else "–", bits, row.measure)
    return Group(table, *(Text(f"[{i}] {note}") for i, note in enumerate(notes, start=1)))


def scaling_table(scalings: Sequence[tuple[str, float | None, Scaling]]) -> RenderableType:
    """Name, exact lambda (or None), the exponent of the volume with its error, and what the Hessian gives.

    Args:
        scalings: (name, exact lambda or None, result) of every case.
    """
    table = new_table("Exponent of the volume, d log V / d log ε")
    table.add_column("case", overflow="fold")
    for head in ("λ", "exponent ± error", "z", "off", "m", "raw slope", "rank H / 2", "d / 2"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name, exact, found in scalings:
        rlct = found.exponent.rlct
        off = "–" if exact is None else f"{100 * (rlct.value / exact - 1):+.1f} %"
        z = "–" if exact is None else f"{(rlct.value - exact) / rlct.mcse:+.1f}"
        half = "–" if found.rank is None else fraction(found.rank / 2)
        wrong = exact is not None and found.rank is not None and abs(found.rank / 2 - exact) > 1e-9
        add_row(
            table, name, "–" if exact is None else fraction(exact), plus_minus(rlct), z, off,
            f"{found.exponent.multiplicity} ({found.exponent.probability:.0%})", plus_minus(found.exponent.local),
            Text(half, style="red" if wrong else ""), fraction(found.dim / 2), verdict(found.verdict.status),
        )  # fmt: skip
    reasons = [Text(f"• {name}: {r}") for name, _, found in scalings for r in found.verdict.reasons]
    return Group(table, *reasons)


def _unknown(value: float) -> str:
    return "undefined" if math.isnan(value) else "∞" if value > 0 else "−∞"
