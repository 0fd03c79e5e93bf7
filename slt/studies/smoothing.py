r"""The pushforward smoothed by Gaussian noise, whose divergence stays finite, and the codimension it measures.

Q_s is the law of w_T + s std xi, with xi standard normal and std that of the prior. In the coordinates where the prior
is the standard normal, with N trained points u_i in D dimensions:

    KL_LOO <= KL(Q_s to P) <= KL_in <= UB,   each in expectation,
    UB     = mean |u_i|²/2 + D s²/2 - D/2 - D ln s        every point as its own Gaussian
    KL_in  = KL of the mixture (1/N) sum_i N(u_i, s² I)    a legal posterior itself; KL_in >= UB - ln N
    KL_LOO = the same, with the point a draw came from left out of the density
    KL_lin = mean |u_i|²/2 + D s²/2 - D/2 - mean sum_j ln sqrt(v_j² + s²)    v_j: singular values of du_T/du_0

KL_lin takes training as linear around each start; it has no side, but its slope in ln(1/s) counts the directions that
training has contracted below s.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from slt._types import Batch, Estimate, Key
from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import Objective
from slt.pac_bayes.steps import check_positive
from slt.stats.replicates import replicate_mean
from slt.targets.gaussian import Gaussian


class Sandwich(NamedTuple):
    """Divergences of one smoothing scale s [nats]: leave-one-out, mixture, and separate components."""

    scale: float
    loo: KL
    mixture: KL
    components: KL


class Codimension(NamedTuple):
    """slope: of KL in ln(1/s) over the window [1]; window: (low, high) of s; local: slope at every scale.

    status: "plateau" or "no plateau"; reason: what was seen.
    """

    slope: Estimate
    window: tuple[float, float]
    scales: Float[np.ndarray, " scale"]
    local: Float[np.ndarray, " scale"]
    status: str
    reason: str


def smoothed_kl(
    key: Key, positions: Float[np.ndarray, "chain dim"], prior: Gaussian, *, scale: float, draws_per_point: int = 4
) -> Sandwich:
    """The sandwich around KL(Q_s to P), by Monte Carlo over draws of the mixture.

    Args:
        positions: trained parameters of independent starts.
        scale: s, in units of the prior's std [1]; s < 1.
        draws_per_point: noise draws of every component.

    Raises:
        ValueError: fewer than 3 points, or a scale outside (0, 1).
    """
    points = prior.whiten(positions)
    _check(points, scale)
    with jax.enable_x64(True):
        ratios = _mixture_ratios(key, jnp.asarray(points), scale, draws_per_point)
        loo, mixture = (np.asarray(r, np.float64) for r in ratios)
    dim = points.shape[1]
    squares = 0.5 * (points**2).sum(1) + 0.5 * dim * (scale**2 - 1) - dim * np.log(scale)
    note = f"smoothed by {scale:g} prior std, {len(points)} points"
    return Sandwich(
        scale,
        KL(replicate_mean(loo), "lower", f"leave-one-out, {note}"),
        KL(replicate_mean(mixture), "upper", f"mixture, {note}"),
        KL(replicate_mean(squares), "upper", f"separate components, {note}"),
    )


def _mixture_ratios(key: Key, points: Array, scale: float, draws: int) -> tuple[Array, Array]:
    """Log(mixture/prior) at draws of every component, averaged a component: (left out, left in)."""
    count, dim = points.shape
    log_norm = -0.5 * dim * jnp.log(2 * jnp.pi * scale**2)

    @jax.jit
    def all_points(points: Array, noise: Array) -> tuple[Array, Array]:
        def one(i: Array, xi: Array) -> tuple[Array, Array]:
            x = points[i] + scale * xi
            log_parts = log_norm - 0.5 * jnp.sum((x - points) ** 2, 1) / scale**2
            prior = -0.5 * jnp.sum(x**2) - 0.5 * dim * jnp.log(2 * jnp.pi)
            others = logsumexp(log_parts.at[i].set(-jnp.inf)) - jnp.log(count - 1)
            return others - prior, logsumexp(log_parts) - jnp.log(count) - prior

        index = jnp.arange(count)
        over_draws = jax.vmap(one, (None, 0))
        loo, mixture = jax.lax.map(lambda a: over_draws(*a), (index, noise), batch_size=16)
        return loo.mean(1), mixture.mean(1)

    return all_points(points, jax.random.normal(key, (count, draws, dim), points.dtype))


def linearised_kl(
    positions: Float[np.ndarray, "chain dim"],
    singular_values: Float[np.ndarray, "chain dim"],
    prior: Gaussian,
    scale: float,
) -> KL:
    """KL_lin at smoothing s [nats].

    Args:
        positions: trained parameters.
        singular_values: of du_T/du_0 in whitened coordinates, from `end_to_end`.
        scale: s, in units of the prior's std [1].
    """
    points = prior.whiten(positions)
    _check(points, scale)
    half = 0.5 * (points**2).sum(1) + 0.5 * points.shape[1] * (scale**2 - 1)
    values = half - 0.5 * np.log(np.asarray(singular_values) ** 2 + scale**2).sum(1)
    return KL(replicate_mean(values), "none", f"linearised, smoothed by {scale:g} prior std")


def end_to_end(
    objective: Objective,
    start: Float[np.ndarray, "chain dim"],
    data: Batch,
    *,
    law: Gaussian,
    prior: Gaussian,
    step_size: float,
    steps: int,
) -> tuple[Float[np.ndarray, "chain dim"], Float[np.ndarray, "chain dim"]]:
    """Gradient descent from every start: (w_T, singular values of du_T/du_0 between whitened coordinates).

    Values below about 1e-13 of the largest are lost in rounding; smoothing hides them, a log-determinant does not.
    """
    check_positive("end_to_end", "step_size", step_size)

    def one(w: Array, data: Batch) -> tuple[Array, Array]:
        def gradient(x: Array) -> Array:
            return jax.grad(objective)(x, data)

        def step(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, jacobian = carry
            return x - step_size * gradient(x), jacobian - step_size * jax.jacfwd(gradient)(x) @ jacobian

        w, jacobian = jax.lax.fori_loop(0, steps, step, (w, jnp.eye(w.size, dtype=w.dtype)))
        return w, jnp.linalg.svd(jacobian * law.std / prior.std[:, None], compute_uv=False)

    with jax.enable_x64(True):
        cast = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), data)
        run = jax.jit(lambda start, data: jax.vmap(lambda w: one(w, data))(start))
        positions, values = run(jnp.asarray(start, jnp.float64), cast)
    return np.asarray(positions), np.asarray(values)


def codimension_curve(singular_values: Float[np.ndarray, "chain dim"], scales: Sequence[float]) -> list[Estimate]:
    r"""Slope of KL_lin in ln(1/s), $\mathbb{E}\sum_j s^2/(v_j^2 + s^2) - D s^2$, at every scale [1]."""
    square = np.asarray(singular_values, np.float64) ** 2
    dim = square.shape[1]
    return [replicate_mean((s**2 / (square + s**2)).sum(1) - dim * s**2) for s in scales]


def codimension(scales: Sequence[float], values: Sequence[Estimate], *, tolerance: float = 0.1) -> Codimension:
    """The slope of KL in ln(1/s) where it is steady: conjecture C26 says parameters minus Rashomon dimension.

    Args:
        scales: s, at least 4.
        values: KL(Q_s to P) at every scale [nats], of the same starts.
        tolerance: half the spread of local slopes allowed within the window, relative, at least 0.05 [1].

    Returns:
        The widest window, of at least a decade, over which the slope stays within the tolerance; its slope by least
        squares with half the spread of local slopes as error. Without one the whole range is used, and says so.

    Raises:
        ValueError: fewer than 4 scales, or as many values.
    """
    if len(scales) < 4 or len(scales) != len(values):
        raise ValueError(f"codimension: {len(scales)} scales and {len(values)} values; give at least 4, one for one.")
    order = np.argsort(scales)
    s = np.asarray(scales, np.float64)[order]
    y = np.array([values[i].value for i in order])
    local = -np.gradient(y, np.log(s))
    low, high, steady = _widest_window(s, local, tolerance)
    part = slice(low, high + 1)
    slope = -np.polyfit(np.log(s[part]), y[part], 1)[0]
    error = 0.5 * np.ptp(local[part])
    reason = (
        f"KL grows by {slope:.3g} nats a unit of ln(1/s) for s from {s[low]:.2g} to {s[high]:.2g}"
        if steady
        else f"the slope runs from {local[0]:.3g} at s = {s[0]:.2g} to {local[-1]:.3g} at {s[-1]:.2g} without a plateau"
    )
    status = "plateau" if steady else "no plateau"
    return Codimension(Estimate(float(slope), float(error)), (s[low], s[high]), s, local, status, reason)


def _widest_window(s: np.ndarray, local: np.ndarray, tolerance: float) -> tuple[int, int, bool]:
    best = (0, len(s) - 1, False)
    for i in range(len(s)):
        for j in range(i + 2, len(s)):
            part = local[i : j + 1]
            steady = 0.5 * np.ptp(part) <= max(tolerance * abs(part.mean()), 0.05)
            wider = not best[2] or s[j] / s[i] > s[best[1]] / s[best[0]] * (1 + 1e-9)
            if steady and s[j] >= 10 * s[i] and wider:
                best = (i, j, True)
    return best


def _check(points: np.ndarray, scale: float) -> None:
    if points.ndim != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"smoothing: positions has shape {points.shape}; give at least 3 finite points (chain, dim).")
    if not 0 < scale < 1:
        raise ValueError(f"smoothing: scale is {scale}, in units of the prior's std; it must lie between 0 and 1.")
