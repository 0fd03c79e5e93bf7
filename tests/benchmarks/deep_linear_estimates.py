"""`estimate_llc` on the forty deep linear teachers, beside the exact reference, the formula and the published protocol.

Budget as published: at most 1e4 minibatch gradients of 500 rows, 5e6 gradients of one datum, tuning included.
Run: python tests/benchmarks/deep_linear_estimates.py [names ...] --output deep_linear_estimates.json
"""

import argparse
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from deep_linear_cases import BATCH_SIZE, LOCALIZATION, Case, dataset, select_cases

from slt.estimate.llc import estimate_llc
from slt.targets.target import Target, loss_target

HERE = Path(__file__).parent
BUDGET = 10_000 * BATCH_SIZE


def build(case: Case, localization: float = LOCALIZATION) -> Target:
    """The case as a user would give it: a loss per datum, weights, and data, float32."""

    def loss(weights, rows):
        hidden, targets = rows
        for weight in weights:
            hidden = hidden @ weight.T
        return jnp.mean((hidden - targets) ** 2, axis=1)

    data = tuple(jnp.asarray(part, jnp.float32) for part in dataset(case))
    return loss_target(loss, [jnp.asarray(w, jnp.float32) for w in case.weights], data, localization=localization)


def run(case: Case, seed: int) -> dict:
    result = estimate_llc(build(case), seed=seed, num_chains=2, max_gradients=BUDGET)
    estimate = result.estimates["llc"]
    return {
        "name": case.name,
        "rlct": case.rlct[0],
        "value": estimate.value,
        "mcse": estimate.mcse,
        "status": result.verdict.status,
        "reasons": result.verdict.reasons,
        "datum_gradients": result.diagnostics["datum_gradients"],
        "seconds": result.diagnostics["seconds"],
    }


def summary(rows: list[dict], key: str, other: str) -> str:
    errors = np.array([abs(row[key] / row[other] - 1) for row in rows])
    return f"{key:9s} against {other:9s} median {np.median(errors):6.2%} max {errors.max():6.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="case names or their beginnings; default: all 40")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=HERE / "deep_linear_estimates.json", help="kept rows are not rerun"
    )
    arguments = parser.parse_args()
    rows = {row["name"]: row for row in json.loads(arguments.output.read_text())} if arguments.output.exists() else {}
    reference = {row["name"]: row for row in json.loads((HERE / "deep_linear_reference.json").read_text())}
    published = {row["name"]: row for row in json.loads((HERE / "deep_linear_published.json").read_text())}
    chosen = select_cases(arguments.names)
    for case in chosen:
        row = rows.get(case.name) or run(case, arguments.seed)
        row |= {"reference": reference[case.name]["value"], "published": published[case.name]["value"]}
        rows[case.name] = row
        arguments.output.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
        change = row["value"] / row["reference"] - 1
        print(
            f"{case.name} rlct {row['rlct']:6.1f} reference {row['reference']:7.2f} "
            f"slt {row['value']:7.2f} ± {row['mcse']:5.2f} ({change:+6.2%}) published {row['published']:7.2f} "
            f"{row['datum_gradients'] / BUDGET:4.0%} of the budget {row['seconds']:5.1f} s {row['status']}",
            flush=True,
        )
    for kind in ("aligned", "generic"):
        part = [rows[case.name] for case in chosen if case.kind == kind]
        if part:
            print(
                kind, *(summary(part, k, o) for k in ("value", "published") for o in ("rlct", "reference")), sep="\n  "
            )


if __name__ == "__main__":
    main()
