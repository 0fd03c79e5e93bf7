"""Single eigenpairs of a large symmetric matrix: the top by ARPACK, the smallest eigenvalue between two bounds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from slt._options import checked
from slt._rows import as_fields
from slt._types import Key
from slt.geometry.lanczos import lanczos_spectrum
from slt.geometry.operators import Operator, check_finite, dense, precision

SMALL = 1000
"""Up to this dimension the dense matrix is quicker."""


class Eigenpairs(NamedTuple):
    """values: outermost first. vectors: unit columns. residuals: |A v - lambda v| of each."""

    values: Float[np.ndarray, " pair"]
    vectors: Float[np.ndarray, "dim pair"]
    residuals: Float[np.ndarray, " pair"]

    __repr__ = as_fields


@checked
def extreme_eigenpairs(operator: Operator, count: int, *, end: str = "top", max_products: int = 5000) -> Eigenpairs:
    """The `count` largest or smallest eigenpairs, by restarted Lanczos; dense up to 1000 parameters.

    Args:
        end: "top" converges in some ten products a pair; "bottom" seldom does where the spectrum ends in a crowd, as
            Hessians of trained nets do: `smallest_eigenvalue` brackets the last one.
        max_products: products with the matrix before it gives up.

    Raises:
        ValueError: an unknown end, a count outside 1 to dim, or no convergence.

    Source: Lehoucq, Sorensen & Yang 1998, ARPACK, by scipy.
    """
    if end not in ("top", "bottom") or not 1 <= count <= operator.dim:
        raise ValueError(
            f'extreme_eigenpairs: end is {end!r}, "top" or "bottom"; count is {count}, from 1 to {operator.dim}.'
        )
    if operator.dim <= SMALL or count >= operator.dim - 1:
        matrix = dense(operator)
        values, vectors = np.linalg.eigh(matrix)
        order = np.arange(count) if end == "bottom" else np.arange(operator.dim)[::-1][:count]
        return _checked(lambda v: matrix @ v, values[order], vectors[:, order])
    with precision(operator.dtype):
        compiled = jax.jit(operator.product)

        def product(v: np.ndarray) -> np.ndarray:
            result = np.asarray(compiled(jnp.asarray(np.ravel(v), operator.dtype), *operator.args))
            check_finite(result)
            return result

        linear = LinearOperator((operator.dim, operator.dim), matvec=product, dtype=operator.dtype)  # type: ignore[call-arg]
        start = np.random.default_rng(0).normal(size=operator.dim).astype(operator.dtype)
        if not product(start).any():  # the zero matrix, as surely as a random vector has no zero in it
            return Eigenpairs(np.zeros(count), np.eye(operator.dim, count), np.zeros(count))
        width = min(operator.dim, max(20, 2 * count + 1))
        try:
            which = "LA" if end == "top" else "SA"
            values, vectors = eigsh(linear, count, which=which, v0=start, ncv=width, maxiter=max_products // width)
        except ArpackNoConvergence as error:
            raise ValueError(
                f"extreme_eigenpairs: {len(error.eigenvalues)} of {count} pairs converged in {max_products} products; "
                "ask for fewer, allow more, or bracket the last one by `smallest_eigenvalue`."
            ) from None
        order = np.argsort(values) if end == "bottom" else np.argsort(values)[::-1]
        return _checked(product, values[order], vectors[:, order])


@checked
def smallest_eigenvalue(
    operator: Operator, key: Key, *, num_steps: int = 160, num_probes: int = 3
) -> tuple[float, float]:
    """(lower bound, Ritz value): the smallest eigenvalue lies between them, up to rounding, with probability 0.9999."""
    spectrum = lanczos_spectrum(
        operator.product, operator.dim, key, args=operator.args, dtype=operator.dtype, num_probes=num_probes,
        num_steps=num_steps, lower_bound=operator.lower_bound,
    )  # fmt: skip
    return spectrum.lower_bound, spectrum.lambda_min


def _checked(product, values: np.ndarray, vectors: np.ndarray) -> Eigenpairs:
    pairs = zip(values, vectors.T, strict=True)
    residuals = np.array([np.linalg.norm(product(v) - value * v) for value, v in pairs])
    return Eigenpairs(np.asarray(values, np.float64), np.asarray(vectors, np.float64), residuals)
