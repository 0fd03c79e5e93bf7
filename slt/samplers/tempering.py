r"""Adaptive tempered sequential Monte Carlo, prior to posterior, through BlackJAX.

Independent replicates each carry particles along p_t(w) ~ prior(w) exp(-t U(w)), t from 0 to 1. The moves are HMC whose
step is drawn log-uniformly over nearly three decades, so that thin valleys and their crossings are both entered; the upper
end follows the acceptance from one temperature to the next, the mass matrix the spread of the particles.
Replicates are independent, so the standard error between them is right whatever happens within.

Source: Del Moral, Doucet & Jasra 2006; adaptive schedule: Jasra et al. 2011, doi:10.1111/j.1467-9469.2010.00723.x.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.mcmc import hmc
from blackjax.smc import adaptive_tempered, resampling, tempered
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Key, Params, Scalar

DECADES = 2.8
TOP = 0.3
TARGET_ACCEPTANCE = 0.4


class Moves(NamedTuple):
    """scale: spread of the particles per coordinate; top: log10 of the largest step in units of it."""

    scale: Float[Array, " dim"]
    top: Scalar


class Tempered(NamedTuple):
    """Replicates at t = 1, leading axis replicate.

    states: BlackJAX HMC states of all particles. moves: the frozen moves. log_evidence: log of
    E_prior[exp(-U)] [nats]. num_temperatures: steps from prior to posterior; finished: t = 1 was reached.
    """

    states: Any
    moves: Moves
    log_evidence: Float[Array, " replicate"]
    num_temperatures: Float[Array, " replicate"]
    finished: Array


class Tempering(NamedTuple):
    """run(key) -> Tempered; sweep(key, Tempered, num_sweeps) -> (Tempered, energies, acceptance_rate).

    energies: U of every particle after every sweep at t = 1 [nats], dims (replicate, sweep, particle).
    """

    run: Callable[[Key], Tempered]
    sweep: Callable[[Key, Tempered, int], tuple[Tempered, Array, Array]]


def tempered_smc(
    energy: Callable[[Params], Scalar],
    log_prior: Callable[[Params], Scalar],
    draw_prior: Callable[[Key], Params],
    *,
    log_weight: Callable[[Params], Scalar] = lambda w: jnp.zeros(()),
    fold: Callable[[Params], Params] = lambda w: w,
    num_particles: int = 1024,
    num_replicates: int = 16,
    num_moves: int = 6,
    num_integration_steps: int = 4,
    target_ess: float = 0.6,
    max_temperatures: int = 500,
) -> Tempering:
    """Compiled functions that carry replicates of particles from the prior to prior times exp(-energy).

    Args:
        energy: the tempered part U of the energy [nats], without the prior.
        log_prior: log density of the prior up to a constant, `log_weight` included.
        draw_prior: an exact draw of the prior without `log_weight`.
        log_weight: log of a further factor of the prior, by which the first particles are resampled.
        fold: maps a position into the domain, for measuring the spread of the particles.
        num_moves: HMC moves a temperature. num_integration_steps: leapfrog steps a move.
        target_ess: effective fraction of the particles kept from one temperature to the next.

    Raises:
        ValueError: fewer than 2 replicates or 8 particles.
    """
    if num_replicates < 2 or num_particles < 8:
        raise ValueError(
            f"tempered_smc: {num_replicates} replicates of {num_particles} particles; at least 2 of 8 are needed."
        )
    unravel = ravel_pytree(draw_prior(jax.random.key(0)))[1]
    kernel = hmc.build_kernel()

    def log_likelihood(x: Array) -> Scalar:
        return -energy(unravel(x))

    def flat_prior(x: Array) -> Scalar:
        return log_prior(unravel(x))

    def log_density(x: Array) -> Scalar:
        return flat_prior(x) + log_likelihood(x)

    def move(key: Key, state: Any, density: Callable, scale: Array, top: Scalar) -> tuple[Any, Any]:
        scale_key, key = jax.random.split(key)
        exponent = top - DECADES * jax.random.uniform(scale_key)
        step = 1.2 * scale.size**-0.25 * 10.0**exponent
        return kernel(key, state, density, step, scale**2, num_integration_steps)

    smc_kernel = adaptive_tempered.build_kernel(
        flat_prior, log_likelihood, move, hmc.init, resampling.systematic, target_ess
    )

    def spread(state: Any) -> Array:
        folded = jax.vmap(lambda x: ravel_pytree(fold(unravel(x)))[0])(state.particles)
        mean = state.weights @ folded
        return jnp.sqrt(state.weights @ (folded - mean) ** 2) + 1e-12

    def one_run(key: Key) -> Tempered:
        draw_key, move_key, resample_key = jax.random.split(key, 3)
        particles = jax.vmap(lambda k: ravel_pytree(draw_prior(k))[0])(jax.random.split(draw_key, num_particles))
        weights = jax.vmap(lambda x: log_weight(unravel(x)))(particles)
        start = tempered.init(particles)._replace(weights=jax.nn.softmax(weights))

        def body(carry: tuple) -> tuple:
            i, state, evidence, top = carry
            parameters = {"scale": spread(state)[None], "top": top[None]}
            state, info = smc_kernel(jax.random.fold_in(move_key, i), state, num_moves, parameters)
            top = jnp.minimum(TOP, top + info.update_info.acceptance_rate.mean() - TARGET_ACCEPTANCE)
            return i + 1, state, evidence + info.log_likelihood_increment, top

        def unfinished(carry: tuple) -> Array:
            return (carry[1].tempering_param < 1 - 1e-9) & (carry[0] < max_temperatures)

        zero = jnp.zeros((), particles.dtype)
        first = (0, start._replace(tempering_param=zero), zero, zero + TOP)
        count, state, evidence, top = jax.lax.while_loop(unfinished, body, first)
        chosen = resampling.systematic(resample_key, state.weights, num_particles)
        states = jax.vmap(lambda x: hmc.init(x, log_density))(state.particles[chosen])
        finished = state.tempering_param >= 1 - 1e-9
        return Tempered(states, Moves(spread(state), top), evidence, count, finished)

    def run(key: Key) -> Tempered:
        return jax.lax.map(one_run, jax.random.split(key, num_replicates))

    def sweep(key: Key, current: Tempered, num_sweeps: int) -> tuple[Tempered, Array, Array]:
        def one_replicate(args: tuple) -> tuple:
            key, states, moves = args

            def body(states: Any, key: Key) -> tuple[Any, tuple]:
                keys = jax.random.split(key, num_particles)
                states, info = jax.vmap(lambda k, s: move(k, s, log_density, *moves))(keys, states)
                return states, (-jax.vmap(log_likelihood)(states.position), info.acceptance_rate.mean())

            return jax.lax.scan(body, states, jax.random.split(key, num_sweeps))

        keys = jax.random.split(key, num_replicates)
        states, (energies, rates) = jax.lax.map(one_replicate, (keys, current.states, current.moves))
        return current._replace(states=states), energies, rates

    return Tempering(jax.jit(run), jax.jit(sweep, static_argnums=2))
