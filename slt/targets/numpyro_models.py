r"""Any NumPyro model as a target, and the log-likelihoods of a NumPyro run for the criteria.

The plate that all observed sites share gives the data: L_n(w) is minus the mean over that plate of the log-likelihood.
Positions are unconstrained, through NumPyro's own bijections; the model's prior, with their Jacobian, is kept:

    U(u) = n beta (L_n(T(u)) - L_n(w*)) - log p(T(u)) - log |det T'(u)| + (gamma/2) |u - u*|^2.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer import MCMC
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from slt._options import checked
from slt._types import Key, Params, Scalar
from slt.targets.columns import as_array, check_values, loss_dtype
from slt.targets.inputs import check_temperature, dot, size
from slt.targets.loss import trace
from slt.targets.numpyro_checks import Sites, log_likelihoods, read_sites, started_trace
from slt.targets.numpyro_minimum import find_minimum, no_mode
from slt.targets.numpyro_rows import cut_rows
from slt.targets.prior import model_prior
from slt.targets.target import Target, loss_target, posterior_energy, with_losses

DRAWS, DRAWN = 4000, 4_000_000
"""Draws of a prior that are looked at, and numbers in them."""
ROUNDED = 1e-3
"""Share of draws rounded to an end of their support, as of Beta(0.1, 0.1), above which a prior is not drawn from."""


class Bound(NamedTuple):
    """A model with its data: everything as a function of unconstrained positions.

    data: pytree of leading length n; rows of it are what `log_likelihood(u, rows)` takes. log_prior: with the Jacobian.
    draw_prior: None where the prior is improper, or as `undrawn` says. draw_start: where to search from, always there.
    """

    sites: Sites
    data: Any
    log_likelihood: Callable[[Params, Any], Float[Array, " batch"]]
    log_prior: Callable[[Params], Scalar]
    draw_prior: Callable[[Key], Params] | None
    draw_start: Callable[[Key], Params]
    constrain: Callable[[Params], Params]
    unconstrain: Callable[[Params], Params]
    undrawn: str


def as_target(
    target: Target | Callable,
    data: tuple = (),
    options: Mapping[str, Any] | None = None,
    *,
    inverse_temperature: float | None = None,
) -> Target:
    """The target itself, or that of a NumPyro model with its data and options; see `numpyro_target`.

    Args:
        inverse_temperature: of a NumPyro model, unless the options say otherwise.

    Raises:
        ValueError: data or options beside a Target, or neither a Target nor a model.
    """
    options = options or {}
    if isinstance(target, Target):
        if data or options:
            given = ", ".join([*("data" for _ in data[:1]), *options])
            raise ValueError(f"A Target holds its own data and settings, but {given} came with it; leave that out.")
        return target
    if not callable(target):
        raise ValueError(f"A {type(target).__name__} is neither a Target nor a NumPyro model; give one of the two.")
    named: dict[str, Any] = {"inverse_temperature": inverse_temperature} | dict(options)
    return numpyro_target(target, *data, **named)


@checked
def numpyro_target(
    model: Callable,
    *data: Any,
    inverse_temperature: float | None = None,
    localization: float = 0.0,
    minimum: dict[str, Any] | None = None,
    data_plate: str | None = None,
    **named_data: Any,
) -> Target:
    r"""Target of a NumPyro model: its likelihood to the power beta, its own prior, unconstrained positions.

    Args:
        model: the model, unchanged; its observed sites lie in one plate, whose rows are the data.
        data, named_data: arguments of the model. Arrays whose leading axis is n are cut into rows for minibatches,
            where the model on rows gives the same likelihoods; otherwise every step sees the whole data.
        inverse_temperature: beta; 1/log n by default.
        localization: gamma of a further factor exp(-(gamma/2)|u - u*|^2) on unconstrained positions; 0 by default,
            so that the answer is the learning coefficient of the whole prior.
        minimum: w*, values of all latent sites; by default the minimum of U, the posterior mode at beta in
            unconstrained coordinates, by Adam and L-BFGS from the best of 64 draws of the prior.
        data_plate: name of the plate over the data where observed sites share more than one.

    Raises:
        ValueError: no plate over the data, latent sites that are discrete or as many as the data, subsampling, scaled
            sites, data that do not fit the model.
    """
    data, named_data = _arguments(data, named_data)
    bound = bind(model, data, named_data, data_plate)
    n = bound.sites.num_data
    beta = check_temperature(inverse_temperature, n)

    def loss(u: Params, rows: Any) -> Array:
        return -bound.log_likelihood(u, rows)

    center, flaw = _minimum(bound, n * beta) if minimum is None else (_given_minimum(bound, minimum), "")
    base = loss_target(loss, center, bound.data, inverse_temperature=beta, localization=localization)
    draw = bound.draw_prior and trace(bound.draw_prior, (jax.random.key(0),))
    log_prior, gamma = trace(bound.log_prior, (center,)), base.prior.localization
    prior = model_prior(log_prior, draw, center, gamma, undrawn=bound.undrawn)
    energy = Partial(posterior_energy, base.loss, prior.log_density, jnp.asarray(n * beta))
    force = jax.jit(jax.grad(energy))(center, base.data)
    return base._replace(
        energy=energy,
        prior=prior,
        gradient_norm=float(jnp.sqrt(dot(force, force))) / (n * beta),
        read=partial(_read_test, model, (data, named_data), bound, center),
        flaw=flaw,
    )


def numpyro_log_likelihood(mcmc: MCMC, *, data_plate: str | None = None) -> Float[np.ndarray, "chain draw datum"]:
    """Log-likelihood of every datum at every draw of a finished NumPyro run [nats], for WAIC, LOO and nu.

    Raises:
        ValueError: the run is not finished, or its model has no plate over the data; see `numpyro_target`.
    """
    samples = mcmc.get_samples(group_by_chain=True) if mcmc.last_state is not None else {}
    if not samples:
        raise ValueError("numpyro_log_likelihood: this MCMC holds no draws; call mcmc.run(key, ...) first.")
    # ArviZ's converter takes model and arguments from the same places
    model, data, named = mcmc.sampler.model, mcmc._args, mcmc._kwargs
    sites = read_sites(model, data, named, data_plate)
    draws = {name: samples[name] for name in sites.latent}
    shape = next(iter(draws.values())).shape[:2]
    flat = jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), draws)
    values = jax.lax.map(lambda w: log_likelihoods(model, sites, w, data, named), flat, batch_size=64)
    return np.asarray(values)[:, sites.rows].reshape((*shape, sites.num_data))


def bind(model: Callable, data: tuple, named: dict[str, Any], data_plate: str | None = None) -> Bound:
    """The model and its data as functions of unconstrained positions.

    Raises:
        ValueError: see `numpyro_target`.
    """
    sites = read_sites(model, data, named, data_plate)
    seeded = handlers.seed(model, jax.random.key(0))
    prior_alone = handlers.block(seeded, hide=list(sites.observed))

    def constrain(u: Params) -> Params:
        return constrain_fn(seeded, data, named, u)

    def unconstrain(w: Params) -> Params:
        return unconstrain_fn(seeded, data, named, w)

    def values(seen: dict[str, Any]) -> Params:
        return unconstrain({name: seen[name]["value"] for name in sites.latent})

    def draw_once(key: Key) -> Params:
        return values(handlers.trace(handlers.seed(model, key)).get_trace(*data, **named))

    def draw(key: Key) -> Params:
        """A second draw where the first was rounded to the end of its support."""
        first, second = map(draw_once, jax.random.split(key))
        return jax.tree.map(lambda a, b: jnp.where(_is_finite(first), a, b), first, second)

    def start(key: Key) -> Params:
        return values(started_trace(model, data, named, key))

    proper = _can_be_drawn(draw)
    rounded = _check_draws(draw_once) if proper else 0.0
    points = [start(jax.random.key(seed)) for seed in (0, 1)]
    rows, likelihood = cut_rows(model, sites, data, named, constrain, points)
    return Bound(
        sites=sites,
        data=rows,
        log_likelihood=likelihood,
        log_prior=lambda u: -jnp.asarray(potential_energy(prior_alone, data, named, u)),
        draw_prior=draw if proper and rounded < ROUNDED else None,
        draw_start=draw if proper else start,
        constrain=constrain,
        unconstrain=unconstrain,
        undrawn=f"rounded to an end of its support in {rounded:.1%} of its draws" if rounded else "improper",
    )


def _can_be_drawn(draw: Callable) -> bool:
    try:
        jax.eval_shape(draw, jax.random.key(0))
    except NotImplementedError:
        return False
    except jax.errors.JAXTypeError as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"numpyro_target: the model computes with jax.numpy what must be known beforehand, such as a number of "
            f"groups; compute that with NumPy on NumPy arrays, np.unique in place of jnp.unique. ({first})"
        ) from error
    return True


def _is_finite(u: Params) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(u)]))


def _check_draws(draw: Callable) -> float:
    """The share of draws that are rounded to the end of a support.

    Raises:
        ValueError: a latent has the same value in every draw, as none of a density has.
    """

    @jax.jit
    def look(keys: Key) -> tuple[Params, Array]:
        draws = jax.vmap(draw)(keys)
        return jax.tree.map(lambda a: jnp.all(a == a[0]), draws), jnp.mean(~jax.vmap(_is_finite)(draws))

    number = int(np.clip(DRAWN // size(jax.eval_shape(draw, jax.random.key(0))), 16, DRAWS))
    same, rounded = look(jax.random.split(jax.random.key(0), number))
    fixed = [name for name, alike in same.items() if alike]
    if fixed:
        raise ValueError(
            f"numpyro_target: the latent site {fixed[0]!r} has the same value in every draw of the prior, by "
            "handlers.substitute, handlers.seed, or a key of its own; give the model without, and write a parameter "
            "that is fixed into it as a number."
        )
    return float(rounded)


def _arguments(data: tuple, named: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Arguments of a model; a Series or masked array is an array, and no integer of one may wrap around.

    Raises:
        ValueError: as `as_array` and `fitted`; NaN is left to the model, which may mask it.
    """

    def read(value: Any, where: str) -> Any:
        if not (hasattr(value, "shape") and hasattr(value, "dtype")) or np.ndim(value) == 0:
            return value
        array = as_array(value, where)
        if bool(np.isfinite(np.asarray(array)).all()):
            check_values(array, where)
        # an index in int64 that one program has seen as int32 is int32 to the next, even where 64 bits are on
        return array.astype(loss_dtype(array.dtype)) if array.dtype.kind in "iu" else array

    found = tuple(read(value, f"argument {i}") for i, value in enumerate(data))
    return found, {name: read(value, name) for name, value in named.items()}


