"""What a comparison leaves behind: a row a number, a row a minimum, a row a correlation."""

from typing import Any, NamedTuple

from slt._rows import Glance, as_html, as_text, to_dataframe
from slt._types import Estimate


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

    def glance(self) -> Glance:
        """What `repr` shows: every measure of every minimum."""
        lines = [(row.subject, row.measure, Estimate(row.value, row.error), row.status) for row in self.measures]
        return Glance(f"Comparison of {', '.join(head.subject for head in self.subjects)}", lines)

    def to_dataframe(self) -> Any:
        """The measures as a `pandas.DataFrame`, a row each."""
        return to_dataframe(self.measures)

    __repr__ = as_text
    _repr_html_ = as_html


COMPARISON_ROWS = {"subjects": Compared, "measures": Measure, "correlations": Correlated}
"""The row of each table of a comparison, for `store.load_tables`."""
