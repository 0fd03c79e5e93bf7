r"""Adaptive tempered sequential Monte Carlo, prior to posterior, through BlackJAX.

Independent replicates each carry particles along p_t(w) ~ prior(w) exp(-t U(w)), t from 0 to 1. The moves are HMC whose
step is drawn log-uniformly over nearly three decades, so that thin valleys and their crossings are both entered; the
upper end follows the acceptance from one temperature to the next, the mass matrix the spread of the particles.
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
    temperatures: the t of every step, filled up with 1.
    """

    states: Any
    moves: Moves
    log_evidence: Float[Array, " replicate"]
    num_temperatures: Float[Array, " replicate"]
    finished: Array
    temperatures: Float[Array, "replicate temperature"]


class Path(NamedTuple):
    """What a fixed ladder 0 = t_0 < ... < t_J = 1 leaves at every rung, dims (replicate, rung).

    log_evidence: log of E_prior[exp(-t U)] [nats]. mean_energy, variance_energy: of U over the particles at t.
    acceptance_rate: of the moves at t.
    """

    log_evidence: Float[Array, "replicate rung"]
    mean_energy: Float[Array, "replicate rung"]
    variance_energy: Float[Array, "replicate rung"]
    acceptance_rate: Float[Array, "replicate rung"]


class Tempering(NamedTuple):
    """run(key) -> Tempered; sweep(key, Tempered, num_sweeps) -> (Tempered, energies, acceptance_rate).

    energies: U of every particle after every sweep at t = 1 [nats], dims (replicate, sweep, particle).
    climb(key, temperatures) -> Path: fresh replicates on a ladder that is given, t_1 to t_J, so that its evidence is
    unbiased and all replicates share their rungs.
    """

    run: Callable[[Key], Tempered]
    sweep: Callable[[Key, Tempered, int], tuple[Tempered, Array, Array]]
    climb: Callable[[Key, Float[Array, " rung"]], Path]


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
    flat = _Flat(
        log_likelihood=lambda x: -energy(unravel(x)),
        log_prior=lambda x: log_prior(unravel(x)),
        log_weight=lambda x: log_weight(unravel(x)),
        fold=lambda x: ravel_pytree(fold(unravel(x)))[0],
        draw=lambda key: ravel_pytree(draw_prior(key))[0],
    )
    move = _multiscale_hmc(num_integration_steps)
    kernel = adaptive_tempered.build_kernel(
        flat.log_prior, flat.log_likelihood, move, hmc.init, resampling.systematic, target_ess
    )
    one_run = _replicate(flat, kernel, num_particles, num_moves, max_temperatures)
    one_sweep = _sweeps(flat, move)
    one_climb = _climber(flat, move, num_particles, num_moves)

    def run(key: Key) -> Tempered:
        return jax.lax.map(one_run, jax.random.split(key, num_replicates))

    def sweep(key: Key, current: Tempered, num_sweeps: int) -> tuple[Tempered, Array, Array]:
        keys = jax.random.split(key, num_replicates)
        arguments = (keys, current.states, current.moves)
        states, (energies, rates) = jax.lax.map(lambda a: one_sweep(*a, num_sweeps), arguments)
        return current._replace(states=states), energies, rates

    def climb(key: Key, temperatures: Array) -> Path:
        return jax.lax.map(lambda k: one_climb(k, temperatures), jax.random.split(key, num_replicates))

    return Tempering(jax.jit(run), jax.jit(sweep, static_argnums=2), jax.jit(climb))


class _Flat(NamedTuple):
    """The target on flat vectors."""

    log_likelihood: Callable[[Array], Scalar]
    log_prior: Callable[[Array], Scalar]
    log_weight: Callable[[Array], Scalar]
    fold: Callable[[Array], Array]
    draw: Callable[[Key], Array]

    def log_density(self, x: Array) -> Scalar:
        return self.log_prior(x) + self.log_likelihood(x)

    def spread(self, state: Any) -> Array:
        """Weighted standard deviation of the particles, coordinate by coordinate, inside the domain."""
        folded = jax.vmap(self.fold)(state.particles)
        mean = state.weights @ folded
        return jnp.sqrt(state.weights @ (folded - mean) ** 2) + 1e-12


def _multiscale_hmc(num_integration_steps: int) -> Callable:
    """HMC whose step, in units of the particles' spread, is log-uniform over DECADES below 10^top."""
    kernel = hmc.build_kernel()

    def move(key: Key, state: Any, density: Callable, scale: Array, top: Scalar) -> tuple[Any, Any]:
        scale_key, key = jax.random.split(key)
        exponent = top - DECADES * jax.random.uniform(scale_key)
        step: Any = 1.2 * scale.size**-0.25 * 10.0**exponent
        return kernel(key, state, density, step, scale**2, num_integration_steps)

    return move


