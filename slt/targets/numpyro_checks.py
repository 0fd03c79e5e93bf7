"""What a NumPyro model says about itself: its sites and the plate over the data; refusals with a remedy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro import handlers
from numpyro.distributions import Delta, ExpandedDistribution, Independent, MaskedDistribution, Unit
from numpyro.infer import init_to_uniform

from slt._types import Key, Params

MODEL_ERRORS = (ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, ArithmeticError)
"""What a model raises on data that do not fit it."""


class Sites(NamedTuple):
    """Names of the latent and of the observed sites, the plate over the data and its length.

    rows: those of the plate that are observed, which are the data: not those that `handlers.mask` takes out everywhere.
    """

    latent: tuple[str, ...]
    observed: tuple[str, ...]
    plate: str
    size: int
    rows: Int[np.ndarray, " datum"]

    @property
    def num_data(self) -> int:
        """n."""
        return len(self.rows)


def read_sites(model: Callable, data: tuple, named: dict[str, Any], data_plate: str | None = None) -> Sites:
    """The sites of a model on its data.

    Raises:
        ValueError: the model fails on the data, or is outside what `numpyro_target` takes; says what to change.
    """
    trace, other = (_trace(model, data, named, seed) for seed in (0, 1))
    sample = {name: site for name, site in trace.items() if site["type"] == "sample"}
    latent = {name: site for name, site in sample.items() if not site["is_observed"]}
    observed = {name: site for name, site in sample.items() if site["is_observed"]}
    _check_kinds(latent, observed)
    _check_params(model, data, named, trace)
    for name, site in sample.items():
        _check_site(name, site)
    for name in observed:
        _check_imputed(name, trace, other, latent)
    plate, size = _data_plate(latent, observed, data_plate)
    rows, again = (_observed_rows([t[name] for name in observed], plate) for t in (trace, other))
    if len(rows) < 3:
        masked = f", {size - len(rows)} more are taken out by handlers.mask" if len(rows) < size else ""
        raise ValueError(
            f"numpyro_target: the plate {plate!r} has n = {len(rows)} data{masked}; at least 3 are needed."
        )
    if not np.array_equal(rows, again):
        raise ValueError(
            "numpyro_target: what handlers.mask takes out depends on the parameters, so that the number of data does; "
            "let the mask depend on the data alone."
        )
    inside = [name for name, site in latent.items() if plate in _plates(site)]
    if inside:
        raise ValueError(
            f"numpyro_target: the latent site {inside[0]!r} lies in the plate {plate!r}, one value per datum, so "
            "there is no likelihood of a datum given the parameters; integrate it out (dist.MixtureSameFamily for "
            "labels, a MultivariateNormal for Gaussian factors)."
        )
    return Sites(tuple(latent), tuple(observed), plate, size, rows)


def log_likelihoods(
    model: Callable, sites: Sites, values: Params, data: tuple, named: dict[str, Any]
) -> Float[Array, " datum"]:
    """Sum over the observed sites of the log-likelihood of each row of the plate [nats], at values of the latents."""
    seeded = handlers.substitute(handlers.seed(model, jax.random.key(0)), data=values)
    trace = handlers.trace(seeded).get_trace(*data, **named)
    return jnp.stack([_per_datum(trace[name], sites.plate) for name in sites.observed]).sum(0)


def _per_datum(site: dict[str, Any], plate: str) -> Float[Array, " datum"]:
    """Batch dimensions other than the plate's are summed over."""
    by_datum = jnp.moveaxis(site["fn"].log_prob(site["value"]), _plates(site)[plate].dim, 0)
    return by_datum.reshape(by_datum.shape[0], -1).sum(1)


def started_trace(model: Callable, data: tuple, named: dict[str, Any], key: Key) -> dict[str, dict[str, Any]]:
    """A trace with every latent drawn from (-2, 2) in unconstrained coordinates: no prior needs to be proper."""
    started = handlers.substitute(handlers.seed(model, key), substitute_fn=init_to_uniform())
    return handlers.trace(started).get_trace(*data, **named)


