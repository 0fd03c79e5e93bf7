"""The test problem of the geometry benchmarks: an MLP 20-48-48-5 (3605 parameters) trained on noisy labels.

1000 Gaussian inputs, 5 classes, a fifth of the labels redrawn; tanh; full-batch Adam, 4000 steps, weight decay 1e-3 on
weights only; all in float64. The Hessian is that of the loss without decay, so it is indefinite. By the shift
invariance of softmax 48 + 1 directions do not change any log-probability.
Run: python tests/benchmarks/geometry_problem.py          (trains anew and stores the results beside it)
"""

from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from asked import words

from slt.geometry.curvature import hessian_eigenvalues
from slt.geometry.operators import Network, mlp_network
from slt.targets.networks import cross_entropy, mlp_apply

FILE = Path(__file__).with_suffix(".npz")
VALUES = Path(__file__).with_name("geometry_problem_eigenvalues.npy")
WIDTHS = (20, 48, 48, 5)


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x, first, second = rng.normal(size=(1000, 20)), rng.normal(size=(20, 10)), rng.normal(size=(10, 5))
    redrawn, labels = rng.uniform(size=1000) < 0.2, rng.integers(0, 5, 1000)
    y = np.argmax(np.tanh(x @ first / np.sqrt(20)) @ second, 1)
    return {"inputs": x, "targets": np.where(redrawn, labels, y).astype(np.int32)}


def initial() -> dict:
    rng = np.random.default_rng(1)
    return {
        f"layer_{i}": {"weight": rng.normal(size=pair) / np.sqrt(pair[0]), "bias": np.zeros(pair[1])}
        for i, pair in enumerate(pairwise(WIDTHS))
    }


def train() -> dict:
    with jax.enable_x64(True):
        rows = jax.tree.map(jnp.asarray, data())
        optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, 4000))

        def objective(w, rows):
            decay = sum(jnp.sum(layer["weight"] ** 2) for layer in w.values())
            return jnp.mean(cross_entropy(mlp_apply(w, rows["inputs"]), rows["targets"])) + 0.5e-3 * decay

        @jax.jit
        def run(w, rows):
            def update(carry, _):
                w, state = carry
                step, state = optimizer.update(jax.grad(objective)(w, rows), state)
                return (optax.apply_updates(w, step), state), None

            return jax.lax.scan(update, (w, optimizer.init(w)), None, length=4000)[0][0]

        return jax.tree.map(np.asarray, run(jax.tree.map(jnp.asarray, initial()), rows))


def problem() -> Network:
    """The trained network; trained on the first call, read from the file afterwards."""
    if not FILE.is_file():
        params = train()
        np.savez(FILE, **{f"{layer}.{name}": a for layer, leaf in params.items() for name, a in leaf.items()})
    with np.load(FILE) as stored:
        params: dict = {}
        for key in stored.files:
            layer, name = key.split(".")
            params.setdefault(layer, {})[name] = stored[key]
    with jax.enable_x64(True):
        return mlp_network(params, data())


def hessian_values() -> np.ndarray:
    """All eigenvalues of its Hessian, ascending; computed once and stored."""
    if not VALUES.is_file():
        np.save(VALUES, hessian_eigenvalues(problem()))
    return np.load(VALUES)


if __name__ == "__main__":
    words(__doc__)
    FILE.unlink(missing_ok=True)
    VALUES.unlink(missing_ok=True)
    hessian_values()
