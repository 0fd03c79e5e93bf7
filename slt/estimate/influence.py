r"""Which data move which outputs, and which components answer to which data: covariances under the local posterior.

Change the data by a direction, L + h Delta L: dE[phi]/dh = -n beta Cov(phi, Delta L) at h = 0. For the weight
1 + omega_i of a datum that is -beta Cov(l_i, phi), its influence; on the coordinates of a component alone it is the
component's susceptibility. Covariances need far more draws than means, and a run whose mean energy has converged may
have no reproducible ranking of its rows: where halves of the chains do not agree, columns are refused by name.

Source: Baker et al. 2025, arXiv:2504.18274; Kreer et al. 2025, arXiv:2509.26544.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array

from slt._options import checked
from slt._types import Params
from slt.estimate import observing
from slt.estimate.observing import Observed
from slt.estimate.responding import (
    asked,
    check_size,
    check_target,
    diagnostics,
    disagreement,
    gaussian,
    gaussian_sums,
    judged,
    response,
    sampled,
    settings,
    shortfalls,
)
from slt.geometry.harmonic import Harmonic, harmonic
from slt.samplers.seeds import derived_seed
from slt.stats.agreement import halvings, rank_agreement
from slt.stats.covariances import Covariances, Sums, Term, from_sums, mean_of, moment
from slt.stats.response import Response
from slt.targets.restriction import Restricted, restricted
from slt.targets.selection import Selection
from slt.targets.target import Target

WHOLE = "whole"
"""Column of the susceptibility of all sampled parameters together."""


@checked
def estimate_influence(
    target: Target,
    observed: Any = None,
    observables: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    sampler: str = "auto",
    tolerance: float = 0.05,
    max_gradients: int = 30_000_000,
    max_seconds: float | None = None,
    num_chains: int = 4,
    batch_size: int = 500,
    baseline: bool = True,
    progress: bool = False,
) -> Response:
    r"""Influence of every observed row on every observable, $-\beta\,\mathrm{Cov}(\ell_i, \phi)$, with its error.

    That is dE[phi]/domega_i for the weight 1 + omega_i of the datum: leaving it out moves E[phi] by minus that, to
    first order. At the default beta = 1/log n data count less than in training, and so does the weight.

    Args:
        target: with data.
        observed: rows in the forms of the target's data, or a slice of these, by default all; or a function of the
            parameters that returns the loss of each row, or of each token, in an array. They need not be training data:
            of others it is what adding them would do.
        observables: {name: rows}, the mean loss of those rows, of one row where it is one; or {name: function of the
            parameters}, each number that it returns. By default the observed rows, each by itself.
        tolerance: standard error of a correlation to reach, 1/sqrt(effective draws), and that of the mean energy,
            relative; the run ends there or with the budget.
        baseline: whether the table of the Gaussian posterior is made, too; beyond 3000 parameters on a space of some 64
            directions (`slt.geometry.harmonic`), for as many products with the Hessian, which are not counted.
        seed, sampler, max_gradients, max_seconds, num_chains, batch_size, progress: as of `estimate_llc`; the losses of
            observed rows, every few steps, are not counted as gradients.

    Returns:
        Response "influence" [unit of the observable]: rows are the observed, columns the observables. "not converged"
        where R-hat or effective draws of a row or column, or the agreement between halves of the chains, say so.

    Raises:
        ValueError: a potential without data, rows of another shape, observables that are neither rows nor functions
            which give numbers, more than a million entries, or what `estimate_llc` refuses.
    """
    check_target("estimate_influence", target)
    rows = observing.each(target, observed, "observed")
    columns = rows if observables is None else observing.means(target, observables, "observables")
    check_size(rows, columns.names)
    options = asked(seed, tolerance, max_gradients, max_seconds, num_chains, batch_size, progress)
    run = sampled(target, rows, columns, options, sampler)
    found, scale = from_sums(run.sums), -target.inverse_temperature
    law, why = gaussian(target, columns.values) if baseline else (None, "")
    harmonic_found = None
    if law is not None:
        own = gaussian_sums(law, rows.values, columns.values, target.minimum, seed=derived_seed(seed, "harmonic"))
        harmonic_found = from_sums(own)
    reasons = shortfalls(found.rhat, found.ess, (*rows.names, *columns.names))
    reasons += disagreement(found.agreement, columns.names, len(rows.names), options, run.result)
    return response(
        "influence", rows, columns.names, found, scale, harmonic_found, judged({"": run}, reasons),
        diagnostics({"": run}, found, law) | {"nbeta": target.nbeta}, settings(target, options, run, why), run.heat,
    )  # fmt: skip


@checked
def estimate_susceptibility(
    target: Target,
    components: Mapping[str, Selection],
    data: Mapping[str, Any] | None = None,
    *,
    observed: Any = None,
    seed: int = 0,
    sampler: str = "auto",
    tolerance: float = 0.05,
    max_gradients: int = 30_000_000,
    max_seconds: float | None = None,
    num_chains: int = 4,
    batch_size: int = 500,
    baseline: bool = True,
    progress: bool = False,
) -> Response:
    r"""Susceptibility $-n\beta\{E_C[\phi\,\Delta L] - E_C[\phi]\,E[\Delta L]\}$ of components to changes of the data.

    phi is the excess training loss, E_C the mean over the posterior of the component's coordinates alone, all others at
    w*, and E that over all; Delta L is the loss of some data less the training loss, both less their values at w*.
    A factor of each component, the share of the posterior on its subspace, is left out: compare columns by
    `Response.standardised` alone.

    Args:
        components: {name: leaves or slices, as `trainable` of `loss_target`}; one run each, and one of the whole, which
            is the first column.
        data: {name: rows in the forms of the target's data}, the mean loss of each. observed: rows that count each by
            itself, after those; by default, where there are no data either, the training data.
        max_gradients, max_seconds: of each run. The rest: as of `estimate_influence`.

    Returns:
        Response "susceptibility" [nats/datum]: rows are the data, columns the components.

    Raises:
        ValueError: no components, one that does not exist, a prior that is no Gaussian, or what `estimate_influence`
            refuses.
    """
    check_target("estimate_susceptibility", target)
    parts = _components(target, components)
    rows = _relative(target, _data(target, data, observed))
    loss = Observed(("training loss",), Partial(_training_loss, target.loss, target.data), target.num_data)
    check_size(rows, (WHOLE, *parts))
    options = asked(seed, tolerance, max_gradients, max_seconds, num_chains, batch_size, progress)
    runs = {WHOLE: sampled(target, rows, loss, options, sampler)}
    for name, part in parts.items():
        inner, level = (one._replace(values=Partial(_within, part.embed, one.values)) for one in (rows, loss))
        runs[name] = sampled(part.target, inner, level, options._replace(seed=derived_seed(seed, name)), sampler)
    found = _answers({name: run.sums for name, run in runs.items()})
    law, why = gaussian(target, rows.values) if baseline else (None, "")
    harmonic_found = None if law is None else _gaussian_answers(law, target, parts, rows, loss, seed)
    reasons = list(disagreement(found.agreement, tuple(runs), len(rows.names), options, runs[WHOLE].result))
    for name, run in runs.items():
        own = from_sums(run.sums)
        reasons += shortfalls(own.rhat, own.ess, (*rows.names, *loss.names), name)
    heat = np.array([run.heat for run in runs.values()])
    return response(
        "susceptibility", rows, tuple(runs), found, -target.nbeta, harmonic_found, judged(runs, tuple(reasons)),
        diagnostics(runs, found, law), settings(target, options, runs[WHOLE], why), heat,
    )  # fmt: skip


def _components(target: Target, components: Mapping[str, Selection]) -> dict[str, Restricted]:
    if not isinstance(components, Mapping) or not components:
        raise ValueError(
            f"components is {str(components)[:60]!r}; give {{name: leaves or slices to sample}}, such as "
            '{"first layer": ["layer_0/*"]}.'
        )
    if WHOLE in components:
        raise ValueError(f"components: {WHOLE!r} is the name of all parameters together; give another name.")
    found = {}
    for name, chosen in components.items():
        try:
            found[name] = restricted(target, chosen)
        except ValueError as error:
            raise ValueError(f"components[{name!r}]: {error}") from None
    return found


def _data(target: Target, data: Mapping[str, Any] | None, observed: Any) -> Observed:
    sets = [] if data is None else [observing.means(target, data, "data")]
    if observed is not None or data is None:
        sets.append(observing.each(target, observed, "observed"))
    return sets[0] if len(sets) == 1 else observing.together(*sets)


def _relative(target: Target, rows: Observed) -> Observed:
    values = Partial(_less_training_loss, rows.values, target.loss, target.data)
    return rows._replace(values=values, num_rows=rows.num_rows + target.num_data)


def _answers(sums: Mapping[str, Sums]) -> Covariances:
    """Products of phi and Delta L about E[Delta L] of the whole posterior, a column each; the first is its own."""
    whole = from_sums(sums[WHOLE])
    center = mean_of(sums[WHOLE].rows)
    terms, given, agreement = [], [], []
    for name, own in sums.items():
        if name == WHOLE:
            continue
        products = moment(own, 0, center.value, 0.0)
        level = float(own.columns[..., 0].mean())
        terms.append(_widened(mean_of(products), level * center.error))
        along = (products @ whole.mode)[..., None] * whole.mode
        given.append(_widened(mean_of(products - along), level * center.error))
        agreement.append(_halves_agreement(own, sums[WHOLE].rows.mean(1)))

    def joined(first: np.ndarray, found: list[Term], field: str) -> np.ndarray:
        return np.concatenate([first, *(getattr(term, field)[:, None] for term in found)], 1)

    return whole._replace(
        value=joined(whole.value, terms, "value"),
        error=joined(whole.error, terms, "error"),
        dof=min(whole.dof, *(term.dof for term in terms)),
        given_mode=joined(whole.given_mode, given, "value"),
        given_mode_error=joined(whole.given_mode_error, given, "error"),
        agreement=np.array([*whole.agreement, *agreement]),
    )


def _halves_agreement(own: Sums, whole: np.ndarray) -> float:
    """Of the products of one component, each half of its chains with a half of those of the whole; (chain, row)."""
    found = []
    for first, other in zip(halvings(len(own.count)), halvings(len(whole)), strict=False):
        sides = ((first, other), (~first, ~other))
        parts = (moment(Sums(*(part[c] for part in own)), 0, whole[w].mean(0), 0.0) for c, w in sides)
        found.append(rank_agreement(*(part.mean((0, 1)) for part in parts)))
    return float(np.mean(found))


def _widened(term: Term, error: np.ndarray) -> Term:
    return term._replace(error=np.hypot(term.error, error))


def _gaussian_answers(
    law: Harmonic, target: Target, parts: Mapping[str, Restricted], rows: Observed, loss: Observed, seed: int
) -> Covariances:
    """Blocks of the Hessian where it is formed; of a large one, a space of its own for every component."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, target.minimum))
    numbers = unravel(jnp.arange(flat.size))
    sums = {WHOLE: gaussian_sums(law, rows.values, loss.values, target.minimum, seed=derived_seed(seed, WHOLE))}
    for name, part in parts.items():
        own = derived_seed(seed, f"harmonic {name}")
        if law.vectors.shape[1] == flat.size:
            chosen = np.asarray(ravel_pytree(part.pick(numbers))[0]).astype(int)
            sums[name] = gaussian_sums(law, rows.values, loss.values, target.minimum, seed=own, chosen=chosen)
            continue
        inner, level = (Partial(_within, part.embed, one.values) for one in (rows, loss))
        sums[name] = gaussian_sums(harmonic(part.target, inner), inner, level, part.target.minimum, seed=own)
    return _answers(sums)


def _training_loss(loss: Callable, data: Any, w: Params) -> Array:
    return loss(w, data)[None]


def _less_training_loss(values: Callable, loss: Callable, data: Any, w: Params) -> Array:
    return values(w) - loss(w, data)


def _within(embed: Callable, values: Callable, v: Params) -> Array:
    return values(embed(v))
