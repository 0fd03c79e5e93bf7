r"""Volume of the star-shaped basin {w: L_n(w* + t(w - w*)) - L_n(w*) < T for all t in [0, 1]}, ray by ray.

$V = \mathbb{E}_v [\int_0^{R(v)} r^{d-1} p(w^* + r v)\,dr / q(v)]$, v drawn from q: the direction of a Gaussian about
w* that is the initialisation p tilted by the Hessian until it sits where an ellipsoid of height T does. Both the
integral along the ray and q(v), the projected normal, are one-dimensional integrals done to round-off. What is not
star-shaped is missed: a lower bound, up to its error. Where one ray outweighs all others, there is no estimate.

Source: Scherlis & Belrose 2025, arXiv:2501.18812 (rays, preconditioning, importance weight); the tilted proposal with
its exact density, in place of a preconditioner with an exponent and a floor to be chosen, is worked out here.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logsumexp

from slt._types import Key
from slt.geometry.local import Eigenbasis, LocalLoss
from slt.geometry.prior_mass import tilt
from slt.geometry.radial_integral import log_radial_integral
from slt.geometry.volume import VolumeRow
from slt.targets.gaussian import Gaussian

RADIAL = "radial, star-shaped"
"""Name of the row."""
GRID, BISECTIONS = 48, 32
DECADES = 9.0
MAX_SHARE = 0.2
"""Largest share of the volume that one ray may carry."""
MIN_EFFECTIVE = 20.0


class Rays(NamedTuple):
    """Directions in the eigenbasis with what was found along them.

    radius: where the loss first rises by T [unit], the cap where it does not. reentered: the loss falls below T again
    further out. log_weight: log of the contribution of each ray to the volume [nats].
    """

    directions: Float[np.ndarray, "ray dim"]
    radius: Float[np.ndarray, " ray"]
    reentered: np.ndarray
    log_weight: Float[np.ndarray, " ray"]


def radial_volume(
    key: Key,
    local: LocalLoss,
    basis: Eigenbasis,
    *,
    threshold: float,
    prior: Gaussian | None = None,
    num_rays: int = 400,
) -> VolumeRow:
    """Log volume of the star-shaped basin of height T, under the initialisation, or Lebesgue's where there is none.

    Args:
        basis: eigenvalues below zero count as zero; it shapes the directions and cannot bias the estimate.
        threshold: T [nats/datum].
        prior: the initialisation N(w* - offset, scale^2 I), offset in the eigenbasis.

    Returns:
        A row; its error is infinite, and its value a lower bound, where one ray carries more than a fifth of the
        volume or fewer than 20 rays are effective, and the reason says so.

    Raises:
        ValueError: threshold not positive, fewer than 50 rays, no initialisation and a direction in which H is flat.
    """
    if not threshold > 0 or num_rays < 50:
        raise ValueError(
            f"radial_volume: threshold {threshold}, num_rays {num_rays}; needed: positive and at least 50."
        )
    rays = cast_rays(key, local, basis, threshold=threshold, prior=prior, num_rays=num_rays)
    return _row(rays, prior, num_rays)


def cast_rays(
    key: Key, local: LocalLoss, basis: Eigenbasis, *, threshold: float, prior: Gaussian | None, num_rays: int
) -> Rays:
    """The rays behind `radial_volume`."""
    dim = basis.values.size
    precision, mean = _proposal(basis, threshold, prior)
    with jax.enable_x64(True):
        normal = np.asarray(jax.random.normal(key, (num_rays, dim), np.float64))
    points = mean + normal / np.sqrt(precision)
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    cap = _cap(dim, prior, precision, directions)
    radius, reentered = _radii(local, directions @ basis.vectors.T, cap, threshold)
    log_q = (
        0.5 * np.sum(np.log(precision / (2 * np.pi)))
        - 0.5 * np.sum(precision * mean**2)
        + log_radial_integral(dim, directions**2 @ precision, directions @ (precision * mean), np.inf)
    )
    if prior is None:
        return Rays(directions, radius, reentered, log_radial_integral(dim, 0.0, 0.0, radius) - log_q)
    center, variance = prior.flat(dim).mean, prior.std**2
    log_p = -0.5 * dim * np.log(2 * np.pi * variance) - 0.5 * np.sum(center**2) / variance
    inside = log_radial_integral(dim, prior.precision, directions @ center / variance, radius)
    return Rays(directions, radius, reentered, log_p + inside - log_q)


def _proposal(basis: Eigenbasis, threshold: float, prior: Gaussian | None) -> tuple[np.ndarray, np.ndarray]:
    """Precision (diagonal in the eigenbasis) and mean of the tilted Gaussian, relative to w*."""
    h = np.maximum(basis.values, 0.0)
    if prior is None:
        floor = h.size * np.finfo(float).eps * float(h.max(initial=0.0))
        if not (h > floor).all():
            raise ValueError(
                f"radial_volume: H is flat in {int((h <= floor).sum())} of {h.size} directions; without an "
                "initialisation the volume is infinite to second order. Give prior=Gaussian(0.0, std)."
            )
        return h.size / (2 * threshold) * h, np.zeros(h.size)
    center = prior.flat(h.size).mean
    s = tilt(h, threshold=threshold, scale=prior.std, offset=-center) if h.max() > 0 else 0.0
    precision = s * h + prior.precision
    return precision, center / prior.std**2 / precision


def _cap(dim: int, prior: Gaussian | None, precision: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Length beyond which a ray carries nothing; without an initialisation a thousand ellipsoids."""
    if prior is None:
        return 1e3 * np.sqrt(dim / (directions**2 @ precision))
    far = float(np.linalg.norm(prior.flat(dim).mean))
    return np.full(len(directions), far + prior.std * (np.sqrt(dim) + 10.0))


