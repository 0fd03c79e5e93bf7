"""What every bound demands of its arguments, and how a scalar comes back as a float."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from slt.pac_bayes.kl import KL, certifiable

Numbers = float | np.ndarray


class Evidence(NamedTuple):
    """What a bound sees of one posterior, or of an array of them; checked, in float64.

    risk: q, mean loss over posterior and sample, of a loss in [0, 1]. kl: [nats]. num_data: n.
    second_moment, variance: posterior means of the squared loss and of its unbiased sample variance, or upper bounds.
    """

    risk: np.ndarray
    kl: np.ndarray
    num_data: int
    second_moment: np.ndarray
    variance: np.ndarray


def check_delta(name: str, delta: float) -> float:
    """Delta, the probability that a bound may fail; raises ValueError unless strictly between 0 and 1."""
    if not 0 < delta < 1:
        raise ValueError(f"{name}: delta is {delta}; it must lie strictly between 0 and 1, e.g. 0.05 for 95 %.")
    return float(delta)


def check_count(name: str, count: int, *, least: int = 2, what: str = "num_data") -> int:
    """A number of data or draws; raises ValueError unless whole and at least `least`."""
    if not (count >= least and count % 1 == 0):
        raise ValueError(f"{name}: {what} is {count}; it must be a whole number of at least {least}.")
    return int(count)


def check_unit(name: str, value: ArrayLike, *, what: str = "risk") -> np.ndarray:
    """Means of a loss in [0, 1], in float64; raises ValueError outside it."""
    numbers = np.asarray(value, np.float64)
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise ValueError(
            f"{name}: {what} is {value}; the loss must lie in [0, 1] for this bound. Use the zero-one loss, or clamp "
            "and rescale the loss before the data are seen."
        )
    return numbers


def check_evidence(
    name: str,
    risk: ArrayLike,
    kl: KL | ArrayLike,
    num_data: int,
    second_moment: ArrayLike | None = None,
    variance: ArrayLike | None = None,
) -> Evidence:
    """All that a bound sees; raises ValueError on what is out of its range.

    Of a loss in [0, 1] the second moment is at most the risk q and the variance at most n/(n-1) q (1 - q), with
    equality for a zero-one loss: so they stand where none is given.
    """
    n, q = check_count(name, num_data), check_unit(name, risk)
    square = q if second_moment is None else check_unit(name, second_moment, what="second_moment")
    if (square < q**2 * (1 - 1e-12)).any():
        raise ValueError(f"{name}: second_moment is {second_moment}, below the square of the risk {risk}.")
    spread = np.minimum(n / (n - 1) * q * (1 - q), 1.0) if variance is None else variance
    return Evidence(q, certifiable(kl), n, square, check_unit(name, spread, what="variance"))


def numbers(value: ArrayLike) -> Numbers:
    """A float where there is one number only."""
    return float(value) if np.ndim(value) == 0 else np.asarray(value)  # pyright: ignore[reportArgumentType]
