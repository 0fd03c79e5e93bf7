r"""Catoni's bounds: linear in risk and divergence at a parameter C that may not see the data, or pays for the choice.

Conditions of all: n i.i.d. data, a loss in [0, 1], a prior that does not depend on these data. `catoni_bound` at the C
that happens to be best on the data is not a bound, and is not offered.
"""

from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike

from slt.pac_bayes.checks import Numbers, check_bound, numbers
from slt.pac_bayes.kl import KL

GRID = np.logspace(-2, 1, 100)
"""The values of C among which `catoni_grid_bound` chooses."""


def catoni_bound(
    risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05, trade_off: float
) -> Numbers:
    r"""$(1 - e^{-Cq - (\mathrm{KL} + \ln(1/\delta))/n})/(1 - e^{-C})$ at one C, chosen before the data are seen.

    Args:
        trade_off: C > 0. The rest: as for `kl_bound`.

    Raises:
        ValueError: as `kl_bound`, or C not positive and finite.

    Source: Catoni 2007, arXiv:0712.0248.
    """
    q, k = check_bound("catoni_bound", risk, kl, num_data, delta)
    if not (trade_off > 0 and np.isfinite(trade_off)):
        raise ValueError(f"catoni_bound: trade_off is {trade_off}; C must be positive, finite and chosen beforehand.")
    return numbers(_catoni(trade_off, trade_off * q + (k - np.log(delta)) / num_data))


def catoni_grid_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    """The least `catoni_bound` over 100 values of C from 0.01 to 10, each at delta/100; arguments as `kl_bound`.

    Source: Catoni 2007, arXiv:0712.0248, with a union bound.
    """
    q, k = check_bound("catoni_grid_bound", risk, kl, num_data, delta)
    nats = (k - np.log(delta / len(GRID))) / num_data
    return numbers(np.min(_catoni(GRID, GRID * q[..., None] + nats[..., None]), axis=-1))


def catoni_union_bound(
    risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05, alpha: float = 1.1
) -> Numbers:
    r"""$\inf_{\lambda > 1} \Phi^{-1}_{\lambda/n}(q + \frac\alpha\lambda(\mathrm{KL} - \ln\delta + 2\ln u))$.

    $\Phi^{-1}_a(x) = (1 - e^{-ax})/(1 - e^{-a})$ and $u = \ln(\alpha^2\lambda)/\ln\alpha$.

    Args:
        alpha: ratio of the geometric grid under the union bound, above 1; chosen before the data are seen.
            The rest: as for `kl_bound`.

    Raises:
        ValueError: as `kl_bound`, or alpha at most 1.

    Source: Catoni 2007, arXiv:0712.0248, Theorem 1.2.6.
    """
    q, k = check_bound("catoni_union_bound", risk, kl, num_data, delta)
    if not alpha > 1:
        raise ValueError(f"catoni_union_bound: alpha is {alpha}; it must exceed 1.")
    q, k = (np.asarray(x)[..., None] for x in np.broadcast_arrays(q, k))

    def bound(log_lambda: np.ndarray) -> np.ndarray:
        price = 2 * np.log((2 * np.log(alpha) + log_lambda) / np.log(alpha))
        per_datum = np.exp(log_lambda) / num_data
        return _catoni(per_datum, per_datum * q + alpha / num_data * (k - np.log(delta) + price))

    return numbers(_least(bound, np.full(q.shape, 1e-9), np.full(q.shape, np.log(num_data) + 4)))


def linear_catoni_bound(
    risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05, trade_off: float
) -> Numbers:
    r"""$q + \frac{\lambda}{8n} + \frac{\mathrm{KL} + \ln(1/\delta)}{\lambda}$ at one lambda, chosen beforehand.

    Args:
        trade_off: lambda > 0. The rest: as for `kl_bound`.

    Raises:
        ValueError: as `kl_bound`, or lambda not positive and finite.

    Source: Alquier et al. 2016, arXiv:1506.04091.
    """
    q, k = check_bound("linear_catoni_bound", risk, kl, num_data, delta)
    if not (trade_off > 0 and np.isfinite(trade_off)):
        raise ValueError(f"linear_catoni_bound: trade_off is {trade_off}; lambda must be positive and finite.")
    return numbers(q + trade_off / (8 * num_data) + (k - np.log(delta)) / trade_off)


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
