r"""Upper bounds on the true risk $R = \mathbb{E}_Q[R(w)]$: formulas that follow from one event, and the table of all.

With probability at least 1 - delta over the sample, for all posteriors Q at once (Maurer 2004, cs/0411099):
$\mathrm{kl}(q \Vert R) \le c = (\mathrm{KL}(Q \Vert P) + \ln(2\sqrt n/\delta))/n$, where q is the empirical risk of Q.
Conditions of all: n i.i.d. data, a loss in [0, 1], and a prior P that does not depend on these n data.
To add a bound, write a function of `Evidence` and delta, name it in FAMILIES, and give it a case in its tests.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy.special import gammaincc, gammaln

from slt._options import checked
from slt.pac_bayes.bernstein import empirical_bernstein, unexpected_bernstein
from slt.pac_bayes.catoni import catoni, catoni_grid, catoni_union, linear_catoni
from slt.pac_bayes.checks import Evidence, Numbers, check_delta, check_evidence, numbers
from slt.pac_bayes.kl import KL
from slt.pac_bayes.kl_inverse import kl_inverse_lower, kl_inverse_upper


class Family(NamedTuple):
    """One kind of bound.

    event: what holds with probability 1 - delta; bounds that follow from one event share its delta. bound: (evidence,
    delta, own parameters) -> bound. source. validity: beyond the conditions of all; own parameters are chosen before
    the data are seen. listed: whether `bound_table` considers it unasked.
    """

    event: str
    bound: Callable[..., Any]
    source: str
    validity: str = "n >= 2"
    listed: bool = True


def pinsker(q: Any, c: Any) -> Any:
    r"""$q + \sqrt{c/2}$, the objective f_classic."""
    return q + (c / 2) ** 0.5


def quadratic(q: Any, c: Any) -> Any:
    r"""$(\sqrt{q + c/2} + \sqrt{c/2})^2$, the objective f_quad, the least `thiemann`."""
    return ((q + c / 2) ** 0.5 + (c / 2) ** 0.5) ** 2


def thiemann(q: Any, c: Any, trade_off: Any) -> Any:
    r"""$q/(1 - \lambda/2) + c/(\lambda(1 - \lambda/2))$, the objective f_lambda."""
    return (q + c / trade_off) / (1 - trade_off / 2)


def best_trade_off(q: Any, c: Any) -> Any:
    r"""The minimiser $\lambda^* = 2/(\sqrt{2q/c + 1} + 1)$ of `thiemann`, where it equals `quadratic`."""
    return 2 / ((2 * q / c + 1) ** 0.5 + 1)


def complexity(kl: Any, num_data: int, delta: float) -> Any:
    r"""$c = (\mathrm{KL} + \ln(2\sqrt n/\delta))/n$ [nats/datum]."""
    return (kl + np.log(2 * np.sqrt(num_data) / delta)) / num_data


@lru_cache
def log_xi(num_data: int) -> float:
    r"""$\ln \xi(n)$, $\xi(n) = \sum_k \binom nk (k/n)^k (1-k/n)^{n-k} \in [\sqrt n, 2\sqrt n]$: the exact constant.

    Abel's identity makes it $n!\,(e/n)^n\,P(\mathrm{Poisson}(n) \le n)$.
    """
    n = float(num_data)
    return float(gammaln(n + 1) + n - n * np.log(n) + np.log(gammaincc(n + 1, n)))


def _c(e: Evidence, delta: float) -> np.ndarray:
    return complexity(e.kl, e.num_data, delta)


def maurer_seeger(e: Evidence, delta: float) -> Any:
    r"""$\mathrm{kl}^{-1,+}(q, c)$."""
    return kl_inverse_upper(e.risk, _c(e, delta))


def exact_constant(e: Evidence, delta: float) -> Any:
    r"""$\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln(\xi(n)/\delta))/n)$."""
    return kl_inverse_upper(e.risk, (e.kl + log_xi(e.num_data) - np.log(delta)) / e.num_data)


def langford_seeger(e: Evidence, delta: float) -> Any:
    r"""$\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln((n+1)/\delta))/n)$."""
    return kl_inverse_upper(e.risk, (e.kl + np.log((e.num_data + 1) / delta)) / e.num_data)


def dziugaite_roy(e: Evidence, delta: float) -> Any:
    r"""$\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln(n/\delta))/(n-1))$."""
    return kl_inverse_upper(e.risk, (e.kl + np.log(e.num_data / delta)) / (e.num_data - 1))


def mcallester(e: Evidence, delta: float) -> np.ndarray:
    r"""$q + \sqrt{c/2}$."""
    return pinsker(e.risk, _c(e, delta))


def mcallester_1999(e: Evidence, delta: float) -> np.ndarray:
    r"""$q + \sqrt{(\mathrm{KL} + \ln(1/\delta) + \frac52\ln n + 8)/(2n-1)}$, as first published."""
    n = e.num_data
    return e.risk + np.sqrt((e.kl - np.log(delta) + 2.5 * np.log(n) + 8) / (2 * n - 1))


def rivasplata(e: Evidence, delta: float) -> np.ndarray:
    r"""$(\sqrt{q + c/2} + \sqrt{c/2})^2$."""
    return quadratic(e.risk, _c(e, delta))


def thiemann_best(e: Evidence, delta: float, *, trade_off: float | None = None) -> np.ndarray:
    r"""$q/(1-\lambda/2) + c/(\lambda(1-\lambda/2))$; for all lambda in (0, 2) at once: the least, or one.

    Raises:
        ValueError: lambda, the `trade_off`, outside (0, 2).
    """
    if trade_off is not None and not 0 < trade_off < 2:
        raise ValueError(f"Thiemann's bound: trade_off is {trade_off}; lambda must lie strictly between 0 and 2.")
    c = _c(e, delta)
    return thiemann(e.risk, c, best_trade_off(e.risk, c) if trade_off is None else trade_off)


def refined_pinsker(e: Evidence, delta: float) -> np.ndarray:
    r"""$q + \sqrt{2qc} + 2c$."""
    c = _c(e, delta)
    return e.risk + np.sqrt(2 * e.risk * c) + 2 * c


_SMALL = "proved for n >= 8; for 2 <= n < 8 since xi(n) <= 2 sqrt(n) there, too"
_ZERO_ONE = "the second moment or variance given, or that of a zero-one loss"
FAMILIES: dict[str, Family] = {
    "kl": Family("kl", maurer_seeger, "Langford & Seeger 2001; Maurer 2004, cs/0411099", _SMALL),
    "kl, exact constant": Family("kl", exact_constant, "Maurer 2004, (4); Germain et al. 2015, JMLR 16:787"),
    "Langford-Seeger": Family("kl", langford_seeger, "Langford 2005, JMLR 6:273"),
    "Dziugaite-Roy": Family("kl, n - 1", dziugaite_roy, "Dziugaite & Roy 2017, arXiv:1703.11008", listed=False),
    "McAllester": Family("kl", mcallester, "McAllester 1999; Maurer 2004, cs/0411099", _SMALL),
    "McAllester 1999": Family(
        "McAllester 1999", mcallester_1999, "McAllester 2003, Machine Learning 51:5", listed=False
    ),
    "quadratic": Family("kl", rivasplata, "Rivasplata et al. 2019, arXiv:1908.07380; arXiv:2007.12911", _SMALL),
    "Thiemann λ": Family("kl", thiemann_best, "Thiemann et al. 2017, arXiv:1608.05610", _SMALL),
    "refined Pinsker": Family("kl", refined_pinsker, "Tolstikhin & Seldin 2013, NIPS; McAllester 2003", _SMALL),
    "Catoni": Family("Catoni at C", catoni, "Catoni 2007, arXiv:0712.0248", "one trade_off C", listed=False),
    "Catoni, grid": Family("Catoni, grid", catoni_grid, "Catoni 2007, arXiv:0712.0248, with a union bound"),
    "Catoni, α union": Family("Catoni, α union", catoni_union, "Catoni 2007, arXiv:0712.0248, Theorem 1.2.6"),
    "Catoni, linear": Family("linear", linear_catoni, "Alquier et al. 2016, arXiv:1506.04091", "one trade_off", False),
    "unexpected Bernstein": Family(
        "unexpected Bernstein", unexpected_bernstein, "Mhammedi et al. 2019, arXiv:1905.13367", _ZERO_ONE
    ),
    "empirical Bernstein": Family(
        "empirical Bernstein", empirical_bernstein, "Tolstikhin & Seldin 2013, NIPS", _ZERO_ONE
    ),
}
"""By the name that `family_bound` and `bound_table` take."""


def family_bound(
    family: str,
    risk: ArrayLike,
    kl: KL | ArrayLike,
    *,
    num_data: int,
    delta: float = 0.05,
    second_moment: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    **chosen: float,
) -> Numbers:
    """One bound of FAMILIES; its formula, source and validity stand there.

    Args:
        family: a name in FAMILIES.
        risk: q, the exact mean of the loss over posterior and sample; a Monte Carlo mean must be corrected first, see
            `monte_carlo_interval`.
        kl: of this posterior to a prior independent of these data [nats]; lower bounds and noisy values are refused.
        num_data: n, the data in `risk` that the prior has not seen.
        delta: probability over the sample that the bound may fail.
        second_moment, variance: of the loss, see `Evidence`; those of a zero-one loss, which are the largest, if None.
        chosen: the family's own parameters, `trade_off` or `alpha`, chosen before the data are seen.

    Returns:
        A float, or an array where risk or kl are arrays.

    Raises:
        ValueError: no such family, risk outside [0, 1], delta outside (0, 1), n < 2, a divergence that certifies
            nothing, or an own parameter out of its range.
    """
    if family not in FAMILIES:
        raise ValueError(f"family_bound: there is no family {family!r}; choose from {', '.join(FAMILIES)}.")
    evidence = check_evidence(family, risk, kl, num_data, second_moment, variance)
    return numbers(FAMILIES[family].bound(evidence, check_delta(family, delta), **chosen))


@checked
def kl_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""Maurer-Seeger: $\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln(2\sqrt n/\delta))/n)$; see `family_bound`.

    Source: Langford & Seeger 2001; Maurer 2004, cs/0411099.
    """
    return family_bound("kl", risk, kl, num_data=num_data, delta=delta)


def kl_lower_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    """A lower bound on the true risk, from the event of `kl_bound`: the two hold together; arguments as there."""
    e = check_evidence("kl_lower_bound", risk, kl, num_data)
    return numbers(kl_inverse_lower(e.risk, _c(e, check_delta("kl_lower_bound", delta))))
