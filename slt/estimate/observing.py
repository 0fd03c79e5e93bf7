"""What is looked at beside the training loss while a posterior is sampled: losses of chosen rows, and functions of w.

Observed rows are fixed: they are not those of the sampler's minibatches, and all of them are seen at the same draws.
Their losses are less those at w*, which costs no covariance.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from slt._types import Estimate, Params
from slt.draws import Result, Watch
from slt.estimate import looks
from slt.jit import shared_jit
from slt.stats.covariances import Sums, checked_sums, mean_of, merged, stacked, summed
from slt.targets.loss import trace
from slt.targets.rows import alike, as_rows
from slt.targets.target import Target

AT_ONCE = 1 << 20
"""Losses that are computed at a time."""
DRAWS = 4
"""Draws of a chain that are summed up at a time where there are products to be summed."""
BATCHES, FEW, SMALL = 32, 16, 100_000
"""Batches of a chain at most, even, and where a table has more entries than that: memory is that of as many tables."""


class Observed(NamedTuple):
    """names: of what is observed. values: w -> a number each. num_rows: rows whose loss that takes."""

    names: tuple[str, ...]
    values: Partial
    num_rows: int


class Seen(NamedTuple):
    """look: a `watch` of a run. collect: what it saw that counts, dims (chain, batch, ...), given the run's result."""

    look: Watch
    collect: Callable[[Result], Sums]


def each(target: Target, rows: Any, what: str) -> Observed:
    """The loss of each row less that at w* [nats]; rows in the forms of the target's own data.

    None for all of these, a slice for some. Or, of a function of w, each number that it returns: so losses of tokens.

    Raises:
        ValueError: a potential without data, rows of another shape, or a function that gives no numbers.
    """
    if callable(rows) and not hasattr(rows, "shape"):
        return _function(target, "", rows, what)
    own = slice(None) if rows is None else rows
    log_likelihood, batch = _read(target, own, what)
    count = int(batch[1].shape[0])
    index = range(target.num_data)[own] if isinstance(own, slice) else range(count)
    return Observed(tuple(f"row {i}" for i in index), Partial(_each, log_likelihood, batch), count)


def means(target: Target, given: Any, what: str) -> Observed:
    """Of {name: rows or function}: the mean loss of rows less that at w* [nats/datum]; numbers of a function as it is.

    Raises:
        ValueError: no such mapping, a name that is no text, or what `each` refuses.
    """
    if not isinstance(given, Mapping) or not given or not all(isinstance(name, str) for name in given):
        raise ValueError(
            f"{what} is {str(given)[:60]!r} (a {type(given).__name__}); give {{name: rows}} in the forms of the "
            "target's data, or {name: function of the parameters}."
        )
    functions = {name: f for name, f in given.items() if callable(f) and not hasattr(f, "shape")}
    rows = {name: part for name, part in given.items() if name not in functions}
    parts = [_sets(target, rows, what)] if rows else []
    parts += [_function(target, name, f, f"{what}[{name!r}]") for name, f in functions.items()]
    return parts[0] if len(parts) == 1 else together(*parts)


def together(*parts: Observed) -> Observed:
    """All of them, one after the other."""
    names = tuple(name for part in parts for name in part.names)
    return Observed(names, Partial(_all, *(part.values for part in parts)), sum(part.num_rows for part in parts))


def evaluate(observed: Observed, positions: Params) -> Float[np.ndarray, "chain draw value"]:
    """At positions with the leading axes chain and draw."""
    return np.asarray(_evaluated(observed.values, max(observed.num_rows, 1), positions))


def seen(rows: Observed, columns: Observed | None = None) -> Seen:
    """Rows and columns of the covariances of a run, and nothing but means where there are no columns."""
    both, count = (rows, 0) if columns is None else (together(rows, columns), len(columns.names))
    most = FEW if len(rows.names) * count > SMALL else BATCHES
    waiting: dict[int, list[np.ndarray]] = {}
    batches: dict[int, list[looks.Batch]] = {}

    def look(group: int, positions: Params) -> None:
        parts = waiting.setdefault(group, [])
        parts.append(evaluate(both, positions))
        if sum(part.shape[1] for part in parts) < (DRAWS if count else 1):
            return
        values = np.concatenate(waiting.pop(group), 1)
        x, y = np.split(values, [values.shape[2] - count], 2)
        new = looks.Batch(1, summed(x, y))
        batches[group] = looks.add(batches.get(group, []), new, merged, least=1, most=most)

    def collect(result: Result) -> Sums:
        groups = looks.counted(batches, result) if batches else []
        fewest = min((len(group) for group in groups), default=0)
        if not fewest:
            raise ValueError("The run was too short to observe anything; raise max_gradients.")
        parts = [stacked(group[-fewest:]) for group in groups]
        alive = looks.alive(result, sum(len(part.count) for part in parts))
        return Sums(*(np.concatenate(leaves)[alive] for leaves in zip(*parts, strict=True)))

    return Seen(look, collect)


