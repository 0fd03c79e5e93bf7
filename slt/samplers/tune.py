"""What a chain needs to be told: a stable step, the heat of its minibatches, and where its warm-up ends."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Batch, Energy, Key, Params, Scalar
from slt.draws import mcse
from slt.jit import shared_jit


@shared_jit
def largest_curvature(key: Key, energy: Energy, position: Params, batch: Batch, *, num_iterations: int = 15) -> Scalar:
    """Largest absolute eigenvalue of the Hessian of U at a position [nats/unit^2], by power iteration.

    The step of a kernel is limited by it *on the typical set*: curvature grows along flat directions, so the value at
    w* alone is too small. Costs two gradients an iteration.
    """

    def product(vector: Params) -> Params:
        return jax.jvp(lambda w: jax.grad(energy)(w, batch), (position,), (vector,))[1]

    def iterate(_: int, carry: tuple[Params, Scalar]) -> tuple[Params, Scalar]:
        image = product(carry[0])
        norm = _norm(image)
        return jax.tree.map(lambda v: v / jnp.maximum(norm, 1e-30), image), norm

    leaves, treedef = jax.tree.flatten(position)
    keys = jax.random.split(key, len(leaves))
    start = treedef.unflatten([jax.random.normal(k, v.shape, v.dtype) for k, v in zip(keys, leaves, strict=True)])
    start = jax.tree.map(lambda v: v / _norm(start), start)
    return jax.lax.fori_loop(0, num_iterations, iterate, (start, jnp.zeros((), leaves[0].dtype)))[1]


@shared_jit
def noise_trace(
    key: Key, energy: Energy, position: Params, data: Batch, *, num_rows: int = 64, num_groups: int = 8
) -> Scalar:
    r"""Trace of the covariance of the gradient of U on one random row [nats^2/unit^2].

    A batch of B rows has 1/B of it; an analytic potential, which has no rows, has none. It is measured between
    `num_groups` groups of `num_rows` random rows.
    """
    if not jax.tree.leaves(data):
        return jnp.zeros(())
    size = jax.tree.leaves(data)[0].shape[0]
    rows = jax.random.randint(key, (num_groups, num_rows), 0, size)
    gradients = jax.lax.map(lambda r: jax.grad(energy)(position, jax.tree.map(lambda a: a[r], data)), rows)
    variances = jax.tree.map(lambda g: jnp.sum(jnp.var(g, axis=0, ddof=1)), gradients)
    return num_rows * jax.tree.reduce(jnp.add, variances)


def warmup_end(energies: Float[np.ndarray, "chain draw"], *, max_fraction: float = 0.5) -> tuple[int, float]:
    """Draw at which the warm-up ends, and the trend left after it [standard errors].

    The marginal standard error rule on the mean trace in 50 blocks: drop the k blocks that minimise the sum of squared
    deviations of the rest over the square of its length. A transient, up or down, is cut because it costs more variance
    than it brings draws. Where a trend of 1.5 standard errors is left, more is dropped, up to `max_fraction`.
    Source: White 1997, doi:10.1177/003754979706900601.
    """
    count = energies.shape[1]
    size = max(1, count // 50)
    blocks = energies[:, : count // size * size].mean(0).reshape(-1, size).mean(1)
    number = len(blocks)
    scores = [np.var(blocks[k:]) / (number - k) for k in range(max(1, int(max_fraction * number)))]
    start = int(np.argmin(scores)) * size
    drift = half_drift(energies[:, start:])
    while abs(drift) > 1.5 and start + count // 10 <= max_fraction * count:
        start += count // 10
        drift = half_drift(energies[:, start:])
    return start, drift


def half_drift(energies: Float[np.ndarray, "chain draw"]) -> float:
    """(mean of the second half - mean of the first) / its standard error by arviz-stats."""
    half = energies.shape[1] // 2
    first, second = energies[:, :half], energies[:, -half:]
    error = float(np.hypot(mcse(first), mcse(second)))
    return float((second.mean() - first.mean()) / error) if error > 0 else 0.0


def _norm(tree: Params) -> Array:
    return jnp.sqrt(jax.tree.reduce(jnp.add, jax.tree.map(lambda leaf: jnp.vdot(leaf, leaf), tree)))
