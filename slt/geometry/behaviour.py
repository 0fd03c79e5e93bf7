r"""What the behaviour of a network, its outputs on given inputs, says about the landscape.

G has a row per (datum, output) and a column per parameter. The behaviour manifold of w is the set of parameters with
the same outputs. All in float64; networks small enough for G and, where a Hessian is needed, for a dense one.

Source: V. Hebbar 2022, "Information Loss → Basin flatness"; Jacot et al. 2018, arXiv:1806.07572 (NTK).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._options import checked
from slt._rows import as_fields
from slt._types import Batch, Key
from slt.geometry.operators import Network, cast, dense, hessian, precision, residual
from slt.geometry.rank import Rank, numerical_rank, rank_of_values

GIBIBYTES = 4.0
"""Largest matrix of behavioural gradients that is formed."""


class BehaviourManifold(NamedTuple):
    """Claim: the manifold of equal outputs is perpendicular to span G, and its dimension is at most n - rank G.

    rank: of G at w. dimension: n - rank G at points nearby on the manifold, the largest found: where ranks are
    constant that is its dimension.
    tangent: the largest share of a walked chord that lies in span G, at the radius and at a tenth of it; falls with
    the radius where the claim holds. outputs: largest change of an output on the walk, relative.
    holds: tangent below 0.1 and falling (or rounding), dimension at most n - rank.
    """

    rank: Rank
    dimension: int
    tangent: tuple[float, float]
    outputs: float
    holds: bool

    __repr__ = as_fields


class RankClaim(NamedTuple):
    """Claim: rank H = rank G at a perfect fit. What decides it stands beside it.

    residual_share: |S|/|H| in Frobenius norm, zero at a perfect fit. loss_curvature: smallest over largest
    eigenvalue of the loss in its outputs over the data, zero for cross entropy of raw logits.
    equal: whether the ranks are; reason: which condition fails, or that none does.
    """

    hessian: Rank
    gradients: Rank
    residual_share: float
    loss_curvature: float
    gradient_norm: float
    equal: bool
    reason: str


class FlatDimensions(NamedTuple):
    """The zero directions of H by what they are; they sum to its nullity.

    leaves: flat to second order, but the outputs cannot be kept along them. different: outputs on the data kept,
    others changed: equally good, another function. trivial: the function is unchanged everywhere.
    trivial_change, different_change: largest relative change of outputs on inputs that decided nothing, after walks of
    the same length inside the trivial directions and inside the whole manifold.
    """

    leaves: int
    different: int
    trivial: int
    trivial_change: float
    different_change: float


def behavioural_gradients(subject: Network) -> Float[np.ndarray, "output params"]:
    r"""G, $\partial f_o(x_i)/\partial w_j$, rows ordered by datum, then output.

    Raises:
        ValueError: more than 4 GiB, or an entry that is not finite.
    """
    with precision(np.float64):
        return _behaviour(subject)(_flat(subject))[1]


def neural_tangent_kernel(subject: Network) -> Float[np.ndarray, "output output"]:
    """NTK = G G^T; its non-zero eigenvalues are the squared singular values of G. Take ranks from G, never from it."""
    gradients = behavioural_gradients(subject)
    return gradients @ gradients.T


def kernel_alignment(first: Float[np.ndarray, "n n"], second: Float[np.ndarray, "n n"]) -> float:
    r"""Cosine $\langle K, K' \rangle / (|K| |K'|)$ of two kernel matrices on the same inputs; 0 where one vanishes.

    Source: Cristianini et al. 2001, On Kernel-Target Alignment.
    """
    size = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.sum(first * second) / size) if size > 0 else 0.0


@checked
def behaviour_manifold(subject: Network, key: Key, *, num_points: int = 6, radius: float = 1e-2) -> BehaviourManifold:
    """Walk the set of equal outputs around w and compare it with span G.

    Args:
        num_points: random walks. radius: their length, relative to max(|w|, 1).
    """
    with precision(np.float64):
        behaviour = _behaviour(subject)
        start = _flat(subject)
        outputs, gradients = behaviour(start)
        rank = numerical_rank(gradients)
        span = _row_space(gradients, rank.rank)
        length = radius * max(float(np.linalg.norm(start)), 1.0)
        walks = [_walk(behaviour, start, outputs, span, key, i, length) for i in range(num_points)]
        short = [_walk(behaviour, start, outputs, span, key, i, length / 10) for i in range(num_points)]
        nearby = [numerical_rank(behaviour(jnp.asarray(point))[1]).rank for point, _ in walks]
    shares = tuple(max(_share(point - start, span) for point, _ in some) for some in (walks, short))
    dimension = rank.shape[1] - min(nearby)
    perpendicular = shares[1] < max(0.2 * shares[0], 1e-6) and shares[0] < 0.1
    return BehaviourManifold(
        rank, dimension, (shares[0], shares[1]), max(change for _, change in walks + short),
        perpendicular and dimension <= rank.nullity,
    )  # fmt: skip


def rank_claim(subject: Network) -> RankClaim:
    """Compare rank H with rank G at a critical point, and say what decides.

    Raises:
        ValueError: not a critical point: then H is not that of a minimum, and the claim is not about it.
    """
    operator = hessian(subject)
    matrix = dense(operator)
    values = np.linalg.eigvalsh(matrix)
    if operator.gradient_norm > 1e-4 * np.max(np.abs(values)) * max(operator.scale, 1.0):
        raise ValueError(
            f"rank_claim: not at a critical point: |grad L| = {operator.gradient_norm:.3g} where the largest curvature "
            f"is {np.max(np.abs(values)):.3g}; train on or `polish` first."
        )
    ranks = rank_of_values(np.sort(np.abs(values))[::-1], matrix.shape), numerical_rank(behavioural_gradients(subject))
    share = float(np.linalg.norm(dense(residual(subject))) / max(np.linalg.norm(matrix), 1e-300))
    curvature = _loss_curvature(subject)
    reasons = [f"the residual part is {share:.2g} of H: no perfect fit"] if share > 1e-6 else []
    if curvature < 1e-9:
        reasons.append("the loss has flat directions in its outputs")
    reason = " and ".join(reasons) or "perfect fit, and a loss strictly convex in its outputs"
    return RankClaim(*ranks, share, curvature, operator.gradient_norm, ranks[0].rank == ranks[1].rank, reason)


@checked
def flat_dimensions(subject: Network, elsewhere: Batch, key: Key, *, radius: float = 1e-2) -> FlatDimensions:
    """Sort the zero directions of the Hessian at a perfect fit into the three kinds.

    Args:
        elsewhere: rows out of distribution, like the data in structure; the first half tells trivial directions from
            others, the second half tests them.
        radius: length of the walks, relative to max(|w|, 1).

    Raises:
        ValueError: fewer than two rows elsewhere, or what `rank_claim` refuses.
    """
    count = jax.tree.leaves(elsewhere)[0].shape[0]
    if count < 2:
        raise ValueError(f"flat_dimensions: {count} rows elsewhere; give at least 2, better several hundred.")
    nullity = rank_claim(subject).hessian.nullity
    half, test = (jax.tree.map(lambda a, s=s: a[s], elsewhere) for s in (slice(count // 2), slice(count // 2, None)))
    everywhere = subject._replace(data=jax.tree.map(lambda a, b: np.concatenate([a, b]), subject.data, half))
    first, second, third = jax.random.split(key, 3)
    kept, trivial = behaviour_manifold(subject, first, radius=radius), behaviour_manifold(everywhere, second)
    changes = [_change(net, subject._replace(data=test), third, radius) for net in (everywhere, subject)]
    return FlatDimensions(
        nullity - kept.dimension, kept.dimension - trivial.dimension, trivial.dimension, changes[0], changes[1]
    )


def _flat(subject: Network) -> Array:
    return ravel_pytree(cast(subject.params, np.float64))[0]


def _behaviour(subject: Network) -> Callable[[Array], tuple[np.ndarray, np.ndarray]]:
    """flat parameters -> (outputs, G); call it inside `precision(float64)`."""
    data = cast(subject.data, np.float64)
    params = cast(subject.params, np.float64)
    unravel = ravel_pytree(params)[1]

    @jax.jit
    def both(w: Array, rows: Batch) -> tuple[Array, Array]:
        def one(row: Batch) -> tuple[Array, Array]:
            def outputs(x: Array) -> Array:
                return subject.outputs(unravel(x), jax.tree.map(lambda a: a[None], row))[0]

            return outputs(w), jax.jacrev(outputs)(w)

        return jax.lax.map(one, rows, batch_size=64)

    shape = jax.eval_shape(subject.outputs, params, data).shape
    size = shape[0] * shape[1] * ravel_pytree(params)[0].size * 8 / 2**30
    if size > GIBIBYTES:
        raise ValueError(
            f"behaviour: G would take {size:.1f} GiB, {GIBIBYTES:.0f} are allowed; give fewer rows of data."
        )

    def behaviour(w: Array) -> tuple[np.ndarray, np.ndarray]:
        values, gradients = (np.asarray(a) for a in both(w, data))
        return values.ravel(), gradients.reshape(values.size, -1)

    return behaviour


def _row_space(gradients: np.ndarray, rank: int) -> np.ndarray:
    """Orthonormal basis of span G, as rows."""
    return np.linalg.svd(gradients, full_matrices=False)[2][:rank]


def _share(chord: np.ndarray, span: np.ndarray) -> float:
    """Share of a chord's length that lies in the span."""
    length = float(np.linalg.norm(chord))
    return float(np.linalg.norm(span @ chord)) / length if length > 0 else 0.0


