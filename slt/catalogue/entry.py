"""What an analytic potential is, and the function that defines one."""

from collections.abc import Callable
from fractions import Fraction
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from slt.catalogue.quadrature import Box, Moments, Prior, Rule, nested
from slt.targets.gaussian import Gaussian

LogDensity = Callable[[Float[Array, " dim"]], Float[Array, ""]]


class Potential(NamedTuple):
    """A potential K >= 0 with K(w*) = 0 whose asymptotics are known, and often its finite-n posterior too.

    name, formula: for lookup and for printing.
    energy: K(w), in jax.numpy, in the dtype of w [nats per unit of nβ].
    dim: number of parameters [1].
    minimum: w*, the point whose λ is given and where a localised posterior is centred.
    rlct, multiplicity: λ and m at the deepest point of the box, or near w* under a Gaussian prior [1].
    source: theorem or derivation behind λ and m.
    box: (low, high) of the uniform prior, or None.
    priors: those it supports, of "uniform" (on the box, times exp(log_weight)) and "gaussian" (N(center, I/γ)).
    log_weight: log density on the box up to a constant, or None for a uniform one.
    tags: words to select by.
    exact: (nbeta, *, localization, center=None) -> Moments of that posterior; None where no exact value is known.
        localization None means the prior on the box, a number γ means N(center, I/γ) with center w* unless given.
    """

    name: str
    formula: str
    energy: LogDensity
    dim: int
    minimum: Float[np.ndarray, " dim"]
    rlct: Fraction
    multiplicity: int
    source: str
    box: tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]] | None
    priors: tuple[str, ...]
    log_weight: LogDensity | None
    tags: tuple[str, ...]
    exact: Callable[..., Moments] | None


def define(
    name: str,
    formula: str,
    energy: Callable,
    rlct: str | Fraction,
    multiplicity: int = 1,
    *,
    dim: int,
    source: str,
    minimum: ArrayLike | None = None,
    box: tuple | None = (-1.0, 1.0),
    gaussian: bool = True,
    rule: Rule | None = None,
    known: bool = True,
    log_weight: Callable | None = None,
    limits: Callable | None = None,
    tags: str = "",
) -> Potential:
    """One entry of the catalogue.

    Args:
        name: unique name.
        formula: K for printing.
        energy: K of w, indexed along its first axis; written so that numpy and jax arrays both work (see `namespace`).
        rlct: λ, exact, e.g. "5/12" [1].
        multiplicity: m [1].
        dim: number of parameters [1].
        source: theorem or derivation behind λ and m.
        minimum: w*; the origin unless given.
        box: scalars or sequences (low, high), or None without a uniform prior.
        gaussian: whether N(center, I/γ) on the whole space is a valid prior, that is, K >= 0 everywhere.
        rule: exact finite-n values; `nested` quadrature unless given.
        known: False when no exact finite-n value is known.
        log_weight: log density on the box, for numpy and jax arrays.
        limits: bounds of each coordinate for a uniform prior on part of the box; log_weight is then -inf outside.
        tags: words separated by blanks.
    """
    zero = np.zeros(dim) if minimum is None else np.asarray(minimum, np.float64)
    low, high = (np.broadcast_to(np.asarray(x, np.float64), (dim,)) for x in box or (0.0, 0.0))
    uniform = None if box is None else Box(low, high, log_weight if limits is None else None, limits)
    chosen = rule if rule is not None or not known else nested(energy, zero)
    exact = None if chosen is None else _exact(name, chosen, uniform, zero if gaussian else None)
    priors = ("uniform",) * (box is not None) + ("gaussian",) * gaussian
    return Potential(
        name, formula, lambda w: energy(jnp.asarray(w)), dim, zero, Fraction(rlct), multiplicity, source,
        None if box is None else (low, high), priors,
        None if log_weight is None else lambda w: log_weight(jnp.asarray(w)), tuple(tags.split()), exact,
    )  # fmt: skip


def _exact(name: str, rule: Rule, uniform: Box | None, minimum: np.ndarray | None) -> Callable[..., Moments]:
    """Bind a rule to the priors of one potential; minimum is None when it has no Gaussian one."""

    def exact(nbeta: float, *, localization: float | None, center: ArrayLike | None = None) -> Moments:
        if not (np.isfinite(nbeta) and nbeta > 0):
            raise ValueError(f"exact({name}): nbeta is {nbeta}; it must be positive and finite.")
        return rule(float(nbeta), _prior(name, uniform, minimum, localization, center))

    return exact


def _prior(name: str, uniform: Box | None, minimum, localization: float | None, center) -> Prior:
    if localization is None:
        if uniform is None:
            raise ValueError(f"exact({name}): localization is None, but there is no box; give localization > 0.")
        if center is not None:
            raise ValueError(f"exact({name}): center {center} is given without localization; drop it or give both.")
        return uniform
    if minimum is None:
        raise ValueError(f"exact({name}): localization is {localization}, only the box prior is allowed: give None.")
    if not (np.isfinite(localization) and localization > 0):
        raise ValueError(f"exact({name}): localization is {localization}; give a positive number, or None for the box.")
    point = minimum if center is None else np.asarray(center, np.float64)
    if point.ndim == 1 and point.shape != minimum.shape:
        raise ValueError(f"exact({name}): center has {point.size} coordinates; allowed are a scalar or {minimum.size}.")
    return Gaussian(np.broadcast_to(point, minimum.shape).copy(), float(localization) ** -0.5)


def namespace(w: Array | np.ndarray) -> ModuleType:
    """jax.numpy for JAX arrays and tracers, numpy otherwise: lets one formula serve samplers and quadrature."""
    return jnp if isinstance(w, jax.Array) else np


def power(x: Any, exponent: int) -> Any:
    """Raise to a positive integer power by repeated squaring; numpy's own is ten times slower from the third on."""
    if exponent == 1:
        return x
    half = power(x, exponent // 2)
    return half * half if exponent % 2 == 0 else half * half * x