def _read_test(
    model: Callable, own: tuple[tuple, dict[str, Any]], bound: Bound, center: Params, test_data: Any
) -> tuple[Callable, Any]:
    """Log-likelihood of other arguments of the model, and the row numbers that it takes.

    Raises:
        ValueError: arguments that are not those of the model, or sites other than its own.
    """
    data, named = own
    if isinstance(test_data, Mapping):
        positional, by_name, kept = (
            data,
            named | dict(test_data),
            (*data, *(named[n] for n in named if n not in test_data)),
        )
    else:
        positional = tuple(test_data) if isinstance(test_data, list | tuple) else (test_data,)
        by_name, kept = named, tuple(named.values())
    old = [a for a in kept if np.ndim(a) and len(a) == bound.sites.size]
    if len(positional) != len(data) or set(by_name) != set(named) or old:
        asked = ", ".join([*(f"argument {i}" for i in range(len(data))), *named])
        raise ValueError(
            f"test_data: a NumPyro model takes its own arguments, {asked}: a tuple of the positional ones or a "
            "dict of the named "
            "ones, all those anew that have one entry a datum."
        )
    positional, by_name = _arguments(positional, by_name)
    sites = read_sites(model, positional, by_name, bound.sites.plate)
    if set(sites.latent) != set(bound.sites.latent):
        raise ValueError(f"test_data: with it the model has the latent sites {sites.latent}, not {bound.sites.latent}.")

    def log_likelihood(u: Params, batch: Any) -> Array:
        return log_likelihoods(model, sites, bound.constrain(u), positional, by_name)[sites.rows][batch[0]]

    batch = (jnp.arange(sites.num_data), jnp.zeros(sites.num_data))
    return with_losses(trace(log_likelihood, (center, batch)), center, batch)


def _minimum(bound: Bound, nbeta: float) -> tuple[Params, str]:
    """w*, and what is wrong with it where it is none."""
    u, found = find_minimum(bound.log_likelihood, bound.log_prior, bound.draw_start, bound.data, nbeta)
    return u, "" if found else no_mode(bound.constrain(u))


def _given_minimum(bound: Bound, minimum: dict[str, Any]) -> Params:
    missing = set(bound.sites.latent) ^ set(minimum)
    if missing:
        raise ValueError(
            f"numpyro_target: minimum names {', '.join(sorted(minimum)) or 'nothing'}; it needs a value of "
            "each latent "
            f"site: {', '.join(bound.sites.latent)}."
        )
    return bound.unconstrain(jax.tree.map(jnp.asarray, minimum))
