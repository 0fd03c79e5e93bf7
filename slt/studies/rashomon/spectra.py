r"""Spectra of every minimum of an ensemble: near-zero counts, their dependence on the threshold, ranks, histograms."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from slt._rows import as_fields
from slt._types import Batch, Params, Scalar
from slt.studies.rashomon.ensemble import in_groups


class Spectra(NamedTuple):
    """eigenvalues of the Hessian, ascending [nats/datum per squared unit], dims (run, dim); gradient_norm: of each run.

    dtype_floor: eigenvalues of a matrix of this dtype are known to about this fraction of the largest [1].
    """

    eigenvalues: Float[np.ndarray, "run dim"]
    gradient_norm: Float[np.ndarray, " run"]
    dtype_floor: float

    def near_zero(self, threshold: float) -> Int[np.ndarray, " run"]:
        """How many |eigenvalues| of each run are at most `threshold` times its largest.

        Raises:
            ValueError: a threshold below the rounding of the dtype, where counting is meaningless, or above 1.
        """
        if not self.dtype_floor <= threshold < 1:
            raise ValueError(
                f"near_zero: threshold is {threshold:g} of the largest eigenvalue; it must be at least the rounding "
                f"level {self.dtype_floor:.1g} of this dtype and below 1. Compute spectra in float64 for smaller ones."
            )
        size = np.abs(self.eigenvalues)
        return np.sum(size <= threshold * size.max(1, keepdims=True), axis=1)

    def gap(self) -> tuple[Int[np.ndarray, " run"], Float[np.ndarray, " run"]]:
        """Count of eigenvalues below the widest gap of each run, and that gap [decades].

        Eigenvalues below the rounding level count as at it. A gap below two decades decides nothing.
        """
        size = np.sort(np.abs(self.eigenvalues), axis=1)
        floor = self.dtype_floor * size[:, -1:]
        logs = np.log10(np.maximum(size, floor))
        steps = np.diff(logs, axis=1)
        return steps.argmax(1) + 1, steps.max(1)

    __repr__ = as_fields


def spectra(objective: Callable[[Params, Batch], Scalar], params: Params, data: Batch) -> Spectra:
    """Dense Hessian spectrum of the objective at every run (leading axis of params).

    Raises:
        ValueError: more than 2000 parameters a run, or a Hessian or gradient that is not finite.
    """
    flat, unravel = ravel_pytree(jax.tree.map(lambda a: a[0], params))
    if flat.size > 2000:
        raise ValueError(f"spectra: {flat.size} parameters a run; dense Hessians of an ensemble are formed up to 2000.")

    def one_run(w: Params, data: Batch) -> tuple[Array, Array]:
        x = ravel_pytree(w)[0]
        gradient = jax.grad(lambda y: objective(unravel(y), data))
        return jax.jacfwd(gradient)(x), gradient(x)

    hessians, gradients = in_groups(one_run, params, data)
    finite = np.isfinite(hessians).all((1, 2)) & np.isfinite(gradients).all(1)
    if not finite.all():
        raise ValueError(f"spectra: run {int(np.argmin(finite))} is not finite there; leave out runs that diverged.")
    symmetric = (hessians + hessians.transpose(0, 2, 1)) / 2
    floor = float(np.finfo(hessians.dtype).eps) * flat.size
    return Spectra(np.linalg.eigvalsh(symmetric.astype(np.float64)), np.linalg.norm(gradients, axis=1), floor)
