r"""Upper bounds on the true risk $R = \mathbb{E}_Q[R(w)]$ that follow from one event, and bounds without a posterior.

With probability at least 1 - delta over the sample, for all posteriors Q at once (Maurer 2004, cs/0411099):
$\mathrm{kl}(q \Vert R) \le c = (\mathrm{KL}(Q \Vert P) + \ln(2\sqrt n/\delta))/n$, where q is the empirical risk of Q.
Conditions of all: n i.i.d. data, a loss in [0, 1], and a prior P that does not depend on these n data.
The first functions are the bounds as formulas in (q, c), for training objectives; they check nothing.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from scipy import stats
from scipy.special import gammaincc, gammaln

from slt.pac_bayes.checks import Numbers, check_bound, check_count, check_delta, check_unit, numbers
from slt.pac_bayes.kl import KL, certifiable
from slt.pac_bayes.kl_inverse import kl_inverse_lower, kl_inverse_upper


def pinsker(q: Any, c: Any) -> Any:
    r"""$q + \sqrt{c/2}$, the objective f_classic."""
    return q + (c / 2) ** 0.5


def quadratic(q: Any, c: Any) -> Any:
    r"""$(\sqrt{q + c/2} + \sqrt{c/2})^2$, the objective f_quad."""
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


def kl_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""Maurer-Seeger: $\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln(2\sqrt n/\delta))/n)$.

    Proved for n >= 8; for 2 <= n < 8 it holds as well, since $\xi(n) \le 2\sqrt n$ there too.

    Args:
        risk: q, the exact mean of the loss over posterior and sample; a Monte Carlo mean must be corrected first, see
            `monte_carlo_upper`.
        kl: of this posterior to a prior independent of these data [nats]; lower bounds and noisy values are refused.
        num_data: n, the data in `risk` that the prior has not seen.
        delta: probability over the sample that the bound may fail.

    Returns:
        A float, or an array where risk or kl are arrays.

    Raises:
        ValueError: risk outside [0, 1], delta outside (0, 1), n < 2, or a divergence that certifies nothing.

    Source: Langford & Seeger 2001; Maurer 2004, cs/0411099.
    """
    q, k = check_bound("kl_bound", risk, kl, num_data, delta)
    return numbers(np.asarray(kl_inverse_upper(q, complexity(k, num_data, delta))))


def kl_lower_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    """A lower bound on the true risk, from the event of `kl_bound`: the two hold together; arguments as there."""
    q, k = check_bound("kl_lower_bound", risk, kl, num_data, delta)
    return numbers(np.asarray(kl_inverse_lower(q, complexity(k, num_data, delta))))


def exact_kl_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""`kl_bound` with the exact constant $\xi(n)$ for $2\sqrt n$; any n >= 2, otherwise as there.

    Source: Maurer 2004, cs/0411099, equation (4); Germain et al. 2015, JMLR 16:787.
    """
    q, k = check_bound("exact_kl_bound", risk, kl, num_data, delta)
    return numbers(np.asarray(kl_inverse_upper(q, (k + log_xi(num_data) - np.log(delta)) / num_data)))


def langford_seeger_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln((n+1)/\delta))/n)$; looser than `kl_bound`, otherwise as there.

    Source: Langford 2005, JMLR 6:273.
    """
    q, k = check_bound("langford_seeger_bound", risk, kl, num_data, delta)
    return numbers(np.asarray(kl_inverse_upper(q, (k + np.log((num_data + 1) / delta)) / num_data)))


def dziugaite_roy_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$\mathrm{kl}^{-1,+}(q, (\mathrm{KL} + \ln(n/\delta))/(n-1))$, otherwise as `kl_bound`.

    Source: Dziugaite & Roy 2017, arXiv:1703.11008.
    """
    q, k = check_bound("dziugaite_roy_bound", risk, kl, num_data, delta)
    return numbers(np.asarray(kl_inverse_upper(q, (k + np.log(num_data / delta)) / (num_data - 1))))


def mcallester_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$q + \sqrt{(\mathrm{KL} + \ln(2\sqrt n/\delta))/(2n)}$, by Pinsker from `kl_bound`; arguments as there.

    Source: McAllester 1999; Maurer 2004, cs/0411099.
    """
    q, k = check_bound("mcallester_bound", risk, kl, num_data, delta)
    return numbers(pinsker(q, complexity(k, num_data, delta)))


