"""`compare`: one minimum or many in, one table out; `correlations`: what the measures predict over many."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from slt._options import checked
from slt._types import Estimate
from slt.estimate.comparison.measures import COMPUTATIONS, NONE, Asked, Found, missing
from slt.estimate.comparison.rows import Compared, Comparison, Correlated, Measure
from slt.estimate.comparison.subjects import Subject
from slt.samplers.seeds import derived_seed
from slt.stats.correlation import rank_correlation
from slt.targets.target import Target

ON_TEST_DATA = ("test loss", "test error", "test-set bound", "Bayes test loss")
"""Not predictors of each other: they look at the same data."""


@checked
def compare(
    subjects: Subject | Target | Mapping[str, Subject | Target],
    *,
    measures: Sequence[str] | None = None,
    threshold: float | None = None,
    seed: int = 0,
    delta: float = 0.05,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    r"""Every measure of one minimum, or of many, each with its error, its cost, or why it is not available.

    The measures share one question: the posterior $e^{-n\beta(L_n - L_n(w^*))}$ under the target's own prior, and the
    basin of height T = 1/(n beta) under that prior. A computation that refuses (ValueError) leaves its reason.

    Args:
        subjects: a target or `Subject`, or several by name.
        measures: of "llc", "criteria", "free_energy", "curvature", "gradients", "volumes", "certificate" and
            "losses"; all by default.
        threshold: T of the volumes [nats/datum]; 1/(n beta) of each target by default.
        delta: probability that a certificate may fail.
        options: of the function behind a computation, e.g. {"llc": {"tolerance": 0.05}, "volumes": {"num_rays": 200}}.
        say: is told what is being done.

    Raises:
        ValueError: no subjects, an unknown measure or option, a threshold or delta out of range.
    """
    if isinstance(subjects, Subject | Target):
        subjects = {"minimum": subjects}
    names = list(COMPUTATIONS) if measures is None else list(measures)
    options = options or {}
    _check(subjects, names, options, threshold, delta)
    heads, rows = [], []
    for subject_name, given in subjects.items():
        subject = given if isinstance(given, Subject) else Subject(given)
        height = threshold or 1 / subject.target.nbeta
        started = time.perf_counter()
        rows += [_measure(subject_name, found, 0.0) for found in _known(subject)]
        for name in names:
            say(f"{subject_name}: {name}")
            asked = Asked(derived_seed(seed, subject_name, name), height, dict(options.get(name, {})), delta)
            rows += _timed(subject_name, name, subject, asked)
        heads.append(_head(subject_name, subject.target, height, time.perf_counter() - started))
    found = Comparison(heads, rows, [])
    return found._replace(correlations=correlations(found)) if len(heads) > 3 else found


@checked
def correlations(
    comparison: Comparison,
    *,
    outcomes: Sequence[str] = ("test loss", "frequency"),
    groups: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[Correlated]:
    """Spearman's rank correlation of every measure with every outcome over the minima, with a 90 % interval.

    Only numbers that may be used enter. Measures that are the same everywhere, or known for too few minima, say so.

    Args:
        outcomes: names of measures, `known` ones of a subject included; those that no minimum has are left out.
        groups: {subject: group}, such as the function it computes, where minima are not independent; the unit of the
            bootstrap is the group.
    """
    subjects = [head.subject for head in comparison.subjects]
    number = {(row.subject, row.measure): row.value for row in comparison.measures if row.known}
    measures = list(dict.fromkeys(row.measure for row in comparison.measures))
    index = np.unique([str((groups or {}).get(s, i)) for i, s in enumerate(subjects)], return_inverse=True)[1]

    def column(measure: str) -> np.ndarray:
        return np.array([number.get((subject, measure), math.nan) for subject in subjects])

    asked = [name for name in outcomes if name in measures and np.isfinite(column(name)).any()]
    return [
        _correlated(measure, outcome, column(measure), column(outcome), index.reshape(-1), seed)
        for outcome in asked
        for measure in measures
        if measure != outcome and not {measure, outcome} <= set(ON_TEST_DATA)
    ]


def _correlated(measure: str, outcome: str, x: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int) -> Correlated:
    number = int((np.isfinite(x) & np.isfinite(y)).sum())
    try:
        found = rank_correlation(x, y, groups, seed=seed)
    except ValueError:
        reason = f"{number} minima have both numbers; 4 are needed"
        return Correlated(measure, outcome, math.nan, math.nan, math.nan, number, reason)
    return Correlated(measure, outcome, found.value, found.low, found.high, number, found.verdict)


def _timed(subject_name: str, name: str, subject: Subject, asked: Asked) -> list[Measure]:
    started = time.perf_counter()
    computation = COMPUTATIONS[name]
    try:
        found = computation.run(subject, asked)
    except ValueError as error:  # a refusal is an answer
        found = [missing(measure, group, str(error)) for measure, group in computation.names]
    seconds = time.perf_counter() - started
    present = {row.measure for row in found}
    absent = [
        missing(m, g, "Not asked for, or not for a model of this size.")
        for m, g in computation.names
        if m not in present
    ]
    return [_measure(subject_name, row, seconds) for row in (*found, *absent)]


def _measure(subject_name: str, row: Found, seconds: float) -> Measure:
    value, error = (math.nan, math.nan) if row.status == NONE else (row.estimate.value, row.estimate.mcse)
    return Measure(subject_name, row.measure, row.group, value, error, row.status, seconds, row.reason)


def _known(subject: Subject) -> list[Found]:
    """Numbers from elsewhere; the exact ones of a potential are compared with the estimates of their kind."""
    groups = {"m, exact": "count", "free energy, exact": "nats", "frequency": "frequency"}
    return [
        Found(name, groups.get(name, "dimension"), value if isinstance(value, Estimate) else Estimate(value, 0.0))
        for name, value in subject.known.items()
    ]


def _head(name: str, target: Target, threshold: float, seconds: float) -> Compared:
    n = 0 if target.log_likelihood is None else target.num_data
    return Compared(name, target.num_params, n, target.nbeta, target.localization, target.precision, threshold, seconds)


def _check(
    subjects: Mapping[str, Any], names: list[str], options: Mapping[str, Any], threshold: float | None, delta: float
) -> None:
    if not subjects:
        raise ValueError("compare: there are no subjects; give a target, or several by name.")
    unknown = sorted({*names, *options} - COMPUTATIONS.keys())
    if unknown or not names:
        raise ValueError(f"compare: measures or options {unknown}; choose from {', '.join(COMPUTATIONS)}.")
    if threshold is not None and not (threshold > 0 and math.isfinite(threshold)):
        raise ValueError(f"compare: threshold is {threshold}; it must be positive and finite [nats/datum].")
    if not 0 < delta < 1:
        raise ValueError(f"compare: delta is {delta}; it must lie strictly between 0 and 1.")
