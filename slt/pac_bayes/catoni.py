r"""Catoni's bounds: linear in risk and divergence at a parameter C that may not see the data, or pays for the choice.

`catoni` at the C that happens to be best on the data is not a bound, and is not offered.
"""

import math
from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike

from slt.pac_bayes.checks import Evidence

GRID = np.logspace(-2, 1, 100)
"""The values of C among which `catoni_grid` chooses."""


def catoni(e: Evidence, delta: float, *, trade_off: float = math.nan) -> np.ndarray:
    r"""$(1 - e^{-Cq - (\mathrm{KL} + \ln(1/\delta))/n})/(1 - e^{-C})$ at one C > 0, the `trade_off`, chosen beforehand.

    Raises:
        ValueError: no C, or one that is not positive and finite.
    """
    C = _positive("C", trade_off)
    return _catoni(C, C * e.risk + (e.kl - np.log(delta)) / e.num_data)


def catoni_grid(e: Evidence, delta: float) -> np.ndarray:
    """The least `catoni` over 100 values of C from 0.01 to 10, each at delta/100."""
    nats = (e.kl - np.log(delta / len(GRID))) / e.num_data
    return np.min(_catoni(GRID, GRID * e.risk[..., None] + nats[..., None]), axis=-1)


def catoni_union(e: Evidence, delta: float, *, alpha: float = 1.1) -> np.ndarray:
    r"""$\inf_{\lambda > 1} \Phi^{-1}_{\lambda/n}(q + \frac\alpha\lambda(\mathrm{KL} - \ln\delta + 2\ln u))$.

    $\Phi^{-1}_a(x) = (1 - e^{-ax})/(1 - e^{-a})$ and $u = \ln(\alpha^2\lambda)/\ln\alpha$; alpha is the ratio of the
    geometric grid under the union bound, chosen before the data are seen.

    Raises:
        ValueError: alpha at most 1.
    """
    if not alpha > 1:
        raise ValueError(f"Catoni's union bound: alpha is {alpha}; it must exceed 1.")
    q, k = (np.asarray(x)[..., None] for x in np.broadcast_arrays(e.risk, e.kl))

    def bound(log_lambda: np.ndarray) -> np.ndarray:
        price = 2 * np.log((2 * np.log(alpha) + log_lambda) / np.log(alpha))
        per_datum = np.exp(log_lambda) / e.num_data
        return _catoni(per_datum, per_datum * q + alpha / e.num_data * (k - np.log(delta) + price))

    return _least(bound, np.full(q.shape, 1e-9), np.full(q.shape, np.log(e.num_data) + 4))


def linear_catoni(e: Evidence, delta: float, *, trade_off: float = math.nan) -> np.ndarray:
    r"""$q + \frac{\lambda}{8n} + \frac{\mathrm{KL} + \ln(1/\delta)}{\lambda}$ at one lambda > 0, chosen beforehand.

    Raises:
        ValueError: no lambda, the `trade_off`, or one that is not positive and finite.
    """
    lam = _positive("lambda", trade_off)
    return e.risk + lam / (8 * e.num_data) + (e.kl - np.log(delta)) / lam


def _positive(symbol: str, value: float) -> float:
    if not (value > 0 and np.isfinite(value)):
        raise ValueError(f"Catoni's bound: trade_off is {value}; {symbol} must be positive, finite, chosen beforehand.")
    return value


def _catoni(C: ArrayLike, exponent: np.ndarray) -> np.ndarray:
    return np.expm1(-exponent) / np.expm1(-np.asarray(C))


def _least(bound: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Least value seen on a grid between low and high, refined five times around it; any of its points is valid."""
    steps, value = np.linspace(0, 1, 33), np.inf
    for _ in range(6):
        points = low + (high - low) * steps
        values = bound(points)
        value = np.minimum(value, values.min(-1))
        best = np.take_along_axis(points, values.argmin(-1)[..., None], -1)
        width = (high - low) / 32
        low, high = np.maximum(low, best - width), np.minimum(high, best + width)
    return np.asarray(value)
