"""lambda and m of catalogue potentials from one default `estimate_free_energy` each, beside the exact ones.

Run: python tests/benchmarks/free_energy_catalogue.py [--output FILE.json] [CASE ...]
A CASE is a name of the catalogue under N(w*, I), or name@box under the prior on its box.
"""

import argparse
import json
import time
from pathlib import Path

import jax.numpy as jnp

from slt.catalogue.registry import potential
from slt.estimate.free_energy import estimate_free_energy
from slt.targets.target import potential_target

REQUIRED = (
    "x2y2", "x2y2@box", "x2y2z2", "x2y2z2@box", "quad_r2_d2", "rrr_2_3_2_0", "rrr_1_1_1_0", "dln_1_1_1_1_r0",
    "dln_1_1_1_1_1_r0", "mono4@box",
)  # fmt: skip


def row(case: str, seed: int) -> dict:
    """One run and whether it covers."""
    name, _, box = case.partition("@")
    entry = potential(name)
    prior = {"box": entry.box, "log_weight": entry.log_weight} if box else {"localization": 1.0}
    target = potential_target(entry.energy, jnp.asarray(entry.minimum, float), nbeta=1e4, **prior)
    wall, cpu = time.perf_counter(), time.process_time()
    found = estimate_free_energy(target, seed=seed)
    assert found.fit is not None
    low, high = found.fit.rlct.interval(0.9)
    exact = None if entry.exact is None else -entry.exact(1e4, localization=None if box else 1.0).log_evidence
    return {
        "case": case, "seed": seed, "rlct": float(entry.rlct), "multiplicity": entry.multiplicity,
        "estimate": found.fit.rlct.value, "error": found.fit.rlct.mcse,
        "covers": bool(low <= float(entry.rlct) <= high), "stated": found.fit.multiplicity,
        "probabilities": {m: round(p, 4) for m, p in found.fit.probabilities.items()},
        "free_energy": found.estimates["free_energy"][:2], "thermodynamic": found.estimates["thermodynamic"][:2],
        "exact_free_energy": exact, "verdict": found.verdict.status, "reasons": found.verdict.reasons,
        "wall": round(time.perf_counter() - wall, 1), "cpu": round(time.process_time() - cpu, 1),
    }  # fmt: skip


def main() -> None:
    """Rows one by one; the summary last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=REQUIRED)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for case in options.cases:
        rows.append(row(case, options.seed))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
        if options.output:
            options.output.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    stated = [r for r in rows if r["stated"] is not None]
    wrong = [r["case"] for r in stated if r["stated"] != r["multiplicity"]]
    covered = sum(r["covers"] for r in rows)
    print(f"{len(rows)} cases: lambda covered (90 %) in {covered}, m stated in {len(stated)}, wrong: {wrong}")


if __name__ == "__main__":
    main()
