r"""Local learning coefficient from the losses of draws: mean, variance and two-temperature estimators.

All are functions of L_n(w) - L_n(w*) [nats/datum] at nbeta = n beta; none knows where the draws came from.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from slt._options import checked
from slt._types import Estimate
from slt.draws import ess, mcse
from slt.stats.checks import finite, shape_of

Losses = Float[np.ndarray, "chain draw"]


@checked
def llc(excess_loss: Losses, *, nbeta: float) -> Estimate:
    r"""Local learning coefficient, $\hat\lambda = n\beta\,\mathbb{E}[L_n(w) - L_n(w^*)]$.

    Args:
        excess_loss: L_n(w) - L_n(w*) of each kept draw [nats/datum].
        nbeta: n times the inverse temperature of the sampled posterior [1].

    Returns:
        Estimate [1]; the standard error is from the effective sample size of all chains.

    Raises:
        ValueError: fewer than 2 chains or 4 draws, or a value that is not finite.

    Source: Lau et al. 2023, arXiv:2308.12108.
    """
    return _mean(nbeta * _checked("llc", excess_loss))


@checked
def llc_variance(excess_loss: Losses, *, nbeta: float) -> Estimate:
    r"""Variance estimator, $\hat\lambda = (n\beta)^2\,\mathrm{Var}[L_n(w)]$; it needs full-data losses but no w*.

    The squared deviations from the overall mean are averaged, so their standard error is that of a mean.
    Source: Imai 2019, arXiv:1906.01341.
    """
    energy = nbeta * _checked("llc_variance", excess_loss)
    return _mean((energy - energy.mean()) ** 2)


@checked
def llc_two_temperature(excess_loss: Losses, *, nbeta: float, ratio: float = 1.5) -> Estimate:
    r"""Two temperatures of one run: $\lambda = (E_1 - E_2)/(1/b_1 - 1/b_2)$, $E_j = \mathbb{E}_{b_j}[L_n - L_n(w^*)]$.

    b_1 = nbeta is the sampled one and b_2 = ratio nbeta is reached by the weights exp(-(b_2 - b_1) L).
    The standard error is that of the linearised ratio. Source: Watanabe 2013, JMLR 14:867, eq. 20.
    """
    loss = _checked("llc_two_temperature", excess_loss)
    weight = _weights(loss, nbeta, ratio)
    cold = float((weight * loss).mean())
    influence = nbeta / (1 - 1 / ratio) * (loss - weight * (loss - cold))
    return _mean(influence)._replace(value=two_temperature(loss, nbeta=nbeta, ratio=ratio))


def two_temperature(excess_loss: Float[np.ndarray, "..."], *, nbeta: float, ratio: float) -> float:
    """The value of `llc_two_temperature` alone, from draws of any shape."""
    weight = _weights(excess_loss, nbeta, ratio)
    return float(nbeta / (1 - 1 / ratio) * (excess_loss.mean() - (weight * excess_loss).mean()))


def suited_ratio(rlct: float) -> float:
    """A ratio of temperatures at which weights stay even: energies spread by the root of what they are on average.

    Never so near to 1 that it rounds: of 1e8 and more, learning coefficients that are none, weights may be uneven.
    """
    return 1 + max(0.5 / float(np.sqrt(max(rlct, 1.0))), 5e-5)


def _weights(loss: np.ndarray, nbeta: float, ratio: float) -> np.ndarray:
    """exp(-(ratio - 1) nbeta L), mean one."""
    if not ratio > 0 or ratio == 1:
        raise ValueError(f"llc_two_temperature: ratio is {ratio}; it must be positive and differ from 1.")
    weight = np.exp(-(ratio - 1) * nbeta * (loss - loss.min()))
    return weight / weight.mean()


def _mean(values: Losses) -> Estimate:
    """Mean over all draws; the dof of its error are a tenth of the effective draws, as of ten-draw batch means."""
    return Estimate(float(values.mean()), mcse(values), max(values.shape[0] - 1.0, ess(values) / 10 - 1))


def _checked(where: str, losses: Losses) -> np.ndarray:
    shape = shape_of(where, losses)
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 4:
        raise ValueError(f"{where}: losses have shape {shape}; needed: (chain, draw), at least 2 chains and 4 draws.")
    advice = "a diverged chain may not enter a mean. Lower the step size."
    return finite(where, losses, ("chain", "draw"), advice, what="loss")


def plateau(values: Sequence[float], estimates: Sequence[Estimate]) -> tuple[float, float] | None:
    """The widest stretch of a profile, at least a decade, over which the estimates stay within 10 % of each other.

    Args:
        values: of gamma or n beta, ascending.

    Returns:
        Its ends, or None: then the number is a property of the chosen value as much as of the minimum.
    """
    best = None
    for i, low in enumerate(values):
        for j in range(i + 1, len(values)):
            part = [e.value for e in estimates[i : j + 1]]
            flat = all(map(math.isfinite, part)) and min(part) > 0 and max(part) <= 1.1 * min(part)
            if flat and values[j] >= 10 * low and (best is None or values[j] / low > best[1] / best[0]):
                best = (low, values[j])
    return best
