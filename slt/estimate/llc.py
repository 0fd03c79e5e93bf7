"""`estimate_llc`: a target in, a number with an error bar and a verdict out, no hyperparameters asked for."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from slt._options import checked
from slt._types import Estimate
from slt.draws import Options, Result, Verdict, Watch
from slt.estimate import observing
from slt.estimate.chains import chained_result
from slt.estimate.harmonic import harmonic, kappa
from slt.estimate.tempering import tempered_result
from slt.estimate.verdict import with_objection
from slt.forks import check_not_forked
from slt.geometry.curvature import DENSE_DIM, harmonic_llc, hessian_eigenvalues
from slt.samplers.seeds import derived_seed
from slt.targets.numpyro_models import as_target
from slt.targets.target import Target, in_precision

TEMPERING_DIM = 50
"""Largest dimension at which tempered SMC is the default."""
TEMPERING_DATA = 500
"""Largest data set at which it is the default: every particle sees all data at every step."""
FEW = 5
"""Parameters up to which four times as many data are tempered: chains end coarse there, and a move is short."""
BESIDE = ("llc_variance", "llc_two_temperature")
"""Estimates from the draws of "llc", refused with it."""
BESIDE_REASON = ("It is of the same draws as the learning coefficient, whose verdict says what to do.",)
NONE = Estimate(math.nan, math.inf)
OWN = ("llc", *BESIDE, "log_evidence", "singular_fluctuation")
"""Estimates that a run may have of its own."""
SHARE = 0.2
"""What looks at observed losses may cost [share of the steps]."""
SPACING = 10
"""Draws from one look of a `watch` to the next: sooner, a chain has hardly moved."""


@checked
def estimate_llc(
    target: Target | Callable,
    *data: Any,
    seed: int = 0,
    sampler: str = "auto",
    tolerance: float = 0.01,
    max_gradients: int = 30_000_000,
    max_seconds: float | None = None,
    num_chains: int = 4,
    batch_size: int = 500,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    mesh: Mesh | None = None,
    warm_start: Result | None = None,
    watch: Watch | None = None,
    observe: Mapping[str, Any] | None = None,
    **named_data: Any,
) -> Result:
    r"""Local learning coefficient $n\beta(\mathbb{E}[L_n(w)] - L_n(w^*))$ under the target's posterior.

    Two ways. Where the whole energy is cheap (d at most 50 and n at most 500, or 5 and 2000): tempered SMC from prior
    to posterior, which needs no tuning and finds thin valleys. Elsewhere: kinetic Langevin chains, tuned on the typical
    set, that mix hot and are measured cold, in rounds that double until the tolerance is met. They start at w*, and
    with more than 50 parameters tell of its neighbourhood alone; with fewer, chains from draws of the prior have to
    agree with them, where the budget leaves 300 steps for that.

    Args:
        target: a Target, or a NumPyro model.
        data, named_data: arguments of a NumPyro model, and options of `numpyro_target`, such as localization.
        sampler: "auto", "tempering" or "chains".
        tolerance: standard error to reach, relative to max(estimate, 1/4); the run ends there or with the budget.
        max_gradients: budget of the chains [gradients of one datum, tuning, measuring and the search for an energy
            below that of w* included]; never exceeded by more than a fifth. max_seconds: no round of chains is begun
            that would not end within them.
        num_chains: even, at least 2.
        batch_size: rows of a minibatch at first, grown where gradient noise asks for it; up to four times as many data
            are used whole.
        checkpoint: file stem; a killed run resumes from it and gives the same bits.
        mesh: devices for the chains way, as of `sample`; an axis "chain" may have up to num_chains/2 devices.
        warm_start: the result of a similar target, e.g. the checkpoint before: tuning starts at its step and batch.
        watch: is shown the positions every few steps; a run that resumes from a checkpoint does not show them again.
        observe: {name: rows in the forms of the target's data, or a function of the parameters}, seen by the same run.
            Its checkpoints do not know what was seen, so give none.

    Returns:
        Result with estimates "llc" and, where losses are exact, "llc_variance" and "llc_two_temperature"; by the names
        of `observe`, the mean of each excess loss under the same posterior [nats/datum], n beta times which is the
        learning coefficient refined to those data; a verdict "converged", "not converged", "biased" or "not a minimum"
        with reasons.

    Raises:
        ValueError: an unknown sampler, an odd or too small number of chains, an improper prior for tempering, data
            beside a Target, a NumPyro model that `numpyro_target` refuses, observed rows of another shape.
    """
    target = as_target(target, data, named_data)
    path = None if checkpoint is None else Path(checkpoint)
    observed = None if observe is None else _observed(target, observe, path)
    options = Options(
        seed, tolerance, max_gradients, num_chains, batch_size, progress, path, watch, mesh, _tuned(warm_start),
        spacing=SPACING, max_seconds=max_seconds,
    )  # fmt: skip
    looking = None
    if observed is not None:
        looking = observing.seen(observed)
        spacing = observing.spacing(target, observed.num_rows, batch_size, share=SHARE, least=SPACING)
        options = options._replace(watch=_both(watch, looking.look), spacing=spacing)
    result = sample_posterior(target, options, sampler=sampler)
    if observed is not None and looking is not None:
        result = _with_means(result, observed, looking)
    return refuse_beside(with_objection(target, result, options))


def _observed(target: Target, observe: Any, checkpoint: Path | None) -> observing.Observed:
    if checkpoint is not None:
        raise ValueError(
            "estimate_llc: a run that resumes from a checkpoint does not know what it observed before; leave out "
            "checkpoint, or observe."
        )
    observed = observing.means(target, observe, "observe")
    if clash := [name for name in observed.names if name in OWN]:
        raise ValueError(f"observe: {clash[0]!r} is an estimate of every run; give it another name.")
    return observed


def _with_means(result: Result, observed: observing.Observed, looking: observing.Seen) -> Result:
    """The means as further estimates; NaN, and the reason in `refused`, where the run was too short for an error."""
    try:
        found, refused = observing.mean_losses(observed.names, looking.collect(result), result), {}
    except ValueError as error:
        found = dict.fromkeys(observed.names, NONE)
        refused = dict.fromkeys(observed.names, Verdict("not converged", (str(error),)))
    return result._replace(
        estimates=result.estimates | found,
        refused=(result.refused or {}) | refused or None,
        settings=result.settings | {"observed": ", ".join(observed.names)},
    )


def _both(first: Watch | None, second: Watch) -> Watch:
    def look(group: int, positions: Any) -> None:
        if first is not None:
            first(group, positions)
        second(group, positions)

    return look


def sample_posterior(target: Target, options: Options, *, sampler: str = "auto") -> Result:
    """The run behind `estimate_llc`, whose arguments and errors it shares, and behind every other driver."""
    check_not_forked()
    ways = {"auto": _choose(target), "tempering": tempered_result, "chains": chained_result}
    if sampler not in ways:
        raise ValueError(f"sampler is {sampler!r}; it must be one of {', '.join(ways)}.")
    if options.num_chains < 2 or options.num_chains % 2:
        raise ValueError(
            f"num_chains is {options.num_chains}; give an even number, at least 2: half run at each of two steps."
        )
    if not options.tolerance > 0 or options.max_gradients < 1 or options.batch_size < 1:
        given = ", ".join(f"{name} {getattr(options, name)}" for name in ("tolerance", "max_gradients", "batch_size"))
        raise ValueError(f"{given}; all must be positive.")
    started = time.perf_counter()
    with in_precision(target):
        result = ways[sampler](target, options)
        known = {} if "kappa" in result.diagnostics else {"kappa": kappa(target, options.seed)}
    diagnostics = (
        result.diagnostics | known | {"gradient_norm": target.gradient_norm, "seconds": time.perf_counter() - started}
    )
    return result._replace(diagnostics=diagnostics, settings=result.settings | _settings(target, options))


def refuse_beside(result: Result) -> Result:
    """Where the learning coefficient is not converged, nor are the other estimates of the same energies: NaN."""
    verdict = result.verdict
    names = [name for name in BESIDE if name in result.estimates]
    if verdict.status == "converged" or not names:
        return result
    refused = (result.refused or {}) | {name: Verdict(verdict.status, BESIDE_REASON) for name in names}
    return result._replace(estimates=result.estimates | dict.fromkeys(names, NONE), refused=refused)


def llc_profile(
    build: Callable[[Any], Target],
    values: Sequence[float | None],
    *,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> list[Result]:
    r"""$\hat\lambda$ over localisations or temperatures, with the harmonic prediction $\tfrac12\mathrm{tr}\,
    H^+(H^+ + \gamma'/n\beta)^{-1}$ of a Gaussian prior beside it.

    A single gamma and n beta are a modelling choice; only a plateau is a property of the minimum alone.

    Args:
        build: gamma, or beta, -> Target with the same loss, data and w*.
        values: of gamma or beta.
        seed: of the profile; every point has its own, derived from it, so that their errors are independent.
        checkpoint, options: as for `estimate_llc`.
    """
    eigenvalues, results = None, []
    for value in values:
        target = build(value)
        path = None if checkpoint is None else Path(f"{checkpoint}-{value!r}")
        result = estimate_llc(target, seed=derived_seed(seed, value), checkpoint=path, **options)
        prior = target.prior.gaussian
        if prior is not None and target.num_params <= DENSE_DIM:
            eigenvalues = hessian_eigenvalues(target) if eigenvalues is None else eigenvalues
            exact = harmonic_llc(eigenvalues, nbeta=target.nbeta, precision=prior.precision)
            found = {"harmonic": exact, "harmonic_error": 0.0}
        else:
            found = harmonic(target, seed)
        results.append(result._replace(diagnostics=result.diagnostics | found))
    return results


def _tuned(result: Result | None) -> tuple[float, int] | None:
    """Step size and batch that a chained run ended its tuning with."""
    if result is None or not {"step_size", "batch_size"} <= result.settings.keys():
        return None
    return float(result.settings["step_size"]), int(result.settings["batch_size"])


def _choose(target: Target) -> Callable[[Target, Options], Result]:
    most = TEMPERING_DATA * (4 if target.num_params <= FEW else 1)
    cheap = target.num_params <= TEMPERING_DIM and target.num_data <= most
    return tempered_result if cheap and target.prior.draw is not None else chained_result


def _settings(target: Target, options: Options) -> dict[str, str | float | int]:
    return {
        "seed": options.seed,
        "nbeta": target.nbeta,
        "localization": target.localization,
        "num_params": target.num_params,
        "num_data": target.num_data,
        "tolerance": options.tolerance,
        "max_gradients": options.max_gradients,
    }
