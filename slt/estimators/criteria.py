r"""Losses, functional variance and information criteria from sums of per-datum log-likelihoods; see `pointwise`.

Conventions: losses, WAIC and cross-validation are per datum [nats/datum], to be *minimised*; WBIC is in total [nats].
ArviZ's elpd is -n times ours. Every mean is over draws of ONE posterior, on ONE data set, at the beta of the draws:
Watanabe's equations of state speak of the expectation over data sets as well, and that loop is the caller's.

With lambda the learning coefficient and nu(beta) the singular fluctuation, n times the expected excess loss is
(lambda - nu)/beta ± nu for Bayes generalisation (+) and training (-), and lambda/beta ± nu for Gibbs.
WAIC needs no more than draws at the stated beta; what is usually called so has beta = 1 and the model's own prior.

Source: Watanabe 2010, JMLR 11:3571 (WAIC, cross-validation, equations of state); Watanabe 2013, JMLR 14:867 (WBIC).
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from arviz_stats.base.array import array_stats
from jaxtyping import Float

from slt._types import Estimate
from slt.draws import ess, mcse
from slt.estimators.pointwise import Pointwise, Term, check_count, estimate, log_mean, mean, variance

WBIC_TOLERANCE = 1e-3
"""Relative distance of beta from 1/log n that WBIC accepts."""


def functional_variance(sums: Pointwise) -> Estimate:
    r"""$V_n = \sum_i \mathrm{Var}_w[\log p(x_i|w)]$ [nats²] of this data set.

    It is not the variance of the *total* log-likelihood, which estimates lambda/beta².
    """
    return estimate(variance(sums))


def singular_fluctuation(sums: Pointwise) -> Estimate:
    r"""$\hat\nu(\beta) = \frac{\beta}{2} V_n$ [1] of this data set; $\nu(\beta)$ is its expectation over data sets.

    nu depends on beta: draws at the WBIC temperature give nu(1/log n), not nu(1).
    The error is Monte Carlo error alone; between data sets V_n varies by about as much as nu itself.
    """
    return estimate(variance(sums), scale=float(sums.inverse_temperature) / 2)


def gibbs_loss(sums: Pointwise) -> Estimate:
    r"""$-\frac1n\sum_i \mathbb{E}_w[\log p(x_i|w)]$ [nats/datum]; training or generalisation loss as the data are."""
    return _per_datum(_minus(mean(sums)))


def bayes_loss(sums: Pointwise) -> Estimate:
    r"""$-\frac1n\sum_i \log\mathbb{E}_w[p(x_i|w)]$ [nats/datum]; training or generalisation loss as the data are."""
    return _per_datum(_minus(log_mean(sums.log_sum, sums.count)))


def waic(sums: Pointwise) -> Estimate:
    r"""$\mathrm{WAIC} = T_n + \frac{\beta}{n} V_n$ [nats/datum], T_n the Bayes training loss.

    Its expectation over data sets is that of the Bayes generalisation loss up to o(1/n), at every beta.
    """
    return _per_datum(_waic(sums))


def importance_loo(sums: Pointwise) -> Estimate:
    r"""Leave-one-out loss by plain importance sampling (ISCV) [nats/datum].

    $\frac1n\sum_i \log\frac{\mathbb{E}_w[p_i^{-\beta}]}{\mathbb{E}_w[p_i^{1-\beta}]}$, at beta = 1
    $\frac1n\sum_i\log\mathbb{E}_w[1/p_i]$. A datum of high influence gives
    the mean of 1/p_i an infinite variance that no error bar shows: `psis_loo` tells by its Pareto k.
    """
    return _per_datum(_importance_loo(sums))


def wbic(sums: Pointwise) -> Estimate:
    r"""$\mathrm{WBIC} = \mathbb{E}_w^\beta[n L_n(w)]$ at $\beta = 1/\log n$ [nats], an estimate of $-\log$ evidence.

    Raises:
        ValueError: draws at another temperature.
    """
    n = sums.mean.shape[-1]
    due, given = 1 / math.log(n), float(sums.inverse_temperature)
    if abs(given / due - 1) > WBIC_TOLERANCE:
        raise ValueError(
            f"wbic: the draws were taken at beta = {given:.6g}; WBIC is defined at beta = 1/log n = "
            f"{due:.6g} (n = {n}). Sample a target with inverse_temperature={due:.6g}."
        )
    return estimate(_minus(mean(sums)))


def pointwise_criteria(sums: Pointwise) -> dict[str, Float[np.ndarray, " datum"]]:
    """Per-datum values whose mean is the loss of that name, and whose sum is the functional variance."""
    terms = {
        "bayes_training": _minus(log_mean(sums.log_sum, sums.count)),
        "gibbs_training": _minus(mean(sums)),
        "functional_variance": variance(sums),
        "waic": _waic(sums),
        "importance_loo": _importance_loo(sums),
    }
    return {name: term.value for name, term in terms.items()}


class PsisLoo(NamedTuple):
    """loss: leave-one-out loss [nats/datum]; values: per datum; pareto_k: above 0.7 the value is unreliable."""

    loss: Estimate
    values: Float[np.ndarray, " datum"]
    pareto_k: Float[np.ndarray, " datum"]


def psis_loo(log_likelihood: Float[np.ndarray, "chain draw datum"]) -> PsisLoo:
    r"""Leave-one-out loss by Pareto-smoothed importance sampling, through arviz-stats; draws at beta = 1.

    The Monte Carlo error is that of the self-normalised mean, with the smoothed weights taken as fixed.

    Raises:
        ValueError: not three axes, fewer than 2 chains, or too few draws.

    Source: Vehtari, Gelman & Gabry 2017, arXiv:1507.04544.
    """
    values = np.asarray(log_likelihood, np.float64)
    if values.ndim != 3 or values.shape[0] < 2:
        raise ValueError(
            f"psis_loo: log_likelihood has shape {values.shape}; needed: (chain, draw, datum), at least 2 chains."
        )
    count = values.shape[0] * values.shape[1]
    check_count(count)
    efficiency = min(1.0, ess(values.sum(2)) / count)
    smooth: Any = array_stats.psislw  # its annotations know one axis and whole numbers only
    log_weights, pareto_k = smooth(np.moveaxis(values, 2, 0), r_eff=efficiency, axis=(-2, -1))
    weighted = np.exp(log_weights) * np.exp(np.moveaxis(values, 2, 0))
    density = weighted.sum((1, 2))
    influence = count * (weighted / density[:, None, None] - np.exp(log_weights))
    error = mcse(influence.mean(0))
    loss = Estimate(float(-np.log(density).mean()), error, max(values.shape[0] - 1.0, count * efficiency / 10 - 1))
    return PsisLoo(loss, -np.log(density), np.asarray(pareto_k))


def _per_datum(term: Term) -> Estimate:
    return estimate(term, scale=1 / len(term.value))


def _minus(term: Term) -> Term:
    return jax.tree.map(np.negative, term)


def _waic(sums: Pointwise) -> Term:
    beta = float(sums.inverse_temperature)
    return jax.tree.map(lambda p, v: beta * v - p, log_mean(sums.log_sum, sums.count), variance(sums))


def _importance_loo(sums: Pointwise) -> Term:
    removed, left = (log_mean(x, sums.count) for x in (sums.log_removed, sums.log_left))
    return jax.tree.map(np.subtract, removed, left)
