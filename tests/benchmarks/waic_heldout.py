"""WAIC and leave-one-out against the loss on 4000 held-out data, beta = 1, each model's own prior.

Reduced rank regression y = B A x + noise, 4 -> H -> 4, true rank 2, H = 1 (too small), 2 (right), 3 (too large), and a
mixture a N(b, 1) + (1 - a) N(0, 1) with the truth inside; n = 200. Criteria share their data, so differences between
models are what counts: those of WAIC beside those of the held-out loss, with their error over the data.

Run: python tests/benchmarks/waic_heldout.py [--output FILE.json]
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base.array import array_stats

from slt.estimate.criteria import estimate_criteria
from slt.targets.target import loss_target

N, HELD_OUT, WIDTH, RANK = 200, 4000, 4, 2


def regression(rng):
    """(train, test) of y = T x + noise, T of rank 2."""
    true = rng.normal(size=(WIDTH, RANK)) @ rng.normal(size=(RANK, WIDTH)) / np.sqrt(WIDTH)
    inputs = rng.normal(size=(N + HELD_OUT, WIDTH))
    rows = {"x": inputs, "y": inputs @ true.T + rng.normal(size=inputs.shape)}
    return ({k: jnp.asarray(v[a:b], jnp.float32) for k, v in rows.items()} for a, b in ((0, N), (N, None)))


def regression_loss(w, rows):
    """Minus log density of N(B A x, I)."""
    gap = rows["y"] - rows["x"] @ w["a"].T @ w["b"].T
    return 0.5 * jnp.sum(gap**2, -1) + WIDTH / 2 * jnp.log(2 * jnp.pi)


def mixture_loss(w, x):
    """Minus log density of a N(b, 1) + (1 - a) N(0, 1), a = sigmoid of its logit."""
    parts = jnp.stack([jax.nn.log_sigmoid(w[0]) - (x - w[1]) ** 2 / 2, jax.nn.log_sigmoid(-w[0]) - x**2 / 2])
    return 0.5 * jnp.log(2 * jnp.pi) - jax.nn.logsumexp(parts, axis=0)


def row(name, loss, start, train, test) -> dict:
    """One model: prior N(0, I), by chains."""
    target = loss_target(loss, start, train, inverse_temperature=1.0, localization=0.0, weight_decay=1 / N)
    found = estimate_criteria(target, test_data=test, sampler="chains", max_gradients=2_000_000, tolerance=0.02)
    elpd, pareto_k, _ = array_stats.loo(np.moveaxis(np.asarray(found.draws.log_likelihood, float), 2, 0))
    return {
        "model": name,
        **{key: list(found.estimates[key][:2]) for key in found.estimates},
        "arviz_loo": float(-elpd.mean()), "arviz_largest_k": float(pareto_k.max()),
        "pointwise_waic": found.pointwise["waic"].tolist(), "verdict": found.verdict.status,
        **{key: value for key, value in found.diagnostics.items() if key.endswith("_data_error")},
    }  # fmt: skip


def main() -> None:
    """One row a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    train, test = regression(rng)
    x = rng.normal(size=N + HELD_OUT) + 2.0 * (rng.uniform(size=N + HELD_OUT) < 0.3)
    left, scale, right = np.linalg.svd(np.linalg.lstsq(np.asarray(train["x"]), np.asarray(train["y"]))[0].T)
    cases = []
    for h in (1, 2, 3):  # least squares of that rank
        root = np.sqrt(scale[:h])
        start = {"a": jnp.asarray(root[:, None] * right[:h]), "b": jnp.asarray(left[:, :h] * root)}
        cases.append((f"regression H = {h}", regression_loss, start, train, test))
    cases.append(("mixture", mixture_loss, jnp.asarray([-0.8, 2.0]), jnp.asarray(x[:N]), jnp.asarray(x[N:])))
    rows = []
    for case in cases:
        rows.append(row(*case))
        shown = {key: rows[-1][key] for key in ("waic", "importance_loo", "psis_loo", "bayes_generalization")}
        print(rows[-1]["model"], {k: f"{v[0]:.4f} ± {v[1]:.4f}" for k, v in shown.items()}, "arviz-stats LOO",
              round(rows[-1]["arviz_loo"], 4), "V", rows[-1]["functional_variance"], rows[-1]["verdict"],
              "error over data", round(rows[-1]["waic_data_error"], 4), flush=True)  # fmt: skip
        if len(rows) > 1 and name_of(rows[-1]) == name_of(rows[-2]):
            gap = np.subtract(rows[-1]["pointwise_waic"], rows[-2]["pointwise_waic"])
            held = rows[-1]["bayes_generalization"][0] - rows[-2]["bayes_generalization"][0]
            error = gap.std(ddof=1) / np.sqrt(N)
            print(f"  WAIC changes by {gap.mean():.4f} ± {error:.4f} (over data), held out by {held:.4f}", flush=True)
        if options.output:
            kept = [{k: v for k, v in r.items() if k != "pointwise_waic"} for r in rows]
            options.output.write_text(json.dumps(kept, indent=1))


def name_of(row: dict) -> str:
    """The family."""
    return row["model"].split()[0]


if __name__ == "__main__":
    main()
