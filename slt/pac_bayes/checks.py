"""What every bound demands of its arguments, and how a scalar comes back as a float."""

import numpy as np
from numpy.typing import ArrayLike

from slt.pac_bayes.kl import KL, certifiable

Numbers = float | np.ndarray


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


def check_bound(
    name: str, risk: ArrayLike, kl: KL | ArrayLike, num_data: int, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Risk and divergence as float64; raises ValueError on any argument of a PAC-Bayes bound out of its range."""
    check_count(name, num_data)
    check_delta(name, delta)
    return check_unit(name, risk), certifiable(kl)


def numbers(value: np.ndarray) -> Numbers:
    """A float where there is one number only."""
    return float(value) if np.ndim(value) == 0 else value
