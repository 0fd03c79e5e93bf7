r"""Losses, functional variance and information criteria from sums of per-datum log-likelihoods, see
`pointwise`, or from an ArviZ tree of them.

Conventions: losses, WAIC and cross-validation are per datum [nats/datum], to be *minimised*; WBIC is in total [nats].
ArviZ's elpd is -n times ours. Every mean is over draws of ONE posterior, on ONE data set, at the beta of the draws:
Watanabe's equations of state speak of the expectation over data sets as well, and that loop is the caller's.

With lambda the learning coefficient and nu(beta) the singular fluctuation, n times the expected excess loss is
(lambda - nu)/beta ± nu for Bayes generalisation (+) and training (-), and lambda/beta ± nu for Gibbs.
WAIC needs no more than draws at the stated beta; what is usually called so has beta = 1 and the model's own prior.

Source: Watanabe 2010, JMLR 11:3571 (WAIC, cross-validation, equations of state); Watanabe 2013, JMLR 14:867 (WBIC).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from slt._types import Estimate
from slt.stats.per_datum import Pointwise, Term, estimate, log_mean, mean, pointwise, variance

WBIC_TOLERANCE = 1e-3
"""Relative distance of beta from 1/log n that WBIC accepts."""


def of_draws(criterion: Callable[[Pointwise], Estimate]) -> Callable[[Pointwise | Any], Estimate]:
    """The same of an `xarray.DataTree` with ArviZ' group log_likelihood, too; see `pointwise`."""

    @functools.wraps(criterion)
    def call(sums: Pointwise | Any) -> Estimate:
        return criterion(sums if isinstance(sums, Pointwise) else pointwise(sums))

    return call


@of_draws
def functional_variance(sums: Pointwise) -> Estimate:
    r"""$V_n = \sum_i \mathrm{Var}_w[\log p(x_i|w)]$ [nats²] of this data set.

    It is not the variance of the *total* log-likelihood, which estimates lambda/beta².
    """
    return estimate(variance(sums))


@of_draws
def singular_fluctuation(sums: Pointwise) -> Estimate:
    r"""$\hat\nu(\beta) = \frac{\beta}{2} V_n$ [1] of this data set; $\nu(\beta)$ is its expectation over data sets.

    nu depends on beta: draws at the WBIC temperature give nu(1/log n), not nu(1).
    The error is Monte Carlo error alone; between data sets V_n varies by about as much as nu itself.
    """
    return estimate(variance(sums), scale=float(sums.inverse_temperature) / 2)


@of_draws
def gibbs_loss(sums: Pointwise) -> Estimate:
    r"""$-\frac1n\sum_i \mathbb{E}_w[\log p(x_i|w)]$ [nats/datum]; training or generalisation loss as the data are."""
    return _per_datum(_minus(mean(sums)))


@of_draws
def bayes_loss(sums: Pointwise) -> Estimate:
    r"""$-\frac1n\sum_i \log\mathbb{E}_w[p(x_i|w)]$ [nats/datum]; training or generalisation loss as the data are."""
    return _per_datum(_minus(log_mean(sums.log_sum, sums.count)))


@of_draws
def waic(sums: Pointwise) -> Estimate:
    r"""$\mathrm{WAIC} = T_n + \frac{\beta}{n} V_n$ [nats/datum], T_n the Bayes training loss.

    Its expectation over data sets is that of the Bayes generalisation loss up to o(1/n), at every beta.
    """
    return _per_datum(_waic(sums))


@of_draws
def importance_loo(sums: Pointwise) -> Estimate:
    r"""Leave-one-out loss by plain importance sampling (ISCV) [nats/datum].

    $\frac1n\sum_i \log\frac{\mathbb{E}_w[p_i^{-\beta}]}{\mathbb{E}_w[p_i^{1-\beta}]}$, at beta = 1
    $\frac1n\sum_i\log\mathbb{E}_w[1/p_i]$. A datum of high influence gives
    the mean of 1/p_i an infinite variance that no error bar shows: `psis_loo` tells by its Pareto k.
    """
    return _per_datum(_importance_loo(sums))


@of_draws
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
