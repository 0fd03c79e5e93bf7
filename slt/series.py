"""The learning coefficient along a training run, or along a hyperparameter: one estimate per checkpoint.

Each point is stored as it is done, under its content; a series that was stopped goes on where it stopped, and a second
call computes nothing. Tuning starts from that of the point before.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from slt._types import Estimate
from slt.cache import cached, fingerprint, function_digest
from slt.draws import Result
from slt.estimate import estimate_llc
from slt.targets.target import Target

Built = Target | tuple[Target, dict[str, float]]


class Series(NamedTuple):
    """results: one per checkpoint, in order, each with its setting "checkpoint"; hits: how many were stored before."""

    results: list[Result]
    hits: int


def estimate_series(
    build: Callable[[Any], Built],
    checkpoints: Mapping[float, Any],
    *,
    folder: str | Path,
    measures: Mapping[str, Callable[[Target], Estimate]] | None = None,
    warm_start: bool = True,
    progress: bool = False,
    **options: Any,
) -> Series:
    r"""$\hat\lambda$ of every checkpoint of a series, with its losses and any further measure.

    Args:
        build: what a checkpoint is given as -> its target, or (target, numbers to report, e.g. {"test_loss": 0.1}).
            Give all the same localization: the default follows |w*|, and with it the coefficient.
        checkpoints: {training step, or value of a hyperparameter: whatever `build` takes}.
        folder: where every point is stored under the hash of parameters, data, loss and options.
        measures: further estimates of a target by name, e.g. a singular fluctuation or a volume; stored with the rest.
        warm_start: tune from the step and batch of the point before. Which point that was is not part of the hash:
            points added between stored ones leave those as they are.
        options: as of `estimate_llc`.

    Raises:
        ValueError: no checkpoints, or localisations that differ over the series.
        OSError: the disk is full; all points before are stored.
    """
    if not checkpoints:
        raise ValueError("estimate_series: there are no checkpoints; give at least one.")
    results: list[Result] = []
    hits, gamma, before = 0, math.nan, None
    for step in _with_progress(sorted(checkpoints), progress):
        built = build(checkpoints[step])
        target, facts = (built, {}) if isinstance(built, Target) else built
        gamma = target.localization if math.isnan(gamma) else gamma
        _check_equal(step, target.localization, gamma)
        found, hit = _point(Path(folder), target, measures or {}, before if warm_start else None, options)
        hits, before = hits + hit, found
        diagnostics = found.diagnostics | {"train_loss": target.loss_at_minimum} | facts
        results.append(found._replace(settings=found.settings | {"checkpoint": step}, diagnostics=diagnostics))
    return Series(results, hits)


def _point(
    folder: Path, target: Target, measures: Mapping[str, Callable], before: Result | None, options: dict[str, Any]
) -> tuple[Result, bool]:
    digests = {name: function_digest(measure) for name, measure in measures.items()}
    name = fingerprint(target, measures=digests, warm=before is not None, **options)

    def compute(checkpoint: Path) -> list[Result]:
        result = estimate_llc(target, checkpoint=checkpoint, warm_start=before, **options)
        further = {name: measure(target) for name, measure in measures.items()}
        return [result._replace(estimates=result.estimates | further)]

    (result,), hit = cached(folder, name, compute)
    return result, hit


def _check_equal(step: float, given: float, first: float) -> None:
    if not math.isclose(given, first, rel_tol=1e-6):
        raise ValueError(
            f"estimate_series: the localisation is {given:.6g} at checkpoint {step} and {first:.6g} at the first; "
            "coefficients are comparable only at one gamma, so give `localization` to every target."
        )


def _with_progress(steps: list[float], progress: bool) -> Iterator[float]:
    with Progress(disable=not (progress and sys.stdout.isatty()), transient=True) as bar:
        task = bar.add_task("checkpoints", total=len(steps))
        for step in steps:
            bar.update(task, description=f"checkpoint {step:g}")
            yield step
            bar.advance(task)
