r"""How K grows around w*, and what that allows for the learning coefficient.

Where $K(w) \le C|w - w^*|^p$ and the prior is positive at w*, $Z(s) = E[e^{-sK}] \ge c\,s^{-d/p}$, so
$\lambda \le d/p$: d/2 wherever K has two derivatives and w* is a minimum, at the wall of a box, too. At a regular
minimum it is d/2.

Along directions in which the prior has the spread sigma_i, $\kappa_i = s\sigma_i^2 h_i$ with the eigenvalues h_i of the
scaled Hessian, the quadratic part of K has $E[sK] = \frac12\sum_i \kappa_i/(1 + \kappa_i)$.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from slt._types import Key
from slt.geometry.operators import dense, hessian
from slt.targets.target import Target

DRAWS = 64
FRACTIONS = np.geomspace(1e-9, 1.0, 28)
"""Of the way from w* to draws of the prior, a third of a decade apart."""
QUADRATIC = 1.8
"""Exponent from which K is taken to grow quadratically, or faster."""
RESOLVED = 10.0
"""kappa from which a direction is resolved: its share of d/2 is within a tenth of 1/2."""
MOST = 200
"""Parameters up to which the Hessian is formed."""


class Growth(NamedTuple):
    """largest: bound of lambda. regular: w* is a regular minimum, all of whose directions are resolved at s.

    rise: d E[sK] / d log s of the quadratic part of K at s.
    """

    largest: float
    regular: bool
    rise: float


def growth_at_minimum(key: Key, target: Target, nbeta: float) -> Growth:
    """Around the w* of a target with a proper prior, at s = n beta."""
    draw = target.prior.draw
    assert draw is not None
    center, unravel = ravel_pytree(target.minimum)
    draws = jax.vmap(lambda k: ravel_pytree(draw(k))[0])(jax.random.split(key, DRAWS))
    ways = jnp.asarray(draws, center.dtype) - center

    def at(fraction: float) -> float:
        losses = jax.lax.map(lambda way: target.loss(unravel(center + fraction * way), target.data), ways)
        return float(jnp.max(losses))

    exponent = _exponent(nbeta * np.array([at(fraction) for fraction in FRACTIONS]))
    dim = target.num_params
    if not np.isfinite(float(target.prior.log_density(target.minimum))):
        return Growth(10.0 * dim, False, 0.0)
    if exponent < QUADRATIC:
        return Growth(dim / max(exponent, 0.1), False, 0.0)
    kappa = _resolutions(target, np.asarray(ways, np.float64), nbeta)
    return Growth(dim / 2, bool(len(kappa) and kappa.min() > RESOLVED), float(np.sum(kappa / (1 + kappa) ** 2) / 2))


def _exponent(energies: Float[np.ndarray, " fraction"]) -> float:
    """Of the largest K in the distance, where sK passes 1."""
    beyond = np.flatnonzero(energies >= 1.0)
    if not len(beyond) or beyond[0] == 0 or not energies[beyond[0] - 1] > 0:
        return 1.0  # K does not reach 1/s, or is there from the start: nothing is known
    i = int(beyond[0])
    return float(np.log(energies[i] / energies[i - 1]) / np.log(FRACTIONS[i] / FRACTIONS[i - 1]))


def _resolutions(target: Target, ways: Float[np.ndarray, "draw dim"], nbeta: float) -> Float[np.ndarray, " direction"]:
    """kappa of every direction, what is rounding set to 0; none where there are too many."""
    if target.num_params > MOST:
        return np.zeros(0)
    spread = ways.std(0)
    values = nbeta * np.linalg.eigvalsh(dense(hessian(target)) * np.outer(spread, spread))
    return np.where(values > 1e-8 * np.abs(values).max(), values, 0.0)
