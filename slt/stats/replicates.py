r"""Numbers from independent replicates: their mean, and the log of the mean of positive ones, as of evidences.

A replicate r of tempered SMC gives Z_r without bias, so log Z is the log of the mean of the Z_r. The mean of the
log Z_r is lower, by half of their variance: 0.5 nats at a spread of 1.

Source: log Z_r is asymptotically normal, so Z_r log-normal: Bérard, Del Moral & Doucet 2014, arXiv:1307.0181;
interval of a log-normal mean: Olsson 2005, doi:10.1080/10691898.2005.11910638; jackknife: Efron & Stein 1981.
"""

from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from slt._types import Estimate
from slt.stats.checks import finite, shape_of

MAX_SPREAD = 1.4
"""Standard deviation of log Z_r up to which the intervals of `log_mean` cover [nats]."""


def replicate_mean(values: Float[ArrayLike, " replicate"]) -> Estimate:
    """Mean of independent replicates with its Student-t standard error, R - 1 degrees of freedom.

    Raises:
        ValueError: fewer than 2 replicates, or one that is not finite.
    """
    numbers = _replicates("replicate_mean", values)
    count = len(numbers)
    return Estimate(float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(count)), count - 1)


def weighted_mean(values: Float[ArrayLike, " replicate"], log_weights: Float[ArrayLike, " replicate"]) -> Estimate:
    r"""$\sum_r e^{\ell_r} a_r / \sum_r e^{\ell_r}$ with its jackknife error; as many degrees as effective replicates.

    Where replicates have found different parts of a posterior, each counts by the mass Z_r = exp(l_r) that it found.
    """
    numbers, logs = _replicates("weighted_mean", values), _replicates("weighted_mean", log_weights)
    share = np.exp(logs - logs.max())
    found = jackknife(lambda keep: float(numbers[keep] @ share[keep] / share[keep].sum()), len(numbers))
    return found._replace(dof=max(float(share.sum() ** 2 / (share**2).sum()) - 1, 1.0))


def log_mean(
    log_values: Float[ArrayLike, " replicate"], plus: Float[ArrayLike, " replicate"] | None = None
) -> Estimate:
    r"""$\log \frac1R \sum_r e^{\ell_r} + \frac1R \sum_r a_r$ from the logs of independent positive replicates [nats].

    The error is that of the jackknife, or where larger that of a log-normal law with the variance s^2 of the logs,
    $\sqrt{\mathrm{Var}[\ell + a]/R + s^4/2(R-1)}$: the jackknife is blind to large values that were not drawn.

    Args:
        log_values: l_r [nats]. plus: a_r, averaged as it is [nats]; nothing by default.

    Raises:
        ValueError: fewer than 2 replicates, or one that is not finite.
    """
    logs = _replicates("log_mean", log_values)
    added = np.zeros(len(logs)) if plus is None else _replicates("log_mean", plus)
    count, top = len(logs), logs.max()
    share = np.exp(logs - top)
    found = jackknife(lambda keep: float(np.log(share[keep].mean()) + added[keep].mean()), count)
    law = np.sqrt((logs + added).var(ddof=1) / count + logs.var(ddof=1) ** 2 / (2 * (count - 1)))
    return Estimate(found.value + float(top), max(found.mcse, float(law)), found.dof)


def jackknife(statistic: Callable[[np.ndarray], float], count: int) -> Estimate:
    """A statistic of all of `count` replicates, with its error from those without one of them.

    Args:
        statistic: which replicates to keep (a mask) -> value.
    """
    everyone = np.ones(count, bool)
    without = np.array([statistic(np.arange(count) != r) for r in range(count)])
    error = np.sqrt((count - 1) * np.mean((without - without.mean()) ** 2))
    return Estimate(float(statistic(everyone)), float(error), count - 1)


def _replicates(where: str, values: Float[ArrayLike, " replicate"]) -> np.ndarray:
    shape = shape_of(where, values)
    if len(shape) != 1 or shape[0] < 2:
        raise ValueError(
            f"{where}: values have shape {shape}; at least 2 numbers, one of each replicate, are needed for an error "
            "bar."
        )
    return finite(where, values, ("replicate",), "a replicate that failed may not enter a mean.")
