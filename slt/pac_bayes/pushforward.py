r"""The pushforward posterior: the law of trained parameters when the initial ones are random, and its KL to a prior.

$$\log\frac{dQ_T}{dP}(w_T) = \log q_0(w_0) - \log p(w_T) - \sum_{t<T} \log|\det J_t|,\qquad
\mathrm{KL}(Q_T \Vert P) = \mathbb{E}_{w_0}\Big[\log\frac{dQ_T}{dP}(w_T)\Big]$$

Determinants are summed step by step in float64: that of the end-to-end Jacobian sinks below rounding.

What makes a value exact is that no two starts end at the same w. That holds where eta lambda_max < 1 everywhere; it is
checked here along every trajectory. Were there N such starts, KL would exceed the value by at most ln N.

Source: Clerico, Farghly, Deligiannidis, Guedj & Doucet 2022, arXiv:2209.02525; Duvenaud, Maclaurin & Adams 2016.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from slt._options import checked
from slt._rows import as_fields
from slt._types import Batch, Estimate, Key
from slt.pac_bayes.kl import KL, Side
from slt.pac_bayes.steps import Training
from slt.stats.replicates import replicate_mean
from slt.targets.gaussian import Gaussian, gaussian_law


class Singular(NamedTuple):
    """The first step that is not one to one: where it happened, and eta lambda_max there."""

    step: int
    chain: int
    reach: float


class Pushforward(NamedTuple):
    """Trainings from many initial draws, seen at some times; leading axis chain.

    times: steps taken [1]. positions: w_t. log_ratio: log dQ_t/dP(w_t) [nats]. loss: C(w_t) on all data [nats/datum].
    singular: the first step of any chain that is not one to one, or None; later log ratios of that chain are NaN.
    side, note: of the divergences that come of it. draw_side: of log_ratio at each draw.
    """

    times: Int[np.ndarray, " time"]
    positions: Float[np.ndarray, "chain time dim"]
    log_ratio: Float[np.ndarray, "chain time"]
    loss: Float[np.ndarray, "chain time"]
    singular: Singular | None
    side: Side
    note: str
    draw_side: Side

    __repr__ = as_fields


@checked
def push_forward(
    key: Key,
    start: Float[ArrayLike, "chain dim"],
    training: Training,
    data: Batch,
    *,
    law: Gaussian,
    times: Sequence[int],
    prior: Gaussian | None = None,
    orders: Int[ArrayLike, "... step batch"] | None = None,
    vmap_size: int | None = None,
    dtype: str = "float64",
) -> Pushforward:
    """Train every start and carry log dQ_t/dP along, all in one compiled run.

    Args:
        key: JAX random key, for stochastic log-determinants.
        start: draws of `law`, e.g. law.draw(key, 150).
        training: a step with its log-determinant, e.g. `gradient_descent`.
        data: pytree of arrays with one leading axis.
        law: q0, from which the starts were drawn.
        times: step counts at which to look, ascending; 0 is the start.
        prior: P, chosen before seeing the data; by default q0.
        orders: rows of every step, the same for all chains (step, batch) or one order a chain (chain, step, batch);
            by default every step sees all data.
        vmap_size: chains trained at once, to save memory; by default all.
        dtype: of parameters and data. Log-determinants are summed in float64 in any case.

    Returns:
        Pushforward. Orders that differ between chains give an average over orders, by convexity an upper bound.

    Raises:
        ValueError: a start of the wrong shape or not finite, times not ascending, too few rows of `orders`.
    """
    prior = law if prior is None else prior
    first, when, rows = _checked(start, law, prior, times, orders)
    with jax.enable_x64(True):
        cast = jax.tree.map(lambda a: _cast(a, dtype), data)
        one = _one_chain(training, law, prior, when)
        keys = jax.random.split(key, len(first))
        many = None if rows is None or rows.shape[0] == 1 else jnp.asarray(rows)
        shared = jnp.asarray(rows[0]) if rows is not None and many is None else None

        def all_chains(chains: Any, shared: Array | None, data: Batch) -> Any:
            return jax.lax.map(lambda c: one(*c, shared, data), chains, batch_size=vmap_size or len(first))

        seen, broken = jax.jit(all_chains)((keys, jnp.asarray(first, dtype), many), shared, cast)
        singular = _first_singular(training, broken, cast, rows)
    positions, log_ratio, loss = (np.asarray(a, np.float64) for a in seen)
    averaged = many is not None and training.side == "exact"
    how = "" if rows is None else ", fixed batch order" if many is None else ", a fixed batch order a chain"
    side: Side = "upper" if averaged else training.side
    draw_side: Side = "none" if training.random else training.side
    return Pushforward(when, positions, log_ratio, loss, singular, side, training.note + how, draw_side)


def pushforward_kl(run: Pushforward, index: int = -1) -> KL:
    """KL(Q_t to P) of one time, the mean of the log ratios with its standard error.

    Args:
        index: into run.times.

    Raises:
        ValueError: a step up to that time was not one to one; fewer than 2 chains.
    """
    time = int(run.times[index])
    if run.singular is not None and run.singular.step < time:
        step, chain, reach = run.singular
        raise ValueError(
            f"pushforward_kl: at step {step} of chain {chain} step size times largest curvature is {reach:.3f}; "
            "it must stay below 1 (0.68 for the two-product bound), or the step is not one to one and the law of its "
            f"results not known by one path. Lower the step size, or stop at step {step} at the latest."
        )
    values = run.log_ratio[:, index]
    if len(values) < 2:
        raise ValueError(f"pushforward_kl: {len(values)} chain; at least 2 are needed for an error bar.")
    if not np.isfinite(values).all():
        chain = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"pushforward_kl: log dQ/dP of chain {chain} is {values[chain]} at step {time}; it diverged.")
    return KL(replicate_mean(values), run.side, f"{run.note}, {time} steps")


def drawn_log_ratio(run: Pushforward, chain: int = 0, index: int = -1) -> KL:
    """Log dQ_t/dP at one trained net, for `single_draw_bound`: no average over starts, hence no error.

    Choose the chain before looking at any. With a batch order drawn for each chain, Q is that of its order.

    Raises:
        ValueError: a step of this chain up to that time was not one to one.
    """
    value = float(run.log_ratio[chain, index])
    if not np.isfinite(value):
        pushforward_kl(run, index)
    return KL(Estimate(value, 0.0), run.draw_side, f"{run.note}, {run.times[index]} steps, chain {chain}")


def kl_curve(run: Pushforward) -> list[KL]:
    """KL(Q_t to P) at every time of the run. A certificate that picks the time pays for the grid: delta/len(times)."""
    return [pushforward_kl(run, index) for index in range(len(run.times))]


def flow_kl(coarse: Pushforward, fine: Pushforward, index: int = -1) -> KL:
    """KL of gradient flow from two runs with the same starts and end, the second with half the time step.

    Their difference is added: the fine run errs by about a fifteenth of it. Hence an upper bound.

    Raises:
        ValueError: runs that do not start alike or do not have the double number of steps.
    """
    value = pushforward_kl(fine, index).value
    pushforward_kl(coarse, index)
    if coarse.log_ratio.shape != fine.log_ratio.shape or 2 * coarse.times[index] != fine.times[index]:
        raise ValueError(
            "flow_kl: give runs of the same starts, the fine one with half the time step and twice the steps."
        )
    error = float(np.max(np.abs(coarse.log_ratio[:, index] - fine.log_ratio[:, index])))
    note = f"gradient flow, {error:.1g} added for the integration error"
    return KL(value._replace(value=value.value + error), "upper", note)


def extend(law: Gaussian, velocity_std: float) -> Gaussian:
    """The law of (w, v) with v ~ N(0, velocity_std^2), for `extended_momentum`."""
    zeros = np.zeros(law.mean.size)
    return gaussian_law(np.concatenate([law.mean, zeros]), np.concatenate([law.std, zeros + velocity_std]))


def _one_chain(training: Training, law: Gaussian, prior: Gaussian, times: np.ndarray) -> Callable:
    """(key, w0, its order, shared order, data) -> ((positions, log ratios, losses) at times, where it broke)."""
    spans = jnp.asarray(np.stack([np.concatenate([[0], times[:-1]]), times], 1))

    def run(key: Key, start: Array, order: Array | None, shared: Array | None, data: Batch) -> tuple:
        init_key, step_key = jax.random.split(key)
        rows = shared if order is None else order

        def batch_at(t: Array) -> Batch:
            return data if rows is None else _rows(data, rows[t])

        def step(t: Array, carry: tuple) -> tuple:
            state, volume, (when, where) = carry
            new, log_det = training.step(jax.random.fold_in(step_key, t), state, batch_at(t))
            broke = ~jnp.isfinite(log_det) & (when < 0)
            broken = jnp.where(broke, t, when), jnp.where(broke, training.position(state), where)
            return new, volume + log_det, broken

        def span(carry: tuple, ends: Array) -> tuple:
            state, volume, _ = carry = jax.lax.fori_loop(ends[0], ends[1], step, carry)
            w = training.position(state)
            ratio = law.log_density(start) - prior.log_density(w) - volume
            return carry, (w, ratio, training.loss(w, data))

        broken = jnp.asarray(-1), jnp.zeros_like(start)
        carry = training.init(init_key, start), jnp.zeros((), jnp.float64), broken
        (_, _, broken), seen = jax.lax.scan(span, carry, spans)
        return seen, broken

    return run


def _first_singular(training: Training, broken: tuple, data: Batch, rows: np.ndarray | None) -> Singular | None:
    when, where = np.asarray(broken[0]), broken[1]
    if (when < 0).all():
        return None
    chain = int(np.argmin(np.where(when < 0, np.iinfo(when.dtype).max, when)))
    step = int(when[chain])
    batch = data if rows is None else _rows(data, rows[min(chain, len(rows) - 1), step])
    return Singular(step, chain, float(training.reach(where[chain], batch)))


def _checked(
    start: ArrayLike, law: Gaussian, prior: Gaussian, times: Sequence[int], orders: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Start and times as arrays, and orders as (1 or chain, step, batch)."""
    first, when = np.asarray(start, np.float64), np.asarray(times)
    if first.ndim != 2 or first.shape[1] != law.mean.size or prior.mean.size != law.mean.size:
        raise ValueError(
            f"push_forward: start has shape {first.shape}, the law {law.mean.size} and the prior {prior.mean.size} "
            "parameters; start must be (chain, dim) with the same dim."
        )
    if not np.isfinite(first).all():
        raise ValueError("push_forward: a start is not finite; draw it from the law.")
    if not (when.ndim == 1 and when.size and when.dtype.kind == "i" and when[0] >= 0 and (np.diff(when) > 0).all()):
        raise ValueError(f"push_forward: times is {times}; give ascending step counts, e.g. (0, 100, 1000).")
    if orders is None:
        return first, when, None
    rows = np.asarray(orders)
    rows = rows[None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or rows.shape[1] < when[-1] or len(rows) not in (1, len(first)):
        raise ValueError(
            f"push_forward: orders has shape {np.shape(orders)}; give (step, batch) or (chain, step, batch) row "
            f"numbers for all {when[-1]} steps and {len(first)} chains."
        )
    return first, when, rows


def _cast(array: Any, dtype: str) -> Array:
    array = jnp.asarray(array)
    return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _rows(data: Batch, rows: Any) -> Batch:
    return jax.tree.map(lambda a: a[rows], data)
