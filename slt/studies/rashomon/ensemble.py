r"""Many trainings of one network at once, and the bottom of the basin each of them ends in.

The Rashomon set is {w: L_n(w) - min L_n <= epsilon}: every model that explains the data about equally well. An ensemble
is what training finds of it, one initialisation a run, all runs in one vmapped program.

Source of the question: Larsen, Kwa et al. 2022, "Broad basins and data compression"; the name: Breiman 2001.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Batch, Key, Params, Scalar
from slt.targets.inputs import LossPerDatum, check_data
from slt.targets.networks import regularised
from slt.targets.rows import in_memory

STRETCH = 200
"""Training steps between two looks at how many runs have reached the asked loss."""
TOGETHER = 16
"""Runs that are worked on side by side; all of them wait for the slowest."""


class Ensemble(NamedTuple):
    """What training found, leading axis run.

    params: where every run stopped. loss: the trained objective there [nats/datum]. steps: when it first was at most
    the asked loss, the number of steps made where it never was. fitted: whether it was. start: the initialisations.
    """

    params: Params
    loss: Float[np.ndarray, " run"]
    steps: np.ndarray
    fitted: np.ndarray
    start: Params

    @property
    def num_runs(self) -> int:
        """Number of runs."""
        return len(self.loss)

    def select(self, runs: np.ndarray) -> "Ensemble":
        """Some of the runs, by mask or index."""
        return jax.tree.map(lambda a: a[runs], self)


def train_ensemble(
    key: Key,
    init: Callable[[Key], Params],
    loss: LossPerDatum,
    data: Any,
    *,
    num_runs: int,
    optimizer: optax.GradientTransformation | None = None,
    max_loss: float = 1e-3,
    num_steps: int = 20_000,
    batch_size: int | None = None,
    weight_decay: float = 0.0,
) -> Ensemble:
    r"""Train `num_runs` networks from independent initialisations until L_n(w) + (decay/2)|w|^2 <= `max_loss`.

    A run stops moving at the first step at which its full-data objective is small enough, so that all end equally well
    fitted; the ensemble ends when every run has stopped or made `num_steps` steps.

    Args:
        key: JAX random key.
        init: key -> parameters of one network.
        loss: (params, rows) -> loss of each row [nats/datum].
        data: pytree of arrays with one leading axis of length n.
        num_runs: number of initialisations.
        optimizer: any optax transformation; Adam at 0.01 by default. `optax.sgd(rate)` is gradient descent.
        max_loss: objective at which a run stops [nats/datum].
        batch_size: rows a step, drawn with replacement; all of them by default.
        weight_decay: decay of the objective [nats/datum per squared unit].

    Raises:
        ValueError: fewer than one run or step, or data that `loss_target` would refuse.
    """
    if num_runs < 1 or num_steps < 1:
        raise ValueError(f"train_ensemble: num_runs is {num_runs}, num_steps {num_steps}; both must be at least 1.")
    data = in_memory(data)
    num_data = check_data(data)
    objective = regularised(loss, weight_decay)
    rule = optax.adam(0.01) if optimizer is None else optimizer
    init_key, batch_key = jax.random.split(key)
    start = jax.vmap(init)(jax.random.split(init_key, num_runs))

    def one_step(carry: tuple, i: Array) -> tuple:
        run, params, state, steps, done = carry
        rows = data
        if batch_size is not None and batch_size < num_data:
            step_key = jax.random.fold_in(jax.random.fold_in(batch_key, run), i)
            chosen = jax.random.randint(step_key, (batch_size,), 0, num_data)
            rows = jax.tree.map(lambda a: a[chosen], data)
        done = done | (objective(params, data) <= max_loss)
        updates, moved = rule.update(jax.grad(objective)(params, rows), state, params)
        params, state = _where(done, (params, state), (optax.apply_updates(params, updates), moved))
        return (run, params, state, jnp.where(done, steps, steps + 1), done), None

    @jax.jit
    def stretch(carries: tuple, offset: Array) -> tuple:
        return jax.vmap(lambda c: jax.lax.scan(one_step, c, offset + jnp.arange(STRETCH))[0])(carries)

    runs, zeros = jnp.arange(num_runs), jnp.zeros(num_runs, jnp.int32)
    carries = (runs, start, jax.vmap(rule.init)(start), zeros, zeros > 0)
    for offset in range(0, num_steps, STRETCH):
        carries = stretch(carries, jnp.asarray(offset))
        if bool(carries[-1].all()):
            break
    _, params, _, steps, done = carries
    final = jax.jit(jax.vmap(lambda w: objective(w, data)))(params)
    return Ensemble(*jax.tree.map(np.asarray, (params, final, steps, done, start)))


def settle(
    objective: Callable[[Params, Batch], Scalar], params: Params, data: Batch, *, num_steps: int = 60
) -> tuple[Params, Float[np.ndarray, " run"]]:
    r"""Levenberg-Marquardt steps of every run to the bottom of its basin; returns parameters and objectives.

    $w' = w - (|H| + \mu I)^{-1} \nabla L$ with $|H|$ the absolute Hessian, so that saddles repel; mu shrinks tenfold
    after a step that lowers L and grows tenfold after one that does not, which is then undone. Nothing moves along
    directions without gradient: on a flat set a run stays where it was, up to the steps across. A run ends where L is
    zero, or cannot fall any further, to the rounding of its dtype.

    Args:
        objective: (params, data) -> scalar [nats/datum], of at most a few hundred parameters.
        params: leading axis run.
        num_steps: most steps of a run.

    Source: Levenberg 1944; for |H|: Dauphin et al. 2014, arXiv:1406.2572.
    """
    _, unravel = ravel_pytree(jax.tree.map(lambda a: a[0], params))

    def one_run(w: Params, data: Batch) -> tuple[Array, Scalar]:
        def value(x: Array) -> Scalar:
            return objective(unravel(x), data)

        def unfinished(carry: tuple) -> Array:
            return (carry[0] < num_steps) & ~carry[-1]

        def step(carry: tuple) -> tuple:
            i, x, lowest, damping, _ = carry
            eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(value)(x))
            slope = vectors.T @ jax.grad(value)(x)
            shift = slope / (jnp.abs(eigenvalues) + damping)
            moved = x - vectors @ shift
            new = value(moved)
            better = new < lowest
            damping = jnp.clip(jnp.where(better, damping / 10, damping * 10), 1e-12, 1e6)
            x, lowest = jnp.where(better, moved, x), jnp.where(better, new, lowest)
            eps = jnp.finfo(x.dtype).eps
            done = (jnp.abs(lowest) <= (16 * eps) ** 2) | (0.5 * slope @ shift <= eps * jnp.abs(lowest))
            return i + 1, x, lowest, damping, done

        x = ravel_pytree(w)[0]
        start = (0, x, value(x), jnp.asarray(1e-3, x.dtype), jnp.asarray(False))
        return jax.lax.while_loop(unfinished, step, start)[1:3]

    flat, lowest = in_groups(one_run, params, data)
    return jax.tree.map(np.asarray, (jax.vmap(unravel)(flat), lowest))


def in_groups(function: Callable[[Params, Batch], Any], params: Params, data: Batch) -> Any:
    """Function(w, data) of every run, `TOGETHER` at a time.

    The last group is filled up by repeating its last run: a smaller one would be compiled a second time.
    """
    runs = jax.tree.leaves(params)[0].shape[0]
    size = min(TOGETHER, runs)
    filled = jax.tree.map(lambda a: np.concatenate([a, np.repeat(a[-1:], -runs % size, axis=0)]), params)
    compiled = jax.jit(lambda w, rows: jax.lax.map(lambda x: function(x, rows), w, batch_size=size))
    return jax.tree.map(lambda a: np.asarray(a)[:runs], compiled(filled, data))


def _where(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
