"""What `slt bound` leaves behind: certificates, the curve of the pushforward, and measures of the same minimum."""

from typing import Any, NamedTuple

from slt._rows import Glance, as_html, as_text, to_dataframe
from slt.estimate.comparison.rows import Compared, Measure
from slt.pac_bayes.certificate import Row


class Certified(NamedTuple):
    """One certificate: with probability `confidence` the true risk of this posterior is at most `bound`.

    bound: NaN where it refused, and `note` says why. train_error: what went into it, Monte Carlo paid for, on the
    num_data data that count. test_error: plain mean on the test set, with no guarantee, NaN without one.
    kl: KL or log dQ/dP [nats], NaN where none enters; note: what was paid for.
    """

    posterior: str
    bound: float
    confidence: float
    family: str
    train_error: float
    test_error: float
    kl: float
    num_data: int
    seconds: float
    note: str


class Stopped(NamedTuple):
    """The one certified training, stopped after `steps`: log dQ/dP [nats] and what a bound there would say."""

    steps: int
    loss: float
    train_error: float
    test_error: float
    log_ratio: float
    bound: float


class Certificates(NamedTuple):
    """The whole of it; `families`: the bounds on the Gaussian posterior side by side; the rest as of `Comparison`."""

    certificates: list[Certified]
    curve: list[Stopped]
    families: list[Row]
    subjects: list[Compared]
    measures: list[Measure]

    def glance(self) -> Glance:
        """What `repr` shows: every certificate, with its posterior and family."""
        lines = [(row.posterior, row.bound, row.family) for row in self.certificates]
        return Glance("Certificates: the true error is at most", lines)

    def to_dataframe(self) -> Any:
        """The certificates as a `pandas.DataFrame`, a row each."""
        return to_dataframe(self.certificates)

    __repr__ = as_text
    _repr_html_ = as_html


ROWS = {"certificates": Certified, "curve": Stopped, "families": Row, "subjects": Compared, "measures": Measure}
"""The row of each table, for `store.load_tables`."""
