"""Per-step log-determinants against a closed form, and against the end-to-end Jacobian, which underflows.

Linear regression, eight parameters, 400 steps: sigma points average the log ratio without sampling error, so the
divergence must be that of the two Gaussians. Then a 13-parameter tanh net on XOR-type data of our own (32 standard
normal inputs, target the sign of their product, half squared error, prior N(0, I), step 0.05).
Run: python tests/benchmarks/pushforward_exact.py
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from asked import words

from slt.pac_bayes.laws import flat_loss
from slt.pac_bayes.pushforward import push_forward, pushforward_kl
from slt.pac_bayes.steps import gradient_descent
from slt.targets.gaussian import gaussian_law
from slt.targets.networks import mlp_init, mlp_loss

RESULT = Path(__file__).with_suffix(".json")
KEY = jax.random.key(0)


def linear_regression(dim: int = 8, num: int = 40, step_size: float = 0.2) -> list[dict]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(num, dim))
    data = {"inputs": inputs, "targets": inputs @ rng.normal(size=dim) + 0.3 * rng.normal(size=num)}
    hessian = inputs.T @ inputs / num
    best = np.linalg.solve(hessian, inputs.T @ data["targets"] / num)
    values, vectors = np.linalg.eigh(hessian)
    law = gaussian_law(np.zeros(dim), 1.0)
    points = np.sqrt(dim) * np.eye(dim)
    training = gradient_descent(
        lambda w, batch: 0.5 * jnp.mean((batch["inputs"] @ w - batch["targets"]) ** 2), step_size=step_size
    )
    times = (1, 10, 100, 400)
    run = push_forward(KEY, np.concatenate([points, -points]), training, data, law=law, times=times)
    rows = []
    for index, steps in enumerate(times):
        decay = np.exp(steps * np.log1p(-step_size * values))
        mean = best - vectors @ (decay * (vectors.T @ best))
        log_det = steps * np.log1p(-step_size * values).sum()
        exact = 0.5 * (np.sum(decay**2) + mean @ mean - dim) - log_det
        have = run.log_ratio[:, index].mean()
        rows.append({"steps": steps, "exact": exact, "estimate": have, "relative_error": abs(have / exact - 1)})
    return rows


def tanh_net(num_chains: int = 24, step_size: float = 0.05) -> list[dict]:
    inputs = np.random.default_rng(0).normal(size=(32, 2))
    data = {"inputs": inputs, "targets": np.sign(inputs[:, :1] * inputs[:, 1:])}
    objective = flat_loss(mlp_loss("tanh", "squared_error"), mlp_init(KEY, (2, 3, 1)))
    law = gaussian_law(np.zeros(13), 1.0)
    start = law.draw(KEY, num_chains)
    times = (300, 1000, 3000)
    run = push_forward(KEY, start, gradient_descent(objective, step_size=step_size), data, law=law, times=times)
    rows = []
    with jax.enable_x64(True):
        batch = jax.tree.map(jnp.asarray, data)

        def trained(w, steps):
            body = lambda _, x: x - step_size * jax.grad(objective)(x, batch)  # noqa: E731
            return jax.lax.fori_loop(0, steps, body, w)

        jacobian = jax.jit(jax.vmap(jax.jacfwd(trained), (0, None)))
        for index, steps in enumerate(times):
            log_det = np.linalg.slogdet(np.asarray(jacobian(jnp.asarray(start), steps)))[1]
            change = 0.5 * ((run.positions[:, index] ** 2).sum(1) - (start**2).sum(1)) - log_det
            kl = pushforward_kl(run, index).value
            gap = run.log_ratio[:, index] - change
            finite = np.isfinite(change)
            rows.append(
                {
                    "steps": steps, "kl": kl.value, "mcse": kl.mcse, "end_to_end_infinite": int((~finite).sum()),
                    "end_to_end_of_finite": float(change[finite].mean()),
                    "kl_of_the_same": float(run.log_ratio[finite, index].mean()),
                    "off_by_a_nat": int((np.abs(gap) > 1).sum()),
                    "loss": float(run.loss[:, index].mean()), "chains": num_chains,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    words(__doc__)
    result = {"linear_regression": linear_regression(), "tanh_net": tanh_net()}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for name, rows in result.items():
        print(name)
        for row in rows:
            print("  " + ", ".join(f"{k} {v:.6g}" for k, v in row.items()))


if __name__ == "__main__":
    main()
