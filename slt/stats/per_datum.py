r"""Running sums of per-datum log-likelihoods, so that no array of draws times data need be in memory.

Draws of one chain (or independent replicate) are summed up in batches of consecutive draws. A functional of the pooled
sums has a value, and through its first-order influence a deviation of every batch; the standard error is that of the
mean of those deviations, between replicates or autocorrelation-aware (infinitesimal jackknife, Efron 1982).
"""

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._options import checked
from slt._rows import as_fields
from slt._types import Estimate
from slt.stats.checks import finite, shape_of
from slt.stats.replicates import replicate_mean

MIN_DRAWS = 100
"""Draws in all below which a functional of them is refused: its bias is of order 1/draws."""
MANY_CHAINS = 8
"""From as many chains on, the error is the one between chains, whatever happens within."""


class Pointwise(NamedTuple):
    r"""Sums over the draws of a batch, with p_i = p(x_i | w).

    count: draws of each batch, dims (chain, batch). mean, square: mean of log p_i and sum of its squared deviations.
    log_sum: $\log\sum p_i$. log_removed, log_left: $\log\sum p_i^{-\beta}$ and $\log\sum p_i^{1-\beta}$, by which
    datum i is taken out of the posterior. All dims (chain, batch, datum), or without the first two while they build up.
    inverse_temperature: beta of the posterior that was sampled [1].
    """

    count: Any
    mean: Any
    square: Any
    log_sum: Any
    log_removed: Any
    log_left: Any
    inverse_temperature: Any

    __repr__ = as_fields


class Term(NamedTuple):
    """A per-datum functional: its value, dims (datum,), and its value as each batch sees it, (chain, batch, datum)."""

    value: Float[np.ndarray, " datum"]
    seen: Float[np.ndarray, "chain batch datum"]


def summarise(log_likelihood: Float[Array | np.ndarray, "draw ... datum"], *, inverse_temperature: float) -> Pointwise:
    """Sums over the leading axis; of numpy and JAX arrays alike, so that a sampler can compile it."""
    count = log_likelihood.shape[0]
    mean = log_likelihood.mean(0)
    return Pointwise(
        count=np.full(log_likelihood.shape[1:-1], count),
        mean=mean,
        square=((log_likelihood - mean) ** 2).sum(0),
        log_sum=_log_sum(log_likelihood),
        log_removed=_log_sum(-inverse_temperature * log_likelihood),
        log_left=_log_sum((1 - inverse_temperature) * log_likelihood),
        inverse_temperature=inverse_temperature,
    )


def merge(a: Pointwise, b: Pointwise) -> Pointwise:
    """The sums over the draws of both (Chan, Golub & LeVeque 1983 for the squares)."""
    xp = jnp if isinstance(a.mean, jax.Array) else np
    count = a.count + b.count
    share = (b.count / count)[..., None]
    gap = b.mean - a.mean
    return Pointwise(
        count=count,
        mean=a.mean + share * gap,
        square=a.square + b.square + (a.count[..., None] * share) * gap**2,
        log_sum=xp.logaddexp(a.log_sum, b.log_sum),
        log_removed=xp.logaddexp(a.log_removed, b.log_removed),
        log_left=xp.logaddexp(a.log_left, b.log_left),
        inverse_temperature=a.inverse_temperature,
    )


@checked
def pointwise(
    log_likelihood: Float[np.ndarray, "chain draw datum"] | Any,
    *,
    inverse_temperature: float | None = None,
    num_batches: int = 20,
    var_name: str | None = None,
) -> Pointwise:
    """Sums of draws that are in memory, in `num_batches` stretches of each chain; draws left over are dropped.

    Args:
        log_likelihood: log p(x_i | w) of every draw and datum [nats], or a DataTree with ArviZ' group of that name.
        inverse_temperature: beta of the posterior that was sampled [1]; of a tree 1, or what our own says, by default.
        var_name: the variable of the tree, where it has several.

    Raises:
        ValueError: not three axes, fewer than 2 chains, too few draws, or a value that is not finite; a tree without
            log-likelihoods, or with several; an array without its beta, or with the name of a variable.
    """
    if is_tree(log_likelihood):
        log_likelihood, stored = labelled("pointwise", log_likelihood, var_name)
        inverse_temperature = stored if inverse_temperature is None else inverse_temperature
    elif var_name is not None:
        raise ValueError(
            f"pointwise: var_name is {var_name!r}, and names a variable of a tree; leave it out, or give a DataTree in "
            "place of the array."
        )
    if inverse_temperature is None:
        raise ValueError("pointwise: inverse_temperature is missing; it is the beta at which the draws were taken.")
    values = check_draws("pointwise", log_likelihood)
    chains, draws, data = values.shape
    batches = min(num_batches, draws)
    size = draws // batches
    blocks = values[:, -batches * size :].reshape(chains, batches, size, data)
    return summarise(np.moveaxis(blocks, 2, 0), inverse_temperature=inverse_temperature)


def is_tree(given: Any) -> bool:
    """Whether it is an `xarray.DataTree`."""
    return hasattr(given, "children")


