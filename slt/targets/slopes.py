r"""Slopes of a loss along random paths, row by row, and whether they are its derivatives.

The change of each row's loss is the integral of its slope, \(\int_0^1 \nabla\ell \cdot v\,dt\), by Clenshaw and Curtis
at 9 points. Where it is not, the path is halved: what is missed shrinks with the path at a kink or cusp, stays as it is
at a jump, and is missed by constant slopes where the gradient is another function's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from slt._types import Params
from slt.jit import shared_jit
from slt.targets.inputs import LossPerDatum, dot

ROWS = 64
"""Most rows of a path."""
NODES = (1 - np.cos(np.pi * np.arange(9) / 8)) / 2
"""Of the quadrature on [0, 1]."""
HALVINGS = 20
GROUPS = 24
"""Most groups of leaves that are looked at by themselves."""
WRONG, RIGHT = 0.3, 0.15
"""Part of the change of the loss that its gradient must miss for a refusal, and may miss."""


class Path(NamedTuple):
    """Losses, slopes and squared deviations of the gradient from a given one, dims (node, row)."""

    losses: Any
    slopes: Any
    squares: Any


class _Missed(NamedTuple):
    """Summed over rows: what the integral of the slopes misses of the change, the total variation, and the bend of the
    slopes about their mean; and the change of every row [nats].
    """

    missed: float
    reach: float
    bent: float
    change: Any


def check_paths(loss: LossPerDatum, params: Params, data: Any, gradient: Params, scale: float, rounding: float) -> None:
    """All leaves at once on three scales, then each leaf, or some of them together, within half of the data's price."""
    n, number = jax.tree.leaves(data)[0].shape[0], num_leaves(params)
    rows = np.random.default_rng(2).permutation(n)[:16]

    def check(rows: np.ndarray, weights: np.ndarray, group: Any) -> None:
        def missed(low: float, width: float) -> _Missed:
            return _missed(path_losses(loss, params, data, rows, gradient, weights, low=low, width=width))

        wrong = _wrong(missed, len(rows) * rounding)
        if wrong is not None:
            raise _mismatch(params, wrong, group)

    for factor in (1.0, 0.1, 0.01):
        check(rows, np.full(number, factor * scale), range(number))
    groups = int(np.clip(max(500, n // 2) // (2 * 9 * 4), 1, min(GROUPS, number))) if number > 1 else 0
    for group in np.array_split(np.arange(number), groups) if groups else ():
        weights = np.zeros(number)
        weights[group] = 0.3 * scale
        check(rows[:4], weights, group)


def _wrong(missed: Callable[[float, float], _Missed], rounding: float) -> _Missed | None:
    """What the gradient misses on the whole path, if that is no matter of quadrature."""
    low, width, seen = 0.0, 1.0, [missed(0.0, 1.0)]
    for level in range(HALVINGS):
        now = seen[-1]
        if not np.isfinite(now.reach) or now.missed <= RIGHT * now.reach or now.missed <= 10 * rounding:
            return None  # outside of the domain, or as it should be
        if level == 0 and now.missed <= WRONG * now.reach:
            return None
        if now.bent <= 0.1 * now.reach:
            return seen[0]
        halves = [(low, width / 2), (low + width / 2, width / 2)]
        found = [missed(*half) for half in halves]
        best = int(found[1].missed > found[0].missed)
        low, width = halves[best]
        seen.append(found[best])
    return seen[0] if seen[-1].missed > 0.5 * seen[-9].missed else None


def _mismatch(params: Params, whole: _Missed, group: Any) -> ValueError:
    names = leaf_names(params)
    where = ", ".join(names[i] for i in list(group)[:4]) + (", ..." if len(group) > 4 else "")
    return ValueError(
        f"loss_target: the gradient of the loss along {where} is not its derivative: on a path on which the losses of "
        f"{len(whole.change)} rows change by {np.abs(whole.change).sum():.3g} in all, the gradient misses "
        f"{whole.missed:.3g} (a straight-through estimator, a stop_gradient on a part, a comparison, rounding). Chains "
        "would sample another posterior; leave those parameters out by trainable=, or give a loss whose gradient is "
        "its own."
    )


def _missed(path: Path) -> _Missed:
    change = path.losses[-1] - path.losses[0]
    weights = _clenshaw_curtis(len(NODES))
    integral, reach = weights @ path.slopes, np.maximum(np.abs(change), weights @ np.abs(path.slopes))
    bent = weights @ np.abs(path.slopes - integral)
    return _Missed(float(np.abs(change - integral).sum()), float(reach.sum()), float(bent.sum()), change)


def _clenshaw_curtis(number: int) -> np.ndarray:
    """Weights on [0, 1]: exact for polynomials below the number of nodes."""
    powers = np.arange(number)
    x = 2 * NODES - 1
    moments = np.where(powers % 2 == 0, 2 / (1.0 - powers**2 + (powers == 1)), 0.0)
    chebyshev = np.cos(np.outer(powers, np.arccos(np.clip(x, -1, 1))))
    return np.linalg.solve(chebyshev, moments) / 2


def path_losses(
    loss: LossPerDatum,
    params: Params,
    data: Any,
    rows: np.ndarray,
    gradient: Params,
    weights: np.ndarray,
    *,
    low: float = 0.0,
    width: float = 1.0,
    relative: bool = False,
    nodes: int = len(NODES),
) -> Path:
    """Losses of single rows from w* + low v to w* + (low + width) v, v normal, as wide as the weight of its leaf."""
    times = low + width * (NODES if nodes == len(NODES) else np.linspace(0, 1, len(NODES)) * (len(NODES) - 1))
    padded = np.resize(rows, ROWS).astype(np.int32)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    counts = np.array([nodes, len(rows)], np.int32)
    found = _along(
        loss, params, data, padded, gradient, jnp.asarray(weights, dtype), jnp.asarray(float(relative), dtype),
        jnp.asarray(times, dtype), counts,
    )  # fmt: skip
    path = Path(*(np.asarray(part, np.float64)[:nodes, : len(rows)] for part in found))
    return path._replace(slopes=width * path.slopes)


@shared_jit
def _along(
    loss: LossPerDatum, params: Params, data: Any, rows: Array, gradient: Params, weights: Array, relative: Array,
    times: Array, counts: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """One compiled function for all of the above: numbers of nodes and rows are arguments."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    step = treedef.unflatten([
        weight * jax.random.normal(key, w.shape, w.dtype) * (relative * jnp.abs(w) + 1 - relative)
        for key, weight, w in zip(keys, weights, leaves, strict=True)
    ])  # fmt: skip

    def one(k: Array, out: tuple) -> tuple:
        node, row = k // counts[1], k % counts[1]
        datum = jax.tree.map(lambda a: a[rows[row]][None], data)
        w = jax.tree.map(lambda a, v: a + (times[node] * v).astype(a.dtype), params, step)
        value, slope = jax.value_and_grad(lambda x: loss(x, datum)[0])(w)
        off = jax.tree.map(jnp.subtract, slope, gradient)
        found = (value, dot(slope, step), dot(off, off))
        return tuple(a.at[node, row].set(x.astype(a.dtype)) for a, x in zip(out, found, strict=True))

    empty = jnp.zeros((len(NODES), ROWS), jnp.result_type(*leaves))
    return jax.lax.fori_loop(0, counts[0] * counts[1], one, (empty, empty, empty))


def resolution(params: Params) -> float:
    """Relative rounding of the arithmetic: accelerators may multiply float32 with ten bits."""
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(params))
    return eps if jax.default_backend() == "cpu" else max(eps, 2.0**-10)


def num_leaves(params: Params) -> int:
    """Number of arrays of a pytree."""
    return len(jax.tree.leaves(params))


def leaf_names(params: Params) -> list[str]:
    """Slash-joined paths of the leaves."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") or "params" for path, _ in paths]
