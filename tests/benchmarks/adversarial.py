"""Adversarial potentials and losses at default settings: coverage of the converged, the worst error, the share refused.

python tests/benchmarks/adversarial.py --only hole --output adversarial.json --markdown

The cases with even numbers were seen while the package was tuned, those with odd ones (--half held) were not.
Every case has its own seed: at the same one two cases share their random numbers, and miss together.
"""

import argparse
import json
import re
import time
from pathlib import Path

from adversarial_cases import CASES

from slt.estimate.llc import estimate_llc
from slt.samplers.seeds import derived_seed


def rows(only: str, half: str, seed: int):
    """One row a case, as it is done."""
    for number, case in enumerate(CASES):
        if not re.search(only, f"{case.kind}: {case.name}") or half == ("held", "tune")[number % 2]:
            continue
        truth, started = case.truth(), time.process_time()
        result = estimate_llc(case.build(), seed=derived_seed(seed, number))
        llc = result.estimates["llc"]
        yield {
            "number": number,
            "name": case.name,
            "kind": case.kind,
            "truth": truth,
            "value": llc.value,
            "error": llc.mcse,
            "errors_off": (llc.value - truth) / llc.mcse if llc.mcse else None,
            "covered": bool(llc.interval(0.9)[0] <= truth <= llc.interval(0.9)[1]),
            "status": result.verdict.status,
            "reason": result.verdict.reasons[0] if result.verdict.reasons else "",
            "cpu_seconds": time.process_time() - started,
        }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression on 'kind: name'")
    parser.add_argument("--half", choices=["all", "tune", "held"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file of all rows")
    parser.add_argument("--markdown", action="store_true", help="rows of a Markdown table")
    arguments = parser.parse_args()
    found = []
    for row in rows(arguments.only, arguments.half, arguments.seed):
        found.append(row)
        cells = [row["name"], f"{row['truth']:.5g}", f"{row['value']:.5g} ± {row['error']:.2g}", row["status"]]
        print(f"| {' | '.join(cells)} |" if arguments.markdown else "  ".join(cells), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))
    kept = [row for row in found if row["status"] == "converged"]
    if kept:
        worst = max(abs(row["errors_off"] or 0) for row in kept)
        share = sum(row["covered"] for row in kept) / len(kept)
        print(f"{len(kept)} of {len(found)} converged, {share:.0%} covered at 90 %, the worst {worst:.1f} errors off")


if __name__ == "__main__":
    main()
