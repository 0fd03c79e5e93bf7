"""How posterior means answer to data, as a table: each row a datum or a set of data, each column what answers."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from slt._rows import Glance, as_html, as_text, to_dataframe
from slt._types import Estimate
from slt.draws import Verdict
from slt.stats.agreement import AGREEMENT, agreement_bound
from slt.stats.covariances import discoveries, standardised

FALSE = 0.1
"""Share of the entries said to differ from 0 that may be wrong."""


class Entry(NamedTuple):
    """One entry: what answers to what, the answer, the same given the shared mode, and that of a Gaussian posterior."""

    row: str
    column: str
    answer: Estimate
    given_mode: Estimate
    harmonic: Estimate
    differs: bool


class Response(NamedTuple):
    r"""Linear response of posterior means to the data, a table of rows (data) and columns (observables or components).

    kind: "influence", $dE[\phi]/d\omega_i = -\beta\,\mathrm{Cov}(\ell_i, \phi)$ for the weight 1 + w_i of datum i
    [unit of phi]; or "susceptibility", $-n\beta\{E_C[\phi\,\Delta L] - E_C[\phi]E[\Delta L]\}$ of a component C, up to
    a factor of its own [nats/datum].
    value, error: dims (row, column); errors have `dof` degrees of freedom. given_mode, given_mode_error: with the
    shared mode of all rows projected out. harmonic, harmonic_error: under the Gaussian of the Hessian at w*, losses to
    second order; NaN where there is none. mode: loadings of the shared mode, dims (row,).
    agreement: Spearman correlation over the rows between halves of the chains, dims (column,).
    diagnostics: "share" of the shared mode in the variance of all rows, "rhat" and "ess" of the worst row or column,
    "agreement" of two runs like this one in the median column and "least_agreement" in the worst, "between", the part
    of the covariance that is between chains, ...
    """

    kind: str
    rows: list[str]
    columns: list[str]
    value: Float[np.ndarray, "row column"]
    error: Float[np.ndarray, "row column"]
    given_mode: Float[np.ndarray, "row column"]
    given_mode_error: Float[np.ndarray, "row column"]
    harmonic: Float[np.ndarray, "row column"]
    harmonic_error: Float[np.ndarray, "row column"]
    dof: float
    mode: Float[np.ndarray, " row"]
    agreement: Float[np.ndarray, " column"]
    verdict: Verdict
    diagnostics: dict[str, float]
    settings: dict[str, str | float | int]

    def standardised(self) -> tuple[Float[np.ndarray, "row column"], Float[np.ndarray, "row column"]]:
        """Values and errors, each column less its mean and over its spread: comparable, whatever factors they have."""
        return standardised(self.value, self.error)

    def differ(self, rate: float = FALSE) -> Bool[np.ndarray, "row column"]:
        """Which entries differ from 0, of which a share `rate` at most is expected to be wrong."""
        return discoveries(self.value, self.error, self.dof, rate=rate)

    def reproducible(self) -> Bool[np.ndarray, " column"]:
        """Columns whose rows two runs like this one would rank alike by AGREEMENT or more, within its error.

        All of them where the table is "converged"; of few rows nothing is known, and their columns pass.
        """
        return ~(agreement_bound(self.agreement, len(self.rows)) < AGREEMENT)

    def entries(self, column: str | None = None, top: int | None = None) -> list[Entry]:
        """Entries of a column, or of all, the largest answers first; `top` of each column.

        Raises:
            ValueError: an unknown column.
        """
        if column is not None and column not in self.columns:
            raise ValueError(f"entries: there is no column {column!r}; the columns are {', '.join(self.columns[:20])}.")
        differ = self.differ()
        places = [
            (i, j)
            for j, name in enumerate(self.columns)
            if column in (None, name)
            for i in np.argsort(-np.abs(self.value[:, j]), kind="stable")[:top]
        ]
        return [self._entry(i, j, bool(differ[i, j])) for i, j in places]

    def _entry(self, i: int, j: int, differs: bool) -> Entry:
        def estimate(values: np.ndarray, errors: np.ndarray) -> Estimate:
            return Estimate(float(values[i, j]), float(errors[i, j]), self.dof)

        return Entry(
            self.rows[i], self.columns[j], estimate(self.value, self.error),
            estimate(self.given_mode, self.given_mode_error), estimate(self.harmonic, self.harmonic_error), differs,
        )  # fmt: skip

    def statement(self) -> str:
        """What may be said of the whole table."""
        count, share = int(self.differ().sum()), self.diagnostics.get("share", math.nan)
        return (
            f"{count} of {self.value.size} entries differ from 0, of which {FALSE:.0%} at most are expected to be "
            f"wrong (Benjamini–Hochberg); the shared mode has {share:.0%} of the variance of the rows."
        )

    def glance(self) -> Glance:
        """What `repr` shows: the largest answers of the first columns, and why not to trust them."""
        shape = f"{len(self.rows)} rows × {len(self.columns)} columns"
        few = [entry for name in self.columns[:4] for entry in self.entries(name, top=5)]
        lines = [(e.row, e.column, e.answer) for e in few]
        return Glance(f"{self.kind.capitalize()}, {self.verdict.status}: {shape}", lines,
                      [self.statement(), *self.verdict.reasons])  # fmt: skip

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame`, a row for each entry."""
        return to_dataframe(self.entries())

    __repr__ = as_text
    _repr_html_ = as_html
