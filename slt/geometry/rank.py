r"""Numerical rank that shows what it rests on: the gap in the singular values, and the rank at several tolerances.

Ranks are taken by a float64 SVD of the Jacobian itself. Its Gram matrix (and so the NTK) squares the condition number
and buries everything below sqrt(eps); float32 products move zeros to 1e-9. Both get ranks of real nets wrong, by
hundreds.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slt.geometry.operators import Operator, dense
from slt.targets.columns import as_array

DECADES = 2.0
"""A gap narrower than this decides nothing."""
TOLERANCES = (1e-3, 1e-6, 1e-9, 1e-12)


class Rank(NamedTuple):
    """A rank with its evidence.

    rank: at the widest gap, or, where there is none, above the rounding `noise`. gap: decades between the two singular
    values it parts, those below eps times the largest raised to it. status: "gap" or "no gap"; reason: why.
    singular_values: descending. by_tolerance: rank at each tolerance, relative to the largest. shape: of the matrix.
    negative: eigenvalues below zero among those that count, of a symmetric matrix: a Hessian of no minimum.
    """

    rank: int
    gap: float
    status: str
    reason: str
    singular_values: Float[np.ndarray, " value"]
    noise: float
    by_tolerance: dict[float, int]
    shape: tuple[int, int]
    negative: int = 0

    @property
    def nullity(self) -> int:
        """Columns minus rank."""
        return self.shape[1] - self.rank


def numerical_rank(matrix: Float[np.ndarray, "row column"]) -> Rank:
    """Rank of a matrix by its singular values in float64.

    A full rank is a gap, too: between the smallest singular value and the rounding. Two gaps of more than two decades
    are named both, as the choice between them is one of scale.

    Raises:
        ValueError: not a matrix, empty, not finite, or of lower precision than float64, whose rounding is not known.
    """
    matrix = np.asarray(as_array(matrix, "numerical_rank: the matrix"))
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"numerical_rank: the shape is {matrix.shape}; give a matrix with rows and columns.")
    if matrix.dtype != np.float64:
        raise ValueError(
            f"numerical_rank: the matrix is {matrix.dtype}; compute it in float64, since a cast of float32 numbers "
            "keeps their rounding."
        )
    if not np.all(np.isfinite(matrix)):
        raise ValueError(
            f"numerical_rank: {int(np.sum(~np.isfinite(matrix)))} entries are not finite; give a finite matrix."
        )
    return rank_of_values(np.linalg.svd(matrix, compute_uv=False), matrix.shape)


def symmetric_rank(operator: Operator) -> Rank:
    """Rank of a symmetric matrix given by its products, such as a Hessian, by its float64 eigenvalues.

    Raises:
        ValueError: products that are not float64 or not finite.
    """
    if operator.dtype != np.float64:
        raise ValueError(f"symmetric_rank: products are {operator.dtype}; build the operator with dtype=np.float64.")
    return symmetric_rank_of_values(np.linalg.eigvalsh(dense(operator)))


def symmetric_rank_of_values(values: Float[np.ndarray, " value"]) -> Rank:
    """The same from eigenvalues in any order; those that count and are negative are said."""
    order = np.argsort(-np.abs(values))
    rank = rank_of_values(np.abs(values)[order], (values.size, values.size))
    negative = int(np.sum(values[order][: rank.rank] < 0))
    said = f"{rank.reason}; {negative} of them negative" if negative else rank.reason
    return rank._replace(negative=negative, reason=said)


def rank_of_values(values: Float[np.ndarray, " value"], shape: tuple[int, int]) -> Rank:
    """The same from singular values, descending."""
    largest = float(values[0]) if values.size else 0.0
    noise = max(shape) * np.finfo(np.float64).eps * largest
    counts = {t: int(np.sum(values > t * largest)) for t in TOLERANCES}
    if largest == 0:
        return Rank(0, math.inf, "gap", "every entry is zero", values, 0.0, counts, shape)
    above = int(np.sum(values > noise))
    raised = np.log10(np.maximum(np.append(values, 0.0), np.finfo(np.float64).eps * largest))
    gaps = (raised[:-1] - raised[1:])[:above]  # below the rounding there is nothing to part
    best = int(np.argmax(gaps))
    wide = [int(i) + 1 for i in np.flatnonzero(gaps >= DECADES)]
    if not wide:
        reason = f"the widest gap is {gaps[best]:.1f} decades; {above} singular values are above the rounding"
        return Rank(above, float(gaps[best]), "no gap", reason, values, noise, counts, shape)
    others = [f"{gaps[i - 1]:.1f} decades at rank {i}" for i in wide if i != best + 1]
    reason = f"a gap of {gaps[best]:.1f} decades" + (f"; also {', '.join(others)}" if others else "")
    return Rank(best + 1, float(gaps[best]), "gap", reason, values, noise, counts, shape)
