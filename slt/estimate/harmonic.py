r"""What the Hessian at w* alone says: its top against the curvature of the prior, and $\hat\lambda$ if it were all."""

import math

import jax
import jax.numpy as jnp

from slt.geometry.landscape import Measure, as_measure, largest_curvature, loss_measure
from slt.samplers.seeds import derived_seed
from slt.targets.target import Target, in_precision, without_control_variate

PROBES, LANCZOS_STEPS, ROWS = 4, 25, 16384
"""Of the spectral measure; and rows of the data, evenly spaced, at most."""


def kappa(target: Target, seed: int) -> float:
    """n beta lambda_max/gamma' at w*, by Lanczos on all data; NaN without a prior that has a curvature."""
    if not target.precision > 0:
        return math.nan
    key = jax.random.key(derived_seed(seed, "kappa"))
    top = largest_curvature(key, target.energy, jax.tree.map(jnp.asarray, target.minimum), target.data)
    return max(float(top) / target.precision - 1, 0.0)


def spectrum(target: Target, seed: int) -> Measure:
    """Spectral measure of the Hessian of n beta L at w*, seen from vectors of random signs."""
    key = jax.random.key(derived_seed(seed, "harmonic"))
    rows = jax.tree.map(lambda a: a[:: -(-a.shape[0] // ROWS)], target.data)
    with in_precision(target):
        minimum = jax.tree.map(jnp.asarray, target.minimum)
        loss = without_control_variate(target).loss
        seen = loss_measure(key, loss, target.nbeta, minimum, rows, num_vectors=PROBES, num_steps=LANCZOS_STEPS)
    return as_measure(seen)


def harmonic(target: Target, seed: int) -> dict[str, float]:
    r"""Diagnostics "harmonic", what $\hat\lambda$ is of a quadratic loss, and its error over Lanczos probes.

    Nothing where the prior is no Gaussian.
    """
    if target.prior.gaussian is None:
        return {}
    found = spectrum(target, seed).harmonic(target.prior.gaussian.precision)
    return {"harmonic": found.value, "harmonic_error": found.mcse}
