"""How often each PAC-Bayes bound fails where the true risk is known; at most delta of the data sets, for each.

PYTHONPATH=.:tests python tests/benchmarks/bound_validity.py [data sets, 5000 by default]
"""

import time

from asked import words
from simulated_bounds import SCENARIOS, planted, violations

DELTA = 0.05


def main(num_sets: int) -> None:
    """Print the share of data sets, in percent, on which each bound is violated."""
    started = time.perf_counter()
    rates = {name: violations(scenario, num_sets, delta=DELTA) for name, scenario in SCENARIOS.items()}
    wrong = {name: planted(scenario, num_sets, delta=DELTA) for name, scenario in SCENARIOS.items()}
    for i, name in enumerate(SCENARIOS):
        print(f"({i + 1}) {name}: {SCENARIOS[name]}")
    print(f"violated [% of {num_sets} data sets], delta = {DELTA:.0%}")
    for table in (rates, wrong):
        for bound in next(iter(table.values())):
            cells = "".join(f"{100 * table[name][bound]:8.2f}" for name in SCENARIOS)
            print(f"{bound:30s}{cells}")
        print()
    worst = max(rate for found in rates.values() for rate in found.values())
    print(f"largest rate of a valid bound {worst:.2%}; {time.perf_counter() - started:.0f} s")
    assert worst <= DELTA


if __name__ == "__main__":
    main(int((words(__doc__, "DATA_SETS") or [5000])[0]))
