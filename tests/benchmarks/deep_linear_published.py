r"""The published SGLD protocol of Lau et al. on the deep linear teachers, written independently of `slt`.

One chain of 10,000 float32 steps from w*, w <- w - (eps / 2) (nbeta grad L_B(w) + gamma (w - w*)) + sqrt(eps) N(0, I),
eps = 5e-7, batches of 500 from a fresh permutation of the n = 1e5 data each epoch. L_t is the minibatch loss at w_t
before the update on that batch; the estimate is nbeta (mean of L_t over the last 10 % of the trace - L_n(w*)).

Source: Lau et al. 2023, arXiv:2308.12108, and its published code.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from deep_linear_cases import BATCH_SIZE, LOCALIZATION, NBETA, NUM_DATA, Case, dataset, select_cases

TABLE = Path(__file__).with_suffix(".json")
REFERENCE = Path(__file__).with_name("deep_linear_reference.json")
STEP_SIZE = 5e-7
NUM_STEPS = 10_000
KEPT_FRACTION = 0.1


def batch_loss(weights, x, y):
    """Squared error, mean over rows and output coordinates."""
    prediction = x
    for weight in weights:
        prediction = prediction @ weight.T
    return jnp.mean((prediction - y) ** 2)


@jax.jit
def sgld_epoch(key, weights, optimum, x, y):
    """One pass over the data in random order: (weights, loss of each minibatch before its update)."""
    key_order, key_noise = jax.random.split(key)
    order = jax.random.permutation(key_order, NUM_DATA).reshape(-1, BATCH_SIZE)

    def step(weights, rows_and_key):
        rows, key = rows_and_key
        loss, gradients = jax.value_and_grad(batch_loss)(weights, x[rows], y[rows])
        drift = [NBETA * g + LOCALIZATION * (w - w0) for w, w0, g in zip(weights, optimum, gradients, strict=True)]
        noise = [
            jax.random.normal(k, w.shape) for k, w in zip(jax.random.split(key, len(weights)), weights, strict=True)
        ]
        moves = zip(weights, drift, noise, strict=True)
        return [w - STEP_SIZE / 2 * d + np.sqrt(STEP_SIZE) * xi for w, d, xi in moves], loss

    return jax.lax.scan(step, weights, (order, jax.random.split(key_noise, len(order))))


def run(case: Case, seed: int) -> dict[str, Any]:
    """The protocol on one case: its estimate, and nbeta L_t in successive tenths of the trace."""
    began = time.perf_counter()
    x, y = (jnp.asarray(part, jnp.float32) for part in dataset(case))
    optimum = [jnp.asarray(w, jnp.float32) for w in case.weights]
    key, weights, losses = jax.random.key(seed), optimum, []
    for epoch in range(NUM_STEPS * BATCH_SIZE // NUM_DATA):
        weights, part = sgld_epoch(jax.random.fold_in(key, epoch), weights, optimum, x, y)
        losses.append(np.asarray(part, np.float64))
    trace = NBETA * (np.concatenate(losses) - float(batch_loss(optimum, x, y)))
    tenths = [float(np.mean(part)) for part in np.array_split(trace, 10)]
    return {
        "name": case.name,
        "value": float(np.mean(trace[-round(KEPT_FRACTION * NUM_STEPS) :])),
        "profile_tenths": tenths,
        "rank": case.rank,
        "rlct": case.rlct[0],
        "num_gradients": NUM_STEPS,
        "seed": seed,
        "seconds": time.perf_counter() - began,
        "finite": bool(np.all(np.isfinite(trace))),
    }


def relative_errors(rows: list[dict[str, Any]]) -> None:
    """Prints median and maximum of |value / truth - 1| by kind, against the formula and, where known, the reference."""
    known = {row["name"]: row["value"] for row in json.loads(REFERENCE.read_text())} if REFERENCE.exists() else {}
    for kind in ("aligned", "generic"):
        chosen = [row for row in rows if row["name"].startswith(kind)]
        for label, truth in (("formula", {row["name"]: row["rlct"] for row in chosen}), ("reference", known)):
            errors = [abs(row["value"] / truth[row["name"]] - 1) for row in chosen if row["name"] in truth]
            if errors:
                summary = f"median {np.median(errors):.1%}, max {max(errors):.1%}"
                print(f"{kind} against {label}: {len(errors)} cases, {summary}")


def main() -> None:
    """Runs the protocol on the cases named and extends the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="case names or their beginnings, e.g. aligned-03; default: all")
    parser.add_argument("--output", type=Path, default=TABLE, help=f"table, extended (default: {TABLE.name})")
    parser.add_argument("--seed", type=int, default=0, help="seed of batches and noise (default: 0)")
    options = parser.parse_args()
    done = {row["name"]: row for row in json.loads(options.output.read_text())} if options.output.exists() else {}
    for case in select_cases(options.names):
        if case.name not in done:
            done[case.name] = run(case, options.seed)
            rows = [json.dumps(done[name]) for name in sorted(done)]
            options.output.write_text("[\n" + ",\n".join(rows) + "\n]\n")
        row = done[case.name]
        print(
            f"{row['name']} rlct {row['rlct']:.2f} published {row['value']:.2f} seconds {row['seconds']:.1f}",
            flush=True,
        )
    relative_errors(list(done.values()))


if __name__ == "__main__":
    main()
