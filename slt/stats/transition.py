r"""Which of two phases of a posterior wins at which n: free energies, masses, and the n at which they cross.

A phase is a region of parameter space with free energy F(n) = n L + lambda log n - (m - 1) log log n + c [nats].
Source: Watanabe 2018, Mathematical Theory of Bayesian Statistics, section 9.4; Chen et al. 2023, arXiv:2310.06301.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import root_scalar
from scipy.special import expit

from slt._types import Estimate
from slt.stats.checks import finite

LARGEST = 1e15
"""Sample size up to which crossings are looked for."""


class Phase(NamedTuple):
    """loss: L at its minimum [nats/datum]. rlct, multiplicity: lambda and m there. constant: c [nats]."""

    loss: float
    rlct: float
    constant: float = 0.0
    multiplicity: int = 1

    def free_energy(self, num_data: ArrayLike) -> Float[np.ndarray, "..."]:
        """n L + lambda log n - (m - 1) log log n + c [nats]."""
        log_n = np.log(np.asarray(num_data, np.float64))
        slow = (self.multiplicity - 1) * np.log(log_n) if self.multiplicity > 1 else 0.0
        return np.exp(log_n) * self.loss + self.rlct * log_n - slow + self.constant


class PhaseComparison(NamedTuple):
    """difference: F of the second phase minus F of the first [nats]. mass: posterior share of the first, of the two.

    critical: every n at which the phases weigh the same, ascending: none, one, or two.
    """

    difference: Float[np.ndarray, "..."]
    mass: Float[np.ndarray, "..."]
    critical: tuple[float, ...]


def compare_phases(first: Phase, second: Phase, num_data: ArrayLike) -> PhaseComparison:
    r"""Difference and masses at each n, and the roots of $n\Delta L + \Delta\lambda\log n + \Delta c = 0$.

    Where loss and coefficient pull opposite ways there may be two roots: the prior's constant can make the phase of
    higher lambda win at small n as well as at large n.

    Args:
        num_data: n, one or many; at least 2 (3 where a multiplicity exceeds 1).

    Raises:
        ValueError: n too small for log n or log log n to be positive.
    """
    for phase in (first, second):
        for name, value in zip(Phase._fields, phase, strict=True):
            finite("compare_phases", value, (), "every number of a phase must be known.", what=name)
    smallest = 3 if max(first.multiplicity, second.multiplicity) > 1 else 2
    n = finite("compare_phases", num_data, ("point",), "give finite numbers of data.", what="num_data")
    if not (n >= smallest).all():
        raise ValueError(f"compare_phases: num_data is {num_data}; every n must be at least {smallest}.")
    difference = second.free_energy(n) - first.free_energy(n)
    critical = _roots(lambda n: float(second.free_energy(n) - first.free_energy(n)), smallest)
    return PhaseComparison(difference, expit(difference), critical)


def compare_free_energies(first: Estimate, second: Estimate) -> tuple[Estimate, Estimate]:
    """The same from two estimated free energies at one n: their difference [nats], and the first phase's mass [1].

    The error of the mass is that of its logarithmic odds, to first order; both errors have the smaller dof.
    """
    for phase in (first, second):
        finite("compare_free_energies", phase[:2], (), "sample that phase longer.", what="free energy or its error")
    error, dof = float(np.hypot(first.mcse, second.mcse)), min(first.dof, second.dof)
    difference = second.value - first.value
    mass = float(expit(difference))
    return Estimate(difference, error, dof), Estimate(mass, mass * (1 - mass) * error, dof)


def _roots(function: Callable[[float], float], smallest: float) -> tuple[float, ...]:
    """All sign changes, in log n."""
    grid = np.linspace(np.log(smallest), np.log(LARGEST), 2000)
    values = np.array([function(np.exp(x)) for x in grid])
    changes = np.flatnonzero(np.sign(values[1:]) * np.sign(values[:-1]) < 0)
    brackets = [(grid[i], grid[i + 1]) for i in changes]
    roots = [root_scalar(lambda x: function(np.exp(x)), bracket=ends, xtol=1e-12).root for ends in brackets]
    return tuple(math.exp(x) for x in roots)
