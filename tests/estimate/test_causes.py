"""Why w* is no minimum: each account of its gradient on a net that was trained so, and the gamma that holds it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from slt.estimate.causes import causes
from slt.estimate.harmonic import harmonic
from slt.targets.minimise import deficit, polish
from slt.targets.target import loss_target

N, STEPS = 1000, 3000


def rows(seed):
    """Three classes of a teacher net with Gumbel noise."""
    rng, teacher = np.random.default_rng(seed), np.random.default_rng(5)
    x = rng.normal(size=(N, 8))
    scores = np.tanh(x @ teacher.normal(size=(8, 16))) @ teacher.normal(size=(16, 3))
    y = np.argmax(scores + 0.5 * rng.gumbel(size=scores.shape), -1)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y)


def loss(params, batch):
    x, y = batch
    scores = jnp.tanh(x @ params["in"]) @ params["out"]
    return jax.nn.logsumexp(scores, -1) - jnp.take_along_axis(scores, y[:, None], -1)[:, 0]


def trained(optimiser, *, data, steps=STEPS, decay=0.0, batch=None):
    rng = np.random.default_rng(0)
    start = {"in": 0.35 * rng.normal(size=(8, 6)), "out": 0.4 * rng.normal(size=(6, 3))}
    start = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), start)

    def objective(w, part):
        return jnp.mean(loss(w, part)) + decay / 2 * sum(jnp.vdot(a, a) for a in jax.tree.leaves(w))

    @jax.jit
    def run(w):
        def step(carry, key):
            w, state = carry
            index = jax.random.randint(key, (batch,), 0, N) if batch else jnp.arange(N)
            gradient = jax.grad(objective)(w, jax.tree.map(lambda a: a[index], data))
            update, state = optimiser.update(gradient, state, w)
            return (optax.apply_updates(w, update), state), None

        return jax.lax.scan(step, (w, optimiser.init(w)), jax.random.split(jax.random.key(0), steps))[0][0]

    return run(start)


def falling(rate):
    return optax.cosine_decay_schedule(rate, STEPS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimiser": optax.adam(falling(1e-2)), "decay": 1e-2}, "weight_decay=0.01"),
        ({"optimiser": optax.adamw(falling(1e-2), weight_decay=0.3), "batch": 50}, "AdamW"),
        ({"optimiser": optax.adam(falling(1e-2)), "data": rows(2)}, "other data"),
        ({"optimiser": optax.adam(3e-3), "steps": 40}, "stopped early"),
    ],
)
def test_the_account_of_a_gradient_is_how_the_net_was_trained(options, said):
    w = trained(**{"data": rows(1)} | options)
    found = causes(loss_target(loss, w, rows(1), localization=1.0), 0)
    assert said in str(found)
    assert sum(word in str(found) for word in ("weight_decay=0", "AdamW", "other data", "stopped early")) == 1


def test_the_gamma_that_holds_a_point_leaves_a_tenth_of_the_estimate_below_it():
    """Of the energy that L-BFGS finds on the loss itself, and the harmonic estimate; a quarter of it leaves more."""
    w = polish(loss, trained(optax.adam(falling(1e-2)), data=rows(1), decay=1e-2), rows(1), weight_decay=1e-2)
    held = causes(loss_target(loss, w, rows(1), localization=1.0), 0).holding
    below = []
    for gamma in (held / 4, held):
        target = loss_target(loss, w, rows(1), localization=gamma)
        below.append(deficit(target) / harmonic(target, 0)["harmonic"])
    assert below[1] < 0.13
    assert below[0] > 0.1