def mcallester_1999_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$q + \sqrt{(\mathrm{KL} + \ln(1/\delta) + \frac52\ln n + 8)/(2n-1)}$, as first published; as `kl_bound`.

    Source: McAllester 1999, COLT; 2003, Machine Learning 51:5.
    """
    q, k = check_bound("mcallester_1999_bound", risk, kl, num_data, delta)
    return numbers(q + np.sqrt((k - np.log(delta) + 2.5 * np.log(num_data) + 8) / (2 * num_data - 1)))


def quadratic_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$(\sqrt{q + c/2} + \sqrt{c/2})^2$, the least `lambda_bound`; arguments as `kl_bound`.

    Source: Rivasplata et al. 2019, arXiv:1908.07380; Perez-Ortiz et al. 2021, arXiv:2007.12911.
    """
    q, k = check_bound("quadratic_bound", risk, kl, num_data, delta)
    return numbers(quadratic(q, complexity(k, num_data, delta)))


def lambda_bound(
    risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05, trade_off: float | None = None
) -> Numbers:
    r"""$q/(1-\lambda/2) + c/(\lambda(1-\lambda/2))$, for all lambda in (0, 2) at once; arguments as `kl_bound`.

    Args:
        trade_off: lambda; the least bound by default, which may be asked for since all hold at once.

    Raises:
        ValueError: as `kl_bound`, or lambda outside (0, 2).

    Source: Thiemann et al. 2017, arXiv:1608.05610.
    """
    q, k = check_bound("lambda_bound", risk, kl, num_data, delta)
    if trade_off is not None and not 0 < trade_off < 2:
        raise ValueError(f"lambda_bound: trade_off is {trade_off}; lambda must lie strictly between 0 and 2.")
    c = complexity(k, num_data, delta)
    return numbers(thiemann(q, c, best_trade_off(q, c) if trade_off is None else trade_off))


