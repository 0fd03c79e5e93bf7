r"""Multilevel splitting (nested sampling): log P(K(w) < epsilon) under a prior, over the whole ladder of epsilon.

Particles of the prior are held below a level of K. The upper half is dropped, the level falls to the least of what was
dropped, and copies of the others take its place and move. Of N uniform ranks the j-th from above has the mean log
$\psi(N-j+1) - \psi(N+1)$, so the log volume is unbiased at every dropped particle. A move proposes along single
coordinates, along subsets, along the spread of the population or between two of its members, at a scale drawn
log-uniformly over a range that follows the acceptance: thin arms of any width are entered without a tuned step.
Replicates are independent, so the error between them covers all but what too few moves do to every one of them.

Source: Skilling 2006, doi:10.1214/06-BA127; Kahn & Harris 1951; Cérou et al. 2012, doi:10.1007/s11222-011-9231-6;
differences of the population: ter Braak 2006, doi:10.1007/s11222-006-8769-1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.special import digamma
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from slt._rows import as_fields
from slt._types import Key, Params, Scalar

MARKS = 8
"""Points of the ladder that every level leaves behind."""
NOISE = 0.01
"""Round-off of K, relative to the level, at which a run ends."""


class Ladder(NamedTuple):
    """Where every replicate went down; leading axis replicate, then step of the ladder.

    log_epsilon: log of the level, descending; log_volume: log P(K < epsilon) [nats]. Both are NaN beyond the end.
    stop: 0 the lowest epsilon was reached, 1 the budget of levels ended, 2 round-off of K, 3 a plateau of K.
    acceptance_rate: mean over the run.
    """

    log_epsilon: Float[Array, "replicate step"]
    log_volume: Float[Array, "replicate step"]
    stop: Array
    acceptance_rate: Float[Array, " replicate"]

    __repr__ = as_fields


class _State(NamedTuple):
    """A population at one level; bottom, top: range of log10 scales of the moves; then the ladder so far."""

    index: Array
    positions: Array
    heights: Array
    log_volume: Array
    bottom: Array
    top: Array
    accepted: Array
    stop: Array
    log_epsilon: Array
    log_volumes: Array


def splitting(
    potential: Callable[[Params], Scalar],
    log_prior: Callable[[Params], Scalar],
    draw_prior: Callable[[Key], Params],
    *,
    lowest: float,
    log_weight: Callable[[Params], Scalar] = lambda w: jnp.zeros(()),
    fold: Callable[[Params], Params] = lambda w: w,
    num_particles: int = 512,
    num_replicates: int = 16,
    num_moves: int = 60,
    max_levels: int = 2000,
) -> Callable[[Key], Ladder]:
    """A compiled function that takes independent replicates from the prior down to K < lowest.

    Args:
        potential: K(w) >= 0 with K(w*) = 0 [nats/datum]; float64 if epsilon is to go below about 1e-7.
        log_prior: log density of the prior up to a constant, `log_weight` included.
        draw_prior: an exact draw of the prior without `log_weight`.
        lowest: epsilon at which a replicate ends [nats/datum].
        log_weight: log of a further factor of the prior, by which the first particles are resampled.
        fold: maps a position into the domain.
        num_moves: Metropolis moves of every particle at every level.
        max_levels: halvings of the volume before a replicate gives up.

    Raises:
        ValueError: fewer than 2 replicates or 32 particles, an odd number of them, or lowest not positive.
    """
    if num_replicates < 2 or num_particles < 32 or num_particles % 2:
        raise ValueError(
            f"splitting: {num_replicates} replicates of {num_particles} particles; needed: at least 2 of 32, even."
        )
    if not lowest > 0:
        raise ValueError(f"splitting: lowest is {lowest}; a positive level of K is needed.")
    flat = _flatten(potential, log_prior, draw_prior, log_weight, fold)
    one = _replicate(flat, np.log(lowest), num_particles, num_moves, max_levels)
    return jax.jit(lambda key: jax.lax.map(one, jax.random.split(key, num_replicates)))


class _Flat(NamedTuple):
    height: Callable[[Array], Scalar]
    log_prior: Callable[[Array], Scalar]
    log_weight: Callable[[Array], Scalar]
    fold: Callable[[Array], Array]
    draw: Callable[[Key], Array]


def _flatten(
    potential: Callable, log_prior: Callable, draw_prior: Callable, log_weight: Callable, fold: Callable
) -> _Flat:
    unravel = ravel_pytree(draw_prior(jax.random.key(0)))[1]

    def height(x: Array) -> Scalar:
        value = potential(unravel(x))
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    return _Flat(
        height,
        lambda x: log_prior(unravel(x)),
        lambda x: log_weight(unravel(x)),
        lambda x: ravel_pytree(fold(unravel(x)))[0],
        lambda key: ravel_pytree(draw_prior(key))[0],
    )


def _replicate(flat: _Flat, log_lowest: float, num: int, num_moves: int, max_levels: int) -> Callable[[Key], Ladder]:
    """One population from the prior to the lowest level."""

    def one(key: Key) -> Ladder:
        start_key, key = jax.random.split(key)
        state = jax.lax.while_loop(
            lambda s: (s.stop < 0) & (s.index < max_levels),
            lambda s: _level(flat, jax.random.fold_in(key, s.index), s, log_lowest, num_moves),
            _start(flat, start_key, num, max_levels),
        )
        stop = jnp.where(state.stop < 0, 1, state.stop)
        return Ladder(state.log_epsilon.ravel(), state.log_volumes.ravel(), stop, state.accepted / state.index)

    return one


def _start(flat: _Flat, key: Key, num: int, max_levels: int) -> _State:
    """Draws of the prior; where it has a weight, resampled from four times as many."""
    draw_key, weight_key = jax.random.split(key)
    positions = jax.vmap(flat.draw)(jax.random.split(draw_key, 4 * num))
    log_weights = jax.vmap(flat.log_weight)(positions)
    drawn = jax.random.categorical(weight_key, log_weights, shape=(num,))
    positions = positions[jnp.where(jnp.ptp(log_weights) > 0, drawn, jnp.arange(num))]
    zero = jnp.zeros((), positions.dtype)
    empty = jnp.full((max_levels, MARKS), jnp.nan, positions.dtype)
    return _State(
        index=jnp.zeros((), jnp.int32),
        positions=positions,
        heights=jax.vmap(flat.height)(positions),
        log_volume=zero,
        bottom=zero - 2.0,
        top=zero,
        accepted=zero,
        stop=jnp.full((), -1, jnp.int32),
        log_epsilon=empty,
        log_volumes=empty,
    )


def _level(flat: _Flat, key: Key, state: _State, log_lowest: float, num_moves: int) -> _State:
    """Drop the upper half, note where the ladder is, and move copies of the others below the new level."""
    copy_key, noise_key, move_key = jax.random.split(key, 3)
    num = state.heights.size
    drop = num // 2
    ranks = jnp.linspace(1, drop, MARKS).astype(int)
    shrink = digamma(num - ranks + 1.0) - digamma(num + 1.0)
    order = jnp.argsort(-state.heights)
    marks = state.heights[order][ranks - 1]
    chosen = order[jnp.concatenate([jnp.arange(drop, num), drop + jax.random.permutation(copy_key, num - drop)])]
    positions, heights = state.positions[chosen], state.heights[chosen]
    stop = _stop(flat, noise_key, positions, heights, marks[-1], log_lowest)
    scales = (state.bottom, state.top)
    positions, heights, rates = _moves(flat, move_key, positions, heights, marks[-1], scales, num_moves)
    bottom, top = _adapted(scales, rates, jnp.finfo(positions.dtype).eps)
    return _State(
        index=state.index + 1,
        positions=positions,
        heights=heights,
        log_volume=state.log_volume + shrink[-1],
        bottom=bottom,
        top=top,
        accepted=state.accepted + rates.mean(),
        stop=stop,
        log_epsilon=state.log_epsilon.at[state.index].set(jnp.log(marks)),
        log_volumes=state.log_volumes.at[state.index].set(state.log_volume + shrink),
    )


def _stop(flat: _Flat, key: Key, positions: Array, heights: Array, threshold: Scalar, log_lowest: float) -> Array:
    """-1 to go on; 0 at the lowest level; 2 where the last bit of w moves K; 3 where K is flat at the level."""
    eps = jnp.finfo(positions.dtype).eps
    shaken = positions * (1 + eps * jax.random.rademacher(key, positions.shape, positions.dtype))
    noise = jnp.median(abs(jax.vmap(flat.height)(shaken) - heights))
    plateau = (jnp.mean(heights >= threshold) > 0.25) | ~(threshold > 0)
    stop = jnp.where(noise > NOISE * threshold, 2, -1)
    stop = jnp.where(jnp.log(threshold) <= log_lowest, 0, stop)
    return jnp.where(plateau, 3, stop).astype(jnp.int32)


def _moves(
    flat: _Flat, key: Key, positions: Array, heights: Array, threshold: Scalar, scales: tuple, num_moves: int
) -> tuple[Array, Array, Array]:
    """Metropolis moves of all particles within K < threshold; acceptance at the small, middle and large scales."""
    spread = positions.std(0)
    center = positions - positions.mean(0)
    bottom, top = scales
    num = positions.shape[0]

    def one(carry: tuple, key: Key) -> tuple:
        positions, heights, density = carry
        scale_key, direction_key, accept_key = jax.random.split(key, 3)
        place = jax.random.uniform(scale_key, (num,), positions.dtype)
        size = 10.0 ** (bottom + (top - bottom) * place)
        direction = _directions(direction_key, center, spread)
        proposals = jax.vmap(flat.fold)(positions + size[:, None] * direction)
        new_heights, new_density = jax.vmap(flat.height)(proposals), jax.vmap(flat.log_prior)(proposals)
        odds = jnp.log(jax.random.uniform(accept_key, (num,), positions.dtype))
        accepted = (new_heights < threshold) & (odds < new_density - density)
        carry = (
            jnp.where(accepted[:, None], proposals, positions),
            jnp.where(accepted, new_heights, heights),
            jnp.where(accepted, new_density, density),
        )
        third = jnp.minimum((3 * place).astype(int), 2)
        return carry, jnp.zeros((2, 3)).at[0, third].add(accepted).at[1, third].add(1.0)

    density = jax.vmap(flat.log_prior)(positions)
    density = density + jnp.zeros(num, positions.dtype)
    (positions, heights, _), counts = jax.lax.scan(one, (positions, heights, density), jax.random.split(key, num_moves))
    accepted, tried = counts.sum(0)
    return positions, heights, accepted / jnp.maximum(tried, 1.0)


def _directions(key: Key, center: Array, spread: Array) -> Array:
    """Some coordinates, the spread of the population, or the difference of two members, for all particles alike.

    The members are any: a direction may not depend on where the particle itself is.
    """
    num, dim = center.shape
    kind_key, *keys = jax.random.split(key, 5)

    def some(_: None) -> Array:
        normal = jax.random.normal(keys[0], (num, dim), center.dtype)
        share = dim ** -jax.random.uniform(keys[1], (num, 1), center.dtype)
        one = jnp.arange(dim) == jax.random.randint(keys[2], (num, 1), 0, dim)
        return jnp.where(one | (jax.random.uniform(keys[3], (num, dim), center.dtype) < share), normal * spread, 0.0)

    def population(_: None) -> Array:
        members = center[jax.random.randint(keys[0], (2 * dim + 2,), 0, num)]
        return jax.random.normal(keys[1], (num, 2 * dim + 2), center.dtype) @ members / (2 * dim + 2) ** 0.5

    def pair(_: None) -> Array:
        first, second = jax.random.randint(keys[0], (2, num), 0, num)
        return center[first] - center[second]

    return jax.lax.switch(jax.random.randint(kind_key, (), 0, 3), (some, population, pair), None)


def _adapted(scales: tuple, rates: Array, eps: ArrayLike) -> tuple[Array, Array]:
    """Widen the range of log10 scales until nearly all small steps succeed and few large ones do."""
    bottom, top = scales
    bottom = bottom + jnp.where(rates[0] < 0.7, -0.3, jnp.where(rates[0] > 0.9, 0.3, 0.0))
    top = top + jnp.where(rates[2] > 0.05, 0.2, jnp.where(rates[2] < 0.01, -0.2, 0.0))
    top = jnp.clip(top, -14.0, 0.5)
    return jnp.clip(bottom, jnp.log10(eps), top - 1.0), top
