"""Table of an exact learning coefficient."""

from rich.console import RenderableType
from rich.text import Text

from slt.tables.base import add_row, new_table
from slt.targets.exact import ExactRlct


def exact_table(found: ExactRlct) -> RenderableType:
    """λ, m, the face that decides, whether it is exact and why, and the steps on the way."""
    exact = found.status == "exact"
    table = new_table("Real log canonical threshold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    value = f"{found.rlct}" if found.rlct.denominator == 1 else f"{found.rlct} = {float(found.rlct):.6g}"
    add_row(table, "learning coefficient λ", value if exact else f"≤ {value}")
    add_row(table, "multiplicity m", str(found.multiplicity) if exact else f"{found.multiplicity}, of the bound")
    add_row(table, "status", Text(found.status, style="green" if exact else "yellow"))
    add_row(table, "why", found.reason)
    if found.face:
        add_row(table, "face", "{" + ", ".join(found.face) + "}")
    for number, step in enumerate(found.steps, 1):
        add_row(table, f"step {number}", step)
    add_row(table, "variables", ", ".join(found.variables))
    return table