def refined_pinsker_bound(risk: ArrayLike, kl: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$q + \sqrt{2qc} + 2c$; arguments as `kl_bound`.

    Source: Tolstikhin & Seldin 2013, NIPS; McAllester 2003.
    """
    q, k = check_bound("refined_pinsker_bound", risk, kl, num_data, delta)
    c = complexity(k, num_data, delta)
    return numbers(q + np.sqrt(2 * q * c) + 2 * c)


def single_draw_bound(risk: ArrayLike, log_ratio: KL | ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""Disintegrated: $\mathrm{kl}^{-1,+}(L_S(w), (\ln\frac{dQ}{dP}(w) + \ln(2\sqrt n/\delta))/n)$ for one draw w of Q.

    It bounds the risk of this w, with probability at least 1 - delta over the sample and the one draw together: no
    average over Q enters, and so no Monte Carlo error. Looking at several draws, or stopping times, and keeping the
    best is a choice: give delta divided by their number.

    Args:
        risk: L_S(w), empirical risk of the drawn w.
        log_ratio: log dQ/dP at this w [nats], exact or an upper bound; it may be negative.
        num_data, delta: as for `kl_bound`.

    Raises:
        ValueError: as `kl_bound`.

    Source: Rivasplata et al. 2020, arXiv:2006.13057; Clerico et al. 2022, arXiv:2209.02525.
    """
    name = "single_draw_bound"
    q = check_unit(name, risk)
    check_count(name, num_data)
    check_delta(name, delta)
    c = complexity(certifiable(log_ratio, single_draw=True), num_data, delta)
    return numbers(np.asarray(kl_inverse_upper(q, np.maximum(c, 0.0))))


def realizable_bound(log_prior_mass: ArrayLike, *, num_data: int, delta: float = 0.05) -> Numbers:
    r"""$1 - \exp(-(\ln\frac1{P(U)} + \ln\frac1\delta + 2\ln n + 1)/n)$ for the prior restricted to the fitting set U.

    Conditions: zero-one loss, every member of U fits all data, the posterior is P conditioned on U.

    Args:
        log_prior_mass: ln P(U) [nats], exact or a lower bound.
        num_data, delta: as for `kl_bound`.

    Raises:
        ValueError: ln P(U) above 0 or NaN; delta or n as for `kl_bound`.

    Source: McAllester 1998, Some PAC-Bayesian theorems.
    """
    mass = _surprise("realizable_bound", log_prior_mass, num_data, delta)
    return numbers(-np.expm1(-(mass - np.log(delta) + 2 * np.log(num_data) + 1) / num_data))


def marginal_likelihood_bound(
    log_prior_mass: ArrayLike, *, num_data: int, delta: float = 0.05, gamma: float = 0.05
) -> Numbers:
    r"""$1 - \exp(-(\ln\frac1{P(C(S))} + \ln n + \ln\frac1\delta + \ln\frac1\gamma)/(n-1))$ for one Bayes draw f.

    Conditions: zero-one loss, C(S) are the functions that fit all data, f is drawn from the prior conditioned on C(S).
    It holds for a share of at least 1 - gamma of the draws, on a share of at least 1 - delta of the samples.

    Args:
        log_prior_mass: ln P(C(S)), the log marginal likelihood [nats], exact or a lower bound.
        num_data, delta: as for `kl_bound`.
        gamma: probability over the draw that the bound may fail.

    Raises:
        ValueError: as `realizable_bound`, or gamma outside (0, 1).

    Source: Valle-Perez & Louis 2020, arXiv:2012.04115.
    """
    if not 0 < gamma < 1:
        raise ValueError(f"marginal_likelihood_bound: gamma is {gamma}; it must lie strictly between 0 and 1.")
    mass = _surprise("marginal_likelihood_bound", log_prior_mass, num_data, delta)
    return numbers(-np.expm1(-(mass + np.log(num_data) - np.log(delta) - np.log(gamma)) / (num_data - 1)))


def holdout_bound(errors: ArrayLike, num_test: int, *, delta: float = 0.05) -> Numbers:
    r"""Clopper-Pearson: $\sup\{p : P(\mathrm{Bin}(n, p) \le k) \ge \delta\}$, exact for a zero-one loss.

    Conditions: the hypothesis was chosen without a look at the n i.i.d. test data.

    Args:
        errors: k, number of wrong test data.
        num_test: n. delta: probability over the test set that the bound may fail.

    Raises:
        ValueError: k not whole or outside [0, n], delta outside (0, 1), n < 2.

    Source: Clopper & Pearson 1934; Langford 2005, JMLR 6:273.
    """
    n, k = check_count("holdout_bound", num_test, what="num_test"), np.asarray(errors, np.float64)
    check_delta("holdout_bound", delta)
    if not ((k >= 0) & (k <= n) & (k == np.floor(k))).all():
        raise ValueError(
            f"holdout_bound: errors is {errors} of {n}; give whole numbers between 0 and {n}, or use "
            "`holdout_chernoff_bound` for the mean of another loss in [0, 1]."
        )
    return numbers(np.where(k < n, stats.beta.ppf(1 - delta, k + 1, np.maximum(n - k, 1)), 1.0))


def holdout_chernoff_bound(risk: ArrayLike, num_test: int, *, delta: float = 0.05) -> Numbers:
    r"""$\mathrm{kl}^{-1,+}(q, \ln(1/\delta)/n)$ for any loss in [0, 1]; otherwise as `holdout_bound`.

    Source: Langford 2005, JMLR 6:273.
    """
    n, q = (
        check_count("holdout_chernoff_bound", num_test, what="num_test"),
        check_unit("holdout_chernoff_bound", risk),
    )
    return numbers(np.asarray(kl_inverse_upper(q, -np.log(check_delta("holdout_chernoff_bound", delta)) / n)))


def monte_carlo_interval(mean: ArrayLike, num_draws: int, *, delta: float) -> tuple[Numbers, Numbers]:
    r"""$\mathrm{kl}^{-1,\mp}(\hat q, \ln(2/\delta)/N)$: limits of a mean in [0, 1] from N independent draws.

    Args:
        mean: of the draws; the posterior is drawn N times, and each draw sees all data.
        num_draws: N, fixed beforehand.
        delta: probability over the draws that either limit may fail.

    Raises:
        ValueError: a mean outside [0, 1], delta outside (0, 1), N < 1.

    Source: Langford & Caruana 2002, NIPS; Dziugaite & Roy 2017, arXiv:1703.11008.
    """
    q = check_unit("monte_carlo_interval", mean, what="mean")
    count = check_count("monte_carlo_interval", num_draws, least=1, what="num_draws")
    c = np.log(2 / check_delta("monte_carlo_interval", delta)) / count
    return numbers(np.asarray(kl_inverse_lower(q, c))), numbers(np.asarray(kl_inverse_upper(q, c)))


def _surprise(name: str, log_prior_mass: ArrayLike, num_data: int, delta: float) -> np.ndarray:
    check_count(name, num_data)
    check_delta(name, delta)
    mass = np.asarray(log_prior_mass, np.float64)
    if not (mass <= 0).all():
        raise ValueError(f"{name}: log_prior_mass is {log_prior_mass}; the log of a probability is at most 0.")
    return -mass
