r"""What each minimum of an ensemble measures, and whether any of it predicts how often training finds it.

Every measure is an array over runs; a run's *frequency* is the share of all runs that found the same function on the
whole finite domain, and its surprisal is -log of that share.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slt._types import Batch, Key, Params
from slt.draws import rhat
from slt.samplers.langevin import sghmc
from slt.stats.correlation import Correlation as Correlation
from slt.stats.correlation import rank_correlation as rank_correlation
from slt.stats.learning_coefficient import llc
from slt.targets.inputs import LossPerDatum, dot

STEP, FRICTION = 0.5, 0.1
"""h sqrt(curvature at w*) of the larger of two steps, and h alpha: momentum is forgotten in ten steps."""


class Coefficients(NamedTuple):
    """Local learning coefficients of many minima, each array over runs: value, mcse, dof and rank R-hat [1]."""

    value: Float[np.ndarray, " run"]
    mcse: Float[np.ndarray, " run"]
    dof: Float[np.ndarray, " run"]
    rhat: Float[np.ndarray, " run"]


def ensemble_llc(
    key: Key,
    loss: LossPerDatum,
    minima: Params,
    data: Batch,
    curvature: Float[np.ndarray, " run"],
    *,
    nbeta: float = 1e3,
    localization: float = 1.0,
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    thinning: int = 4,
) -> Coefficients:
    r"""$n\beta(\mathbb{E}[L_n] - L_n(w^*))$ of every minimum at once: kinetic Langevin chains vmapped over minima.

    Half of the chains of a minimum use a step sqrt(2) smaller, so that a step-size bias shows in R-hat. For one
    minimum, or more than a few hundred parameters, use `estimate_llc`, which tunes and judges.

    Args:
        minima: leading axis run, settled.
        curvature: largest Hessian eigenvalue of each [nats/datum per squared unit].
        nbeta, localization: of the posterior exp(-nbeta (L - L*) - (gamma/2)|w - w*|^2), the same for all.

    Raises:
        ValueError: an odd number of chains, or below 2.
    """
    if num_chains < 2 or num_chains % 2:
        raise ValueError(f"ensemble_llc: num_chains is {num_chains}; give an even number, at least 2.")
    scale = jnp.where(jnp.arange(num_chains) % 2 == 0, 1.0, 2**-0.5)

    def one_chain(key: Key, center: Params, sharpest: Array, shrink: Array) -> Array:
        floor = jnp.mean(loss(center, data))

        def energy(w: Params, batch: Batch) -> Array:
            shift = jax.tree.map(jnp.subtract, w, center)
            return nbeta * (jnp.mean(loss(w, batch)) - floor) + 0.5 * localization * dot(shift, shift)

        h = shrink * STEP / jnp.sqrt(nbeta * sharpest + localization)
        kernel = sghmc(energy, step_size=h, friction=FRICTION / h)

        def step(state: Any, key: Key) -> tuple:
            return kernel.step(key, state, data)[0], None

        def draw(state: Any, key: Key) -> tuple:
            state = jax.lax.scan(step, state, jax.random.split(key, thinning))[0]
            return state, jnp.mean(loss(state.position, data)) - floor

        keys = jax.random.split(key, num_warmup + num_draws)
        return jax.lax.scan(draw, kernel.init(center, data), keys)[1][num_warmup:]

    def one_minimum(args: tuple) -> Array:
        key, center, sharpest = args
        return jax.vmap(lambda k, s: one_chain(k, center, sharpest, s))(jax.random.split(key, num_chains), scale)

    keys = jax.random.split(key, len(curvature))
    run = jax.jit(lambda *args: jax.lax.map(one_minimum, args, batch_size=256))
    excess = np.asarray(run(keys, minima, jnp.asarray(curvature)), np.float64)
    estimates = [llc(x, nbeta=nbeta) if np.isfinite(x).all() else (np.nan, np.inf, np.nan) for x in excess]
    value, error, dof = np.asarray([tuple(e) for e in estimates]).T
    return Coefficients(value, error, dof, np.array([rhat(x) if np.isfinite(x).all() else np.inf for x in excess]))


def frequencies(labels: Int[np.ndarray, "run input"]) -> tuple[Float[np.ndarray, " run"], Int[np.ndarray, " run"]]:
    """Share of the runs that found each run's function, and the number of that function, commonest first."""
    _, inverse, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(np.argsort(-counts, kind="stable"))
    inverse = inverse.reshape(-1)
    return counts[inverse] / len(labels), order[inverse]


def equipartition(frequency: Float[np.ndarray, " run"]) -> tuple[float, float]:
    """Mean and standard deviation over runs of the surprisal -log(frequency) [nats].

    Asymptotic equipartition would have the deviation vanish beside the mean as the network grows. A class seen once in
    N runs has a surprisal of at most log N, so that both are lower bounds where singletons are many.
    """
    surprisal = -np.log(frequency)
    return float(surprisal.mean()), float(surprisal.std())
