"""Write digits.npz and train the classifier in digits_mlp.safetensors (about ten seconds)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from slt.targets.data import load_digits
from slt.targets.networks import accuracy, mlp_apply, mlp_init, mlp_loss, regularised, save_checkpoint, train

HERE = Path(__file__).parent
WIDTHS, ACTIVATION, LOSS, WEIGHT_DECAY, SEED = (64, 32, 10), "tanh", "cross_entropy", 1e-3, 0


def write_digits(path):
    """The data as scikit-learn ships them."""
    from sklearn.datasets import load_digits as sklearn_digits

    inputs, labels = sklearn_digits(return_X_y=True)
    np.savez_compressed(path, inputs=np.asarray(inputs, np.uint8), labels=np.asarray(labels, np.uint8))


def polish(objective, params, batch):
    """Go on by L-BFGS on the full data, in float64, until the gradient is gone."""
    start, unravel = ravel_pytree(jax.tree.map(lambda x: x.astype(jnp.float64), params))
    value_and_grad = jax.jit(jax.value_and_grad(lambda flat: objective(unravel(flat), batch)))
    options = {"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-8, "ftol": 0.0, "maxcor": 50}
    return unravel(jnp.asarray(minimize(value_and_grad, start, jac=True, method="L-BFGS-B", options=options).x))


def main():
    """Train, polish, report, save."""
    if not (HERE / "digits.npz").exists():
        write_digits(HERE / "digits.npz")
    data = load_digits(HERE / "digits.npz", seed=SEED)
    init_key, train_key = jax.random.split(jax.random.key(SEED))
    loss = mlp_loss(ACTIVATION, LOSS)
    params = train(
        train_key, mlp_init(init_key, WIDTHS), loss, data.train,
        steps=20_000, batch_size=128, learning_rate=3e-3, weight_decay=WEIGHT_DECAY,
    )  # fmt: skip
    jax.config.update("jax_enable_x64", True)
    objective = regularised(loss, WEIGHT_DECAY)
    params = polish(objective, params, data.train)
    gradient, _ = ravel_pytree(jax.grad(objective)(params, data.train))
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    for name, part in data._asdict().items():
        right = accuracy(mlp_apply(params, part["inputs"], ACTIVATION), part["targets"])
        print(f"{name}: loss {jnp.mean(loss(params, part)):.4f} nats/datum, accuracy {right:.4f}")
    print(f"objective's gradient norm {jnp.linalg.norm(gradient):.1e}")
    metadata = {
        "widths": WIDTHS, "activation": ACTIVATION, "loss": LOSS, "weight_decay": WEIGHT_DECAY,
        "data": "digits.npz", "scale": 16, "num_test": 360, "split_seed": SEED,
    }  # fmt: skip
    save_checkpoint(HERE / "digits_mlp.safetensors", params, metadata)


if __name__ == "__main__":
    main()
