"""A model in plain JAX: a loss per row, parameters as any pytree."""

import jax
import jax.numpy as jnp

import slt

inputs = jax.random.normal(jax.random.key(0), (200, 2))
outputs = jnp.tanh(inputs[:, 0]) + 0.3 * jax.random.normal(jax.random.key(1), (200,))


def loss(params, rows):  # minus the log-likelihood of each row [nats]
    x, y = rows
    prediction = jnp.tanh(x @ params["inner"]) @ params["outer"]
    return 0.5 * ((y - prediction) / 0.3) ** 2


keys = jax.random.split(jax.random.key(2))
start = {
    "inner": jax.random.normal(keys[0], (2, 20)),
    "outer": 0.2 * jax.random.normal(keys[1], (20,)),
}
data, decay = (inputs, outputs), 1e-2
trained = slt.polish(loss, start, data, weight_decay=decay)  # or train as you like
target = slt.loss_target(loss, trained, data, weight_decay=decay, localization=1.0)
result = slt.estimate_llc(target, tolerance=0.05)
print(result.estimates["llc"], result.verdict.status)
