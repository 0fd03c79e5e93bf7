"""An Equinox module of one example, trained with optax."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import slt

cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels
inputs = jax.random.normal(jax.random.key(0), (200, 2))
labels = (inputs[:, 0] * inputs[:, 1] > 0).astype(int)
key = jax.random.key(1)
model = eqx.nn.MLP(2, 2, width_size=16, depth=1, activation=jnp.tanh, key=key)
decay, optimiser = 1e-2, optax.adam(0.02)


@eqx.filter_jit
@eqx.filter_grad
def gradient(model):
    losses = cross_entropy(jax.vmap(model)(inputs), labels)
    weights = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return losses.mean() + decay / 2 * sum(jnp.sum(w**2) for w in weights)


state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
for _ in range(1000):
    updates, state = optimiser.update(gradient(model), state)
    model = eqx.apply_updates(model, updates)

data = (inputs, labels)
target = slt.model_target(
    model, "cross_entropy", data, weight_decay=decay, localization=1.0
)
result = slt.estimate_llc(target, tolerance=0.05)
print(result.estimates["llc"], result.verdict.status)
