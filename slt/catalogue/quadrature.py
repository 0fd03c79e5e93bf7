"""Exact finite-n moments of analytic potentials: E[tK], Var[tK] and log Z(t) = log ∫ φ(w) exp(-t K(w)) dw, t = nβ.

Every rule maps (t, prior) to `Moments` in float64 and refuses a prior that it cannot integrate. φ is normalised, so
Z(0) = 1. General K of up to three variables: `nested`. Special structure in more: see `slt.catalogue.closed_forms`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from slt.targets.gaussian import Gaussian

Vector = Float[np.ndarray, " dim"]
Points = Float[np.ndarray, "dim num"]
Values = Float[np.ndarray, " num"]
NumpyEnergy = Callable[[Points], Values]


class Moments(NamedTuple):
    """mean: E[tK] [nats]; variance: Var[tK] [nats²]; log_evidence: log Z [nats]; error: bound on each, absolute."""

    mean: float
    variance: float
    log_evidence: float
    error: float


class Box(NamedTuple):
    """Prior on low <= w <= high, uniform or proportional to exp(log_weight(w)).

    limits: coordinate i and those before it -> bounds of coordinate i, for a domain that is part of the box.
    """

    low: Vector
    high: Vector
    log_weight: NumpyEnergy | None = None
    limits: Callable[[int, Points], tuple[Values, Values]] | None = None


Prior = Box | Gaussian
Rule = Callable[[float, Prior], Moments]


class Conditional(NamedTuple):
    """Given the outer coordinates, of the inner ones: log of the mass left, and mean and variance of tK."""

    log_mass: Values
    mean: Values
    variance: Values


Leaf = Callable[[Points], Conditional]
Inside = Callable[[np.ndarray, np.ndarray], Conditional]
NEGLIGIBLE = 60.0
"""Nats below which a region under a Gaussian prior does not count."""
MAX_PANELS = 1_000_000
_START = np.zeros((0, 1))


class _Domain(NamedTuple):
    prior: Prior
    minimum: Vector
    num_outer: int
    cuts: tuple[float, ...]


class _Panels(NamedTuple):
    """Intervals of many one-dimensional problems: whose, where, their integrals, and how well they are resolved.

    log_tail: log of the last Legendre coefficients of the integrand; lowest, highest: extremes of its log at the nodes.
    """

    owner: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_mass: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    log_tail: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def nested(energy: NumpyEnergy, minimum: ArrayLike, *, cuts: Sequence[float] = ()) -> Rule:
    """Iterated adaptive Gauss-Legendre quadrature of any K >= 0 of one to three variables, under any prior.

    Panels are halved until the integrand is resolved to 1e-8 in its last Legendre coefficients (the Gauss rule is
    then exact to about their square), and wherever tK varies so much that a valley could pass between the nodes. The
    price grows like a power of log t. The error is the difference from a run of lower order.

    Args:
        energy: K at points of shape (dim, num) [nats per unit of t].
        minimum: a zero of K; bounds the region that matters under a Gaussian prior.
        cuts: further coordinates at which panels start, where K is not smooth.

    Raises:
        ValueError: more than three variables.
    """
    zero = np.asarray(minimum, np.float64)
    if zero.size > 3:
        raise ValueError(
            f"nested: the potential has {zero.size} variables; iterated quadrature is feasible up to 3. "
            "Split it into independent blocks, or integrate a linear block with `linear_block`."
        )

    def rule(nbeta: float, prior: Prior) -> Moments:
        def leaf(points: Points) -> Conditional:
            tk = nbeta * energy(points)
            return Conditional(log_prior(prior, points) - tk, tk, np.zeros_like(tk))

        return iterated(leaf, prior, zero, zero.size, cuts=cuts)

    return rule


def iterated(leaf: Leaf, prior: Prior, minimum: Vector, num_outer: int, *, cuts: Sequence[float] = ()) -> Moments:
    """Integrate a leaf over the first num_outer coordinates, at two orders.

    Args:
        leaf: log mass (with the unnormalised prior of those coordinates), mean and variance of tK, at their points.
        prior: prior of all coordinates; gives the region of integration and the normalisation.
        minimum: a zero of K, all coordinates.
        num_outer: number of coordinates left to integrate [1].
        cuts: see `nested`.

    Returns:
        Moments of the finer run; error is its difference from the coarser one, plus round-off.
    """
    domain = _Domain(prior, minimum, num_outer, tuple(cuts))
    coarse, fine = (_level(leaf, domain, order, tol, _START) for order, tol in ((12, 1e-6), (16, 1e-8)))
    gaps = [abs(np.subtract(x, y)).item() for x, y in zip(coarse, fine, strict=True)]
    log_evidence = fine.log_mass.item() - _log_normaliser(domain)
    error = max(gaps) + 1e-12 * (1 + abs(log_evidence))
    return Moments(fine.mean.item(), fine.variance.item(), log_evidence, error)


def _level(leaf: Leaf, domain: _Domain, order: int, tol: float, points: Points) -> Conditional:
    """Integrate the leaf over coordinates len(points), ..., num_outer - 1 for every column of points."""
    i, num = points.shape
    if i == domain.num_outer:
        return leaf(points)
    if num > 20_000:
        pieces = np.array_split(points, num // 20_000 + 1, axis=1)
        parts = [_level(leaf, domain, order, tol, piece) for piece in pieces]
        return Conditional(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def inside(owner, value):
        return _level(leaf, domain, order, tol, np.vstack((points[:, owner], value)))

    low, high = _limits(domain, points)
    centre = [] if isinstance(domain.prior, Box) else [float(domain.prior.mean[i])]
    seeds = np.unique([0.0, float(domain.minimum[i]), *centre, *domain.cuts])
    return _adaptive(inside, low, high, seeds, order, tol)


def _adaptive(inside: Inside, low: Values, high: Values, seeds: np.ndarray, order: int, tol: float) -> Conditional:
    """Log integral, mean and variance of many one-dimensional problems at once, by repeated halving of panels."""
    edges = np.vstack((low, np.clip(seeds[:, None], low, high), high))
    owner = np.broadcast_to(np.arange(low.size), edges[1:].shape)
    used = edges[1:] > edges[:-1]
    panels = _evaluate(inside, owner[used], edges[:-1][used], edges[1:][used], order)
    split = np.zeros(0, bool)
    for _ in range(200):
        split = _unresolved(panels, low.size, tol)
        if not split.any():
            return _combine(panels, low.size)
        if split.size > MAX_PANELS:
            break
        own, a, b = (x[split] for x in panels[:3])
        middle = (a + b) / 2
        halves = np.tile(own, 2), np.concatenate((a, middle)), np.concatenate((middle, b))
        children = _evaluate(inside, *halves, order)
        panels = _Panels(*(np.concatenate((x[~split], y)) for x, y in zip(panels, children, strict=True)))
    raise ArithmeticError(
        f"nested: {split.size} panels and {split.sum()} of them unresolved; K is too rough for iterated quadrature. "
        "Lower nbeta, add `cuts` where K is not smooth, or use a rule for its structure."
    )


def _evaluate(inside: Inside, owner, low, high, order: int) -> _Panels:
    """Gauss rule on each panel; the two end points only test the interpolant, for layers thinner than the last gap."""
    nodes, weights, tests = _reference(order)
    half = (high - low) / 2
    x = (low + high)[:, None] / 2 + half[:, None] * nodes
    log_f, mean, variance = (y.reshape(x.shape) for y in inside(np.repeat(owner, nodes.size), x.ravel()))
    highest = log_f[:, 1:-1].max(axis=1)
    peak = np.where(np.isfinite(highest), highest, 0.0)
    f = np.exp(np.minimum(log_f - peak[:, None], 300.0))
    mass = f @ weights
    share = f * weights / np.where(mass > 0, mass, 1.0)[:, None]
    tail = np.abs(f @ tests).max(axis=1)
    with np.errstate(divide="ignore"):
        log_half = np.log(half) + peak
        log_mass, log_tail = np.log(mass) + log_half, np.log(tail) + log_half
    first, second = (share * mean).sum(axis=1), (share * (variance + mean**2)).sum(axis=1)
    return _Panels(owner, low, high, log_mass, first, second, log_tail, log_f.min(axis=1), highest)


@cache
def _reference(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes with both ends, weights (0 at the ends), and tests: last two coefficients, 1% of the misfit at the ends."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    end = 1 - 1e-9
    k = np.arange(order)
    to_coefficients = np.zeros((order + 2, order))
    to_coefficients[1:-1] = weights[:, None] * np.polynomial.legendre.legvander(nodes, order - 1) * (k + 0.5)
    misfit = -to_coefficients @ np.polynomial.legendre.legvander(np.array([-end, end]), order - 1).T
    misfit[0, 0] += 1
    misfit[-1, 1] += 1
    tests = np.hstack((to_coefficients[:, -2:], 0.01 * misfit))
    return np.concatenate(([-end], nodes, [end])), np.concatenate(([0], weights, [0])), tests


def _unresolved(panels: _Panels, num: int, tol: float) -> np.ndarray:
    """Panels to be halved: not converged in their own shape, or so uneven that a valley may hide between two nodes."""
    total = _log_total(panels.owner, panels.log_mass, num)[panels.owner]
    best = np.full(num, -np.inf)
    np.maximum.at(best, panels.owner, panels.highest)
    best = best[panels.owner]
    # Near a zero of tK at distance d the ratio of extremes on a panel of width h is (1 + h/d)^2 or more.
    steep = best - panels.lowest > 8 * (best - panels.highest)
    shapeless = panels.log_tail > panels.log_mass - 7
    rough = panels.log_tail > total + np.log(tol)
    largest = np.maximum(abs(panels.low), abs(panels.high))
    wide = panels.high - panels.low > np.maximum(8 * np.finfo(float).eps * largest, 1e-50)
    # Far from every valley the log integrand is huge: a variation within its round-off is no shape to resolve.
    uneven = panels.highest - panels.lowest > 1e-10 * abs(panels.highest)
    return (rough | (shapeless & steep & np.isfinite(panels.lowest))) & uneven & wide & np.isfinite(total)


def _log_total(owner: np.ndarray, log_mass: np.ndarray, num: int) -> Values:
    peak = np.full(num, -np.inf)
    np.maximum.at(peak, owner, log_mass)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return peak + np.log(np.bincount(owner, np.exp(log_mass - peak[owner]), num))


def _combine(panels: _Panels, num: int) -> Conditional:
    total = _log_total(panels.owner, panels.log_mass, num)
    share = np.exp(panels.log_mass - np.where(np.isfinite(total), total, 0.0)[panels.owner])
    mean, square = (np.bincount(panels.owner, share * x, num) for x in (panels.mean, panels.square))
    return Conditional(total, mean, square - mean**2)


def log_prior(prior: Prior, points: Points) -> Values:
    """Log φ up to a constant."""
    if isinstance(prior, Gaussian):
        return -0.5 * prior.precision * np.sum((points - prior.mean[: len(points), None]) ** 2, axis=0)
    return np.zeros(points.shape[1]) if prior.log_weight is None else prior.log_weight(points)


def _log_normaliser(domain: _Domain) -> float:
    """Log of the integral of the unnormalised prior over the coordinates that are integrated numerically."""
    prior = domain.prior
    if isinstance(prior, Gaussian):
        return 0.5 * domain.num_outer * np.log(2 * np.pi / prior.precision)
    if prior.log_weight is None and prior.limits is None:
        return float(np.sum(np.log(prior.high - prior.low)))

    def leaf(points: Points) -> Conditional:
        zero = np.zeros(points.shape[1])
        return Conditional(log_prior(prior, points), zero, zero)

    return _level(leaf, domain, 16, 1e-8, _START).log_mass.item()


def _limits(domain: _Domain, points: Points) -> tuple[Values, Values]:
    """Bounds of coordinate len(points), for every column of points."""
    prior, (i, num) = domain.prior, points.shape
    if isinstance(prior, Gaussian):
        # At the zero of K the exponent is γ/2 |w* - c|²; beyond this radius it is 60 nats lower for any K >= 0.
        radius = np.sqrt(np.sum((domain.minimum - prior.mean) ** 2) + 2 * NEGLIGIBLE / prior.precision)
        return np.full(num, prior.mean[i] - radius), np.full(num, prior.mean[i] + radius)
    if prior.limits is not None:
        return prior.limits(i, points)
    return np.full(num, float(prior.low[i])), np.full(num, float(prior.high[i]))
