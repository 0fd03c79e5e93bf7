r"""The toy model of superposition, ReLU(W'W x + b) with W 2 x c and inputs mu e_i, mu ~ U[0, 1]: its loss and k-gons.

L(w) = E|x - ReLU(W'W x + b)|^2 = H(w)/(3c) in closed form; positions are one vector, W row by row and then b.

Source: Chen, Lau, Mendel, Wei & Murfet 2023, arXiv:2310.06301.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from scipy import optimize

from slt._types import Scalar


class CriticalPoint(NamedTuple):
    """A k-gon in a model of c features.

    name: e.g. "5", or "5+" where the features off the polygon output their best constant, 1/(2c).
    position: W row by row, then b. length, bias: of the vectors on the polygon. loss: L there.
    rlct: learning coefficient of L there, half the rank of the Hessian; None at the 4-gon, where L has a kink and the
        answer depends on the direction.
    """

    name: str
    position: Float[np.ndarray, " dim"]
    length: float
    bias: float
    loss: float
    rlct: Fraction | None


def superposition_loss(position: Float[Array, " dim"]) -> Scalar:
    r"""L(w), the mean over features i of E_mu |mu e_i - ReLU(mu W'W e_i + b)|^2.

    Output j on input mu e_i has pre-activation a_ij mu + b_j: a segment of a parabola where that is positive.
    """
    num_features = position.shape[0] // 3
    W, b = position[: 2 * num_features].reshape(2, num_features), position[2 * num_features :]
    a = W.T @ W
    own = jnp.eye(num_features, dtype=a.dtype)
    return jnp.sum(_squared_error(a, b[None, :], own)) / num_features


_hessian = jax.jit(jax.hessian(superposition_loss))


def _squared_error(a: Array, b: Array, own: Array) -> Array:
    r"""$\int_0^1 (own\,\mu - ReLU(a\mu + b))^2 d\mu$, entry by entry.

    Where active on (s, e): the integral there is that of (c mu + b)^2 with c = a - own, elsewhere that of own mu^2.
    """
    safe = jnp.where(jnp.abs(a) < 1e-6, 1e-6, a)
    zero = jnp.clip(-b / safe, 0.0, 1.0)
    flat = jnp.abs(a) < 1e-6
    start = jnp.where(flat, jnp.where(b > 0, 0.0, 1.0), jnp.where(safe > 0, zero, 0.0))
    end = jnp.where(flat, 1.0, jnp.where(safe > 0, 1.0, zero))
    slope = a - own

    def antiderivative(mu: Array) -> Array:
        return mu * (b**2 + mu * (slope * b + mu * slope**2 / 3))

    silent = own * (1 - end**3 + start**3) / 3
    return antiderivative(end) - antiderivative(start) + silent


def polygon(num_features: int, num_vertices: int, *, constant: bool = False) -> CriticalPoint:
    """The critical point whose first k features form a regular k-gon, the others at W_i = 0.

    Args:
        num_features: c. num_vertices: k, from 4 to 8 and at most c.
        constant: the features off the polygon output 1/(2c) (a "+") instead of nothing (b_i = -1/2).

    Raises:
        ValueError: k below 4, above 8 or above c, or `constant` without a feature to spare.
    """
    c, k = num_features, num_vertices
    if not 4 <= k <= min(c, 8):
        raise ValueError(f"polygon: {k} of {c} features; give a polygon of 4 to {min(c, 8)} vertices.")
    if constant and k == c:
        raise ValueError(f"polygon: all {c} features lie on the {k}-gon; a constant needs one to spare.")
    length, bias = (1.0, 0.0) if k == 4 else _best_polygon(k)
    position = _assemble(c, k, length, bias, 1 / (2 * c) if constant else -0.5)
    with jax.enable_x64(True):
        loss = float(superposition_loss(jnp.asarray(position)))
    rlct = None if k == 4 else Fraction(3 * k - 1 + (3 * (c - k) if constant else 0), 2)
    return CriticalPoint(f"{k}{'+' * ((c - k) if constant else 0)}", position, length, bias, loss, rlct)


def _assemble(c: int, k: int, length: float, bias: float, spare_bias: float) -> np.ndarray:
    angles = 2 * np.pi * np.arange(k) / k
    W = np.zeros((2, c))
    W[:, :k] = length * np.array([np.cos(angles), np.sin(angles)])
    return np.concatenate([W.ravel(), np.full(k, bias), np.full(c - k, spare_bias)])


def _best_polygon(k: int) -> tuple[float, float]:
    """Length and bias of a k-gon at which L is stationary.

    With x the squared length and a_j = x cos(2 pi j/k) of the active neighbours, a vertex has
    H = sum_j (a_j + b)^3/a_j + b^3/x^2 + b^3/x + (1-x)^2 - 3(1-x)b + 3b^2; its gradient is solved for zero.
    """
    cosines = np.cos(2 * np.pi * np.arange(1, k) / k)

    def gradient(point: np.ndarray) -> np.ndarray:
        x, b = point
        cosine = cosines[(cosines > 0) & (x * cosines + b > 0)]
        a = x * cosine
        by_x = np.sum(3 * (a + b) ** 2 / x - (a + b) ** 3 / (a * x)) - 2 * (b / x) ** 3 - b**3 / x**2 - 2 * (1 - x)
        by_b = np.sum(3 * (a + b) ** 2 / a) + 3 * (b / x) ** 2 + 3 * b**2 / x - 3 * (1 - x) + 6 * b
        return np.array([by_x + 3 * b, by_b])

    x, b = optimize.root(gradient, [1.4, -0.28] if k == 5 else [1.75, -0.62], tol=1e-14).x
    return float(np.sqrt(x)), float(b)


def sides(positions: Float[np.ndarray, "draw dim"], *, threshold: float = 0.6) -> list[str]:
    """The phase that each position lies in: the number of vectors longer than the threshold, "+" for b_i > 0 off it."""
    c = positions.shape[1] // 3
    W, b = positions[:, : 2 * c].reshape(-1, 2, c), positions[:, 2 * c :]
    long = np.linalg.norm(W, axis=1) > threshold
    constants = (~long & (b > 0)).sum(1)
    return [f"{k}{'+' * plus}" for k, plus in zip(long.sum(1), constants, strict=True)]


def polygon_free_energy(point: CriticalPoint, num_data: ArrayLike) -> np.ndarray:
    r"""$-\log\int e^{-nL(w)} N(w; 0, I) dw$ over all copies of a k-gon, with at most one feature off it [nats].

    c!/((c-k)! k) circles of length 2 pi sqrt(k) l, Gaussian across, by the eigenvalues of the Hessian; the feature off
    the polygon, whose potential is flat where it is silent and dips where it outputs a constant, by a sum over a grid.
    It is n L + lambda log n + c_n, with c_n all constants: determinants, copies, prior.

    Args:
        num_data: n, one or many.

    Raises:
        ValueError: two features or more off the polygon.
    """
    c = len(point.position) // 3
    k = int(point.name.rstrip("+"))
    if c - k > 1:
        raise ValueError(f"polygon_free_energy: {c - k} features lie off the {k}-gon; at most one is allowed.")
    on = np.concatenate([np.arange(k), c + np.arange(k), 2 * c + np.arange(k)])
    with jax.enable_x64(True):
        hessian = _hessian(jnp.asarray(point.position))
    # one eigenvalue is zero: the rotation
    eigenvalues = np.linalg.eigvalsh(np.asarray(hessian)[np.ix_(on, on)])[1:]
    copies = math.factorial(c) / math.factorial(c - k) / k * 2 * np.pi * np.sqrt(k) * point.length
    log_prior = -0.5 * np.sum(point.position[on] ** 2) - 1.5 * k * np.log(2 * np.pi)
    n = np.asarray(num_data, np.float64)
    gaussian = 0.5 * np.sum(np.log(2 * np.pi / eigenvalues)) - 0.5 * len(eigenvalues) * np.log(n)
    spare = np.log(_spare_volume(point, n)) if c > k else 0.0
    return n * point.loss - np.log(copies) - log_prior - gaussian - spare


def _spare_volume(point: CriticalPoint, num_data: np.ndarray) -> np.ndarray:
    """E exp(-n (L - L*)) over W_c, b_c ~ N(0, 1), the polygon standing still; on a grid of spacing 0.05."""
    c = len(point.position) // 3
    side, height = np.arange(-1.0, 1.01, 0.05), np.arange(-5.0, 1.01, 0.05)
    values = np.stack(np.meshgrid(side, side, height), -1).reshape(-1, 3)
    where = jnp.array([c - 1, 2 * c - 1, 3 * c - 1])
    with jax.enable_x64(True):
        center = jnp.asarray(point.position)
        at = jax.jit(lambda all_values: jax.lax.map(lambda v: superposition_loss(center.at[where].set(v)), all_values,
                                                    batch_size=4096))  # fmt: skip
        excess = np.asarray(at(jnp.asarray(values))) - point.loss
    density = np.exp(-0.5 * np.sum(values**2, 1)) / (2 * np.pi) ** 1.5
    sums = [np.sum(density * np.exp(-n * excess)) for n in num_data.ravel()]
    return np.reshape(sums, num_data.shape) * 0.05**3
