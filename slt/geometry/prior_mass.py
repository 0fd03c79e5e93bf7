r"""Probability of an ellipsoid under a Gaussian, to round-off and in logs, in any dimension and however small.

The quadratic form $Q = \tfrac12 (w-w^*)^\top H (w-w^*)$ of a Gaussian w has the Laplace transform
$\log \mathbb{E}e^{-sQ} = K(s) = -\tfrac12\sum\log(1+\sigma^2 h_i s) - \tfrac12\sum h_i d_i^2 s/(1+\sigma^2 h_i s)$,
and $P(Q \le T) = \frac{1}{2\pi i}\int e^{K(s) + sT}\,ds/s$. Every singularity is on the negative axis, so the line may
become the parabola s = s_0 (1 + iu)^2 through the saddle point s_0, on which the trapezoidal rule converges
geometrically. Source: saddle point Lugannani & Rice 1980; parabolic contour Weideman & Trefethen 2007.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

MAX_NODES = 1 << 15


def log_prior_mass(
    eigenvalues: Float[np.ndarray, " dim"],
    *,
    threshold: float,
    scale: float,
    offset: Float[np.ndarray, " dim"] | None = None,
) -> float:
    """Log P((w-w*)'H(w-w*)/2 <= T) for w ~ N(m, scale^2 I) [nats]; 0 where H = 0.

    Args:
        eigenvalues: of H >= 0 [nats/datum per squared unit].
        threshold: T > 0 [nats/datum].
        scale: standard deviation sigma of the Gaussian [unit].
        offset: w* - m in the eigenbasis [unit]; 0 unless given.

    Raises:
        ValueError: a negative eigenvalue. ArithmeticError: the quadrature did not settle.
    """
    h, shift = _active(eigenvalues, offset)
    if h.size == 0:
        return 0.0
    a, noncentrality = scale**2 * h, h * shift**2
    saddle = tilt(eigenvalues, threshold=threshold, scale=scale, offset=offset)

    def exponent(s: np.ndarray) -> np.ndarray:
        x = 1 + a * s[:, None]
        return s * threshold - 0.5 * np.sum(np.log(x) + noncentrality * s[:, None] / x, axis=1)

    peak = float(exponent(np.array([saddle]))[0])

    def integrand(u: np.ndarray) -> np.ndarray:
        pieces = np.array_split(u, max(1, u.size * h.size >> 22))
        values = np.concatenate([exponent(saddle * (1 + 1j * piece) ** 2) for piece in pieces])
        return (np.exp(values - peak) / (1 + 1j * u)).real

    return peak + math.log(2 / math.pi * _half_line(integrand))


def tilt(
    eigenvalues: Float[np.ndarray, " dim"],
    *,
    threshold: float,
    scale: float,
    offset: Float[np.ndarray, " dim"] | None = None,
) -> float:
    r"""The saddle point s_0 [datum/nat]: the Gaussian tilted by $e^{-s_0 Q}$ sits where the ellipsoid of height T is.

    Its covariance (s_0 H + I/sigma^2)^-1 is what the mass of the ellipsoid under the Gaussian looks like.
    """
    h, shift = _active(eigenvalues, offset)
    a, noncentrality = scale**2 * h, h * shift**2

    def slope(log_s: float) -> float:
        s = math.exp(log_s)
        mean = 0.5 * np.sum(a / (1 + a * s) + noncentrality / (1 + a * s) ** 2)
        return s * (threshold - mean) - 1

    low, high = -math.log(threshold) - 1, -math.log(threshold) + 1
    while slope(low) > 0:
        low -= 5
    while slope(high) < 0:
        high += 5
    return math.exp(float(np.asarray(brentq(slope, low, high, xtol=1e-12))))


def _active(eigenvalues: np.ndarray, offset: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    h = np.asarray(eigenvalues, np.float64)
    if not (h >= 0).all():
        raise ValueError(f"log_prior_mass: the smallest eigenvalue is {h.min():.3g}; H must have no negative ones.")
    shift = np.zeros_like(h) if offset is None else np.asarray(offset, np.float64)
    return h[h > 0], shift[h > 0]


def _half_line(integrand) -> float:
    """Integral from 0 to infinity of an even, rapidly decaying function with f(0) = 1, by trapezoids."""
    width = 1.0
    while np.abs(integrand(np.linspace(width, 2 * width, 32))).max() > 1e-17:
        width *= 2
        if width > 1e9:
            raise ArithmeticError("log_prior_mass: the contour integral does not decay.")
    while width > 1e-9 and np.abs(integrand(np.linspace(width / 2, width, 32))).max() < 1e-17:
        width /= 2
    count, old = 64, math.inf
    while count <= MAX_NODES:
        values = integrand(np.linspace(0.0, width, count + 1))
        new = width / count * float(values.sum() - 0.5 * values[0] - 0.5 * values[-1])
        if abs(new - old) <= 1e-12 * abs(new):
            return new
        count, old = 2 * count, new
    raise ArithmeticError(f"log_prior_mass: {MAX_NODES} nodes do not settle the contour integral.")