def labelled(where: str, tree: Any, var_name: str | None = None) -> tuple[np.ndarray, float]:
    """Log-likelihoods of an ArviZ tree, dims (chain, draw, datum), and the beta of its draws.

    Raises:
        ValueError: no log-likelihoods, or several and no name of one of them.
    """
    group = tree.children.get("log_likelihood")
    variables: Any = {} if group is None else group.data_vars
    names = list(variables)
    chosen = names[0] if len(names) == 1 and var_name is None else var_name
    if chosen not in names:
        raise ValueError(
            f"{where}: the group log_likelihood of the tree has {', '.join(map(repr, names)) or 'no variable'} and "
            f"var_name is {var_name!r}; give `pointwise` the name of one of them."
        )
    values = variables[chosen].transpose("chain", "draw", ...).to_numpy()
    constants = tree.children.get("constant_data")
    settings = json.loads("{}" if constants is None else constants.attrs.get("settings", "{}"))
    return values.reshape(*values.shape[:2], -1), float(settings.get("inverse_temperature", 1.0))


def check_draws(where: str, log_likelihood: Float[np.ndarray, "chain draw datum"]) -> np.ndarray:
    """The log-likelihoods in float64.

    Raises:
        ValueError: not three axes, fewer than 2 chains, no datum, too few draws for a functional of their
            distribution, or a value that is not finite.
    """
    shape = shape_of("pointwise", log_likelihood)
    if len(shape) != 3 or shape[0] < 2 or shape[2] < 1:
        raise ValueError(
            f"{where}: log_likelihood has shape {shape}; needed: (chain, draw, datum) with at least 2 chains and "
            "1 datum."
        )
    if shape[0] * shape[1] < MIN_DRAWS:
        raise ValueError(
            f"{where}: {shape[0] * shape[1]} draws in all; at least {MIN_DRAWS} are needed, since functional "
            "variances and logarithms of means have a bias of order 1/draws. Sample longer."
        )
    advice = "leave diverged chains out, and give every datum positive density."
    return finite(where, log_likelihood, ("chain", "draw", "datum"), advice, what="log-likelihood")


def log_mean(log_sum: Float[np.ndarray, "chain batch datum"], count: np.ndarray) -> Term:
    """log of the mean over all draws, from log-sums of the batches; a batch sees 1 + log for its share."""
    log_sum = np.asarray(log_sum, np.float64)
    value = _log_sum(log_sum.reshape(-1, log_sum.shape[-1])) - np.log(count.sum())
    return Term(value, value + np.expm1(log_sum - np.log(count)[..., None] - value))


def mean(sums: Pointwise) -> Term:
    """Mean of log p_i."""
    batch = np.asarray(sums.mean, np.float64)
    return Term(np.average(batch, axis=(0, 1), weights=sums.count), batch)


def variance(sums: Pointwise) -> Term:
    """Posterior variance of log p_i."""
    deviation = (np.asarray(sums.mean, np.float64) - mean(sums).value) ** 2
    square = np.asarray(sums.square, np.float64) + sums.count[..., None] * deviation
    value = square.sum((0, 1)) / (sums.count.sum() - 1)
    return Term(value, square / sums.count[..., None])


def estimate(term: Term, *, scale: float = 1.0) -> Estimate:
    """Scale times the sum over the data, with its Monte Carlo error.

    Few chains: batches are so long that what their neighbours share is nearly all that is left of autocorrelation,
    including that of chains that stay apart.

    Raises:
        ValueError: fewer than 2 chains, or batches too few to see the autocorrelation.
    """
    advice = "leave diverged chains out, and give every datum positive density in all draws."
    finite("criteria", term.value, ("datum",), advice, what="log-likelihood")
    finite("criteria", term.seen, ("chain", "batch", "datum"), advice, what="log-likelihood")
    series = scale * term.seen.sum(2)
    value = scale * float(term.value.sum())
    chains, batches = series.shape
    if chains >= MANY_CHAINS:
        return replicate_mean(series.mean(1))._replace(value=value)
    if chains < 2 or batches < 4:
        raise ValueError(
            f"criteria: {chains} chains of {batches} batches; needed: at least 2 chains of 4 batches, or an error "
            "cannot be told from autocorrelation. Sample longer, or in more chains."
        )
    deviation = series - series.mean()
    spread = deviation.var()
    if not spread > 0:  # every draw says the same
        return Estimate(value, 0.0, chains - 1)
    neighbours = max(0.0, (deviation[:, 1:] * deviation[:, :-1]).sum() / (chains * (batches - 1)) / spread)
    # chains that stay apart are one draw each
    stretch = (1 + neighbours) / max(1 - neighbours, 2 / (batches + 1))
    return Estimate(value, float(series.std(ddof=1) * np.sqrt(stretch / series.size)), series.size / stretch - 1)


def _log_sum(x: Any) -> Any:
    """Log-sum-exp over the leading axis, of numpy and JAX arrays."""
    xp = jnp if isinstance(x, jax.Array) else np
    top = x.max(0)
    return top + xp.log(xp.exp(x - top).sum(0))
