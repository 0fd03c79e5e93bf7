"""The minimum w* of the energy of a NumPyro model, or that its density has no mode."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from slt._types import Key, Params, Scalar
from slt.targets.inputs import dot, size
from slt.targets.minimise import descend

CANDIDATES, STARTS = 64, 4
"""Draws of the prior from which the search for the minimum may start, and how many of them it starts from."""
ROUNDS, HESSIAN_DIM = 2, 300
"""Searches, the second from where the first ended, and parameters up to which a Hessian judges that end."""
FLAT = 1e-9
"""Rounding of the eigenvalues of a Hessian whose diagonal is one."""
VANISHED = 1e-3
"""A scale below which it counts as going to 0."""


def find_minimum(
    log_likelihood: Callable, log_prior: Callable, draw: Callable[[Key], Params], data: Any, nbeta: float
) -> tuple[Params, bool]:
    """The lowest minimum of the energy that Adam and L-BFGS reach from the best of `draw`, and whether it is one.

    An end that is still on its way is searched on from; where that does not help, another end that stands still is
    taken, and where none does, the density may have no mode.

    Raises:
        ValueError: the energy is nowhere finite.
    """

    def energy_per_datum(u: Params, rows: Any) -> Scalar:
        return jnp.mean(-log_likelihood(u, rows) - log_prior(u) / nbeta)

    def energy(u: Params, rows: Any) -> Scalar:
        return nbeta * energy_per_datum(u, rows)

    @jax.jit
    def begin(keys: Key, rows: Any) -> tuple[Params, Array, Array]:
        candidates = jax.vmap(draw)(keys)
        energies = jax.lax.map(lambda u: energy(u, rows), candidates)
        lowest = jnp.argsort(jnp.where(jnp.isfinite(energies), energies, jnp.inf))[:STARTS]
        starts = jax.tree.map(lambda a: a[lowest], candidates)
        possible = jnp.isfinite(jax.lax.map(lambda u: log_likelihood(u, rows), starts)).any(0)
        return starts, jnp.isfinite(energies).any(), possible

    @jax.jit
    def search(starts: Params, rows: Any) -> tuple[Params, Array, Params]:
        ends = jax.lax.map(lambda u: descend(energy_per_datum, u, rows, 200, 200, 0.03), starts)
        return ends, *jax.lax.map(lambda u: jax.value_and_grad(energy)(u, rows), ends)

    ends, finite, possible = begin(jax.random.split(jax.random.key(0), CANDIDATES), data)
    if not finite:
        row = "" if bool(possible.all()) else f" (datum {int(jnp.argmin(possible))} has likelihood 0, or none, at all)"
        raise ValueError(
            f"numpyro_target: the energy is not finite at the best of {CANDIDATES} draws of the prior{row}; check the "
            "data against the support of the likelihood, or give minimum= values of all latent sites."
        )
    lowest = None
    for _ in range(ROUNDS):
        ends, energies, slopes = search(ends, data)
        order = np.argsort(np.where(np.isfinite(energies), energies, np.inf))
        found = [(jax.tree.map(lambda a, i=i: a[i], ends), jax.tree.map(lambda a, i=i: a[i], slopes)) for i in order]
        lowest = found[0][0]
        if _is_settled(energy, data, *found[0]):
            return lowest, True
    settled = [end for end, slope in found[1:] if _is_settled(energy, data, end, slope)]
    return (settled[0], True) if settled else (lowest, False)


def _is_settled(energy: Callable, data: Any, u: Params, slope: Params) -> bool:
    """Whether the quadratic about u falls by less than a tenth of a nat; of many parameters it is not asked."""
    if not bool(jnp.isfinite(jnp.sqrt(dot(slope, slope)))):
        return False
    if float(jnp.sqrt(dot(slope, slope))) < 0.05 or size(u) > HESSIAN_DIM:
        return True
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(lambda a: jnp.asarray(a, np.float64), u))
        gradient = jax.grad(lambda x: energy(unravel(x), data))
        matrix, force = np.asarray(jax.jit(jax.jacfwd(gradient))(flat)), np.asarray(jax.jit(gradient)(flat))
    diagonal = np.diag(matrix)
    scale = np.where(diagonal > 0, diagonal, 1.0) ** -0.5  # stiff and soft coordinates differ by many decades
    values, vectors = np.linalg.eigh(scale[:, None] * matrix * scale)
    along = vectors.T @ (scale * force)
    return bool(values.min() > -FLAT and 0.5 * np.sum(along**2 / np.maximum(values, FLAT)) < 0.1)


def no_mode(values: Params) -> str:
    """What to say of a density without a mode, whose search ended at these values."""
    scales = [name for name, value in values.items() if bool((value > 0).all()) and float(value.min()) < VANISHED]
    where = f" where {' and '.join(map(repr, scales))} go{'es' * (len(scales) == 1)} to 0" if scales else ""
    return (
        f"No mode of the posterior was found: in unconstrained coordinates its density rises on{where}, as that of a "
        "hierarchy whose effects are drawn around a scale of their own (centred). So there is no w*, and no learning "
        "coefficient. Write the hierarchy non-centred, e.g. by numpyro.handlers.reparam with LocScaleReparam(0), or "
        "give minimum=."
    )
