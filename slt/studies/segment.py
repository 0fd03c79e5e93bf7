r"""A segment of a basin: its cross-section by the Hessian, times its extent before the behaviour changes.

Where the minima form a manifold the basin has no end in its tangent plane, until the function on a validation set is
another. Across the manifold the volume is that of an ellipsoid of height T. Along it, either to first order by the
Jacobian J of the behaviour in the tangent plane N, {t: |J N t| <= delta}, or by walking: steps in the null space of the
Hessian, each brought back to the manifold by Newton's method across it, until the behaviour has moved by delta.

Source: claim of the discussion of Hebbar 2022, "Hessian and Basin volume"; made precise here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._rows import as_fields
from slt._types import Params
from slt.geometry.curvature import DENSE_DIM
from slt.geometry.local import Eigenbasis, LocalLoss, eigenbasis_of, local_loss
from slt.geometry.volume import log_ellipsoid, log_unit_ball
from slt.targets.target import Target

MAX_STEPS = 400
CORRECTIONS = 8


class Segment(NamedTuple):
    """Volume of a segment, in logs [nats, units of w].

    cross_section: log volume across the manifold at w*. tangent: log volume along it by the Jacobian; walked: the same
    by walking its principal directions, of each the mean of both ways. extents: by the Jacobian, walked: half-lengths
    along the principal directions of the behaviour [unit]. trivial: tangent directions in which the behaviour does not
    change to first order; they bound nothing and are left out, so that with trivial > 0 the volume is one of
    n - trivial dimensions. reason: what limits the numbers.
    """

    cross_section: float
    tangent: float
    walked: float
    extents: Float[np.ndarray, " direction"]
    walked_extents: Float[np.ndarray, "way direction"]
    dimension: int
    trivial: int
    reason: str

    @property
    def log_volume(self) -> float:
        """By walking; product of cross-section and extent [nats]."""
        return self.cross_section + self.walked

    @property
    def log_volume_to_first_order(self) -> float:
        """By the Jacobian alone [nats]."""
        return self.cross_section + self.tangent

    __repr__ = as_fields


def basin_segment(
    target: Target,
    behaviour: Callable[[Params], Array],
    *,
    threshold: float,
    change: float,
    zero_below: float | None = None,
    step: float = 0.05,
    max_length: float | None = None,
) -> Segment:
    r"""Volume of {w near the manifold of minima: height at most T, behaviour within delta of that at w*}.

    Args:
        behaviour: outputs on a validation set, any array; differences are measured by their root mean square.
        threshold: T [nats/datum]. change: delta [unit of the behaviour].
        zero_below: eigenvalues of the Hessian up to which a direction is tangent; by default 1e-8 of the largest.
        step: of the walk, relative to the extent that the Jacobian predicts.
        max_length: where a walk ends whose behaviour does not change [unit]; 10 |w*|, or 10, by default.

    Raises:
        ValueError: more than 5000 parameters, w* not a minimum, no flat direction, or thresholds that are not positive.
    """
    if not (threshold > 0 and change > 0 and 0 < step < 1):
        raise ValueError(f"basin_segment: threshold {threshold}, change {change}, step {step}; all must be positive.")
    if target.num_params > DENSE_DIM:
        raise ValueError(
            f"basin_segment: {target.num_params} parameters; every step of a walk takes the dense Hessian, which is "
            f"formed up to {DENSE_DIM}. Give a target of fewer trainable parameters."
        )
    local = local_loss(target)
    tools = _tools(local, behaviour)
    values, vectors = tools.basis(local.center)
    floor = 1e-8 * float(values.max()) if zero_below is None else zero_below
    flat = np.abs(values) <= floor
    if values.min() < -floor:
        raise ValueError(f"basin_segment: the smallest eigenvalue is {values.min():.3g}; w* is no minimum, polish it.")
    if not flat.any():
        raise ValueError("basin_segment: no direction is flat; the basin is an ellipsoid, see hessian_volumes.")
    across = int((~flat).sum())
    section = log_ellipsoid(float(np.log(values[~flat]).sum()), across, threshold=threshold)
    tangent = vectors[:, flat]
    jacobian = tools.jacobian(local.center) @ tangent / np.sqrt(tools.outputs(local.center).size)
    _, sizes, principal = np.linalg.svd(jacobian, full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(len(principal) - len(sizes))])
    moving = sizes > 1e-9 * max(float(sizes.max()), 1e-300)
    limit = max_length or 10 * (float(np.linalg.norm(local.center)) or 1.0)
    extents = change / sizes[moving]
    directions = (tangent @ principal[moving].T).T
    lengths, ended = np.empty((2, len(extents))), np.empty((2, len(extents)), bool)
    for way, sign in enumerate((1.0, -1.0)):
        for i, (v, extent) in enumerate(zip(directions, extents, strict=True)):
            pace = {"change": change, "step": step * min(extent, limit), "limit": limit, "num_flat": int(flat.sum())}
            lengths[way, i], ended[way, i] = _walk(tools, local.center, sign * v, **pace)
    ball = log_unit_ball(len(extents))
    trivial = int((~moving).sum())
    return Segment(
        section, ball + float(np.log(extents).sum()), ball + float(np.log(lengths.mean(0)).sum()), extents, lengths,
        across + len(extents), trivial, _reason(trivial, ended, limit),
    )  # fmt: skip


def _reason(trivial: int, ended: np.ndarray, limit: float) -> str:
    parts = []
    if trivial:
        parts.append(f"In {trivial} flat directions the behaviour does not change to first order; they are left out.")
    if not ended.all():
        parts.append(f"{int((~ended).sum())} walks ended at {limit:.3g} or left the manifold, the behaviour unchanged.")
    return " ".join(parts)


class _Tools(NamedTuple):
    """Compiled functions of a flat position, on float64 arrays."""

    basis: Callable[[np.ndarray], Eigenbasis]
    gradient: Callable[[np.ndarray], np.ndarray]
    outputs: Callable[[np.ndarray], np.ndarray]
    jacobian: Callable[[np.ndarray], np.ndarray]


def _tools(local: LocalLoss, behaviour: Callable[[Params], Array]) -> _Tools:
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(local.loss))
        outputs = jax.jit(lambda x: jnp.ravel(behaviour(local.unravel(x))))
        jacobian = jax.jit(jax.jacobian(outputs))

    def in_double(function: Callable, *more: Any) -> Callable[[np.ndarray], np.ndarray]:
        def call(x: np.ndarray) -> np.ndarray:
            with jax.enable_x64(True):
                return np.asarray(function(jnp.asarray(x, np.float64), *more), np.float64)

        return call

    basis = eigenbasis_of(local.loss)
    return _Tools(
        lambda x: basis(x, local.data), in_double(gradient, local.data), in_double(outputs), in_double(jacobian)
    )


def _walk(
    tools: _Tools, center: np.ndarray, direction: np.ndarray, *, change: float, step: float, limit: float, num_flat: int
) -> tuple[float, bool]:
    """Arc length from w* until the behaviour has moved by `change`, and whether it did."""
    before, position, length, moved = tools.outputs(center), center, 0.0, 0.0
    for _ in range(MAX_STEPS):
        values, vectors = tools.basis(position)
        flat = vectors[:, np.argsort(np.abs(values))[:num_flat]]
        direction = flat @ (flat.T @ direction)
        norm = float(np.linalg.norm(direction))
        if norm < 0.5:
            return length, False  # the manifold turns faster than the steps, or ends
        direction = direction / norm
        following = _back(tools, position + step * direction, num_flat)
        leap = float(np.linalg.norm(following - position))
        now = float(np.sqrt(np.mean((tools.outputs(following) - before) ** 2)))
        if now >= change:  # the end of the last step, by linear interpolation
            return length + leap * (change - moved) / (now - moved), True
        if length + leap > limit:
            return limit, False
        position, length, moved = following, length + leap, now
    return length, False


def _back(tools: _Tools, position: np.ndarray, num_flat: int) -> np.ndarray:
    """Newton's method across the manifold: w - H^+ grad L, H^+ on the directions that curve."""
    for _ in range(CORRECTIONS):
        values, vectors = tools.basis(position)
        curved = np.argsort(np.abs(values))[num_flat:]
        move = vectors[:, curved] @ (vectors[:, curved].T @ tools.gradient(position) / values[curved])
        position = position - move
        if np.linalg.norm(move) < 1e-12 * (1 + np.linalg.norm(position)):
            break
    return position
