r"""The exponent of the volume: log P(K < epsilon) = lambda log epsilon + (m-1) log log(1/epsilon) + const.

With $\ell = \log 1/\epsilon$ the volume is $\epsilon^\lambda$ times a polynomial of degree m - 1 in l, here that of a
product of m uniform variables, $\sum_{j<m} (\lambda(\ell+b))^j/j!$, or at m = 1 times 1 + O(epsilon^delta). Neither
m nor b nor delta is known, so every shape is fitted and weighted by how well it describes the ladder; what the shapes
disagree about is part of the error.
Source: Arnold, Gusein-Zade & Varchenko 1988, vol. 2; Watanabe 2009.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from slt._rows import as_fields
from slt._types import Estimate
from slt.draws import Verdict
from slt.stats.replicates import replicate_mean

WINDOWS = 16
SHIFTS = (-1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
"""b, the log of the scale of K against the prior [nats]."""
POWERS = (0.08, 0.16, 0.32)
"""delta of the next term of the expansion at m = 1; larger ones have died out on any ladder worth fitting."""


class Exponent(NamedTuple):
    """rlct: d log V / d log epsilon as epsilon -> 0, with what the shapes disagree about in its error.

    multiplicity: the likeliest m; probability: of that m among those tried. local: slope without any correction over
    the deepest quarter. log_epsilon: ends of the stretch that was fitted. misfit: chi-square over degrees of freedom of
    the best shape.
    """

    rlct: Estimate
    multiplicity: int
    probability: float
    local: Estimate
    log_epsilon: tuple[float, float]
    misfit: float


class Scaling(NamedTuple):
    """d log V/d log epsilon beside what the Hessian says.

    verdict: "converged" or "not converged", with reasons. log_epsilon, log_volume: the ladder of every replicate
    [nats]. rank, dim: of the Hessian at w*: the quadratic has the exponent rank/2 where flat directions are discarded
    and dim/2 where they are filled in.
    """

    exponent: Exponent
    verdict: Verdict
    log_epsilon: Float[np.ndarray, "replicate step"]
    log_volume: Float[np.ndarray, "replicate step"]
    rank: int | None
    dim: int

    __repr__ = as_fields


def on_grid(
    log_epsilon: Float[np.ndarray, "replicate step"],
    log_volume: Float[np.ndarray, "replicate step"],
    grid: Float[np.ndarray, " point"],
) -> Float[np.ndarray, "replicate point"]:
    """log V of every replicate at common levels, linear between its own; NaN outside them."""
    rows = []
    for levels, volumes in zip(np.asarray(log_epsilon, float), np.asarray(log_volume, float), strict=True):
        known = np.isfinite(levels) & np.isfinite(volumes)
        order = np.argsort(levels[known])
        rows.append(np.interp(grid, levels[known][order], volumes[known][order], left=np.nan, right=np.nan))
    return np.array(rows)


def volume_exponent(
    log_epsilon: Float[np.ndarray, "replicate step"],
    log_volume: Float[np.ndarray, "replicate step"],
    *,
    max_multiplicity: int = 4,
    deepest: float = 0.85,
) -> Exponent:
    r"""$\lambda = d\log V/d\log\epsilon$ as epsilon -> 0, from a ladder of independent replicates.

    The deepest part of the common ladder is cut into windows. Shapes: epsilon^lambda alone; times the polynomial
    of every m at a grid of b; times 1 + a epsilon^delta at a grid of delta. Each gives lambda of every replicate by
    least squares; shapes are averaged with the weights of their Bayesian information criterion.

    Args:
        log_epsilon, log_volume: of every replicate [nats]; NaN where a replicate has no further step.
        max_multiplicity: largest m tried; m is at most the number of parameters.
        deepest: share of the ladder, from its deep end, that is fitted [1].

    Raises:
        ValueError: fewer than 3 replicates, or less than two decades of epsilon in common.
    """
    levels = np.asarray(log_epsilon, float)
    if levels.ndim != 2 or len(levels) < 3 or not np.isfinite(levels).any(1).all():
        raise ValueError(f"volume_exponent: log_epsilon has shape {levels.shape}; 3 replicates or more are needed.")
    low, high = np.nanmin(levels, 1).max(), min(np.nanmax(levels, 1).min(), 0.0)
    if not high - low > np.log(100):
        raise ValueError(
            f"volume_exponent: the replicates have epsilon from {np.exp(low):.2g} to {np.exp(high):.2g} in common; at "
            "least two decades are needed. Raise the budget or lower the last epsilon."
        )
    grid = np.linspace(low + deepest * (high - low), low, WINDOWS + 1)
    steps = np.diff(on_grid(levels, log_volume, grid), axis=1)
    slope = float(steps.sum(1).mean() / (grid[-1] - grid[0]))
    fits = [_fit(steps, grid, shape) for shape in _shapes(grid, slope, max_multiplicity)]
    evidence = np.array([fit.log_evidence for fit in fits])
    weights = np.exp(evidence - logsumexp(evidence))
    by_m = {
        m: sum(w for w, f in zip(weights, fits, strict=True) if f.multiplicity == m)
        for m in {f.multiplicity for f in fits}
    }
    best_m = max(by_m, key=lambda m: by_m[m])
    quarter = WINDOWS // 4
    return Exponent(
        _average([fit.rlct for fit in fits], weights),
        best_m,
        float(by_m[best_m]),
        replicate_mean(steps[:, -quarter:].sum(1) / (grid[-1] - grid[-1 - quarter])),
        (float(grid[-1]), float(grid[0])),
        min(fit.misfit for fit in fits),
    )


class _Shape(NamedTuple):
    """Increments of what is added to lambda log epsilon: known, and times a free coefficient; prior: log weight."""

    multiplicity: int
    known: np.ndarray
    free: np.ndarray | None
    prior: float


class _Fit(NamedTuple):
    rlct: Estimate
    multiplicity: int
    log_evidence: float
    misfit: float


def _shapes(grid: np.ndarray, slope: float, max_multiplicity: int) -> list[_Shape]:
    """Half of the weight of m = 1 on the pure power, half on its corrections; each m alike."""
    length = -grid
    none = np.zeros(WINDOWS)
    shapes = [_Shape(1, none, None, np.log(0.5))]
    shapes += [
        _Shape(1, none, np.diff(np.exp(-delta * (length - length[0]))), np.log(0.5 / len(POWERS))) for delta in POWERS
    ]
    for m in range(2, max_multiplicity + 1):
        for b in SHIFTS:
            scaled = slope * np.maximum(length + b, 1e-3)
            polynomial = sum(scaled**j / math.factorial(j) for j in range(m))
            shapes.append(_Shape(m, np.diff(np.log(polynomial)), None, -np.log(len(SHIFTS))))
    return shapes


def _fit(steps: np.ndarray, grid: np.ndarray, shape: _Shape) -> _Fit:
    """Least squares on the increments; they are nearly independent, of one variance, as those of a random walk."""
    columns = [np.diff(grid)] + ([] if shape.free is None else [shape.free])
    design = np.stack(columns, 1)
    solved = (steps - shape.known) @ np.linalg.pinv(design).T
    variance = steps.var(0, ddof=1).mean() / len(steps)
    residual = steps.mean(0) - shape.known - design @ solved.mean(0)
    chi_square = float(np.sum(residual**2) / max(variance, 1e-300))
    degrees = WINDOWS - len(columns)
    penalty = 0.5 * len(columns) * np.log(WINDOWS)
    log_evidence = shape.prior - 0.5 * chi_square - penalty
    return _Fit(replicate_mean(solved[:, 0]), shape.multiplicity, log_evidence, chi_square / degrees)


def _average(estimates: list[Estimate], weights: np.ndarray) -> Estimate:
    values = np.array([e.value for e in estimates])
    errors = np.array([e.mcse for e in estimates])
    mean = float(weights @ values)
    return Estimate(mean, float(np.sqrt(weights @ (errors**2 + (values - mean) ** 2))), estimates[0].dof)
