"""What a NumPyro model says about itself: its sites and the plate over the data; refusals with a remedy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions import Unit
from numpyro.infer import init_to_uniform

from slt._types import Key, Params

MODEL_ERRORS = (ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)
"""What a model raises on data that do not fit it."""


class Sites(NamedTuple):
    """Names of the latent and of the observed sites, the plate over the data and its length n."""

    latent: tuple[str, ...]
    observed: tuple[str, ...]
    plate: str
    num_data: int


def read_sites(model: Callable, data: tuple, named: dict[str, Any], data_plate: str | None = None) -> Sites:
    """The sites of a model on its data.

    Raises:
        ValueError: the model fails on the data, or is outside what `numpyro_target` takes; says what to change.
    """
    trace = _trace(model, data, named)
    sample = {name: site for name, site in trace.items() if site["type"] == "sample"}
    latent = {name: site for name, site in sample.items() if not site["is_observed"]}
    observed = {name: site for name, site in sample.items() if site["is_observed"]}
    _check_kinds(trace, latent, observed)
    for name, site in sample.items():
        _check_site(name, site)
    plate, num_data = _data_plate(latent, observed, data_plate)
    if num_data < 3:
        raise ValueError(f"numpyro_target: the plate {plate!r} has n = {num_data} data; at least 3 are needed.")
    inside = [name for name, site in latent.items() if plate in _plates(site)]
    if inside:
        raise ValueError(
            f"numpyro_target: the latent site {inside[0]!r} lies in the plate {plate!r}, one value per datum, so "
            "there is no likelihood of a datum given the parameters; integrate it out (dist.MixtureSameFamily for "
            "labels, a MultivariateNormal for Gaussian factors)."
        )
    return Sites(tuple(latent), tuple(observed), plate, num_data)


def log_likelihoods(
    model: Callable, sites: Sites, values: Params, data: tuple, named: dict[str, Any]
) -> Float[Array, " datum"]:
    """Sum over the observed sites of the log-likelihood of each datum [nats], at constrained values of the latents."""
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


def _trace(model: Callable, data: tuple, named: dict[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        return started_trace(model, data, named, jax.random.key(0))
    except MODEL_ERRORS as error:
        shapes = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves((data, named))) or "none"
        raise ValueError(
            f"numpyro_target: the model failed on its data (shapes {shapes}): {error} Do the shapes fit the model, and "
            "are all its arguments given?"
        ) from error


def _check_kinds(trace: dict, latent: dict, observed: dict) -> None:
    if not observed:
        raise ValueError(
            "numpyro_target: the model has no observed site; give the data it is to condition on (obs=None makes a "
            "site latent)."
        )
    if not latent:
        raise ValueError("numpyro_target: the model has no latent site, hence nothing to sample.")
    params = [name for name, site in trace.items() if site["type"] == "param"]
    if params:
        raise ValueError(
            f"numpyro_target: {params[0]!r} is a numpyro.param, which has no prior; make it a numpyro.sample with one."
        )
    discrete = [name for name, site in latent.items() if site["fn"].support.is_discrete]
    if discrete:
        raise ValueError(
            f"numpyro_target: the latent site {discrete[0]!r} is discrete; sum it out in the model, for component "
            "labels with dist.MixtureSameFamily(dist.Categorical(weights), components)."
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
    if site["is_observed"] and np.isnan(np.asarray(site["value"], np.float64)).any():
        raise ValueError(f"numpyro_target: the observation {name!r} holds NaN; leave out or impute those data.")


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
            "write `with numpyro.plate('data', len(y)):` around it."
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