def spacing(target: Target, num_rows: int, batch_size: int, *, share: float, least: int) -> int:
    """Steps between two looks, so that these cost that share of the steps; a loss costs a third of its gradient."""
    batch = target.num_data if target.num_data <= 4 * batch_size else batch_size
    return max(least, math.ceil(num_rows / (3 * share * batch)))


def heat_share(result: Result) -> float:
    """Part of the mean energy that is due to the noise of minibatches, which widens the posterior."""
    heat = result.diagnostics.get("noise_correction", 0.0)
    return heat / (heat + max(result.estimates["llc"].value, 0.0)) if heat > 0 else 0.0


def mean_losses(names: tuple[str, ...], sums: Sums, result: Result) -> dict[str, Estimate]:
    """E of each excess loss less the heat of minibatches in it, of which half may be wrong."""
    found, heat = mean_of(checked_sums(sums).rows), heat_share(result)
    return {
        name: Estimate(float((1 - heat) * value), float(np.hypot(error, heat / 2 * value)), found.dof)
        for name, value, error in zip(names, found.value, found.error, strict=True)
    }


@shared_jit
def _evaluated(values: Partial, num_rows: int, positions: Params) -> Array:
    chains, draws = jax.tree.leaves(positions)[0].shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(chains * draws, *a.shape[2:]), positions)
    found = jax.lax.map(values, flat, batch_size=max(1, min(chains * draws, AT_ONCE // num_rows)))
    return found.reshape(chains, draws, -1)


def _sets(target: Target, given: Mapping[str, Any], what: str) -> Observed:
    """Mean losses of sets of rows, computed in one go."""
    parts = {name: as_rows(rows) for name, rows in given.items()}
    first = next(iter(parts.values()))
    parts = {name: alike(rows, first, f"{what}[{name!r}]") for name, rows in parts.items()}
    sizes = [len(jax.tree.leaves(rows)[0]) for rows in parts.values()]
    log_likelihood, batch = _read(target, jax.tree.map(lambda *a: np.concatenate(a), *parts.values()), what)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.asarray(1 / np.array(sizes), batch[1].dtype)
    return Observed(tuple(parts), Partial(_mean_of_sets, log_likelihood, batch, labels, weights), len(labels))


def _read(target: Target, rows: Any, what: str) -> tuple[Callable, Any]:
    """Log-likelihood and batch of rows, with their losses at w*."""
    if target.log_likelihood is None or target.read is None:
        raise ValueError(f"{what}: the target is a potential without data, so it has no losses of rows to observe.")
    if isinstance(rows, slice):
        batch = jax.tree.map(lambda a: a[rows], target.data)
        if not batch[1].shape[0]:
            raise ValueError(f"{what}: {rows} leaves none of the {target.num_data} rows.")
        return target.log_likelihood, batch
    rows = as_rows(rows)
    single = all(len(leaf) == 1 for leaf in jax.tree.leaves(rows))
    twice = jax.tree.map(lambda a: np.concatenate([a, a]), rows) if single else rows
    try:
        log_likelihood, batch = target.read(twice)
    except ValueError as error:
        raise ValueError(str(error).replace("test_data", what)) from None
    if not bool(jnp.isfinite(batch[1]).all()):
        row = int(jnp.argmin(jnp.isfinite(batch[1])))
        raise ValueError(f"{what}: the loss of row {row} at w* is {batch[1][row]}; leave it out.")
    return log_likelihood, jax.tree.map(lambda a: a[:1], batch) if single else batch


def _function(target: Target, name: str, function: Callable, what: str) -> Observed:
    """Every number that a function of w returns."""
    minimum = jax.tree.map(jnp.asarray, target.minimum)
    try:
        traced = trace(function, (minimum,))
        shape = jax.eval_shape(traced, minimum)
    except TypeError as error:
        raise ValueError(f"{what}: the function fails on the parameters of the target ({error}).") from error
    if not hasattr(shape, "dtype") or not jnp.issubdtype(shape.dtype, jnp.floating) or 0 in shape.shape:
        raise ValueError(f"{what}: the function returns {shape}; it must return one array of floats.")
    found = np.asarray(traced(minimum))
    if not np.isfinite(found).all():
        raise ValueError(f"{what}: the function is not finite at w*, {found.ravel()[~np.isfinite(found).ravel()][0]}.")
    index = [",".join(map(str, place)) for place in np.ndindex(found.shape)]
    names = (name,) if not found.shape else tuple(f"{name}[{place}]" for place in index)
    return Observed(names, Partial(_flat, traced), found.size)


def _each(log_likelihood: Callable, batch: Any, w: Params) -> Array:
    return -log_likelihood(w, batch) - batch[1]


def _mean_of_sets(log_likelihood: Callable, batch: Any, labels: Array, weights: Array, w: Params) -> Array:
    losses = _each(log_likelihood, batch, w)
    return weights * jax.ops.segment_sum(losses, labels, weights.shape[0])


def _flat(function: Callable, w: Params) -> Array:
    return function(w).reshape(-1)


def _all(*parts: Any) -> Array:
    """The last is w."""
    *values, w = parts
    return jnp.concatenate([value(w) for value in values])
