r"""Leave-one-out loss by Pareto-smoothed importance sampling, in logarithms throughout.

Datum i is taken out of the posterior by the weights $r_s \propto 1/p_{is}$, whose largest are replaced by quantiles of
the Pareto law fitted to them; k is the exponent of its tail.

Source: Vehtari, Gelman & Gabry 2017, arXiv:1507.04544; Vehtari et al. 2024, arXiv:1507.02646.
"""

from typing import Any, NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats
from jaxtyping import Float
from scipy.special import logsumexp

from slt._rows import as_fields
from slt._types import Estimate
from slt.draws import ess, mcse
from slt.stats.per_datum import check_draws, is_tree, labelled

FLAT = 1e-3
"""Range of log p_i over all draws below which its weights, equal to a thousandth, need no smoothing [nats]."""


class PsisLoo(NamedTuple):
    """loss: leave-one-out loss [nats/datum]; values: per datum; pareto_k: above 0.7 the value is unreliable.

    pareto_k is 0 where the log-likelihood is constant, or its least value that of all the tail, and infinite where no
    tail can be fitted, as one draw of another region outweighs all.
    """

    loss: Estimate
    values: Float[np.ndarray, " datum"]
    pareto_k: Float[np.ndarray, " datum"]

    __repr__ = as_fields


def psis_loo(log_likelihood: Float[np.ndarray, "chain draw datum"] | Any) -> PsisLoo:
    r"""$-\frac1n\sum_i\log\frac{\sum_s r_{is}p_{is}}{\sum_s r_{is}}$ [nats/datum], smoothed, of draws at beta = 1.

    The Monte Carlo error is that of the self-normalised mean, with the smoothed weights taken as fixed.

    Args:
        log_likelihood: log p(x_i | w) of every draw and datum, of any size [nats], or a DataTree with ArviZ' group of
            that name.

    Raises:
        ValueError: not three axes, fewer than 2 chains, too few draws, or a value that is not finite; a tree of draws
            at another beta.
    """
    if is_tree(log_likelihood):
        log_likelihood, beta = labelled("psis_loo", log_likelihood)
        if beta != 1:
            raise ValueError(f"psis_loo: the draws of the tree are at beta = {beta:.6g}; sample at beta = 1.")
    values = check_draws("psis_loo", log_likelihood)
    chains, draws, _ = values.shape
    efficiency = _efficiency(values)
    smoothed = [_smooth(column, efficiency) for column in np.moveaxis(values, 2, 0)]
    log_weight = np.stack([weights for weights, _ in smoothed], 2)
    log_density = np.asarray(logsumexp(log_weight + values, axis=(0, 1)))
    influence = chains * draws * (np.exp(log_weight + values - log_density) - np.exp(log_weight))
    deviation = influence.mean(2)
    error = mcse(deviation) if np.ptp(deviation) > 0 else 0.0
    dof = max(chains - 1.0, chains * draws * efficiency / 10 - 1)
    pareto_k = np.array([k for _, k in smoothed])
    return PsisLoo(Estimate(float(-log_density.mean()), error, dof), -log_density, pareto_k)


def _efficiency(values: Float[np.ndarray, "chain draw datum"]) -> float:
    """Effective draws a draw, of the sum over the data without what is common to all draws."""
    total = (values - values[:1, :1]).sum(2)
    return min(1.0, ess(total) / total.size) if np.ptp(total) > 0 else 1.0


def _smooth(values: Float[np.ndarray, "chain draw"], efficiency: float) -> tuple[np.ndarray, float]:
    """Log weights, their sum 1, and Pareto k."""
    raw = -values - logsumexp(-values)
    if np.ptp(values) <= FLAT:
        return raw, 0.0
    smooth: Any = array_stats.psislw  # its annotations know one axis and whole numbers only
    try:
        with np.errstate(all="ignore"):
            log_weight, k = smooth(values, r_eff=efficiency, axis=(-2, -1))
    except ValueError:  # all of the tail is one value: an atom, and no heavier than that
        return raw, 0.0
    return (np.asarray(log_weight), float(k)) if np.isfinite(k) else (raw, np.inf)
