"""XOR networks at exact global minima, at other critical points, and the losses that the rank claims are about."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from slt.geometry.behaviour import _behaviour, _flat
from slt.geometry.operators import Network, cast, mlp_network, network, precision
from slt.targets.networks import mlp_apply, mlp_init

INPUTS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
LABELS = np.array([0.0, 1, 1, 0])
SOFT = np.where(LABELS == 1, 0.9, 0.1)
"""Targets of the entropies: a perfect fit of hard labels is at infinity."""


def squared(params) -> Network:
    return mlp_network(params, {"inputs": INPUTS, "targets": LABELS[:, None]}, activation="tanh", loss="squared_error")


def binary(params) -> Network:
    """Outputs are probabilities, one a datum."""

    def loss(p, rows):
        y = rows["targets"]
        return -jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p), 1)

    data = {"inputs": INPUTS, "targets": SOFT[:, None]}
    return network(lambda w, rows: jax.nn.sigmoid(mlp_apply(w, rows["inputs"])), loss, params, data)


def probabilities(params) -> Network:
    """Outputs are the probabilities of two classes."""
    data = {"inputs": INPUTS, "targets": np.stack([1 - SOFT, SOFT], 1)}
    return network(
        lambda w, rows: jax.nn.softmax(mlp_apply(w, rows["inputs"])),
        lambda p, rows: -jnp.sum(rows["targets"] * jnp.log(p), 1),
        params,
        data,
    )


def logits(params) -> Network:
    """The same loss and data, with the raw logits as outputs."""
    return network(
        lambda w, rows: mlp_apply(w, rows["inputs"]),
        lambda z, rows: -jnp.sum(rows["targets"] * jax.nn.log_softmax(z), 1),
        params,
        probabilities(params).data,
    )


LOSSES = {
    "MSE": (squared, 1),
    "BCE": (binary, 1),
    "CE, probabilities": (probabilities, 2),
    "CE, raw logits": (logits, 2),
}


def fitted(build, outputs: int, hidden: int = 3, seed: int = 0) -> Network:
    """A net of 2-hidden-`outputs` tanh at a perfect fit, from the first seed that reaches one."""
    for attempt in range(seed, seed + 50):
        net = build(mlp_init(jax.random.key(attempt), (2, hidden, outputs)))
        shown = probabilities(net.params) if build is logits else net
        params, error = solve(shown)
        if error < 1e-13:
            return net._replace(params=params)
    raise AssertionError("no perfect fit in 50 starts")


def solve(net: Network, steps: int = 200):
    """Levenberg-Marquardt on outputs = targets, in float64: (params, largest error)."""
    with precision(np.float64):
        behaviour, w = _behaviour(net), np.asarray(_flat(net))
        unravel = ravel_pytree(cast(net.params, np.float64))[1]
        target, damping = np.ravel(net.data["targets"]), 1.0
        values, gradients = behaviour(jnp.asarray(w))
        for _ in range(steps):
            error = values - target
            if np.max(np.abs(error)) < 1e-14:
                break
            if damping < 1e-8:
                step = np.linalg.lstsq(gradients, error, rcond=1e-12)[0]
            else:
                step = np.linalg.solve(gradients.T @ gradients + damping * np.eye(w.size), gradients.T @ error)
            new_values, new_gradients = behaviour(jnp.asarray(w - step))
            if np.sum((new_values - target) ** 2) < np.sum(error**2):
                w, values, gradients, damping = w - step, new_values, new_gradients, damping / 5
            else:
                damping *= 4
        return jax.tree.map(np.asarray, unravel(jnp.asarray(w))), float(np.max(np.abs(values - target)))


def saddle() -> Network:
    """A critical point without a perfect fit: two hidden units, all weights zero, the output the mean of AND.

    Its residuals r couple every output weight to the weights into its unit by sum r x, not zero for AND.
    """
    params = jax.tree.map(lambda a: np.zeros(a.shape), mlp_init(jax.random.key(0), (2, 2, 1)))
    params["layer_1"]["bias"][:] = 0.25
    return squared(params)._replace(data={"inputs": INPUTS, "targets": np.array([[0.0], [0], [0], [1]])})
