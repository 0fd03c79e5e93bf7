r"""Bounds that gain where the loss varies little: unexpected Bernstein, empirical Bernstein, and split-kl."""

import math
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from slt.pac_bayes.checks import Evidence, Numbers, check_count, check_delta, check_unit, numbers
from slt.pac_bayes.kl import KL, certifiable
from slt.pac_bayes.kl_inverse import kl_inverse_upper

GRID_RATIO = 1.15
"""c1 = c2 of the empirical Bernstein bound: ratio of the grids under its two union bounds."""


def unexpected_bernstein(e: Evidence, delta: float) -> np.ndarray:
    r"""$\min_\gamma\; q + c_\gamma s + (\mathrm{KL} + \ln(k/\delta))/(\gamma n)$, s the second moment.

    $c_\gamma = -1 - \ln(1-\gamma)/\gamma$; gamma runs over $2^{-1}, \dots, 2^{-k}$ with
    $k = \lceil\log_2(\frac12\sqrt{n/\ln(1/\delta)})\rceil$, each at delta/k.
    """
    count = max(1, math.ceil(math.log2(math.sqrt(e.num_data / -math.log(delta)) / 2)))
    gamma = 0.5 ** np.arange(1, count + 1)
    c = -1 - np.log1p(-gamma) / gamma
    nats = e.kl[..., None] + math.log(count / delta)
    terms = e.risk[..., None] + c * e.second_moment[..., None] + nats / (gamma * e.num_data)
    return np.min(terms, axis=-1)


def empirical_bernstein(e: Evidence, delta: float) -> np.ndarray:
    r"""$q + (1+c_1)\sqrt{(e-2)\bar V c}$ if $c \le (e-2)\bar V$, else $q + 2c$.

    $c = (\mathrm{KL} + \ln(2\nu_1/\delta))/n$. $\bar V$ bounds the true variance from the empirical one;
    half of delta goes to each of the two. nu_1 and nu_2 count the grids of their union bounds.
    """
    n, v = e.num_data, e.variance
    grid, tail = math.log(GRID_RATIO), math.log(2 / delta)
    nu2 = math.ceil(math.log(0.5 * math.sqrt((n - 1) / tail + 1) + 0.5) / grid)
    nats = (e.kl + math.log(2 * nu2 / delta)) / (n - 1)
    v_bar = np.minimum(v + (1 + GRID_RATIO) * np.sqrt(v * nats / 2) + 2 * GRID_RATIO * nats, 0.25)
    # below 1 only where n is so small that the second branch applies, whose one parameter needs no union bound
    nu1 = max(1, math.ceil(0.5 * math.log((math.e - 2) * n / (4 * tail)) / grid) + 1)
    c = (e.kl + math.log(2 * nu1 / delta)) / n
    wide = c <= (math.e - 2) * v_bar
    return e.risk + np.where(wide, (1 + GRID_RATIO) * np.sqrt((math.e - 2) * v_bar * c), 2 * c)


def split_kl_bound(
    exceedances: ArrayLike, kl: KL | ArrayLike, *, levels: Sequence[float], num_data: int, delta: float = 0.05
) -> Numbers:
    r"""$b_0 + \sum_j (b_j - b_{j-1})\,\mathrm{kl}^{-1,+}(\hat F_j, (\mathrm{KL} + \ln(2J\sqrt n/\delta))/n)$.

    For a loss that takes the values $b_0 < \dots < b_J$ only, in any range.

    Args:
        exceedances: F_j, mean over posterior and sample of 1[loss >= b_j], j = 1..J along the last axis.
        kl, num_data, delta: as for `kl_bound`.
        levels: b_0, ..., b_J [unit of the loss].

    Raises:
        ValueError: as `kl_bound`; levels that do not increase; exceedances that increase, or are not J.

    Source: Wu & Seldin 2022, arXiv:2206.00706.
    """
    name = "split_kl_bound"
    check_count(name, num_data)
    check_delta(name, delta)
    F, b = check_unit(name, exceedances, what="exceedances"), np.asarray(levels, np.float64)
    if b.size < 2 or not (np.diff(b) > 0).all():
        raise ValueError(f"{name}: levels is {levels}; give at least two, in increasing order.")
    if F.ndim == 0 or F.shape[-1] != b.size - 1 or (np.diff(F, axis=-1) > 0).any():
        raise ValueError(
            f"{name}: exceedances is {exceedances}; give one share of losses >= b_j for each of the {b.size - 1} "
            "levels above the lowest, none larger than the one before."
        )
    c = (certifiable(kl) + math.log(2 * (b.size - 1) * math.sqrt(num_data) / delta)) / num_data
    return numbers(b[0] + np.sum(np.diff(b) * kl_inverse_upper(F, c[..., None]), axis=-1))
