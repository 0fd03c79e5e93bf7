r"""Adaptive tempered sequential Monte Carlo, prior to posterior, through BlackJAX.

Independent replicates each carry particles along p_t(w) ~ q(w)^(1-t) (prior(w) exp(-U(w)))^t, t from 0 to 1, where q is
the prior or another law that is given. The moves are HMC whose step is drawn log-uniformly over nearly three decades,
so that thin valleys and their crossings are both entered; the upper end follows the acceptance from one temperature to
the next, the mass matrix the covariance of the particles. After each comes a step along the difference of two other
particles: among particles on several scales, as of a hole in a plain, such differences know the scales and the shapes.
Replicates are independent, so the standard error between them is right whatever happens within.

Source: Del Moral, Doucet & Jasra 2006; adaptive schedule: Jasra et al. 2011, doi:10.1111/j.1467-9469.2010.00723.x;
differences: ter Braak 2006, doi:10.1007/s11222-006-8769-1.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.mcmc import hmc
from blackjax.smc import adaptive_tempered, resampling, tempered
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from slt._options import checked
from slt._types import Key, Params, Scalar
from slt.samplers.around import Law

DECADES = 2.8
TOP = 0.3
TARGET_ACCEPTANCE = 0.4
SHARE = 1 / 16
"""Of the first particles around w*, in every second replicate.

On the way the law around w*, dense there, is given up last, and particles far away have to last until then. With half
of the particles around w* a few of 1024 did, on |a|^2 |b|^2, and log Z spread by 0.46 between replicates; with a
sixteenth by 0.14. On needles, which only the particles around w* can find, the spread rises from 0.1 to 0.3.
"""


class Moves(NamedTuple):
    """How particles are moved.

    root: of their covariance, and its inverse. top: log10 of the largest step in its units. others: particles whose
    differences are steps.
    """

    root: Float[Array, "dim dim"]
    inverse: Float[Array, "dim dim"]
    top: Scalar
    others: Float[Array, "particle dim"]


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


@checked
def tempered_smc(
    energy: Callable[[Params], Scalar],
    log_prior: Callable[[Params], Scalar],
    draw_prior: Callable[[Key], Params],
    *,
    log_weight: Callable[[Params], Scalar] = lambda w: jnp.zeros(()),
    fold: Callable[[Params], Params] = lambda w: w,
    start: Callable[[Scalar], Law] | None = None,
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
        fold: maps a position into the domain.
        start: share around w* -> law of the first particles in `run`, on flat vectors inside the domain. Every second
            replicate, the first among them, has the share 0, the others SHARE. log_prior must then be normalised.
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
    move = _two_moves(num_integration_steps)
    mean_weight = flat.mean_weight if start else None
    one_sweep = _sweeps(flat, move)
    one_climb = _climber(flat, move, num_particles, num_moves)

    def one_run(replicate: tuple[Key, Scalar]) -> Tempered:
        key, share = replicate
        path = flat if start is None else _from_law(flat, start(share))
        kernel = adaptive_tempered.build_kernel(
            path.log_prior, path.log_likelihood, move, hmc.init, resampling.systematic, target_ess
        )
        return _replicate(path, kernel, mean_weight, num_particles, num_moves, max_temperatures)(key)

    def run(key: Key) -> Tempered:
        return jax.lax.map(one_run, (jax.random.split(key, num_replicates), SHARE * (jnp.arange(num_replicates) % 2)))

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

    def mean_weight(self, key: Key, number: int) -> Scalar:
        """Log of the mean further factor over draws of the prior."""
        draws = jax.vmap(self.draw)(jax.random.split(key, number))
        return jax.nn.logsumexp(jax.vmap(self.log_weight)(draws)) - math.log(number)

    def folded(self, state: Any) -> Any:
        return state._replace(particles=jax.vmap(self.fold)(state.particles))

    def moves(self, key: Key, state: Any, top: Scalar) -> Moves:
        """What the particles, inside the domain, say about the moves that should carry them on."""
        particles, weights = state.particles, state.weights
        shift = particles - weights @ particles
        covariance = (weights[:, None] * shift).T @ shift
        scale = jnp.sqrt(jnp.diagonal(covariance)) + jnp.sqrt(jnp.finfo(weights.dtype).tiny)
        jitter = jnp.finfo(weights.dtype).eps ** 0.6 * jnp.diag(scale**2)
        root = jnp.linalg.cholesky(covariance + jitter)
        inverse = solve_triangular(root, jnp.eye(len(root)), lower=True)
        return Moves(root, inverse, top, particles[resampling.systematic(key, weights, len(weights))])


def _from_law(flat: _Flat, start: Law) -> _Flat:
    """The same posterior, approached from another law than the prior."""

    def log_ratio(x: Array) -> Scalar:
        inside = flat.fold(x)
        return flat.log_density(x) - start.log_density(inside)

    return flat._replace(
        log_likelihood=log_ratio,
        log_prior=lambda x: start.log_density(flat.fold(x)),
        log_weight=lambda x: jnp.zeros(()),
        draw=start.draw,
    )


def _two_moves(num_integration_steps: int) -> Callable:
    """HMC at a step, in units of the particles' spread, log-uniform below 10^top, and then a difference."""
    kernel = hmc.build_kernel()

    def move(
        key: Key, state: Any, density: Callable, root: Array, inverse: Array, top: Scalar, others: Array
    ) -> tuple[Any, Any]:
        scale_key, hmc_key, key = jax.random.split(key, 3)
        exponent = top - DECADES * jax.random.uniform(scale_key)
        step: Any = 1.2 * len(root) ** -0.25 * 10.0**exponent
        # coordinates in which the particles are white, so that no kinetic energy that overflows can be negative
        white: Any = hmc.HMCState(jnp.zeros_like(state.position), state.logdensity, state.logdensity_grad @ root)

        def white_density(z: Array) -> Scalar:
            return density(state.position + root @ z)

        mass = jnp.ones_like(state.position)
        white, info = kernel(hmc_key, white, white_density, step, mass, num_integration_steps)
        state = hmc.HMCState(state.position + root @ white.position, white.logdensity, white.logdensity_grad @ inverse)
        return _difference(key, state, density, others), info

    return move


