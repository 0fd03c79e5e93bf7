"""Default estimates of trained networks at several budgets beside long full-batch chains: error, coverage, verdicts.

python tests/benchmarks/networks.py --budgets 1e6 3e6 --seeds 2 --only tanh --output networks.json
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np

from slt.catalogue.networks import networks, references
from slt.estimate.llc import estimate_llc


def rows(only: str, budgets: list[float], seeds: int):
    """One row a run."""
    for (name, gamma), reference in references().items():
        if not re.search(only, f"{name}@{gamma:g}"):
            continue
        target, known = networks()[name].target(gamma), reference.estimate
        for budget in budgets:
            for seed in range(seeds):
                started = time.process_time()
                result = estimate_llc(target, seed=seed, max_gradients=int(budget))
                llc = result.estimates["llc"]
                yield {
                    "case": f"{name}@{gamma:g}",
                    "budget": budget,
                    "seed": seed,
                    "error": llc.value / known.value - 1,
                    "stated": llc.mcse / known.value,
                    "z": (llc.value - known.value) / float(np.hypot(llc.mcse, known.mcse)),
                    "status": result.verdict.status,
                    "reasons": " ".join(result.verdict.reasons),
                    "spent": result.diagnostics["datum_gradients"] / budget,
                    "batch": result.settings["batch_size"],
                    "virial": result.diagnostics["virial"],
                    "rhat": result.diagnostics["rhat"],
                    "kappa": result.diagnostics["kappa"],
                    "cpu": time.process_time() - started,
                }


def main() -> None:
    """Run, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=float, nargs="+", default=[1e6, 3e6, 1e7], help="gradients of one row")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="regular expression on 'network@gamma'")
    parser.add_argument("--output", type=Path, help="JSON file of all rows")
    arguments = parser.parse_args()
    found = []
    for row in rows(arguments.only, arguments.budgets, arguments.seeds):
        found.append(row)
        print(
            f"{row['case']:24} {row['budget']:.0e} seed {row['seed']}: {row['error']:+.2%} ± {row['stated']:.2%}, "
            f"z {row['z']:+.1f}, {row['status']}, spent {row['spent']:.2f}, batch {row['batch']}, R-hat "
            f"{row['rhat']:.2f}, virial {row['virial']:.3f}, {row['cpu']:.0f} s CPU  {row['reasons'][:90]}",
            flush=True,
        )
        if arguments.output:
            arguments.output.write_text(json.dumps(found, indent=1))
    for budget in arguments.budgets:
        some = [row for row in found if row["budget"] == budget]
        good = [row for row in some if row["status"] == "converged"]
        if not good:
            print(f"{budget:.0e}: none of {len(some)} converged")
            continue
        rms, z = (float(np.sqrt(np.mean([row[key] ** 2 for row in good]))) for key in ("error", "z"))
        inside = np.mean([abs(row["z"]) < 1.645 for row in good])
        print(
            f"{budget:.0e}: {len(good)} of {len(some)} converged, of these rms error {rms:.2%}, rms z {z:.2f}, largest "
            f"{max(abs(row['z']) for row in good):.1f}, 90 % intervals hold {inside:.0%}"
        )


if __name__ == "__main__":
    main()
