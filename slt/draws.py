"""What a run leaves behind: draws with their diagnostics, and the result computed from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats
from jaxtyping import Float, PyTree

from slt._types import Estimate


class Draws(NamedTuple):
    """Kept draws of several chains; burn-in stands apart and is never averaged.

    loss: excess loss L_n(w) - L_n(w*) of each kept draw [nats/datum], dims (chain, draw).
    warmup_loss: the same during warm-up, for the trace only, dims (chain, warmup_draw).
    acceptance_rate, diverging: per kept draw, dims (chain, draw).
    first_divergence: index of the first non-finite draw of each chain (-1: none), dims (chain,).
    num_gradients: gradient evaluations spent, each on one batch, warm-up and tuning included.
    positions: parameters of each kept draw, leading dims (chain, draw), or None.
    log_likelihood: log p(x_i | w) of thinned draws [nats], dims (chain, thinned_draw, datum), or None.
    """

    loss: Float[np.ndarray, "chain draw"]
    warmup_loss: Float[np.ndarray, "chain warmup_draw"]
    acceptance_rate: Float[np.ndarray, "chain draw"]
    diverging: np.ndarray
    first_divergence: np.ndarray
    num_gradients: int
    positions: PyTree[np.ndarray] | None = None
    log_likelihood: Float[np.ndarray, "chain thinned_draw datum"] | None = None


class Verdict(NamedTuple):
    """status: "converged", "not converged", "biased" or "not a minimum"; reasons: why, with the remedy."""

    status: str
    reasons: tuple[str, ...] = ()


class Result(NamedTuple):
    """One target, one posterior, one set of numbers; what `store` writes and `plotting` draws.

    estimates: by name, e.g. "llc", "llc_variance", "llc_two_temperature".
    diagnostics: plain numbers, e.g. "rhat", "ess", "divergences", "gradient_norm", "seconds".
    settings: what produced the run, e.g. "sampler", "step_size", "nbeta", "localization", "num_params", "seed".
    pointwise: values per datum, e.g. of "waic", where they were computed.
    refused: for estimates that are NaN as this run cannot support them, the verdict that says why.
    """

    estimates: dict[str, Estimate]
    verdict: Verdict
    draws: Draws
    diagnostics: dict[str, float]
    settings: dict[str, str | float | int]
    pointwise: dict[str, Float[np.ndarray, " datum"]] | None = None
    refused: dict[str, Verdict] | None = None


Watch = Callable[[int, PyTree], None]
"""(group, positions with the leading axes chain and particle) -> None, called every few steps of a run.

A run has the groups 0 and 1; one that starts again after a divergence has two new ones, and all before are void."""


class Options(NamedTuple):
    """What `estimate_llc` was asked for, see there; who else looks at the positions, and after how many draws again."""

    seed: int
    tolerance: float
    max_gradients: int
    num_chains: int
    batch_size: int
    progress: bool
    checkpoint: Path | None = None
    watch: Watch | None = None
    mesh: Any = None
    warm_start: tuple[float, int] | None = None
    spacing: int = 1

    def asked(self, estimate: Estimate) -> float:
        """The standard error to reach [1]."""
        return self.tolerance * max(estimate.value, 0.25)

    def unmet(self, estimate: Estimate) -> tuple[str, ...]:
        """A sentence where the budget ended before the tolerance was met."""
        if estimate.mcse <= self.asked(estimate):
            return ()
        return (
            f"The budget ended at a standard error of {estimate.mcse:.2g}, above the {self.asked(estimate):.2g} asked.",
        )


class ValidationRow(NamedTuple):
    """One estimate of `slt validate` beside its exact values.

    case: name in the catalogue; rlct, multiplicity: exact; nbeta, exact: the finite-n value at that n times beta;
    z: (estimate - exact) / mcse; status: of the verdict; seconds: wall time; seed: of the run.
    """

    case: str
    rlct: float
    multiplicity: int
    nbeta: float
    exact: float
    estimate: Estimate
    z: float
    status: str
    seconds: float
    seed: int


class Measure(NamedTuple):
    """One number about one minimum, or why there is none; numbers of one `group` may be compared with each other.

    group: "dimension" [1], "nats" under the prior, "volume" [nats] in units of w, "total" [nats] of all data,
    "loss" [nats/datum], "error" [1], "curvature" [nats/datum per squared unit], "count" or "frequency" [1].
    error: standard error in the same unit, 0 where exact. status: "exact", "converged", "not available", or what a
    verdict refused it for ("not a minimum", "biased", "not converged"); value and error are then NaN.
    seconds: of the computation it is from, in which others of this minimum may share. reason: why there is no number,
    or what the number depends on.
    """

    subject: str
    measure: str
    group: str
    value: float
    error: float
    status: str
    seconds: float
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a number that may be used."""
        return self.status in ("exact", "converged")


