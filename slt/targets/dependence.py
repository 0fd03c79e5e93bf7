r"""What the loss of a row depends on: its own row and no other, and parameters whose gradient is there.

- The loss of a random row alone, and of random pairs, is that which the row has in all data, up to rounding.
- A parameter whose gradient is exactly zero, at w* and around it, may be moved without a change of the loss. Where the
  loss changes, the interval is halved until a gradient is found or none can be: stop_gradient, rounding, an argmax.
- Along random paths the change of the loss is the integral of its slope: `slt.targets.slopes`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from slt._types import Params
from slt.jit import shared_jit
from slt.targets.inputs import LossPerDatum
from slt.targets.jaxprs import depends
from slt.targets.loss import Traced
from slt.targets.slopes import HALVINGS, ROWS, check_paths, leaf_names, num_leaves, path_losses, resolution

PAIRS = 16
"""Pairs of random rows that are seen by themselves, beside 64 single rows."""
DRAWS = (3.0, 3.0, *(1.0,) * 8, 0.1, 0.01)
"""Displacements of parameters without a gradient, in widths of the prior."""


class CutError(ValueError):
    """Parameters that reach the loss through stop_gradient alone; `leaves` are their names."""

    leaves: tuple[str, ...] = ()


def check_rows(
    loss: LossPerDatum, params: Params, data: PyTree[Array], losses: Float[Array, " n"], gradient: Params
) -> tuple[float, float]:
    """Of 64 random rows: the noise of the gradient, and the rounding of a loss [nats].

    The noise is the root of the mean squared deviation of one datum's gradient from the mean `gradient`; the rounding
    is what the last bits of the parameters change.

    Raises:
        ValueError: the loss of a row depends on the rows beside it, on its place or on their number.
    """
    n, rng = len(losses), np.random.default_rng(0)
    rows = rng.permutation(n)[:ROWS]
    bits = resolution(params)
    path = path_losses(loss, params, data, rows, gradient, np.full(num_leaves(params), bits), relative=True, nodes=2)
    rounding = float(np.sqrt(np.nanmean((path.losses[1] - path.losses[0]) ** 2)))
    pairs = np.stack([rng.permutation(n)[:2] for _ in range(PAIRS)])
    in_pairs = np.asarray(_pairs(loss, params, data, pairs))
    for count, where, got in (("one row", rows, path.losses[0]), ("two rows", pairs.ravel(), in_pairs.ravel())):
        due = np.asarray(losses)[where]
        excess = np.abs(got - due) - (1e-4 * np.abs(due) + 200 * rounding + 1e-6)
        if np.nanmax(excess) > 0:
            i = int(np.nanargmax(excess))
            raise ValueError(
                f"loss_target: the loss of row {where[i]} is {due[i]:.6g} in all data and {got[i]:.6g} in {count}; it "
                "may not depend on other rows, nor on their order or number. Look for targets (n,) against outputs "
                "(n, 1), for batch statistics, and for means or sums over the batch."
            )
    eps = 8 * bits * float(np.abs(np.asarray(losses)).max())
    return float(np.sqrt(np.mean(path.squares[0]))), 100 * rounding + eps


def check_gradient(
    loss: LossPerDatum,
    params: Params,
    data: PyTree[Array],
    evaluate: Callable[[Params], tuple[Array, Params]],
    gradient: Params,
    scale: float,
    rounding: float,
) -> None:
    """Raises ValueError where the gradient of the loss is not its derivative.

    Args:
        evaluate: position -> losses of some rows, all if possible, and the gradient of their sum.
        gradient: of the mean loss of all data at w*.
        scale: of the displacements: the width of the prior.
        rounding: of a loss [nats].
    """
    still = _still(params, evaluate, gradient, scale)
    if still is not None:
        raise _refusal(loss, params, data, evaluate, still, scale)
    check_paths(loss, params, data, gradient, scale, rounding)


def check_potential(potential: Callable[[Params, Any], Array], minimum: Params, precision: float) -> None:
    """Raises ValueError where a potential, without rows, changes along parameters but has no gradient there."""

    def evaluate(w: Params) -> tuple[Array, Params]:
        return _value_and_slope(potential, w)

    width = prior_width(minimum, precision)
    still = _still(minimum, evaluate, evaluate(minimum)[1], width)
    if still is not None:
        raise _refusal(potential, minimum, (), evaluate, still, width)


def prior_width(params: Params, precision: float) -> float:
    """Width of the prior, at most ten times the size of the parameters [unit of w]."""
    size_of = float(
        np.sqrt(np.mean(np.concatenate([np.ravel(np.asarray(p, np.float64)) for p in jax.tree.leaves(params)]) ** 2))
    )
    widest = 10 * size_of if size_of > 0 else 1.0
    return min(1 / np.sqrt(precision), widest) if precision > 0 else widest / 10


def _still(params: Params, evaluate: Callable, gradient: Params, scale: float) -> list[np.ndarray] | None:
    """Masks of entries on which the loss depends with a gradient that is zero wherever it was asked for, if any."""
    rng = np.random.default_rng(1)
    start = jax.tree.leaves(params)
    mask = [np.asarray(g) == 0 for g in jax.tree.leaves(gradient)]
    for factor in (1.0, 0.1):
        if not any(m.any() for m in mask):
            return None
        mask = _less(mask, evaluate(_moved(params, start, _noise(rng, start, factor * scale)))[1])
    base = np.asarray(evaluate(params)[0], np.float64)
    whole = any(m.all() for m in mask)
    for factor in DRAWS if whole else (1.0, 0.1, 0.01):
        for _ in range(HALVINGS):
            if not any(m.any() for m in mask):
                return None
            step = [m * v for m, v in zip(mask, _noise(rng, start, factor * scale), strict=True)]
            found, mask = _halved(params, start, step, mask, evaluate, base)
            if found is None:  # nothing changes at this scale
                break
            if found:
                return mask
    return None


def _halved(
    params: Params, start: list, step: list, mask: list, evaluate: Callable, base: np.ndarray
) -> tuple[bool | None, list]:
    """Whether the loss changes along a step without a gradient anywhere; and the mask without what has one."""
    low, high, low_losses = 0.0, 1.0, base
    high_losses = base
    for i in range(HALVINGS):
        t = high if i == 0 else (low + high) / 2
        losses, slope = evaluate(_moved(params, start, [t * s for s in step]))
        losses = np.asarray(losses, np.float64)
        rest = _less(mask, slope)
        if i == 0 and not _differ(losses, base):
            return None, mask
        if sum(m.sum() for m in rest) < sum(m.sum() for m in mask):
            return False, rest
        if i == 0:
            high_losses = losses
        elif np.nansum(np.abs(losses - low_losses)) >= np.nansum(np.abs(high_losses - losses)):
            high, high_losses = t, losses
        else:
            low, low_losses = t, losses
    return True, mask


@shared_jit
def _value_and_slope(potential: Callable, w: Params) -> tuple[Array, Params]:
    value, slope = jax.value_and_grad(potential)(w, ())
    return value[None], slope


def _refusal(
    loss: LossPerDatum, params: Params, data: Any, evaluate: Callable, mask: list[np.ndarray], scale: float
) -> ValueError:
    """Names the leaves; a `CutError` where they are whole and reach the loss through stop_gradient alone."""
    names, start = leaf_names(params), jax.tree.leaves(params)
    base = np.asarray(evaluate(params)[0], np.float64)

    def matters(i: int) -> bool:
        for seed in range(4):
            noise = _noise(np.random.default_rng(seed), start, scale)
            step = [m * v if j == i else 0 * v for j, (m, v) in enumerate(zip(mask, noise, strict=True))]
            if _differ(np.asarray(evaluate(_moved(params, start, step))[0], np.float64), base):
                return True
        return False

    places = [i for i, m in enumerate(mask) if m.any()]
    found = [i for i in places if matters(i)] or places
    whole = all(mask[i].all() for i in found)
    cut = whole and isinstance(loss, Traced) and _is_cut(loss, params, data, found)
    parts = ", ".join(names[i] if mask[i].all() else f"{mask[i].sum()} entries of {names[i]}" for i in found)
    why = "it goes through stop_gradient" if cut else "rounding, an argmax, a comparison, a 0-1 loss, stop_gradient"
    given = [name for i, name in enumerate(names) if i not in found]
    remedy = f"leave it out of what is sampled, trainable={given[:6]}{'...' * (len(given) > 6)}, or " if given else ""
    error = (CutError if cut else ValueError)(
        f"The loss depends on {parts}, but its gradient there is exactly zero ({why}), so that chains "
        f"would sample the prior along it; {remedy}give a loss that can be differentiated in it."
    )
    if isinstance(error, CutError):
        error.leaves = tuple(names[i] for i in found)
    return error


def _is_cut(loss: Traced, params: Params, data: Any, places: list[int]) -> bool:
    """Whether no way leads from the leaves to the loss but through stop_gradient."""
    rows = jax.tree.map(lambda a: a[:2], data)
    program = loss.program.at((params, rows))
    count = len(program.slots)
    return not any(depends(program.jaxpr, count + i) for i in places)


@shared_jit
def _pairs(loss: LossPerDatum, params: Params, data: Any, pairs: Array) -> Float[Array, "pair two"]:
    return jax.lax.map(lambda pair: loss(params, jax.tree.map(lambda a: a[pair], data)), pairs)


def _differ(losses: np.ndarray, base: np.ndarray) -> bool:
    """Whether losses of the same compiled function differ by more than the last bits."""
    off = np.abs(losses - base) > 1e-5 * np.abs(base) + 1e-6
    return bool((off & np.isfinite(losses)).any())


def _less(mask: list[np.ndarray], slope: Params) -> list[np.ndarray]:
    return [m & (np.asarray(g) == 0) for m, g in zip(mask, jax.tree.leaves(slope), strict=True)]


def _moved(params: Params, start: list, step: list) -> Params:
    moved = [jnp.asarray(np.asarray(w) + np.asarray(s, w.dtype)) for w, s in zip(start, step, strict=True)]
    return jax.tree.structure(params).unflatten(moved)


def _noise(rng: np.random.Generator, start: list, scale: float) -> list[np.ndarray]:
    return [scale * rng.standard_normal(w.shape) for w in start]
