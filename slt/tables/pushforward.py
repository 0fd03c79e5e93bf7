"""Tables of the pushforward posterior: divergences with their side, and codimension beside rank and 2λ."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from slt._types import Estimate
from slt.pac_bayes.kl import KL
from slt.tables.base import add_row, interval, new_table, number, plus_minus

SIDES = {"exact": "green", "upper": "green", "lower": "red", "none": "yellow"}


def kl_table(kls: Sequence[KL], *, title: str = "KL(Q ‖ P)") -> Table:
    """One divergence a row: value, 90 % interval, what it may be used for, how it was found."""
    table = new_table(title)
    for name in ("nats", "90 %", "side", "how"):
        table.add_column(name, justify="right" if name == "nats" else "left")
    for kl in kls:
        add_row(table, plus_minus(kl.value), interval(kl.value), Text(kl.side, style=SIDES[kl.side]), kl.note)
    return table


def codimension_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Slope of KL in ln(1/s) beside the Hessian's rank and twice the learning coefficient.

    Args:
        rows: with "name", "parameters", "codimension", "error", "window", "status", "hessian_rank", "twice_llc" and
            "twice_llc_error".
    """
    table = new_table("Codimension by smoothing (slope of KL in ln(1/s))")
    for name in ("minimum", "d", "slope", "s from–to", "Hessian rank", "2λ", ""):
        table.add_column(name, justify="left" if name in ("minimum", "") else "right")
    for row in rows:
        slope = plus_minus(Estimate(row["codimension"], row["error"]))
        twice = "–" if row["twice_llc"] is None else plus_minus(Estimate(row["twice_llc"], row["twice_llc_error"]))
        low, high = row["window"]
        add_row(
            table, row["name"], str(row["parameters"]), slope, f"{low:.1g}–{high:.1g}", number(row["hessian_rank"]),
            twice, row["status"],
        )  # fmt: skip
    return table
