"""`estimate_criteria`: a target in; losses, functional variance, WAIC, WBIC and leave-one-out out, with error bars."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from slt._types import Estimate, Params
from slt.draws import Options, Result, Verdict, Watch
from slt.estimate import sample_posterior
from slt.estimators import criteria
from slt.estimators.pointwise import MIN_DRAWS, Pointwise, merge, summarise
from slt.jit import shared_jit
from slt.targets.inputs import check_data
from slt.targets.numpyro_models import as_target
from slt.targets.target import Target

LOOKS_PER_BATCH = 4
MAX_BATCHES = 64
"""Even; memory is that of as many sums per datum and chain, however long the run."""
STORED = 4_000_000
"""Largest number of log-likelihoods that are stored."""
PARTICLES = 8
"""Particles of a replicate that are stored at every look."""
ROWS = 1 << 20
"""Log-likelihoods that are computed at a time."""
MIN_DOF = 2
"""Degrees of freedom of its error below which a singular fluctuation is refused."""


def estimate_criteria(
    target: Target | Callable,
    *data: Any,
    seed: int = 0,
    test_data: PyTree[Array] | None = None,
    sampler: str = "auto",
    tolerance: float = 0.01,
    max_gradients: int = 30_000_000,
    num_chains: int = 4,
    progress: bool = False,
    **named_data: Any,
) -> Result:
    r"""Losses, singular fluctuation and information criteria under the target's posterior, at the target's beta.

    Sampled as by `estimate_llc`, always on the whole data set; per-datum sums are streamed. WAIC and leave-one-out in
    the usual sense need a target with `inverse_temperature=1` and the model's own prior: `localization=0` and
    `weight_decay=1/(n s^2)` for the prior N(0, s^2 I). A target at beta = 1/log n gives "wbic" too.

    Args:
        target: a Target, or a NumPyro model, whose beta is then 1 unless inverse_temperature is given.
        data, named_data: arguments of a NumPyro model, and options of `numpyro_target`.
        test_data: rows like the target's data; their losses are the generalisation losses.
        sampler, tolerance, max_gradients, num_chains: as for `estimate_llc`; the tolerance is that of "llc".

    Returns:
        Result with the estimates "functional_variance", "singular_fluctuation", "bayes_training", "gibbs_training",
        "waic", "importance_loo", and where they apply "bayes_generalization", "gibbs_generalization", "wbic" and
        "psis_loo"; losses are [nats/datum]. Values per datum are in `pointwise`, thinned log-likelihoods, unless they
        are more than 4 million, in `draws`. The errors are Monte Carlo errors for these data; the diagnostics
        "waic_data_error" and the like are standard errors over the data.

    Raises:
        ValueError: a target without data, test data of another shape, too few draws, or what `estimate_llc` refuses.
    """
    target = as_target(target, data, named_data, inverse_temperature=1.0)
    _check(target, test_data)
    watch = _watch(target, test_data, storing=target.num_data * MIN_DRAWS <= STORED)
    options = Options(seed, tolerance, max_gradients, num_chains, target.num_data, progress, watch=watch.look)
    result = sample_posterior(target, options, sampler=sampler)
    sums, kept = watch.collect(result)
    estimates, diagnostics, pointwise = _criteria(sums, kept)
    return result._replace(
        estimates=estimates | {"llc": result.estimates["llc"]},
        draws=result.draws._replace(log_likelihood=kept),
        diagnostics=result.diagnostics | diagnostics,
        verdict=_judge(result.verdict, diagnostics),
        settings=result.settings | {"inverse_temperature": target.inverse_temperature},
        pointwise=pointwise,
    )


def watch_fluctuation(target: Target) -> tuple[Watch, Callable[[Result], Estimate]]:
    r"""$\hat\nu(\beta)$ of the posterior that another estimate samples: a `watch` for its run, and what is made of it.

    Where that run saw minibatches, their noise widens its posterior; the share of the learning coefficient that is due
    to it joins the standard error. The second function takes the result of the run.

    Raises:
        ValueError: a potential without data; from the second, a run too short or too slow to tell an error.
    """
    _check(target, None)
    watch = _watch(target, None, storing=False)

    def fluctuation(result: Result) -> Estimate:
        if not math.isfinite(result.estimates["llc"].value):
            raise ValueError("The run gave no learning coefficient, so its draws give no singular fluctuation either.")
        nu = criteria.singular_fluctuation(watch.collect(result)[0][0])
        if not (math.isfinite(nu.value) and nu.dof >= MIN_DOF):
            raise ValueError(
                f"The singular fluctuation read {nu} with {nu.dof:.1f} degrees of freedom, below {MIN_DOF}: the chains "
                "have not mixed in it; raise max_gradients."
            )
        heat = result.diagnostics.get("noise_correction", 0.0)
        share = heat / (heat + max(result.estimates["llc"].value, 0.0)) if heat else 0.0
        return nu._replace(mcse=math.hypot(nu.mcse, share * nu.value))

    return watch.look, fluctuation


class _Watch(NamedTuple):
    """look(group, positions) sums up one look; collect(result): sums for each data set, kept log-likelihoods."""

    look: Watch
    collect: Callable[[Result], tuple[list[Pointwise], np.ndarray | None]]


def _check(target: Target, test_data: PyTree[Array] | None) -> None:
    if target.log_likelihood is None:
        raise ValueError(
            "criteria: the target is a potential without data, so it has no log-likelihood per datum; give a "
            "`loss_target`, or call `estimate_llc` or `estimate_free_energy` for a potential."
        )
    if test_data is not None:
        check_data(test_data)
        rows = target.data[0]
        given, due = (jax.tree.map(lambda a: jnp.shape(a)[1:], tree) for tree in (test_data, rows))
        if given != due:
            raise ValueError(f"estimate_criteria: rows of test_data have shapes {given}; the target's have {due}.")


def _watch(target: Target, test_data: PyTree[Array] | None, *, storing: bool) -> _Watch:
    """Sums of every few looks form a batch; some log-likelihoods are kept as they are, if they are few enough."""
    sets = [target.data]
    if test_data is not None:
        sets.append((test_data, jnp.zeros(check_data(test_data))))
    seen: dict[int, list[_Batch]] = {}

    def look(group: int, positions: Params) -> None:
        parts = [
            jax.tree.map(np.asarray, _sum_up(target.log_likelihood, target.inverse_temperature, positions, data))
            for data in sets
        ]
        new = _Batch(1, [sums for sums, _ in parts], [np.asarray(parts[0][1], np.float32)] if storing else [])
        seen[group] = _add(seen.get(group, []), new)

    def collect(result: Result) -> tuple[list[Pointwise], np.ndarray | None]:
        warm, draws = result.draws.warmup_loss.shape[1], result.draws.loss.shape[1]
        skip = warm / (warm + draws) if result.settings["sampler"] == "chains" else 0.0
        alive = np.asarray(result.draws.first_divergence) < 0
        last = [batches for group, batches in sorted(seen.items()) if group // 2 == max(seen) // 2]
        groups = [[b for b in batches if b.looks == batches[0].looks] for batches in last]
        groups = [batches[math.ceil(skip * len(batches)) :] for batches in groups]
        sums = [_joined([[batch.sums[i] for batch in batches] for batches in groups], alive) for i in range(len(sets))]
        if not storing:
            return sums, None
        kept = [np.concatenate([values for batch in batches for values in batch.kept], 1) for batches in groups]
        values = np.concatenate(kept)[alive]
        return sums, values[:, :: math.ceil(values.size / STORED)]

    return _Watch(look, collect)


class _Batch(NamedTuple):
    """Consecutive looks: how many, their sums for the data and the test data, and kept log-likelihoods."""

    looks: int
    sums: list[Pointwise]
    kept: list[np.ndarray]


def _add(batches: list[_Batch], new: _Batch) -> list[_Batch]:
    """A look joins the last batch until that is full; where there are too many batches, each two become one."""
    full = max(LOOKS_PER_BATCH, batches[0].looks) if batches else 1
    if batches and batches[-1].looks < full:
        return [*batches[:-1], _both(batches[-1], new)]
    if len(batches) == MAX_BATCHES:
        batches = list(map(_both, batches[::2], batches[1::2]))
    return [*batches, new]


def _both(a: _Batch, b: _Batch) -> _Batch:
    return _Batch(a.looks + b.looks, list(map(merge, a.sums, b.sums)), a.kept + b.kept)


def _joined(groups: list[list[Pointwise]], alive: np.ndarray) -> Pointwise:
    """Batches side by side and the chains of all groups; chains that diverged are left out."""
    chains = [jax.tree.map(lambda *parts: np.stack(parts, 1), *batches) for batches in groups]
    sums = jax.tree.map(lambda *parts: np.concatenate(parts)[alive], *chains)
    return sums._replace(inverse_temperature=float(np.ravel(sums.inverse_temperature)[0]))


@shared_jit
def _sum_up(log_likelihood: Callable, beta: float, positions: Params, data: Any) -> tuple[Pointwise, Array]:
    """Sums over the particles, dims (chain, datum), and log-likelihoods of a few of them."""

    def one_chain(positions: Params) -> tuple[Pointwise, Array]:
        number = jax.tree.leaves(positions)[0].shape[0]
        size = max(1, min(number, ROWS // jax.tree.leaves(data)[0].shape[0]))
        values = jax.lax.map(lambda w: log_likelihood(w, data), positions, batch_size=size)
        return summarise(values, inverse_temperature=beta), values[:: max(1, number // PARTICLES)]

    return jax.lax.map(one_chain, positions)


def _criteria(
    sums: list[Pointwise], kept: np.ndarray | None
) -> tuple[dict[str, Estimate], dict[str, float], dict[str, np.ndarray]]:
    """Estimates, diagnostics and values per datum; PSIS and WBIC where they are defined."""
    train, beta, n = sums[0], sums[0].inverse_temperature, sums[0].mean.shape[-1]
    estimates = {name: getattr(criteria, name)(train) for name in ("functional_variance", "singular_fluctuation")}
    estimates |= {"bayes_training": criteria.bayes_loss(train), "gibbs_training": criteria.gibbs_loss(train)}
    for test in sums[1:]:
        estimates["bayes_generalization"] = criteria.bayes_loss(test)
        estimates["gibbs_generalization"] = criteria.gibbs_loss(test)
    estimates |= {"waic": criteria.waic(train), "importance_loo": criteria.importance_loo(train)}
    pointwise = criteria.pointwise_criteria(train)
    diagnostics = {f"{name}_data_error": _data_error(pointwise[name]) for name in ("waic", "importance_loo")}
    for test in sums[1:]:
        diagnostics["generalization_data_error"] = _data_error(criteria.pointwise_criteria(test)["bayes_training"])
    if abs(beta * math.log(n) - 1) <= criteria.WBIC_TOLERANCE:
        estimates["wbic"] = criteria.wbic(train)
    if kept is not None and beta == 1:
        loo = criteria.psis_loo(kept)
        estimates["psis_loo"] = loo.loss
        pointwise |= {"psis_loo": loo.values, "pareto_k": loo.pareto_k}
        diagnostics["largest_pareto_k"] = float(loo.pareto_k.max())
    return estimates, diagnostics, pointwise


def _data_error(values: np.ndarray) -> float:
    """Standard error of a mean over the data."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _judge(verdict: Verdict, diagnostics: dict[str, float]) -> Verdict:
    """What makes the criteria, rather than the sampling, unreliable."""
    worst = diagnostics.get("largest_pareto_k", 0.0)
    if worst <= 0.7:
        return verdict
    reason = (
        f"The largest Pareto k is {worst:.2f}, above 0.7: leave-one-out by importance sampling, and with it WAIC, is "
        "unreliable for some data (`pointwise['pareto_k']`); refit without them, or use held-out data."
    )
    return Verdict(verdict.status, (*verdict.reasons, reason))
