"""`slt.exact_rlct` on every polynomial with a known answer: exact, upper bound or wrong, and how fast.

PYTHONPATH=.:tests/exact python tests/benchmarks/exact_cases.py
"""

import time
from fractions import Fraction

from asked import words
from rich.console import Console
from test_rlct import DEGENERATE, LITERATURE, OPEN, TABLE

from slt.exact.rlct import exact_rlct
from slt.report.tables.base import Column, table


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
    words(__doc__)
    rows = {}
    for group, name, K, options, rlct, multiplicity in cases():
        start = time.process_time()
        found = exact_rlct(K, **options)
        seconds = time.process_time() - start
        exact = found.status == "exact"
        right = (found.rlct, found.multiplicity) == (rlct, multiplicity) if exact else found.rlct >= rlct
        rows.setdefault(group, []).append((exact, right, seconds, name))
    lines = []
    for group, found in rows.items():
        times = sorted(x[2] for x in found)
        exact, wrong = sum(x[0] for x in found), sum(not x[1] for x in found)
        slowest = max(found, key=lambda x: x[2])
        cells = (group, len(found), exact, len(found) - exact, wrong, f"{times[len(times) // 2]:.3f}")
        lines.append((*cells, f"{slowest[2]:.2f} ({slowest[3][:24]})"))
    heads = ("group", "cases", "exact", "upper bound", "wrong", "median CPU [s]", "slowest [s]")
    Console(width=120).print(table("exact_rlct", [Column(head, side="whole") for head in heads], lines))


if __name__ == "__main__":
    main()
