"""Is w* a minimum of the energy, and how to get to one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from slt._options import checked
from slt._types import Batch, Params
from slt.jit import shared_jit
from slt.targets.inputs import LossPerDatum, as_params, check_data, check_loss, check_params
from slt.targets.rows import in_memory
from slt.targets.target import Target

LBFGS = optax.lbfgs()


@checked
def polish(
    loss: LossPerDatum,
    params: Params,
    data: Any,
    *,
    weight_decay: float = 0.0,
    adam_steps: int = 200,
    lbfgs_steps: int = 200,
    learning_rate: float = 1e-3,
) -> Params:
    """Full-batch Adam and then L-BFGS on L_n(w) + (weight_decay/2)|w|^2, from trained parameters towards their minimum.

    Args:
        loss: (params, rows) -> loss of each row [nats/datum].
        data: in the forms of `loss_target`.

    Raises:
        ValueError: parameters, data or a loss that `loss_target` would refuse.
    """
    params, data = as_params(params), in_memory(data)
    check_params(params)
    check_data(data, least=1)
    check_loss(loss, params, data)

    def objective(w: Params, batch: Batch) -> jax.Array:
        square = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(w))
        return jnp.mean(loss(w, batch)) + 0.5 * weight_decay * square

    return descend(objective, params, data, adam_steps, lbfgs_steps, learning_rate)


def descend(
    objective: Callable, params: Params, data: Batch, adam_steps: int, lbfgs_steps: int, learning_rate: float
) -> Params:
    """Adam, then L-BFGS, on a function of parameters and data; no value is looked at, so that a program may hold it."""
    if adam_steps:
        schedule = optax.cosine_decay_schedule(learning_rate, adam_steps)
        params = _minimise(optax.adam(schedule), objective, params, data, adam_steps)
    return _minimise(LBFGS, objective, params, data, lbfgs_steps)


def deficit(target: Target, *, num_steps: int = 100) -> float:
    """U(w*) - min U near w* by L-BFGS [nats]: by about as much the learning coefficient can come out too low."""
    lower = _minimise(LBFGS, target.energy, target.minimum, target.data, num_steps)
    return float(target.energy(target.minimum, target.data) - target.energy(lower, target.data))


@shared_jit
def _minimise(
    optimiser: optax.GradientTransformation, objective: Callable, params: Params, data: Batch, num_steps: int
) -> Params:
    """The best of all iterates: a step that raises the objective or leaves the finite numbers is never returned."""
    optimiser = optax.with_extra_args_support(optimiser)

    def value(w: Params) -> jax.Array:
        return objective(w, data)

    def step(carry: tuple, _: None) -> tuple:
        w, state, best, lowest = carry
        loss, gradient = jax.value_and_grad(value)(w)
        update, state = optimiser.update(gradient, state, w, value=loss, grad=gradient, value_fn=value)
        better = loss < lowest
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), w, best)
        return (optax.apply_updates(w, update), state, best, jnp.where(better, loss, lowest)), None

    start = (params, optimiser.init(params), params, value(params))
    w, _, best, lowest = jax.lax.scan(step, start, None, length=num_steps)[0]
    better = value(w) < lowest
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), w, best)
