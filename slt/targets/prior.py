r"""The prior of a target, one object that is kept whole: a localising Gaussian, a box, or a model's own.

A prior knows what it becomes at another inverse temperature and localisation, `at`: weight decay is part of what is
tempered, everything else is not. Nothing else makes one from numbers.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array

from slt._types import Key, Params, Scalar
from slt.targets.gaussian import Gaussian
from slt.targets.inputs import dot, size

DENSE = 512
"""Parameters up to which the curvature of a prior is summed direction by direction; PROBES random ones above."""
PROBES = 64


class Prior(NamedTuple):
    r"""A prior p(w), and all that is known of it.

    kind: in words. log_density: log p up to a constant. draw: of p without `log_weight`, None where p is improper.
    log_weight: log of the further factor of p (0 for most). fold: maps a position into the domain.
    log_mass: log of the integral of what is drawn, exp(log_density - log_weight), None where unknown.
    sides: low and high of a box, None elsewhere.
    gaussian: p where it is an isotropic Gaussian, None elsewhere.
    precision: mean curvature of -log p at w* [per squared unit]. It sets time scales; no estimate may rest on it.
    localization: gamma of the factor exp(-(gamma/2)|w - w*|^2) of p.
    decay: n times the weight decay, of the factor exp(-(beta decay/2)|w|^2) of p.
    rebuild: (beta, gamma) -> the same prior there.
    """

    kind: str
    log_density: Callable[[Params], Scalar]
    draw: Callable[[Key], Params] | None
    log_weight: Callable[[Params], Scalar]
    fold: Callable[[Params], Params]
    log_mass: float | None
    sides: tuple[Params, Params] | None
    gaussian: Gaussian | None
    precision: float
    localization: float
    decay: float
    rebuild: Callable[[float, float], "Prior"]

    def at(self, inverse_temperature: float, localization: float | None = None) -> "Prior":
        """The same prior at another inverse temperature, and localisation where one is given.

        Raises:
            ValueError: a localisation of a box.
        """
        return self.rebuild(inverse_temperature, self.localization if localization is None else localization)

    def check_drawn(self, asker: str) -> None:
        """Raises ValueError, in the asker's name, where there are no draws of the prior."""
        if self.draw is None:
            raise ValueError(
                f"{asker}: the prior is {self.kind}, so that there are no draws of it to start from; give gamma > 0 or "
                "a box, or weight_decay > 0."
            )

    def proper_gaussian(self, asker: str) -> Gaussian:
        """The prior as a Gaussian that can be integrated; raises ValueError where it is none, in the asker's name."""
        if self.gaussian is None:
            raise ValueError(
                f"{asker}: this needs an isotropic Gaussian prior, and that of the target is {self.kind}; take a "
                "measure that samples the prior itself, such as estimate_free_energy or splitting."
            )
        if not self.gaussian.precision > 0:
            raise ValueError(f"{asker}: the prior is improper (gamma = 0); give localization or weight_decay > 0.")
        return self.gaussian


def gaussian_prior(center: Params, gamma: float, decay: float = 0.0, inverse_temperature: float = 1.0) -> Prior:
    """exp(-(gamma/2)|w - w*|^2 - (beta decay/2)|w|^2), flat where both are 0."""
    pull = inverse_temperature * decay
    precision = gamma + pull
    share = gamma / precision if precision > 0 else 1.0

    def draw(key: Key) -> Params:
        flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, center))
        return unravel(flat * share + jax.random.normal(key, flat.shape, flat.dtype) / math.sqrt(precision))

    return Prior(
        kind="Gaussian" if precision > 0 else "improper (flat)",
        log_density=Partial(_log_gaussian, center, np.asarray(gamma), np.asarray(pull) if pull else None),
        draw=draw if precision > 0 else None,
        log_weight=_zero,
        fold=_same,
        log_mass=_gaussian_mass(center, gamma, pull) if precision > 0 else None,
        sides=None,
        gaussian=Gaussian(jax.tree.map(lambda w: share * w, center), precision**-0.5 if precision > 0 else math.inf),
        precision=precision,
        localization=gamma,
        decay=decay,
        rebuild=lambda beta, gamma: gaussian_prior(center, gamma, decay, beta),
    )


def box_prior(box: tuple[Any, Any], minimum: Params) -> Prior:
    """Uniform on a box, positions reflected at its walls; a side is a number, or as `minimum` is."""
    try:
        low, high = (_side(side, minimum) for side in box)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"potential_target: box is {box!r}; give (low, high), each a number or as the minimum is ({error})."
        ) from None
    (flat_low, _), (flat_high, _), (point, _) = map(ravel_pytree, (low, high, minimum))
    if not bool((flat_high > flat_low).all()) or not bool(jnp.isfinite(flat_high - flat_low).all()):
        raise ValueError(f"potential_target: box is {box}; every upper side must exceed the lower one, and be finite.")
    if not bool(((point >= flat_low) & (point <= flat_high)).all()):
        raise ValueError(
            f"potential_target: the minimum {minimum} lies outside the box {box}; give a box that holds it."
        )

    def fold(w: Params) -> Params:
        return jax.tree.map(_reflected, w, low, high)

    def draw(key: Key) -> Params:
        (flat, unravel), *sides = (ravel_pytree(jax.tree.map(jnp.asarray, tree)) for tree in (minimum, low, high))
        return unravel(jax.random.uniform(key, flat.shape, flat.dtype, minval=sides[0][0], maxval=sides[1][0]))

    def rebuild(_: float, gamma: float) -> Prior:
        if gamma:
            raise ValueError(f"localization is {gamma}, but the prior is uniform on a box; build the target without.")
        return prior

    mass = float(jnp.sum(jnp.log(flat_high - flat_low)))
    kind, zero = "uniform on a box", Partial(_zero)
    prior = Prior(kind, zero, draw, _zero, fold, mass, (low, high), None, 0.0, 0.0, 0.0, rebuild)
    return prior


