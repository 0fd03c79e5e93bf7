"""`estimate_criteria`: a target in; losses, functional variance, WAIC, WBIC and leave-one-out out, with error bars."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from slt._options import checked
from slt._types import Estimate, Params
from slt.draws import Options, Result, Verdict, Watch
from slt.estimate import looks
from slt.estimate.llc import sample_posterior
from slt.estimate.observing import heat_share
from slt.estimate.verdict import objection
from slt.jit import shared_jit
from slt.stats import criteria
from slt.stats.per_datum import MIN_DRAWS, Pointwise, merge, summarise
from slt.stats.psis import psis_loo
from slt.targets.numpyro_models import as_target
from slt.targets.target import Target

STORED = 4_000_000
"""Largest number of log-likelihoods that are stored."""
PARTICLES = 8
"""Particles of a replicate that are stored at every look."""
ROWS = 1 << 20
"""Log-likelihoods that are computed at a time."""
NONE = Estimate(math.nan, math.inf)
HIERARCHY = (
    "Where the density has no mode, as of a centred hierarchy, write the model non-centred (numpyro: LocScaleReparam(0)"
    "). The criteria need no w* and stand."
)
MAX_ROUNDING = 0.05
"""Rounding of a log-likelihood up to which criteria are given [nats]."""
NAMED = 5
"""Data that a sentence names."""
MIN_DOF = 2
"""Degrees of freedom of its error below which a singular fluctuation is refused."""


@checked
def estimate_criteria(
    target: Target | Callable,
    *data: Any,
    seed: int = 0,
    test_data: Any = None,
    sampler: str = "auto",
    tolerance: float = 0.01,
    max_gradients: int = 30_000_000,
    max_seconds: float | None = None,
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
        test_data: in the forms of the target's own data, for a NumPyro model its arguments; their losses are the
            generalisation losses.
        sampler, tolerance, max_gradients, max_seconds, num_chains: as for `estimate_llc`; the tolerance is that of
            "llc".

    Returns:
        Result with the estimates "functional_variance", "singular_fluctuation", "bayes_training", "gibbs_training",
        "waic", "importance_loo", and where they apply "bayes_generalization", "gibbs_generalization", "wbic" and
        "psis_loo"; losses are [nats/datum]. One that cannot be told, as where a datum has density zero, is NaN, and
        `refused` says why; "llc" is, where w* is no minimum. Values per datum are in `pointwise`, thinned
        log-likelihoods, unless they are more than 4 million, in `draws`. The errors are Monte Carlo errors for these
        data; the diagnostics "waic_data_error" and the like are standard errors over the data.

    Raises:
        ValueError: a target without data, test data of another shape, too few draws, or what `estimate_llc` refuses.
    """
    target = as_target(target, data, named_data, inverse_temperature=1.0)
    watch = _watch(target, _check(target, test_data), storing=target.num_data * MIN_DRAWS <= STORED)
    options = Options(
        seed, tolerance, max_gradients, num_chains, target.num_data, progress, watch=watch.look,
        max_seconds=max_seconds,
    )  # fmt: skip
    result = sample_posterior(target, options, sampler=sampler)
    sums, kept = watch.collect(result)
    estimates, diagnostics, pointwise, refused = _criteria(sums, kept)
    estimates["llc"] = result.estimates["llc"]
    minimum, found = objection(target, result, options)
    if minimum is not None:
        way_out = (HIERARCHY,) if minimum.status == "not a minimum" else ()
        estimates["llc"], refused["llc"] = NONE, Verdict(minimum.status, minimum.reasons + way_out)
    return result._replace(
        estimates=estimates,
        draws=result.draws._replace(log_likelihood=kept),
        diagnostics=result.diagnostics | found | diagnostics,
        verdict=_judge(result.verdict, diagnostics, pointwise),
        settings=result.settings | {"inverse_temperature": target.inverse_temperature},
        pointwise=pointwise,
        refused=refused or None,
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
                f"The singular fluctuation read {nu} with {nu.dof:.1f} degrees of freedom, below {MIN_DOF}: "
                "the chains "
                "have not mixed in it; raise max_gradients."
            )
        return nu._replace(mcse=math.hypot(nu.mcse, heat_share(result) * nu.value))

    return watch.look, fluctuation


class _Watch(NamedTuple):
    """look(group, positions) sums up one look; collect(result): sums for each data set, kept log-likelihoods."""

    look: Watch
    collect: Callable[[Result], tuple[list[Pointwise], np.ndarray | None]]


def _check(target: Target, test_data: Any | None) -> tuple[Callable, Any] | None:
    """The test data, read, and their log-likelihood."""
    if target.log_likelihood is None:
        raise ValueError(
            "criteria: the target is a potential without data, so it has no log-likelihood per datum; give a "
            "`loss_target`, or call `estimate_llc` or `estimate_free_energy` for a potential."
        )
    if test_data is None:
        return None
    assert target.read is not None
    return target.read(test_data)


