r"""Posterior mass of phases from replicates of tempered SMC, and the number of data at which two phases are equal.

A replicate r estimates Z_r without bias, and the part of it inside a phase is Z_r times the share of its particles
there; so masses are ratios of means over replicates, and their errors are those of the jackknife.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from slt._types import Estimate
from slt.stats.checks import finite
from slt.stats.replicates import jackknife

Inside = Bool[np.ndarray, "replicate particle"]


def phase_mass(inside: Inside, log_evidence: Float[np.ndarray, " replicate"]) -> Estimate:
    r"""Posterior probability of a phase, $\sum_r Z_r s_r / \sum_r Z_r$ with s_r the share of particles inside [1]."""
    Z, share = _checked(inside, log_evidence)
    return jackknife(lambda keep: np.sum((Z * share)[keep]) / np.sum(Z[keep]), len(Z))


def phase_log_odds(first: Inside, second: Inside, log_evidence: Float[np.ndarray, " replicate"]) -> Estimate:
    r"""Log of the posterior odds of two phases, minus their difference of free energy [nats].

    Raises:
        ValueError: a phase without particles in all replicates but one or fewer.
    """
    Z, one = _checked(first, log_evidence)
    _, two = _checked(second, log_evidence)
    if min((one > 0).sum(), (two > 0).sum()) < 2:
        raise ValueError(
            "phase_log_odds: a phase holds particles in fewer than 2 replicates; its odds cannot be told. Use more "
            "particles, or a number of data closer to the crossing."
        )
    return jackknife(lambda keep: np.log(np.sum((Z * one)[keep]) / np.sum((Z * two)[keep])), len(Z))


def crossing(num_data: Sequence[float], log_odds: Sequence[Estimate]) -> Estimate:
    """The number of data at which the log odds pass zero upwards, linear between the two points around it.

    Raises:
        ValueError: the log odds do not pass zero between two neighbouring points.
    """
    advice = "give points whose odds are known."
    for name, values in (("number", num_data), ("log odds", [odds.value for odds in log_odds])):
        finite("crossing", values, ("point",), advice, what=name)
    for n, m, low, high in zip(num_data, num_data[1:], log_odds, log_odds[1:], strict=False):
        if low.value <= 0 < high.value:
            gap = high.value - low.value
            share = -low.value / gap
            error = (m - n) / gap * np.hypot((1 - share) * low.mcse, share * high.mcse)
            return Estimate(float(n + share * (m - n)), float(error), min(low.dof, high.dof))
    given = ", ".join(f"{odds.value:.2g}" for odds in log_odds)
    raise ValueError(f"crossing: the log odds {given} do not pass zero upwards; take fewer or more data at the ends.")


def _checked(inside: Inside, log_evidence: Float[np.ndarray, " replicate"]) -> tuple[np.ndarray, np.ndarray]:
    """Evidences, the largest being 1, and the share of the particles inside of each replicate."""
    advice = "the replicate did not reach this temperature; leave it out."
    log_evidence = finite("phases", log_evidence, ("replicate",), advice, what="log evidence")
    inside = finite("phases", inside, ("replicate", "particle"), "give booleans.", what="place")
    if inside.ndim != 2 or len(inside) != len(log_evidence) or len(inside) < 3:
        raise ValueError(
            f"phases: particles {inside.shape} and {log_evidence.shape} evidences; give dims (replicate, particle) and "
            "one evidence a replicate, of 3 replicates or more."
        )
    return np.exp(log_evidence - log_evidence.max()), inside.mean(1)