def weighted(base: Prior, log_weight: Callable[[Params], Scalar]) -> Prior:
    """The prior times exp(log_weight), which the draws of `base` do not know."""

    def weight(w: Params) -> Scalar:
        return log_weight(base.fold(w))

    return base._replace(
        kind=f"{base.kind}, times a weight",
        log_density=Partial(lambda w: base.log_density(w) + weight(w)),
        log_weight=weight,
        gaussian=None,
        rebuild=lambda beta, gamma: weighted(base.at(beta, gamma), log_weight),
    )


def model_prior(
    log_density: Callable[[Params], Scalar],
    draw: Callable[[Key], Params] | None,
    center: Params,
    gamma: float,
    *,
    undrawn: str = "improper",
) -> Prior:
    """A model's own prior times exp(-(gamma/2)|w - w*|^2); no temperature touches it.

    Of the two factors the one to draw from is that whose draws the other weights more evenly. undrawn: what a prior
    without draws is.
    """
    own = Prior(
        kind="the model's own" if draw else f"{undrawn} (the model's own)",
        log_density=Partial(log_density),
        draw=draw,
        log_weight=_zero,
        fold=_same,
        log_mass=None,
        sides=None,
        gaussian=None,
        precision=_mean_curvature(log_density, center),
        localization=0.0,
        decay=0.0,
        rebuild=lambda _, gamma: model_prior(log_density, draw, center, gamma, undrawn=undrawn),
    )
    if gamma == 0:
        return own
    local = gaussian_prior(center, gamma)
    assert local.draw is not None
    from_own = draw is not None and _evenness(draw, local.log_density) > _evenness(local.draw, log_density)
    return own._replace(
        kind="the model's own, localised",
        log_density=Partial(lambda w: log_density(w) + local.log_density(w)),
        draw=draw if from_own else local.draw,
        log_weight=local.log_density if from_own else log_density,
        log_mass=None if from_own else local.log_mass,
        precision=own.precision + gamma,
        localization=gamma,
    )


def _zero(w: Params) -> Scalar:
    return jnp.zeros(())


def _same(w: Params) -> Params:
    return w


def _log_gaussian(center: Params, gamma: Scalar, decay: Scalar | None, w: Params) -> Scalar:
    shift = jax.tree.map(jnp.subtract, w, center)
    value = -0.5 * gamma * dot(shift, shift)
    return value if decay is None else value - 0.5 * decay * dot(w, w)


def _gaussian_mass(center: Params, gamma: float, pull: float) -> float:
    precision = gamma + pull
    apart = 0.5 * gamma * pull / precision * float(dot(center, center))
    return 0.5 * size(center) * math.log(2 * math.pi / precision) - apart


def _side(side: Any, minimum: Params) -> Params:
    sides = jax.tree.map(lambda _: side, minimum) if jnp.isscalar(side) else side
    return jax.tree.map(lambda leaf, a: np.broadcast_to(np.asarray(a, leaf.dtype), leaf.shape), minimum, sides)


def _reflected(w: Array, low: Array, high: Array) -> Array:
    width = high - low
    phase = jnp.mod((w - low) / width, 2.0)
    folded = low + width * jnp.where(phase < 1, phase, 2 - phase)
    return jnp.where((w >= low) & (w <= high), w, folded)  # as it is, lest it be rounded to the scale of the box


def _evenness(draw: Callable, log_weight: Callable) -> float:
    """Effective sample size of 500 weighted draws."""
    keys = jax.random.split(jax.random.key(1), 500)
    weights = jax.nn.softmax(jax.jit(jax.vmap(lambda key: log_weight(draw(key))))(keys))
    return float(1 / jnp.sum(weights**2))


def _mean_curvature(log_density: Callable, center: Params) -> float:
    """tr(-hess log p)/d at w*, along every coordinate; beyond 512 of them by Hutchinson's random signs."""
    flat, unravel = ravel_pytree(center)
    number = size(center)
    few = number <= DENSE
    key = jax.random.key(0)
    probes = jnp.eye(number, dtype=flat.dtype) if few else jax.random.rademacher(key, (PROBES, number), flat.dtype)

    @jax.jit
    def trace(probes: Array) -> Scalar:
        gradient = jax.grad(lambda x: log_density(unravel(x)))
        along = jax.lax.map(lambda v: v @ jax.jvp(gradient, (flat,), (v,))[1], probes)
        return jnp.sum(along) if few else jnp.mean(along)

    return max(0.0, -float(trace(probes)) / number)