def _radii(
    local: LocalLoss, directions: np.ndarray, caps: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """First crossing along every ray: a geometric grid, then bisection; and whether the loss comes back below."""
    with jax.enable_x64(True):
        lengths = 10.0 ** jnp.linspace(-DECADES, 0.0, GRID)

        @jax.jit
        def run(directions: Array, caps: Array, data: Any) -> tuple[Array, Array]:
            def one(ray: tuple[Array, Array]) -> tuple[Array, Array]:
                direction, cap = ray
                center = jnp.asarray(local.center)

                def above(r: Array) -> Array:
                    return ~(local.loss(center + r * direction, data) < threshold)

                grid = cap * lengths
                high = jax.lax.map(above, grid)
                first = jnp.argmax(high)

                def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
                    middle = (ends[0] + ends[1]) / 2
                    out = above(middle)
                    return jnp.where(out, ends[0], middle), jnp.where(out, middle, ends[1])

                start = (jnp.where(first > 0, grid[first - 1], 0.0), grid[first])
                low, up = jax.lax.fori_loop(0, BISECTIONS, halve, start)
                again = (~high & (jnp.arange(GRID) > first)).any()
                return jnp.where(high.any(), (low + up) / 2, cap), high.any() & again

            return jax.lax.map(one, (directions, caps), batch_size=32)

        radius, again = run(jnp.asarray(directions), jnp.asarray(caps), local.data)
        return np.asarray(radius), np.asarray(again)


def _row(rays: Rays, prior: Gaussian | None, num_rays: int) -> VolumeRow:
    weight = np.exp(rays.log_weight - rays.log_weight.max())
    share = float(weight.max() / weight.sum())
    effective = float(weight.sum() ** 2 / np.sum(weight**2))
    value = float(logsumexp(rays.log_weight) - np.log(num_rays))
    error = float(weight.std(ddof=1) / weight.mean() / np.sqrt(num_rays))
    reasons = []
    if share > MAX_SHARE or effective < MIN_EFFECTIVE:
        error = np.inf
        reasons.append(
            f"One ray of {num_rays} carries {share:.0%} of the volume ({effective:.1f} effective): a lower bound. Cast "
            "more rays, or use splitting."
        )
    if rays.reentered.mean() > 0.01:
        reasons.append(
            f"On {rays.reentered.mean():.0%} of the rays the loss comes back below T further out: not star-shaped."
        )
    measure = "lebesgue" if prior is None else "initialisation"
    return VolumeRow(RADIAL, value, error, measure, " ".join(reasons))