def _start(flat: _Flat, key: Key, num_particles: int) -> Any:
    """Particles from the prior, weighted by its further factor, at t = 0."""
    particles = jax.vmap(flat.draw)(jax.random.split(key, num_particles))
    weights = jax.nn.softmax(jax.vmap(flat.log_weight)(particles))
    return tempered.init(particles)._replace(weights=weights, tempering_param=jnp.zeros((), particles.dtype))


def _replicate(
    flat: _Flat, kernel: Callable, num_particles: int, num_moves: int, max_temperatures: int
) -> Callable[[Key], Tempered]:
    """One population from prior to posterior, resampled to equal weights at the end."""

    def start(key: Key) -> tuple:
        state = _start(flat, key, num_particles)
        zero = state.tempering_param
        return jnp.zeros((), jnp.int32), state, zero, zero + TOP, jnp.ones(max_temperatures, zero.dtype)

    def unfinished(carry: tuple) -> Array:
        return (carry[1].tempering_param < 1 - 1e-9) & (carry[0] < max_temperatures)

    def one_run(key: Key) -> Tempered:
        draw_key, move_key, resample_key = jax.random.split(key, 3)

        def body(carry: tuple) -> tuple:
            i, state, evidence, top, temperatures = carry
            state, increment, top, _ = _step(flat, kernel, jax.random.fold_in(move_key, i), state, top, num_moves)
            return i + 1, state, evidence + increment, top, temperatures.at[i].set(state.tempering_param)

        count, state, evidence, top, temperatures = jax.lax.while_loop(unfinished, body, start(draw_key))
        chosen = resampling.systematic(resample_key, state.weights, num_particles)
        states = jax.vmap(lambda x: hmc.init(x, flat.log_density))(state.particles[chosen])
        finished = state.tempering_param >= 1 - 1e-9
        return Tempered(states, Moves(flat.spread(state), top), evidence, count, finished, temperatures)

    return one_run


def _step(
    flat: _Flat, kernel: Callable, key: Key, state: Any, top: Scalar, num_moves: int
) -> tuple[Any, Scalar, Scalar, Scalar]:
    """Resample, move at the present temperature, and weight for the next; the largest step follows the acceptance."""
    parameters = {"scale": flat.spread(state)[None], "top": top[None]}
    state, info = kernel(key, state, num_moves, parameters)
    rate = info.update_info.acceptance_rate.mean()
    return state, info.log_likelihood_increment, jnp.minimum(TOP, top + rate - TARGET_ACCEPTANCE), rate


def _climber(flat: _Flat, move: Callable, num_particles: int, num_moves: int) -> Callable[[Key, Array], Path]:
    """One population up a given ladder; what is recorded at a rung is of the particles moved there."""
    kernel = tempered.build_kernel(flat.log_prior, flat.log_likelihood, move, hmc.init, resampling.systematic)

    def one_climb(key: Key, temperatures: Array) -> Path:
        draw_key, move_key = jax.random.split(key)
        start = _start(flat, draw_key, num_particles)

        def body(carry: tuple, rung: tuple) -> tuple[tuple, Path]:
            (state, evidence, top), (i, following) = carry, rung

            def to_following(key: Key, state: Any, count: int, parameters: dict) -> tuple[Any, Any]:
                return kernel(key, state, count, following, parameters)

            state, increment, top, rate = _step(
                flat, to_following, jax.random.fold_in(move_key, i), state, top, num_moves
            )
            energy = -jax.vmap(flat.log_likelihood)(state.particles)
            return (state, evidence + increment, top), Path(evidence, energy.mean(), energy.var(), rate)

        zero = start.tempering_param
        following = jnp.append(temperatures, temperatures[-1]).astype(zero.dtype)
        rungs = (jnp.arange(len(following)), following)
        return jax.lax.scan(body, (start, zero, zero + TOP), rungs)[1]

    return one_climb


def _sweeps(flat: _Flat, move: Callable) -> Callable:
    """Moves of all particles of one replicate at t = 1, and U after each."""

    def one_replicate(key: Key, states: Any, moves: Moves, num_sweeps: int) -> tuple:
        number = states.position.shape[0]

        def body(states: Any, key: Key) -> tuple[Any, tuple]:
            keys = jax.random.split(key, number)
            states, info = jax.vmap(lambda k, s: move(k, s, flat.log_density, *moves))(keys, states)
            return states, (-jax.vmap(flat.log_likelihood)(states.position), info.acceptance_rate.mean())

        return jax.lax.scan(body, states, jax.random.split(key, num_sweeps))

    return one_replicate
