r"""Any NumPyro model as a target, and the log-likelihoods of a NumPyro run for the criteria.

The plate that all observed sites share gives the data: L_n(w) is minus the mean over that plate of the log-likelihood.
Positions are unconstrained, through NumPyro's own bijections; the model's prior, with their Jacobian, is kept:

    U(u) = n beta (L_n(T(u)) - L_n(w*)) - log p(T(u)) - log |det T'(u)| + (gamma/2) |u - u*|^2.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer import MCMC
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from slt._types import Key, Params, Scalar
from slt.targets.inputs import check_temperature, dot, size
from slt.targets.numpyro_checks import MODEL_ERRORS, Sites, log_likelihoods, read_sites, started_trace
from slt.targets.polish import polish
from slt.targets.priors import gaussian_prior
from slt.targets.target import Target, loss_target

CANDIDATES, STARTS = 64, 4
"""Draws of the prior from which the search for the minimum may start, and how many of them it starts from."""


class Bound(NamedTuple):
    """A model with its data: everything as a function of unconstrained positions.

    data: pytree of leading length n; rows of it are what `log_likelihood(u, rows)` takes. log_prior: with the Jacobian.
    draw_prior: None where the prior is improper; draw_start: a place to search from, always there.
    """

    sites: Sites
    data: Any
    log_likelihood: Callable[[Params, Any], Float[Array, " batch"]]
    log_prior: Callable[[Params], Scalar]
    draw_prior: Callable[[Key], Params] | None
    draw_start: Callable[[Key], Params]
    unconstrain: Callable[[Params], Params]


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
    bound = bind(model, data, named_data, data_plate)
    n = bound.sites.num_data
    beta = check_temperature(inverse_temperature, n)

    def loss(u: Params, rows: Any) -> Array:
        return -bound.log_likelihood(u, rows)

    center = _find_minimum(bound, n * beta) if minimum is None else _given_minimum(bound, minimum)
    base = loss_target(loss, center, bound.data, inverse_temperature=beta, localization=localization)
    log_prior, draw_prior, log_weight = _localised(bound, center, base.localization)

    def energy(u: Params, batch: Any) -> Scalar:
        return n * beta * base.loss(u, batch) - log_prior(u)

    force = jax.jit(jax.grad(energy))(center, base.data)
    return base._replace(
        energy=energy,
        log_prior=log_prior,
        draw_prior=draw_prior,
        log_weight=log_weight,
        precision=base.localization + _curvature(bound.log_prior, center),
        gradient_norm=float(jnp.sqrt(dot(force, force))) / (n * beta),
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
    return np.asarray(values).reshape((*shape, sites.num_data))


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

    def values(trace: dict[str, Any]) -> Params:
        return unconstrain({name: trace[name]["value"] for name in sites.latent})

    def draw(key: Key) -> Params:
        """A second draw where the first was rounded to the end of its support."""
        traces = (handlers.trace(handlers.seed(model, k)).get_trace(*data, **named) for k in jax.random.split(key))
        first, second = map(values, traces)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(first)]))
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), first, second)

    def start(key: Key) -> Params:
        return values(started_trace(model, data, named, key))

    proper = _can_be_drawn(draw)
    rows, likelihood = _by_rows(model, sites, data, named, constrain, start(jax.random.key(0)))
    return Bound(
        sites=sites,
        data=rows,
        log_likelihood=likelihood,
        log_prior=lambda u: -jnp.asarray(potential_energy(prior_alone, data, named, u)),
        draw_prior=draw if proper else None,
        draw_start=draw if proper else start,
        unconstrain=unconstrain,
    )


def _can_be_drawn(draw: Callable) -> bool:
    try:
        jax.eval_shape(draw, jax.random.key(0))
    except NotImplementedError:
        return False
    return True


def _by_rows(
    model: Callable, sites: Sites, data: tuple, named: dict[str, Any], constrain: Callable, point: Params
) -> tuple[Any, Callable]:
    """(rows, log_likelihood(u, rows)): rows of the arrays of length n where that works, row numbers otherwise."""
    leaves, treedef = jax.tree.flatten((data, named))
    long = [isinstance(a, jax.Array | np.ndarray) and a.ndim > 0 and len(a) == sites.num_data for a in leaves]

    def cut(u: Params, rows: Any) -> Array:
        rest = iter(rows)
        filled = [next(rest) if is_long else leaf for leaf, is_long in zip(leaves, long, strict=True)]
        return log_likelihoods(model, sites, constrain(u), *treedef.unflatten(filled))

    def whole(u: Params, rows: Any) -> Array:
        return log_likelihoods(model, sites, constrain(u), data, named)[rows]

    arrays = [jnp.asarray(leaf) for leaf, is_long in zip(leaves, long, strict=True) if is_long]
    numbers = jnp.arange(sites.num_data)
    return (arrays, cut) if _agree(cut, arrays, whole, numbers, point) else (numbers, whole)


def _agree(cut: Callable, arrays: list[Array], whole: Callable, numbers: Array, point: Params) -> bool:
    """Whether the model on a few rows gives the likelihoods that those rows have in the model on all."""
    some = jnp.linspace(0, len(numbers) - 1, min(5, len(numbers) - 1)).astype(int)[::-1]
    try:
        in_part = cut(point, [a[some] for a in arrays])
    except MODEL_ERRORS:
        return False
    in_whole = whole(point, some)
    return bool(in_part.shape == in_whole.shape and jnp.allclose(in_part, in_whole, rtol=1e-4, equal_nan=True))


def _find_minimum(bound: Bound, nbeta: float) -> Params:
    """The lowest minimum of the energy that Adam and L-BFGS reach from the best draws of the prior.

    Raises:
        ValueError: the energy is nowhere finite.
    """

    def objective(u: Params, rows: Any) -> Array:
        return -bound.log_likelihood(u, rows) - bound.log_prior(u) / nbeta

    def energy(u: Params, rows: Any) -> Scalar:
        return nbeta * jnp.mean(objective(u, rows))

    @jax.jit
    def begin(keys: Key, rows: Any) -> Params:
        candidates = jax.vmap(bound.draw_start)(keys)
        energies = jax.lax.map(lambda u: energy(u, rows), candidates)
        lowest = jnp.argsort(jnp.where(jnp.isfinite(energies), energies, jnp.inf))[:STARTS]
        return jax.tree.map(lambda a: a[lowest], candidates)

    @jax.jit
    def descend(starts: Params, rows: Any) -> tuple[Params, Array]:
        ends = jax.lax.map(lambda u: polish(objective, u, rows, learning_rate=0.03), starts)
        return ends, jax.lax.map(lambda u: energy(u, rows), ends)

    starts = begin(jax.random.split(jax.random.key(0), CANDIDATES), bound.data)
    ends, energies = descend(starts, bound.data)
    if not bool(jnp.isfinite(energies).any()):
        raise ValueError(
            f"numpyro_target: the energy is not finite at the best of {CANDIDATES} draws of the prior; check the data "
            "against the support of the likelihood, or give minimum= values of all latent sites."
        )
    best = int(jnp.nanargmin(energies))
    return jax.tree.map(lambda a: a[best], ends)


def _given_minimum(bound: Bound, minimum: dict[str, Any]) -> Params:
    missing = set(bound.sites.latent) ^ set(minimum)
    if missing:
        raise ValueError(
            f"numpyro_target: minimum names {', '.join(sorted(minimum)) or 'nothing'}; it needs a value of each latent "
            f"site: {', '.join(bound.sites.latent)}."
        )
    return bound.unconstrain(jax.tree.map(jnp.asarray, minimum))


def _localised(bound: Bound, center: Params, gamma: float) -> tuple[Callable, Callable | None, Callable]:
    """Log density of the prior times the localising Gaussian, a draw of one factor, and the log of the other.

    The factor to draw from is the one whose draws the other weights more evenly.
    """
    if gamma == 0:
        return bound.log_prior, bound.draw_prior, lambda u: jnp.zeros(())
    gaussian, draw_gaussian = gaussian_prior(center, gamma)
    assert draw_gaussian is not None

    def log_prior(u: Params) -> Scalar:
        return bound.log_prior(u) + gaussian(u)

    if bound.draw_prior is not None and _evenness(bound.draw_prior, gaussian) > _evenness(
        draw_gaussian, bound.log_prior
    ):
        return log_prior, bound.draw_prior, gaussian
    return log_prior, draw_gaussian, bound.log_prior


def _evenness(draw: Callable, log_weight: Callable) -> float:
    """Effective sample size of 500 weighted draws."""
    keys = jax.random.split(jax.random.key(1), 500)
    weights = jax.nn.softmax(jax.jit(jax.vmap(lambda key: log_weight(draw(key))))(keys))
    return float(1 / jnp.sum(weights**2))


def _curvature(log_prior: Callable, center: Params) -> float:
    """Mean curvature of the prior at w*, by one Hutchinson probe; exact where its coordinates are independent."""
    signs = jax.tree.map(jnp.ones_like, center)
    along = jax.jvp(jax.grad(log_prior), (center,), (signs,))[1]
    return max(0.0, -float(dot(signs, along)) / size(center))
