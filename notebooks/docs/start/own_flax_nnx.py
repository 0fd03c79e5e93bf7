"""A Flax NNX module, as it stands after training."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import slt

cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels
inputs = jax.random.normal(jax.random.key(0), (200, 2))
labels = (inputs[:, 0] * inputs[:, 1] > 0).astype(int)


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.inner = nnx.Linear(2, 16, rngs=rngs)
        self.outer = nnx.Linear(16, 2, rngs=rngs)

    def __call__(self, x):
        return self.outer(jnp.tanh(self.inner(x)))


model, decay = Classifier(nnx.Rngs(1)), 1e-2
optimiser = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)


@nnx.jit
def step(model, optimiser):
    def mean_loss(model):
        losses = cross_entropy(model(inputs), labels)
        weights = jax.tree.leaves(nnx.state(model, nnx.Param))
        return losses.mean() + decay / 2 * sum(jnp.sum(w**2) for w in weights)

    optimiser.update(model, nnx.grad(mean_loss)(model))


for _ in range(1000):
    step(model, optimiser)

data = (inputs, labels)
target = slt.model_target(
    model, "cross_entropy", data, weight_decay=decay, localization=1.0
)
result = slt.estimate_llc(target, tolerance=0.05)
print(result.estimates["llc"], result.verdict.status)
