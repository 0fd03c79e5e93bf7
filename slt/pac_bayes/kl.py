"""A divergence that knows what it may be used for: exact, an upper bound, a lower bound, or neither."""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from slt._types import Estimate

Side = Literal["exact", "upper", "lower", "none"]
"""exact: right, or unbiased; upper, lower: above or below the truth, surely or in expectation; none: no guarantee."""


class KL(NamedTuple):
    r"""$\mathrm{KL}(Q \Vert P)$, or $\log dQ/dP$ at one draw, of the very posterior Q whose risk is to be certified.

    value: the number with its Monte Carlo error [nats]; an mcse of 0 says that there is none.
    side: where it stands relative to the truth. note: how it was found, in a few words.
    """

    value: Estimate
    side: Side
    note: str = ""


def certifiable(kl: KL | ArrayLike, *, single_draw: bool = False) -> np.ndarray:
    """The number that a certificate may use [nats].

    The average of an unbounded log density ratio has no confidence limit without assumptions on its tails, so a
    divergence with a Monte Carlo error cannot be paid for. The single-draw bound needs no average.

    Args:
        kl: a `KL`, or plain numbers, by which the caller states that they are exact or upper bounds.
        single_draw: it is log dQ/dP at one draw, which may be negative.

    Raises:
        ValueError: a lower bound or an estimate of no guaranteed side, one with a Monte Carlo error, NaN, or a
            negative divergence.
    """
    what = "log dQ/dP" if single_draw else "KL"
    if isinstance(kl, KL):
        how = f" ({kl.note})" if kl.note else ""
        if kl.side not in ("exact", "upper"):
            raise ValueError(
                f"{what} = {kl.value}{how} has the side {kl.side!r}; a certificate takes an exact value or an upper "
                "bound only, since one below the truth would certify too much. Use a per-step log-determinant, a "
                "closed form or an upper bound."
            )
        if not kl.value.mcse == 0:
            raise ValueError(
                f"{what} = {kl.value}{how} has a Monte Carlo error, and the mean of an unbounded quantity has no "
                "confidence limit without assumptions. Use `single_draw_bound` with log dQ/dP at the one draw that is "
                "certified, or a closed-form divergence."
            )
        kl = kl.value.value
    number = np.asarray(kl, np.float64)
    if np.isnan(number).any() or (not single_draw and (number < 0).any()):
        allowed = "it must not be NaN" if single_draw else "it must be at least 0 and not NaN"
        raise ValueError(f"{what} is {number}; {allowed}.")
    return number


def exact(value: float, note: str = "closed form") -> KL:
    """A divergence without Monte Carlo error [nats].

    Raises:
        ValueError: NaN.
    """
    if math.isnan(value):
        raise ValueError(f"KL is {value} ({note}); it must be a number.")
    return KL(Estimate(float(value), 0.0), "exact", note)
