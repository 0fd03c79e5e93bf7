r"""Bounds without an average over a posterior: one draw, members that fit all data, and held-out data."""

import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from slt._options import checked
from slt.pac_bayes.bounds import complexity
from slt.pac_bayes.checks import Numbers, check_count, check_delta, check_unit, numbers
from slt.pac_bayes.kl import KL, certifiable
from slt.pac_bayes.kl_inverse import kl_inverse_lower, kl_inverse_upper


@checked
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
    return numbers(kl_inverse_upper(q, np.maximum(c, 0.0)))


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


@checked
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
    name = "holdout_chernoff_bound"
    n, q = check_count(name, num_test, what="num_test"), check_unit(name, risk)
    return numbers(kl_inverse_upper(q, -np.log(check_delta(name, delta)) / n))


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
    return numbers(kl_inverse_lower(q, c)), numbers(kl_inverse_upper(q, c))


def _surprise(name: str, log_prior_mass: ArrayLike, num_data: int, delta: float) -> np.ndarray:
    check_count(name, num_data)
    check_delta(name, delta)
    mass = np.asarray(log_prior_mass, np.float64)
    if not (mass <= 0).all():
        raise ValueError(f"{name}: log_prior_mass is {log_prior_mass}; the log of a probability is at most 0.")
    return -mass
