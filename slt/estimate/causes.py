r"""Why w* is no minimum: which account of its gradient explains most of it, and which gamma would hold it.

At the end of training by L_n + (a/2)|w|^2 the gradient of L_n is -a w; by decoupled decay under Adam it is -a' s w for
the root mean square s of the gradients of batches, coordinate by coordinate (AdamW: Loshchilov & Hutter 2019,
arXiv:1711.05101). At the minimum of the loss of other data of the same law it is as large as noise makes it,
$|g|^2 \approx \mathrm{tr}\,\Sigma/n$ for the covariance $\Sigma$ of one row's gradient. What none of these explains was
stopped early, or trained on something else.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Batch, Energy, Params, Scalar
from slt.estimate.harmonic import LANCZOS_STEPS, spectrum
from slt.geometry.landscape import as_measure, force_measure
from slt.jit import shared_jit
from slt.targets.inputs import dot
from slt.targets.rows import evenly
from slt.targets.target import Target, without_control_variate

ROWS = 256
"""Rows whose gradients tell of their noise."""
EXPLAINED = 0.7
"""Share of the squared gradient that an account must explain to be named."""
ALIKE = 4.0
"""Times the squared gradient that noise alone gives, below which other data explain it."""

BELOW = 0.1
"""Energy below that of w*, relative to the estimate, from which on w* is no minimum."""
GRID = np.logspace(0, 8, 33)
"""Localisations that are tried, over the one given."""


class Causes(NamedTuple):
    """decay: a, with its share of |g|^2. decoupled: share of |g|^2 explained by -s w. noise: n |g|^2/tr Sigma [1].

    holding: gamma from which on the way to the minimum costs less than BELOW of the estimate [per squared unit]; NaN
    where none does.
    """

    decay: float
    coupled: float
    decoupled: float
    noise: float
    holding: float

    def __str__(self) -> str:
        """What is named, and what to do about it."""
        share = "of its squared gradient is that of"
        noisy = f"its squared gradient is {self.noise:.3g} times that of noise between two sets of as many rows"
        if self.coupled > EXPLAINED and self.coupled >= self.decoupled:
            why = (
                f"{self.coupled:.0%} {share} a weight decay of {self.decay:.2g}, (a/2)|w|^2: give "
                f"weight_decay={self.decay:.2g} if it was trained with that"
            )
        elif self.decoupled > EXPLAINED:
            why = (
                f"{self.decoupled:.0%} {share} decoupled decay, as AdamW has it, whose number is no a of (a/2)|w|^2: "
                "`polish` w* with a weight_decay of your choice, and give the same one here"
            )
        elif self.noise < ALIKE:
            why = (
                f"{noisy}, as where w* was trained on other data of the same law, or in small batches to the end: give "
                "the data it was trained on, or `polish` w*"
            )
        else:
            why = (
                f"{noisy}, and no weight decay explains it: it was stopped early, or trained on another loss (dropout, "
                "label smoothing, padding that counts): train on or `polish` w*"
            )
        held = f"a localization of {self.holding:.1e} or more holds" if self.holding > 0 else "no localization holds"
        return f"{why}. Where it stands, {held} it."


def causes(target: Target, seed: int) -> Causes:
    """Of the gradient at w* of a target with data and a Gaussian prior."""
    assert target.log_likelihood is not None
    some = evenly(target.data, min(ROWS, target.num_data))
    plain = without_control_variate(target)
    parts = _parts(target.log_likelihood, plain.energy, target.minimum, target.data, some)
    square, along, weights, scaled, steep, noise = (float(part) for part in parts)
    square, along, scaled = square / target.nbeta**2, along / target.nbeta, scaled / target.nbeta
    return Causes(
        decay=-along / max(weights, 1e-300),
        coupled=along**2 / max(square * weights, 1e-300) if along < 0 else 0.0,
        decoupled=scaled**2 / max(square * steep, 1e-300) if scaled < 0 else 0.0,
        noise=target.num_data * square / noise if noise > 0 else math.inf,
        holding=_holding(target, seed),
    )


def _holding(target: Target, seed: int) -> float:
    """Least gamma of a grid at which a quadratic loss has less than BELOW of the estimate below w*."""
    plain, w = without_control_variate(target), jax.tree.map(jnp.asarray, target.minimum)
    seen = force_measure(plain.energy, plain.loss, target.nbeta, w, target.data, num_steps=LANCZOS_STEPS)
    force, loss = as_measure(seen), spectrum(target, seed)
    for gamma in max(target.localization, 1e-3) * GRID:
        precision = target.precision - target.localization + gamma
        if force.within(precision) < BELOW * loss.harmonic(precision).value:
            return float(gamma)
    return math.nan


@shared_jit
def _parts(log_likelihood: Callable, energy: Energy, w: Params, data: Batch, some: Batch) -> tuple[Scalar, ...]:
    """|f|^2, f.w, |w|^2, f.(s w), |s w|^2 for the force f of the energy, and tr Sigma of one row."""
    force = jax.grad(energy)(w, data)

    def of_row(sums: tuple[Params, Params], row: Batch) -> tuple[tuple[Params, Params], None]:
        one = jax.tree.map(lambda a: a[None], row)
        gradient = jax.grad(lambda v: -log_likelihood(v, one)[0])(w)
        total, squares = sums
        return (
            jax.tree.map(jnp.add, total, gradient),
            jax.tree.map(lambda s, g: s + g**2, squares, gradient),
        ), None

    zero = jax.tree.map(jnp.zeros_like, w)
    (total, squares), _ = jax.lax.scan(of_row, (zero, zero), some)
    number = len(jax.tree.leaves(some)[0])
    scaled = jax.tree.map(lambda s, v: jnp.sqrt(s / number) * v, squares, w)
    variance = _sum(squares) / number - dot(total, total) / number**2
    return dot(force, force), dot(force, w), dot(w, w), dot(force, scaled), dot(scaled, scaled), variance


def _sum(tree: Params) -> Float[Array, ""]:
    return jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, tree))