class Correlated(NamedTuple):
    """Spearman's rank correlation of a measure with an outcome over minima, and its 90 % interval.

    number: of minima with both. verdict: "positive", "negative", "undecided", or why there is none.
    """

    measure: str
    outcome: str
    value: float
    low: float
    high: float
    number: int
    verdict: str


class Compared(NamedTuple):
    """One minimum of a comparison: d, n (0 without data), and the posterior and height that its numbers are of.

    nbeta: n beta [1]. localization: gamma. precision: of the whole prior. threshold: T of the volumes [nats/datum].
    """

    subject: str
    num_params: int
    num_data: int
    nbeta: float
    localization: float
    precision: float
    threshold: float
    seconds: float


class Comparison(NamedTuple):
    """Every measure of every minimum side by side, and how the measures go with what one would like to predict."""

    subjects: list[Compared]
    measures: list[Measure]
    correlations: list[Correlated]

    def value(self, subject: str, measure: str) -> Measure:
        """The row of that name.

        Raises:
            ValueError: there is none.
        """
        found = [row for row in self.measures if (row.subject, row.measure) == (subject, measure)]
        if not found:
            names = sorted({row.measure for row in self.measures if row.subject == subject})
            raise ValueError(f"comparison: {subject!r} has no {measure!r}; it has {', '.join(names) or 'no rows'}.")
        return found[0]


COMPARISON_ROWS = {"subjects": Compared, "measures": Measure, "correlations": Correlated}
"""The row of each table of a comparison, for `store.load_tables`."""


class Slice(NamedTuple):
    """loss on the plane center + a first + b second: coordinates a and b, loss dims (b, a) [nats/datum].

    marks: coordinates (a, b) of points of interest, dims (mark, 2).
    """

    a: Float[np.ndarray, " a"]
    b: Float[np.ndarray, " b"]
    loss: Float[np.ndarray, "b a"]
    marks: Float[np.ndarray, "mark 2"]


class Connection(NamedTuple):
    """A chain of points from one minimum towards another.

    points: dims (point, dim). loss: the half squared residual |r|^2/2 at each, or the objective of a curve [nats].
    arc: length travelled. connected: the end was reached below the tolerance. barrier: the largest loss along it,
    straight segments between the points included. tried: points that were grown in all.
    """

    points: Float[np.ndarray, "point dim"]
    loss: Float[np.ndarray, " point"]
    arc: Float[np.ndarray, " point"]
    connected: bool
    barrier: float
    tried: int


class Wells(NamedTuple):
    """Gradient flow of a potential in the plane from a grid of starts.

    start, end: dims (start, 2). lines: the flow, dims (start, time, 2). well: which of the given sets it ends in
    (-1: none of them). potential: of the ends.
    """

    start: Float[np.ndarray, "start 2"]
    end: Float[np.ndarray, "start 2"]
    lines: Float[np.ndarray, "start time 2"]
    well: np.ndarray
    potential: Float[np.ndarray, " start"]

    def share(self) -> dict[int, float]:
        """Share of the starts that end in each well: the volume of its attractor under the starts' law."""
        return {int(w): float(np.mean(self.well == w)) for w in np.unique(self.well)}


def rhat(values: Float[np.ndarray, "chain draw"]) -> float:
    """Rank-normalised split R-hat (Vehtari et al. 2021, arXiv:1903.08008), by arviz-stats."""
    return _scalar(array_stats.rhat(np.asarray(values, np.float64), method="rank"))


def ess(values: Float[np.ndarray, "chain draw"]) -> float:
    """Effective sample size for the mean (Vehtari et al. 2021, arXiv:1903.08008), by arviz-stats."""
    return _scalar(array_stats.ess(np.asarray(values, np.float64), method="mean"))


def mcse(values: Float[np.ndarray, "chain draw"]) -> float:
    """Monte Carlo standard error of the mean (Vehtari et al. 2021, arXiv:1903.08008), by arviz-stats."""
    return _scalar(array_stats.mcse(np.asarray(values, np.float64), method="mean"))


def _scalar(value: Any) -> float:
    return float(np.asarray(value))
