"""`slt.exact_rlct` on every polynomial with a known answer: exact, upper bound or wrong, and how fast.

PYTHONPATH=.:tests/targets python tests/benchmarks/exact_cases.py
"""

import time
from fractions import Fraction

from rich.console import Console
from test_exact import DEGENERATE, LITERATURE, OPEN, TABLE

from slt.tables.base import add_row, new_table
from slt.targets.exact import exact_rlct


def cases():
    """Group, name, K, options, λ, m or None where only a bound on the truth is known."""
    for name, (K, at, weight, rlct, multiplicity) in TABLE.items():
        yield "truth table", name, K, {"at": at, "weight": weight}, rlct, multiplicity
    for name, (rlct, multiplicity) in LITERATURE.items():
        yield "literature", name, name, {}, Fraction(rlct), multiplicity
    for name, (_, rlct, multiplicity) in DEGENERATE.items():
        yield "degenerate, resolved", name, name, {}, Fraction(rlct), multiplicity
    for name, rlct in OPEN.items():
        yield "degenerate, open", name, name, {}, Fraction(rlct), None


def main():
    """One row for each group."""
    rows = {}
    for group, name, K, options, rlct, multiplicity in cases():
        start = time.process_time()
        found = exact_rlct(K, **options)
        seconds = time.process_time() - start
        exact = found.status == "exact"
        right = (found.rlct, found.multiplicity) == (rlct, multiplicity) if exact else found.rlct >= rlct
        rows.setdefault(group, []).append((exact, right, seconds, name))
    table = new_table("exact_rlct")
    for head in ("group", "cases", "exact", "upper bound", "wrong", "median CPU [s]", "slowest [s]"):
        table.add_column(head)
    for group, found in rows.items():
        times = sorted(x[2] for x in found)
        exact, wrong = sum(x[0] for x in found), sum(not x[1] for x in found)
        slowest = max(found, key=lambda x: x[2])
        cells = (len(found), exact, len(found) - exact, wrong, f"{times[len(times) // 2]:.3f}")
        add_row(table, group, *map(str, cells), f"{slowest[2]:.2f} ({slowest[3][:24]})")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
