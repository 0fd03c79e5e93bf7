"""All bounds on one posterior side by side, and the tightest of them with the choice paid for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slt._options import checked
from slt.pac_bayes.bounds import FAMILIES
from slt.pac_bayes.checks import Evidence, check_count, check_delta, check_unit
from slt.pac_bayes.holdout import monte_carlo_interval
from slt.pac_bayes.kl import KL, certifiable

MONTE_CARLO_SHARE = 0.2
"""Part of delta that pays for Monte Carlo means."""


class Row(NamedTuple):
    """One family: `alone` holds if it was chosen beforehand, `paid` also if it was chosen for being small."""

    family: str
    event: str
    alone: float
    paid: float


class Certificate(NamedTuple):
    """With probability at least 1 - delta the true risk of the posterior is at most `bound`.

    family: the tightest of the rows. rows: all families considered. risk: the corrected empirical risk [1].
    kl: [nats]. num_data: n. delta_monte_carlo: part of delta spent on Monte Carlo means. delta_event: part spent on
    each of the events of the families considered.
    """

    bound: float
    family: str
    rows: tuple[Row, ...]
    risk: float
    kl: float
    num_data: int
    delta: float
    delta_monte_carlo: float
    delta_event: float

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing, being 1 or more."""
        return self.bound >= 1


@checked
def bound_table(
    risk: float,
    kl: KL | float,
    *,
    num_data: int,
    delta: float = 0.05,
    num_draws: int | None = None,
    second_moment: float | None = None,
    families: Sequence[str] | None = None,
) -> Certificate:
    r"""Every family on one posterior, and the tightest with its choice paid for.

    A fifth of delta pays for Monte Carlo means where there are any. The rest is split evenly over the events behind
    the families considered: those that follow from the one event of the kl bound share its part. Name one family,
    before the data are seen, and nothing is split.

    Args:
        risk: mean loss over posterior and sample, a loss in [0, 1].
        kl: of this posterior to a prior independent of these data [nats], exact or an upper bound, without error.
        num_data: n, the data in `risk` that the prior has not seen.
        delta: probability that the certificate may fail.
        num_draws: N independent draws of the posterior behind `risk` (each on all n data); None: risk is exact.
        second_moment: mean squared loss, from the same draws; by default the risk itself, which it equals for a
            zero-one loss and never exceeds.
        families: names in `bounds.FAMILIES` to consider; all that are listed by default.

    Raises:
        ValueError: an unknown family, or an argument that the bounds refuse: see `kl_bound`.
    """
    names = [n for n in FAMILIES if FAMILIES[n].listed] if families is None else list(families)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        raise ValueError(f"bound_table: unknown families {unknown}; choose from {', '.join(FAMILIES)}.")
    spent = MONTE_CARLO_SHARE * check_delta("bound_table", delta) * (num_draws is not None)
    evidence = _evidence(risk, second_moment, certifiable(kl), num_data, num_draws, spent)
    events = {FAMILIES[name].event for name in names}
    each = (delta - spent) / len(events)
    rows = tuple(_row(name, evidence, delta - spent, each) for name in names)
    best = min(rows, key=lambda row: row.paid)
    return Certificate(
        best.paid, best.family, rows, float(evidence.risk), float(evidence.kl), num_data,
        delta, spent, each,
    )  # fmt: skip


def _row(name: str, evidence: Evidence, whole: float, each: float) -> Row:
    family = FAMILIES[name]
    return Row(name, family.event, float(family.bound(evidence, whole)), float(family.bound(evidence, each)))


def _evidence(
    risk: float, second_moment: float | None, kl: np.ndarray, num_data: int, num_draws: int | None, delta: float
) -> Evidence:
    """Means corrected for their draws, and a variance that is at most n/(n-1) (E[l^2] - E[l]^2)."""
    n = check_count("bound_table", num_data)
    low = high = check_unit("bound_table", risk)
    square = high if second_moment is None else check_unit("bound_table", second_moment, what="second_moment")
    if not high**2 - 1e-12 <= square <= high + 1e-12:
        raise ValueError(
            f"bound_table: second_moment is {square}; of a loss in [0, 1] whose mean is the risk {high} "
            f"it lies between {high**2} and {high}."
        )
    if num_draws is not None:
        part = delta if second_moment is None else delta / 2
        low, high = map(np.asarray, monte_carlo_interval(low, num_draws, delta=part))
        square = high if second_moment is None else monte_carlo_interval(square, num_draws, delta=part)[1]
    square = np.minimum(square, high)
    # l^2 - l is least at 1/2, so of a second moment that is the risk itself only the upper limit enters
    half = np.minimum(high, 0.5)
    spread = half * (1 - half) if second_moment is None else square - low**2
    return Evidence(high, kl, n, np.maximum(square, high**2), np.minimum(n / (n - 1) * spread, 1.0))