def _walk(
    behaviour: Callable, start: Array, outputs: np.ndarray, span: np.ndarray, key: Key, index: int, length: float
) -> tuple[np.ndarray, float]:
    """A step of that length perpendicular to span G, then Gauss–Newton back to the old outputs: (point, change)."""
    if len(span) == start.size:
        return np.asarray(start), 0.0  # nowhere to go
    direction = np.asarray(jax.random.normal(jax.random.fold_in(key, index), start.shape, np.float64))
    direction = direction - span.T @ (span @ direction)
    point = np.asarray(start) + length * direction / max(float(np.linalg.norm(direction)), 1e-300)
    scale = max(float(np.max(np.abs(outputs))), 1.0)
    for _ in range(50):
        now, gradients = behaviour(jnp.asarray(point))
        if np.max(np.abs(now - outputs)) < 1e-13 * scale:
            break
        point = point - np.linalg.lstsq(gradients, now - outputs, rcond=1e-10)[0]
    return point, float(np.max(np.abs(behaviour(jnp.asarray(point))[0] - outputs)) / scale)


def _change(walked: Network, observed: Network, key: Key, radius: float) -> float:
    """Largest relative change of the observed outputs along one walk of the other's manifold."""
    with precision(np.float64):
        behaviour, look, start = _behaviour(walked), _behaviour(observed), _flat(walked)
        outputs, gradients = behaviour(start)
        span = _row_space(gradients, numerical_rank(gradients).rank)
        length = radius * max(float(np.linalg.norm(start)), 1.0)
        point, _ = _walk(behaviour, start, outputs, span, key, 0, length)
        before, after = look(start)[0], look(jnp.asarray(point))[0]
    return float(np.max(np.abs(after - before)) / max(float(np.max(np.abs(before))), 1e-300))


def _loss_curvature(subject: Network) -> float:
    """Smallest over largest eigenvalue of the Hessians of the loss in the outputs."""
    with precision(np.float64):
        params, data = cast(subject.params, np.float64), cast(subject.data, np.float64)

        @jax.jit
        def curvatures(params, data) -> Array:
            def one(row: Batch) -> Array:
                batch = jax.tree.map(lambda a: a[None], row)
                z = subject.outputs(params, batch)[0]
                return jnp.linalg.eigvalsh(jax.hessian(lambda u: subject.loss(u[None], batch)[0])(z))

            return jax.lax.map(one, data)

        values = np.asarray(curvatures(params, data))
    return float(np.min(values) / max(float(np.max(np.abs(values))), 1e-300))
