"""The learning coefficient along a training run, or along a hyperparameter: one estimate per checkpoint.

Each point is stored as it is done, under its content; a series that was stopped goes on where it stopped, and a second
call computes nothing. Tuning starts from that of the point before. Further measures are of the same posterior, at the
same n beta and gamma; where a checkpoint does not support one, its place in the series says why.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slt._options import checked
from slt._progress import tracked
from slt._rows import Glance, as_html, as_text
from slt._types import Estimate
from slt.draws import Draws, Result, Verdict
from slt.estimate.criteria import watch_fluctuation
from slt.estimate.harmonic import harmonic
from slt.estimate.llc import estimate_llc
from slt.estimate.volume import posterior_volume
from slt.samplers.seeds import derived_seed
from slt.store.cache import cached, fingerprint, function_digest, is_cached
from slt.targets.target import Target

Built = Target | tuple[Target, dict[str, float]]
Measure = Callable[[Target], Estimate]
FLUCTUATION = "singular_fluctuation"
READY: dict[str, Measure | None] = {FLUCTUATION: None, "volume": posterior_volume}
"""Measures that are known by name; None: seen by the run itself."""
RUN = ("llc", "llc_variance", "llc_two_temperature")
"""Estimates that a run may have of its own."""
NO_DRAWS = Draws(*[np.zeros((0, 0))] * 4, first_divergence=np.zeros(0, int), num_gradients=0)
NONE = Estimate(math.nan, math.nan)


class Series(NamedTuple):
    """results: one per checkpoint, in order, each with its setting "checkpoint"; hits: how many were stored before."""

    results: list[Result]
    hits: int

    def glance(self) -> Glance:
        """What `repr` shows: λ̂ and its verdict at every checkpoint."""
        lines = [(r.settings["checkpoint"], r.estimates["llc"], r.verdict.status) for r in self.results]
        return Glance(f"Series of {len(lines)} checkpoints", lines)

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` with a row for every estimate of every checkpoint."""
        tables = {result.settings["checkpoint"]: result.to_dataframe() for result in self.results}
        import pandas as pd

        return pd.concat(tables, names=["checkpoint"]).reset_index(level=0)

    __repr__ = as_text
    _repr_html_ = as_html