def _observed_rows(sites: list[dict[str, Any]], plate: str) -> np.ndarray:
    """Numbers of the rows of the plate at which some site is observed."""
    by_row = [np.moveaxis(_unmasked(site["fn"]), _plates(site)[plate].dim, 0) for site in sites]
    return np.flatnonzero(np.any([seen.reshape(len(seen), -1).any(1) for seen in by_row], axis=0)).astype(np.int32)


def _unmasked(fn: Any) -> np.ndarray:
    """Of the batch shape: where `handlers.mask` or `.mask` leaves the log density as it is."""
    if isinstance(fn, MaskedDistribution):
        return np.broadcast_to(fn._mask, fn.batch_shape) & np.broadcast_to(_unmasked(fn.base_dist), fn.batch_shape)
    if isinstance(fn, ExpandedDistribution):
        return np.broadcast_to(_unmasked(fn.base_dist), fn.batch_shape)
    if isinstance(fn, Independent):
        return _unmasked(fn.base_dist).reshape((*fn.batch_shape, -1)).any(-1)
    return np.ones(fn.batch_shape, bool)


def _trace(model: Callable, data: tuple, named: dict[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    try:
        return started_trace(model, data, named, jax.random.key(seed))
    except MODEL_ERRORS as error:
        shapes = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves((data, named))) or "none"
        raise ValueError(
            f"numpyro_target: the model failed on its data (shapes {shapes}): {error} Do the shapes fit the model, and "
            "are all its arguments given?"
        ) from error


def _check_kinds(latent: dict, observed: dict) -> None:
    if not observed:
        raise ValueError(
            "numpyro_target: the model has no observed site; give the data it is to condition on (obs=None makes a "
            "site latent)."
        )
    if not latent:
        raise ValueError("numpyro_target: the model has no latent site, hence nothing to sample.")
    halves = [
        name
        for name in latent
        if name.endswith("_unobserved") and f"{name.removesuffix('_unobserved')}_observed" in observed
    ]
    if halves:
        name = halves[0].removesuffix("_unobserved")
        raise ValueError(
            f"numpyro_target: {name!r} has an obs_mask, which makes what is not observed a parameter of each datum; "
            "write `with numpyro.handlers.mask(mask=mask):` around it instead, or leave those rows out."
        )
    discrete = [name for name, site in latent.items() if site["fn"].support.is_discrete]
    if discrete:
        raise ValueError(
            f"numpyro_target: the latent site {discrete[0]!r} is discrete; sum it out in the model, for component "
            "labels with dist.MixtureSameFamily(dist.Categorical(weights), components)."
        )
    for name, site in latent.items():
        if isinstance(_base(site["fn"]), Delta):
            raise ValueError(f"numpyro_target: the latent site {name!r} is a Delta; make it a numpyro.deterministic.")
        if not _unmasked(site["fn"]).all():
            raise ValueError(
                f"numpyro_target: handlers.mask takes the prior of the latent site {name!r} away, so that it is flat; "
                "mask observed sites alone, and give a flat prior as dist.ImproperUniform."
            )


def _check_params(model: Callable, data: tuple, named: dict[str, Any], trace: dict[str, dict[str, Any]]) -> None:
    """No numpyro.param that the density depends on; those of a random_flax_module are only the shapes of its priors."""
    params = {name: site["value"] for name, site in trace.items() if site["type"] == "param"}
    if not params:
        return
    sampled = {name: site for name, site in trace.items() if site["type"] == "sample"}
    values = {name: site["value"] for name, site in sampled.items() if not site["is_observed"]}
    moved = handlers.substitute(model, data=values | jax.tree.map(lambda a: a + 1.0, params))
    other = handlers.trace(handlers.seed(moved, jax.random.key(0))).get_trace(*data, **named)
    for name, site in sampled.items():
        if not jnp.array_equal(_log_prob(site), _log_prob(other[name])):
            raise ValueError(
                f"numpyro_target: {next(iter(params))!r} is a numpyro.param, which has no prior; make it a "
                "numpyro.sample with one."
            )


def _log_prob(site: dict[str, Any]) -> Array:
    return site["fn"].log_prob(site["value"])


def _check_imputed(name: str, trace: dict, other: dict, latent: dict) -> None:
    """No entry of an observation may be the value of a latent: it would be a parameter that counts as a datum."""
    first, second = (np.asarray(t[name]["value"]) for t in (trace, other))
    moved = first != second
    if not moved.any():
        return
    drawn = [np.concatenate([np.ravel(t[site]["value"]) for site in latent]) for t in (trace, other)]
    if (np.isin(first[moved], drawn[0]) & np.isin(second[moved], drawn[1])).any():
        raise ValueError(
            f"numpyro_target: entries of the observation {name!r} are values of latent sites (missing data that are "
            "imputed), parameters that would count as data; leave out the missing entries by handlers.mask, or rows."
        )


def _check_site(name: str, site: dict[str, Any]) -> None:
    """No subsampling, no scale; an observation has the shape of its distribution."""
    if site["scale"] is not None:
        raise ValueError(
            f"numpyro_target: the site {name!r} is scaled by {np.unique(np.asarray(site['scale']))[:3]}, by "
            "handlers.scale or by a plate with subsample_size; every datum must count once, so drop the scaling and "
            "give the plate all data (minibatches are drawn by the sampler)."
        )
    shape, expected = np.shape(site["value"]), tuple(site["fn"].shape())
    if site["is_observed"] and not isinstance(_base(site["fn"]), Unit) and shape != expected:
        raise ValueError(
            f"numpyro_target: the observation {name!r} has shape {shape}, but its distribution in the plate has shape "
            f"{expected}; NumPyro would broadcast one against the other. Reshape the data, or use .to_event()."
        )
    if site["is_observed"] and not isinstance(_base(site["fn"]), Unit):
        missing = np.isnan(np.asarray(site["value"], np.float64)).any()
        if missing and not bool(jnp.isfinite(_log_prob(site)).all()):
            raise ValueError(
                f"numpyro_target: the observation {name!r} holds NaN; leave those data out, or take them out by "
                "`with numpyro.handlers.mask(mask=~jnp.isnan(...)):`."
            )


def _base(fn: Any) -> Any:
    """The distribution inside masks and expansions."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn


def _data_plate(latent: dict, observed: dict, asked: str | None) -> tuple[str, int]:
    """Name and length of the plate that all observed sites share and no latent site lies in."""
    shared = set.intersection(*(set(_plates(site)) for site in observed.values()))
    anywhere = {name for site in observed.values() for name in _plates(site)}
    outside = [name for name, site in observed.items() if not _plates(site)]
    if outside:
        kind = "factor" if isinstance(_base(observed[outside[0]]["fn"]), Unit) else "observed site"
        raise ValueError(
            f"numpyro_target: the {kind} {outside[0]!r} lies in no plate, so there is no likelihood of a single datum; "
            "write `with numpyro.plate('data', len(y)):` around it. A joint distribution of all data, such as a "
            "Gaussian process or a scan over time, has none; a parameter that handlers.condition fixes is to be "
            "written into the model as a number."
        )
    if asked is not None and asked not in shared:
        raise ValueError(
            f"numpyro_target: data_plate is {asked!r}; the observed sites share "
            f"{', '.join(sorted(shared)) or 'no plate'}."
        )
    if not shared:
        raise ValueError(
            f"numpyro_target: the observed sites {', '.join(observed)} lie in different plates "
            f"({', '.join(sorted(anywhere))}); their data must be the same rows of one plate."
        )
    used = {name for site in latent.values() for name in _plates(site)}
    candidates = {asked} if asked is not None else (shared - used or shared)
    if len(candidates) > 1:
        raise ValueError(
            f"numpyro_target: the observed sites share the plates {', '.join(sorted(candidates))}; say by data_plate= "
            "which of them counts the data."
        )
    plate = candidates.pop()
    return plate, _plates(next(iter(observed.values())))[plate].size


def _plates(site: dict[str, Any]) -> dict[str, Any]:
    return {frame.name: frame for frame in site["cond_indep_stack"]}