def _watch(target: Target, test: tuple[Callable, Any] | None, *, storing: bool) -> _Watch:
    """Sums of every few looks form a batch; some log-likelihoods are kept as they are, if they are few enough."""
    sets = [(target.log_likelihood, target.data), *([test] if test else [])]
    seen: dict[int, list[looks.Batch]] = {}

    def look(group: int, positions: Params) -> None:
        parts = [
            jax.tree.map(np.asarray, _sum_up(log_likelihood, target.inverse_temperature, positions, data))
            for log_likelihood, data in sets
        ]
        kept = [np.asarray(parts[0][1])] if storing else []
        new = looks.Batch(1, ([sums for sums, _ in parts], kept))
        seen[group] = looks.add(seen.get(group, []), new, _both)

    def collect(result: Result) -> tuple[list[Pointwise], np.ndarray | None]:
        groups = looks.counted(seen, result)
        alive = looks.alive(result, sum(len(batches[0][0][0].count) for batches in groups))
        sums = [_joined([[sums[i] for sums, _ in batches] for batches in groups], alive) for i in range(len(sets))]
        if not storing:
            return sums, None
        kept = [np.concatenate([values for _, some in batches for values in some], 1) for batches in groups]
        values = np.concatenate(kept)[alive]
        return sums, values[:, :: math.ceil(values.size / STORED)]

    return _Watch(look, collect)


def _both(a: tuple[list[Pointwise], list], b: tuple[list[Pointwise], list]) -> tuple[list[Pointwise], list]:
    return list(map(merge, a[0], b[0])), a[1] + b[1]


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
) -> tuple[dict[str, Estimate], dict[str, float], dict[str, np.ndarray], dict[str, Verdict]]:
    """Estimates, diagnostics, values per datum, and refusals; PSIS and WBIC where they are defined.

    Raises:
        ValueError: none of the estimates could be had.
    """
    train, beta, n = sums[0], sums[0].inverse_temperature, sums[0].mean.shape[-1]
    asked: dict[str, Callable[[], Estimate]] = {
        "functional_variance": partial(criteria.functional_variance, train),
        "singular_fluctuation": partial(criteria.singular_fluctuation, train),
        "bayes_training": partial(criteria.bayes_loss, train),
        "gibbs_training": partial(criteria.gibbs_loss, train),
        "waic": partial(criteria.waic, train),
        "importance_loo": partial(criteria.importance_loo, train),
    }
    pointwise = criteria.pointwise_criteria(train)
    diagnostics = {f"{name}_data_error": _data_error(pointwise[name]) for name in ("waic", "importance_loo")}
    diagnostics["rounding"] = float(np.finfo(np.asarray(train.log_sum).dtype).eps * np.abs(train.mean).max())
    for test in sums[1:]:
        asked["bayes_generalization"] = partial(criteria.bayes_loss, test)
        asked["gibbs_generalization"] = partial(criteria.gibbs_loss, test)
        diagnostics["generalization_data_error"] = _data_error(criteria.pointwise_criteria(test)["bayes_training"])
    if abs(beta * math.log(n) - 1) <= criteria.WBIC_TOLERANCE:
        asked["wbic"] = partial(criteria.wbic, train)
    if kept is not None and beta == 1:
        asked["psis_loo"] = partial(_leave_one_out, kept, pointwise, diagnostics)
    estimates, refused = {}, {}
    for name, estimate in asked.items():
        try:
            estimates[name] = estimate()
        except ValueError as error:
            estimates[name], refused[name] = NONE, Verdict("not converged", (str(error),))
    if len(refused) == len(asked):
        raise ValueError(refused["waic"].reasons[0])
    return estimates, diagnostics, pointwise, refused


def _leave_one_out(kept: np.ndarray, pointwise: dict[str, np.ndarray], diagnostics: dict[str, float]) -> Estimate:
    """The loss; values per datum and the largest k are noted."""
    loo = psis_loo(kept)
    pointwise |= {"psis_loo": loo.values, "pareto_k": loo.pareto_k}
    diagnostics["largest_pareto_k"] = float(loo.pareto_k.max())
    return loo.loss


def _data_error(values: np.ndarray) -> float:
    """Standard error of a mean over the data."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _judge(verdict: Verdict, diagnostics: dict[str, float], pointwise: dict[str, np.ndarray]) -> Verdict:
    """What makes the criteria, rather than the sampling, unreliable."""
    reasons = list(verdict.reasons)
    if diagnostics.get("largest_pareto_k", 0.0) > 0.7:
        k = pointwise["pareto_k"]
        worst = np.argsort(-k)[: min(NAMED, int((k > 0.7).sum()))]
        reasons.append(
            f"The largest Pareto k is {k.max():.2f}, above 0.7 for {int((k > 0.7).sum())} of {len(k)} data (first "
            f"{', '.join(map(str, worst))}): leave-one-out by importance sampling, and with it WAIC, is unreliable for "
            "them (`pointwise['pareto_k']`); refit without them, or use held-out data."
        )
    if not diagnostics["rounding"] > MAX_ROUNDING:
        return Verdict(verdict.status, tuple(reasons))
    reasons.append(
        f"Log-likelihoods per datum are so large that they are rounded to {diagnostics['rounding']:.2g} nats; switch "
        "on x64 (`jax.config.update('jax_enable_x64', True)`) and give data and parameters in float64."
    )
    return Verdict("not converged" if verdict.status == "converged" else verdict.status, tuple(reasons))