def _difference(key: Key, state: Any, density: Callable, others: Array) -> Any:
    """Metropolis step along the difference of two other particles, by 2.4/sqrt(2d) of it or less, or by all of it."""
    uniform = jax.random.uniform(key, (5,), others.dtype)
    first, second = others[(uniform[:2] * len(others)).astype(jnp.int32)]
    size = jnp.where(uniform[2] < 0.1, 1.0, jnp.minimum(1.0, 2.4 / math.sqrt(2 * others.shape[1])) * uniform[3])
    proposal = hmc.init(state.position + size * (first - second), density)
    accepted = jnp.log(uniform[4]) < proposal.logdensity - state.logdensity
    return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, state)


def _start(flat: _Flat, key: Key, num_particles: int) -> Any:
    """Particles from the prior, weighted by its further factor, at t = 0."""
    particles = jax.vmap(flat.draw)(jax.random.split(key, num_particles))
    weights = jax.nn.softmax(jax.vmap(flat.log_weight)(particles))
    return tempered.init(particles)._replace(weights=weights, tempering_param=jnp.zeros((), particles.dtype))


def _replicate(
    flat: _Flat, kernel: Callable, mean_weight: Callable | None, num_particles: int, num_moves: int,
    max_temperatures: int,
) -> Callable[[Key], Tempered]:  # fmt: skip
    """One population from prior to posterior, resampled to equal weights at the end."""

    def start(key: Key) -> tuple:
        state = _start(flat, key, num_particles)
        zero = state.tempering_param
        return jnp.zeros((), jnp.int32), state, zero, zero + TOP, jnp.ones(max_temperatures, zero.dtype)

    def unfinished(carry: tuple) -> Array:
        return (carry[1].tempering_param < 1 - 1e-9) & (carry[0] < max_temperatures)

    def one_run(key: Key) -> Tempered:
        draw_key, move_key, resample_key, others_key, weight_key = jax.random.split(key, 5)

        def body(carry: tuple) -> tuple:
            i, state, evidence, top, temperatures = carry
            state, increment, top, _ = _step(flat, kernel, jax.random.fold_in(move_key, i), state, top, num_moves)
            return i + 1, state, evidence + increment, top, temperatures.at[i].set(state.tempering_param)

        count, state, evidence, top, temperatures = jax.lax.while_loop(unfinished, body, start(draw_key))
        chosen = resampling.systematic(resample_key, state.weights, num_particles)
        state = flat.folded(state)
        states = jax.vmap(lambda x: hmc.init(x, flat.log_density))(state.particles[chosen])
        finished = state.tempering_param >= 1 - 1e-9
        if mean_weight is not None:
            evidence = evidence - mean_weight(weight_key, num_particles)
        return Tempered(states, flat.moves(others_key, state, top), evidence, count, finished, temperatures)

    return one_run


def _step(
    flat: _Flat, kernel: Callable, key: Key, state: Any, top: Scalar, num_moves: int
) -> tuple[Any, Scalar, Scalar, Scalar]:
    """Resample, move at the present temperature, and weight for the next; the largest step follows the acceptance."""
    others_key, key = jax.random.split(key)
    state = flat.folded(state)
    parameters = {name: value[None] for name, value in flat.moves(others_key, state, top)._asdict().items()}
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
