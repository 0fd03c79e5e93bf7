r"""Where tempering may start, beside the prior: around w*, at all scales.

w* is known to be a point of the posterior, so no run may miss its region, however small a share of the prior that is.
The law around w* is a ball (in a box: a cube, cut at the walls) whose size is log-uniform from where the energy is that
of w* up to the prior's own width; its density is a closed form of the distance alone.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Key, Scalar

SMALLEST = 2.0**-60
"""Of the prior's width: the smallest ball that is looked for."""
FLAT = 0.1
"""Energy [nats] within which a ball counts as no different from w*."""
DIRECTIONS = 64
NODES = 4096
"""Of the table of densities in a box."""


class Law(NamedTuple):
    """A normalised density on flat vectors, and a draw of it."""

    draw: Callable[[Key], Array]
    log_density: Callable[[Array], Scalar]


def mixture(prior: Law, around: Law, share: Scalar | float) -> Law:
    """A share of draws around w*, the others from the prior."""

    def draw(key: Key) -> Array:
        choice_key, prior_key, around_key = jax.random.split(key, 3)
        return jnp.where(jax.random.bernoulli(choice_key, share), around.draw(around_key), prior.draw(prior_key))

    def log_density(x: Array) -> Scalar:
        return jnp.logaddexp(prior.log_density(x) + jnp.log1p(-share), around.log_density(x) + jnp.log(share))

    return Law(draw, log_density)


def smallest_radius(
    key: Key, energy: Callable[[Array], Scalar], center: Float[Array, " dim"], scale: Float[Array, " dim"]
) -> float:
    """Radius, in units of `scale`, below which the energy is that of the center in nine directions of ten."""
    widest = math.sqrt(center.size)
    rays = jax.random.normal(key, (DIRECTIONS, center.size), center.dtype)
    rays = rays / jnp.linalg.norm(rays, axis=1, keepdims=True)
    radii = widest * 2.0 ** -np.arange(0, -math.log2(SMALLEST), 1.0)

    @jax.jit
    def rises(radii: Array) -> Array:
        along = jax.vmap(lambda r: jax.vmap(lambda u: energy(center + r * scale * u))(rays))
        return jnp.abs(along(radii) - energy(center))

    steep = np.asarray(rises(jnp.asarray(radii, center.dtype)))
    steep = np.quantile(np.where(np.isfinite(steep), steep, np.inf), 0.9, axis=1, method="lower") > FLAT
    last = int(np.flatnonzero(steep)[-1]) if steep.any() else 0
    return float(radii[min(last + 1, len(radii) - 1)])


def around(
    center: Float[Array, " dim"], scale: Float[Array, " dim"], smallest: float, sides: tuple[Array, Array] | None = None
) -> Law:
    """The law around w* on all scales from `smallest` to the prior's own, in a box where its sides are given.

    Args:
        center: w*. scale: standard deviation of the prior, or width of the box, of each coordinate.
        smallest: as `smallest_radius` gives it.
    """
    largest = math.sqrt(center.size)
    if sides is None:
        return _balls(center, scale, smallest, largest)
    return _cubes(center, scale, smallest / largest, *sides)


def _balls(center: Array, scale: Array, smallest: float, largest: float) -> Law:
    r"""$q(x) = \int_{\max(r, s_0)}^{s_1} \frac{ds}{s\,\log(s_1/s_0)\,V_d s^d}$, r the distance of x, in `scale`s."""
    dim = center.size
    span = jnp.log(largest / smallest)
    volume = 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim + 1)
    constant = volume + jnp.log(span * dim) + jnp.sum(jnp.log(scale))

    def draw(key: Key) -> Array:
        size_key, radius_key, ray_key = jax.random.split(key, 3)
        ray = jax.random.normal(ray_key, center.shape, center.dtype)
        size = smallest * jnp.exp(span * jax.random.uniform(size_key, (), center.dtype))
        radius = size * jax.random.uniform(radius_key, (), center.dtype) ** (1 / dim)
        return center + scale * radius * ray / jnp.linalg.norm(ray)

    def log_density(x: Array) -> Scalar:
        square = jnp.sum(((x - center) / scale) ** 2)
        log_radius = 0.5 * jnp.log(jnp.maximum(square, smallest**2))
        beyond = -jnp.expm1(jnp.minimum(dim * (log_radius - math.log(largest)), -1e-12))
        value = jnp.log(beyond) - dim * log_radius - constant
        return jnp.where(square < largest**2, value, -jnp.inf)

    return Law(draw, log_density)


def _cubes(center: Array, width: Array, smallest: float, low: Array, high: Array) -> Law:
    """The same with cubes, of half sides up to the whole width and cut at the walls; q by a table in log r.

    Between two nodes the volume is taken for a power of the side, which it is but where a cube meets a wall.
    """
    log_sides = np.linspace(math.log(smallest), 0.0, NODES)
    step = log_sides[1] - log_sides[0]
    c, w, a, b = (np.asarray(x, np.float64) for x in (center, width, low, high))
    reach = np.exp(log_sides)[:, None] * w
    density = -np.log(np.minimum(b, c + reach) - np.maximum(a, c - reach)).sum(1) - math.log(-log_sides[0])
    fall = np.maximum(density[:-1] - density[1:], 1e-12)
    pieces = density[:-1] + np.log(step * -np.expm1(-fall) / fall)
    table = np.logaddexp.accumulate(pieces[::-1])[::-1]
    table = jnp.asarray(np.append(table, table[-1] - math.log(2)), center.dtype)

    def draw(key: Key) -> Array:
        size_key, place_key = jax.random.split(key)
        reach = jnp.exp(log_sides[0] * jax.random.uniform(size_key, (), center.dtype)) * width
        lower, upper = jnp.maximum(low, center - reach), jnp.minimum(high, center + reach)
        return lower + (upper - lower) * jax.random.uniform(place_key, center.shape, center.dtype)

    def log_density(x: Array) -> Scalar:
        distance = jnp.max(jnp.abs(x - center) / width)
        place = (jnp.log(jnp.maximum(distance, smallest)) - log_sides[0]) / step
        node = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, NODES - 2)
        share = jnp.clip(place - node, 0.0, 1.0)
        return (1 - share) * table[node] + share * table[node + 1]

    return Law(draw, log_density)
