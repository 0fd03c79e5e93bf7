"""Two-dimensional pictures of a loss: slices through a minimum, nudges around it, wells of a potential."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._rows import as_fields
from slt._types import Key, Scalar
from slt.geometry.local import eigenbasis_of

Flat = Callable[[Float[Array, " dim"]], Scalar]


class Slice(NamedTuple):
    """loss on the plane center + a first + b second: coordinates a and b, loss dims (b, a) [nats/datum].

    marks: coordinates (a, b) of points of interest, dims (mark, 2).
    """

    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    loss: Float[np.ndarray, "b a"]
    marks: Float[np.ndarray, "mark 2"]

    __repr__ = as_fields


class Wells(NamedTuple):
    """Gradient flow of a potential in the plane from a grid of starts.

    start, end: dims (start, 2). lines: the flow, dims (start, time, 2). well: which of the given sets it ends in
    (-1: none of them). potential: of the ends.
    """

    start: Float[np.ndarray, "start 2"]
    end: Float[np.ndarray, "start 2"]
    lines: Float[np.ndarray, "start time 2"]
    well: np.ndarray
    potential: Float[np.ndarray, " start"]

    def share(self) -> dict[int, float]:
        """Share of the starts that end in each well: the volume of its attractor under the starts' law."""
        return {int(w): float(np.mean(self.well == w)) for w in np.unique(self.well)}


def loss_slice(
    objective: Flat,
    center: Float[np.ndarray, " dim"],
    first: Float[np.ndarray, " dim"],
    second: Float[np.ndarray, " dim"],
    *,
    extent: tuple[float, float] = (-1.0, 1.0),
    num_points: int = 61,
    marks: Float[np.ndarray, "mark dim"] | None = None,
) -> Slice:
    """The objective on the plane through `center`; directions are used as given, see the three makers below.

    Raises:
        ValueError: parallel or vanishing directions, an empty extent.
    """
    frame = np.stack([first, second], axis=1)
    if np.linalg.matrix_rank(frame) < 2 or not extent[0] < extent[1]:
        raise ValueError(
            f"loss_slice: directions of norm {np.linalg.norm(first):.2g} and {np.linalg.norm(second):.2g}, extent "
            f"{extent}; give two independent directions and a lower end below the upper one."
        )
    grid = np.linspace(*extent, num_points)
    places = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)

    @jax.jit
    def values(places: Array) -> Array:
        return jax.lax.map(lambda ab: objective(center + jnp.asarray(frame) @ ab), places, batch_size=256)

    loss = np.asarray(values(jnp.asarray(places))).reshape(num_points, num_points)
    points = np.zeros((1, 2)) if marks is None else np.linalg.lstsq(frame, (marks - center).T, rcond=None)[0].T
    return Slice(grid, grid, loss, points)


def eigenvector_plane(
    objective: Flat, center: Float[np.ndarray, " dim"], *, lowest: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The two eigenvectors of smallest, or of largest, absolute Hessian eigenvalue at `center`."""
    eigenvalues, vectors = eigenbasis_of(objective)(center)
    order = np.argsort(np.abs(eigenvalues))
    first, second = order[:2] if lowest else order[-2:][::-1]
    return vectors[:, first], vectors[:, second]


def plane_through(points: Float[np.ndarray, "3 dim"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Center and two orthogonal directions of the plane through three minima, which lie within [-1, 1]^2 of it."""
    center = points.mean(0)
    _, _, axes = np.linalg.svd(points - center, full_matrices=False)
    coordinates = (points - center) @ axes[:2].T
    reach = np.abs(coordinates).max(0)
    return center, axes[0] * reach[0], axes[1] * reach[1]


class Nudges(NamedTuple):
    """Random nudges of fixed lengths: loss dims (length, nudge), and the nudged points, dims (length, nudge, dim)."""

    lengths: Float[np.ndarray, " length"]
    loss: Float[np.ndarray, "length nudge"]
    points: Float[np.ndarray, "length nudge dim"]

    def share(self, max_loss: float) -> Float[np.ndarray, " length"]:
        """Share of nudges of each length that stay at or below that loss."""
        return np.mean(self.loss <= max_loss, axis=1)


def nudge(
    key: Key, objective: Flat, center: Float[np.ndarray, " dim"], *, lengths: Sequence[float], num_nudges: int = 500
) -> Nudges:
    """Nudges of w* in uniformly random directions, a length at a time."""
    directions = np.asarray(jax.random.normal(key, (num_nudges, len(center))))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points = center + np.asarray(lengths)[:, None, None] * directions
    flat = jnp.asarray(points.reshape(-1, len(center)))
    loss = np.asarray(jax.jit(lambda x: jax.lax.map(objective, x, batch_size=256))(flat))
    return Nudges(np.asarray(lengths, float), loss.reshape(len(lengths), num_nudges), points)


def embed(points: Float[np.ndarray, "point dim"], *, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """t-SNE embedding in the plane by scikit-learn, dims (point, 2).

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: no more points than the perplexity.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("embed needs scikit-learn; install it with: pip install scikit-learn") from error
    if len(points) <= perplexity:
        raise ValueError(f"embed: {len(points)} points for a perplexity of {perplexity}; give more points.")
    return TSNE(random_state=seed, perplexity=perplexity, init="pca").fit_transform(np.asarray(points, np.float32))


def wells(
    potential: Flat,
    sets: Sequence[Callable[[Float[Array, " 2"]], Scalar]],
    *,
    starts: Float[np.ndarray, "start 2"],
    learning_rate: float = 0.01,
    num_steps: int = 4000,
    keep: int = 80,
    distance: float = 0.05,
) -> Wells:
    """Gradient descent from every start, and which set of minima it ends within `distance` of.

    Args:
        potential: K on the plane [nats/datum].
        sets: functions w -> distance of w to each set of minima.
        keep: points of every line that are kept.
    """

    @jax.jit
    def flow(starts: Array) -> Array:
        def step(w: Array, _: None) -> tuple[Array, None]:
            return w - learning_rate * jax.grad(potential)(w), None

        def part(w: Array, _: None) -> tuple[Array, Array]:
            return jax.lax.scan(step, w, None, length=max(1, num_steps // keep))[0], w

        def one(w: Array) -> Array:
            end, line = jax.lax.scan(part, w, None, length=keep)
            return jnp.concatenate([line, end[None]])

        return jax.vmap(one)(starts)

    lines = np.asarray(flow(jnp.asarray(starts)))
    end = lines[:, -1]
    gaps = np.stack([np.asarray(jax.vmap(gap)(jnp.asarray(end))) for gap in sets], axis=1)
    well = np.where(gaps.min(1) <= distance, gaps.argmin(1), -1)
    return Wells(np.asarray(starts), end, lines, well, np.asarray(jax.vmap(potential)(jnp.asarray(end))))