@checked
def estimate_series(
    build: Callable[[Any], Built],
    checkpoints: Mapping[float, Any],
    *,
    folder: str | Path,
    measures: Sequence[str] | Mapping[str, str | Measure] = (),
    warm_start: bool = True,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> Series:
    r"""$\hat\lambda$ of every checkpoint of a series, with its losses and any further measure.

    Args:
        build: what a checkpoint is given as -> its target, or (target, numbers to report, e.g. {"test_loss": 0.1}).
            Give all the same localization: the default follows |w*|, and with it the coefficient.
        checkpoints: {training step, or value of a hyperparameter: whatever `build` takes}.
        folder: where every point is stored under the hash of parameters, data, loss and options.
        measures: names, of "singular_fluctuation", $\hat\nu(\beta)$ of the very run that gives $\hat\lambda$, and
            "volume", log V of its Hessian basin (`posterior_volume`); or {name: one of these, or a function of the
            target that gives an Estimate, or raises a ValueError where there is none}. They are NaN, with the reason in
            `refused`, at a checkpoint that is not a minimum, or where they did not converge.
            Each is stored by itself, so that one added later computes itself alone, but for the singular fluctuation,
            for which the point is run again, with the same seed.
        warm_start: tune from the step and batch of the point before. Which point that was is not part of the hash:
            points added between stored ones leave those as they are.
        seed: of the series; every point has its own, derived from it, so that their errors are independent.
        options: as of `estimate_llc`; by `observe` the mean excess losses on several data sets, of the very same runs.

    Raises:
        ValueError: no checkpoints, localisations that differ over the series, an unknown measure, or one with the name
            of something that every run reports, as "llc".
        OSError: the disk is full; all points before are stored.
    """
    if not checkpoints:
        raise ValueError("estimate_series: there are no checkpoints; give at least one.")
    asked = _named(measures)
    results: list[Result] = []
    hits, gamma, before = 0, math.nan, None
    for step in _with_progress(sorted(checkpoints), progress):
        built = build(checkpoints[step])
        target, facts = (built, {}) if isinstance(built, Target) else built
        gamma = target.localization if math.isnan(gamma) else gamma
        _check_equal(step, target.localization, gamma)
        own = options | {"seed": derived_seed(seed, step)}
        before, hit = _run(Path(folder), target, None in asked.values(), before if warm_start else None, own)
        found, stored = _with_measures(Path(folder), target, before, asked)
        hits += hit and stored
        _check_free("a number to report", facts, found.diagnostics)
        diagnostics = found.diagnostics | {"train_loss": target.loss_at_minimum} | harmonic(target, own["seed"]) | facts
        results.append(found._replace(settings=found.settings | {"checkpoint": step}, diagnostics=diagnostics))
    return Series(results, hits)


def _named(measures: Sequence[str] | Mapping[str, str | Measure]) -> dict[str, Measure | None]:
    names = [measures] if isinstance(measures, str) else measures
    given = names if isinstance(names, Mapping) else {name: name for name in names}
    unknown = [measure for measure in given.values() if isinstance(measure, str) and measure not in READY]
    if unknown:
        raise ValueError(
            f"estimate_series: there is no measure {', '.join(map(repr, unknown))}; known by name are "
            f"{' and '.join(READY)}, and any other is given as {{name: function of the target}}."
        )
    _check_free("a measure", given, RUN)
    return {name: READY[measure] if isinstance(measure, str) else measure for name, measure in given.items()}


def _check_free(what: str, names: Iterable[str], taken: Collection[str]) -> None:
    if clash := [name for name in names if name in taken]:
        raise ValueError(
            f"estimate_series: {what} is called {', '.join(map(repr, clash))}, as is one of every run, whose place it "
            "would take; give it another name."
        )


def _run(
    folder: Path, target: Target, watched: bool, before: Result | None, options: dict[str, Any]
) -> tuple[Result, bool]:
    """The run at a point, and whether it was stored; one that was watched serves where nobody asks for that, too."""
    plain = fingerprint(target, warm=before is not None, **options)
    both = f"{plain}_{FLUCTUATION}"
    watched |= is_cached(folder, both) and not is_cached(folder, plain)

    def compute(checkpoint: Path) -> list[Result]:
        if watched and target.log_likelihood is not None:
            return [_watched(target, warm_start=before, **options)]
        own = None if "observe" in options else checkpoint  # it would not know what was seen before
        return [estimate_llc(target, checkpoint=own, warm_start=before, **options)]

    (result,), hit = cached(folder, both if watched else plain, compute)
    return result, hit


def _watched(target: Target, **options: Any) -> Result:
    """With the singular fluctuation; not resumed from within, lest it see a part of the run alone."""
    look, fluctuation = watch_fluctuation(target)
    result = estimate_llc(target, checkpoint=None, watch=look, **options)
    try:
        return result._replace(estimates=result.estimates | {FLUCTUATION: fluctuation(result)})
    except ValueError as error:
        refused = (result.refused or {}) | {FLUCTUATION: Verdict("not converged", (str(error),))}
        return result._replace(estimates=result.estimates | {FLUCTUATION: NONE}, refused=refused)


def _with_measures(
    folder: Path, target: Target, run: Result, asked: Mapping[str, Measure | None]
) -> tuple[Result, bool]:
    """The run with the estimates and refusals that are asked for, and whether all were stored."""
    estimates = {name: estimate for name, estimate in run.estimates.items() if name != FLUCTUATION}
    refused, all_stored = {name: why for name, why in (run.refused or {}).items() if name != FLUCTUATION}, True
    for name, measure in asked.items():
        if measure is None:
            estimate = run.estimates.get(FLUCTUATION, NONE)
            verdict = (run.refused or {}).get(FLUCTUATION) or _supported(target, run.verdict)
        else:
            found, stored = _measured(folder, target, measure)
            all_stored &= stored
            estimate, verdict = found.estimates["value"], found.verdict
            if measure is posterior_volume and run.verdict.status == "not a minimum":
                verdict = run.verdict
        estimates[name] = estimate
        if verdict.status != "converged":
            estimates[name], refused[name] = NONE, _refusal(estimate, verdict)
    return run._replace(estimates=estimates, refused=refused or None), all_stored


def _measured(folder: Path, target: Target, measure: Measure) -> tuple[Result, bool]:
    """The measure as a result of its own, and whether it was stored."""

    def compute(_: Path) -> list[Result]:
        try:
            value, verdict = measure(target), Verdict("converged")
        except ValueError as error:
            value, verdict = NONE, Verdict("not available", (str(error),))
        if verdict.status == "converged" and not math.isfinite(value.value):
            verdict = Verdict("not available", (f"It read {value}.",))
        return [Result({"value": value}, verdict, NO_DRAWS, {}, {})]

    (found,), hit = cached(folder, fingerprint(target, measure=function_digest(measure)), compute)
    return found, hit


def _supported(target: Target, verdict: Verdict) -> Verdict:
    if target.log_likelihood is None:
        return Verdict("not available", ("A potential has no data, and so no log-likelihood per datum.",))
    return verdict


def _refusal(estimate: Estimate, verdict: Verdict) -> Verdict:
    read = (f"It read {estimate}.",) if math.isfinite(estimate.value) else ()
    return Verdict(verdict.status, (*read, *verdict.reasons))


def _check_equal(step: float, given: float, first: float) -> None:
    if not math.isclose(given, first, rel_tol=1e-6):
        raise ValueError(
            f"estimate_series: the localisation is {given:.6g} at checkpoint {step} and {first:.6g} at the first; "
            "coefficients are comparable only at one gamma, so give `localization` to every target."
        )


def _with_progress(steps: list[float], progress: bool) -> Iterator[float]:
    with tracked(progress, len(steps), "checkpoints") as update:
        for done, step in enumerate(steps):
            update(done, f"checkpoint {step:g}")
            yield step
