"""Chains at small budgets: are the errors of what is called converged right?

Linear regression, n = 200, d = 3, gamma = 1, by chains: exact value (1/2) tr A(A + gamma)^-1. Over 40 seeds, for each
budget in gradients of one datum: how many runs converged, root mean square and worst z of those, mean error, the most
that was spent over the budget, CPU seconds.

    python tests/benchmarks/small_budgets.py [BUDGET ...]      3e5 1e6 3e6 by default
"""

import time

import jax.numpy as jnp
import numpy as np
from asked import words

import slt

SEEDS = 40


def regression() -> tuple[slt.Target, float]:
    """Target and its exact value."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = x @ rng.normal(size=3) + rng.normal(size=200)
    optimum = jnp.asarray(np.linalg.lstsq(x, y, rcond=None)[0], jnp.float32)
    data = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(y, jnp.float32)}
    target = slt.loss_target(lambda w, rows: 0.5 * (rows["y"] - rows["x"] @ w) ** 2, optimum, data, localization=1.0)
    curvature = target.nbeta * np.linalg.eigvalsh(x.T @ x / 200)
    return target, float(0.5 * np.sum(curvature / (curvature + 1)))


def main() -> None:
    budgets = [float(word) for word in words(__doc__, "BUDGET")] or [3e5, 1e6, 3e6]
    target, exact = regression()
    print(f"exact {exact:.4f}")
    for budget in budgets:
        cpu = time.process_time()
        runs = [
            slt.estimate_llc(target, seed=seed, sampler="chains", max_gradients=int(budget)) for seed in range(SEEDS)
        ]
        good = [run.estimates["llc"] for run in runs if run.verdict.status == "converged"]
        z = np.array([(found.value - exact) / found.mcse for found in good])
        spent = max(run.diagnostics["datum_gradients"] for run in runs) / budget
        print(
            f"{budget:.0e}: {len(good)} of {SEEDS} converged, rms z {np.sqrt(np.mean(z**2)):.2f}, "
            f"worst {np.abs(z).max():.1f}, mean error {np.mean([found.mcse for found in good]):.3f}, "
            f"spent at most {spent:.2f} of the budget, {time.process_time() - cpu:.0f} s CPU",
            flush=True,
        )


if __name__ == "__main__":
    main()
