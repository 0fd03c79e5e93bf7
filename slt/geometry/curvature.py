"""Curvature around one point: the spectrum of a Hessian, exact where it is small and by Lanczos elsewhere."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from slt._options import checked
from slt._types import Estimate, Key
from slt.geometry.lanczos import lanczos_spectrum
from slt.geometry.operators import Network, Operator, dense, gauss_newton, hessian, precision, residual
from slt.geometry.spectrum import LogDet, Spectrum, exact_spectrum, log_det
from slt.targets.target import Target

DENSE_DIM = 5000
"""Most parameters for which the dense Hessian is formed: some ten seconds of one core."""


class Split(NamedTuple):
    """H = GGN + S by size: Frobenius norms [nats/datum per squared unit], exact (mcse 0) where the matrix is small.

    identity: |Hz - GGN z - S z| / |Hz| of one random z; rounding, unless the loss is not twice differentiable.
    """

    hessian: Estimate
    gauss_newton: Estimate
    residual: Estimate
    identity: float


@checked
def curvature_spectrum(
    subject: Network | Target | Operator,
    key: Key | None = None,
    *,
    matrix: str = "hessian",
    dtype: Any = np.float64,
    dense_dim: int = DENSE_DIM,
    **options: Any,
) -> Spectrum:
    """Spectrum of the Hessian of the mean loss: all eigenvalues up to `dense_dim` parameters, Lanczos above.

    Args:
        subject: a target, a network, or the operator of any symmetric matrix.
        key: JAX random key of the probes; needed for Lanczos only.
        matrix: "hessian", or "gauss_newton" of a network.
        dtype: of the products. options: num_probes, num_steps, resolve, max_steps, lower_bound of `lanczos_spectrum`.

    Raises:
        ValueError: an unknown matrix, no key where one is needed, or products that are not finite.
    """
    operator = subject if isinstance(subject, Operator) else _operator(subject, matrix, dtype)
    point = {"gradient_norm": operator.gradient_norm, "scale": operator.scale}
    if operator.dim <= dense_dim:
        return exact_spectrum(np.linalg.eigvalsh(dense(operator)), dtype=operator.dtype, **point)
    if key is None:
        raise ValueError(
            f"curvature_spectrum: {operator.dim} parameters are above dense_dim = {dense_dim}, so the spectrum is "
            "sampled; give a key, such as jax.random.key(0)."
        )
    settings: dict[str, Any] = {"lower_bound": operator.lower_bound} | options | point
    return lanczos_spectrum(operator.product, operator.dim, key, args=operator.args, dtype=operator.dtype, **settings)


@checked
def log_determinant(
    subject: Network | Target, shift: float, key: Key | None = None, *, indefinite: str = "refuse", **options: Any
) -> LogDet:
    """log det(H + cI) in one call, with enough Lanczos steps for that c.

    Args:
        shift: c [nats/datum per squared unit].
        indefinite: "refuse", "shift", "absolute", "clamp" (see `log_det`), or "ggn": the Gauss–Newton matrix instead.
        options: as for `curvature_spectrum`.
    """
    matrix = "gauss_newton" if indefinite == "ggn" else "hessian"
    settings: dict[str, Any] = {"resolve": shift} | options
    spectrum = curvature_spectrum(subject, key, matrix=matrix, **settings)
    result = log_det(spectrum, shift, indefinite="refuse" if indefinite == "ggn" else indefinite)
    return result._replace(indefinite=indefinite)


@checked
def curvature_split(subject: Network, key: Key, *, num_probes: int = 30) -> Split:
    r"""Sizes of the two terms of $H = J^\top(\partial^2\ell)J + \sum \partial\ell\,\partial^2 f$, in float64.

    Exact up to 5000 parameters, elsewhere from $\lVert A \rVert_F^2 = \mathbb{E}\lVert A z \rVert^2$ over probes.
    """
    operators = hessian(subject), gauss_newton(subject), residual(subject)
    check, probes = jax.random.split(key)
    if operators[0].dim <= DENSE_DIM:
        norms = [Estimate(float(np.linalg.norm(dense(operator))), 0.0) for operator in operators]
    else:
        norms = [_frobenius(operator, probes, num_probes) for operator in operators]
    with precision(np.float64):
        z = jax.random.normal(check, (operators[0].dim,), np.float64)
        whole, first, second = (np.asarray(jax.jit(o.product)(z, *o.args)) for o in operators)
    gap = np.linalg.norm(whole - first - second) / max(np.linalg.norm(whole), 1e-300)
    return Split(*norms, identity=float(gap))


def hessian_eigenvalues(target: Target | Network) -> Float[np.ndarray, " dim"]:
    """All eigenvalues of the Hessian of L_n at w*, ascending [nats/datum per squared unit], in float64.

    Raises:
        ValueError: more than 5000 parameters, or an entry that is not finite.
    """
    operator = hessian(target)
    if operator.dim > DENSE_DIM:
        raise ValueError(
            f"hessian_eigenvalues: {operator.dim} parameters; the dense Hessian is formed up to {DENSE_DIM}. "
            "`curvature_spectrum` samples larger ones."
        )
    return np.linalg.eigvalsh(dense(operator))


def harmonic_llc(eigenvalues: Float[np.ndarray, " dim"], *, nbeta: float, precision: float) -> float:
    r"""$\tfrac12\sum_i \lambda_i/(\lambda_i + \gamma/(n\beta))$: the estimate of a quadratic loss.

    Args:
        eigenvalues: of the Hessian of L_n [nats/datum per squared unit].
        precision: gamma, weight decay n beta a included [nats per squared unit].
    """
    positive = np.maximum(eigenvalues, 0.0)
    return float(0.5 * np.sum(positive / np.maximum(positive + precision / nbeta, 1e-300)))


def _operator(subject: Network | Target, matrix: str, dtype: Any) -> Operator:
    if matrix not in ("hessian", "gauss_newton"):
        raise ValueError(f'curvature: matrix is {matrix!r}; choose "hessian" or "gauss_newton".')
    if matrix == "hessian":
        return hessian(subject, dtype=dtype)
    if isinstance(subject, Target):
        raise ValueError(
            "curvature: the Gauss–Newton matrix needs outputs and loss apart, which a Target does not have; give a "
            "`network(outputs, loss, params, data)`."
        )
    return gauss_newton(subject, dtype=dtype)


def _frobenius(operator: Operator, key: Key, num_probes: int) -> Estimate:
    """|A|_F from squared norms of products with normal vectors; its error by the delta method."""
    with precision(operator.dtype):
        run = jax.jit(
            lambda keys, args: jax.lax.map(
                lambda k: jnp.sum(operator.product(jax.random.normal(k, (operator.dim,), operator.dtype), *args) ** 2),
                keys,
            )
        )
        squares = np.asarray(run(jax.random.split(key, num_probes), operator.args), np.float64)
    norm = math.sqrt(float(np.mean(squares)))
    error = float(np.std(squares, ddof=1)) / math.sqrt(num_probes) / (2 * norm) if norm > 0 else 0.0
    return Estimate(norm, error, num_probes - 1)
