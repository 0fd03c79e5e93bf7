r"""$\log \int_0^R r^{d-1} e^{-a r^2/2 + b r}\,dr$, the mass of a Gaussian along a ray, in any dimension."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

NODES, WEIGHTS = np.polynomial.legendre.leggauss(48)
NEGLIGIBLE = 45.0
"""Nats below the peak at which an integrand does not count."""


def log_radial_integral(
    dim: int, curvature: ArrayLike, slope: ArrayLike, radius: ArrayLike
) -> Float[np.ndarray, " ray"]:
    r"""$\log\int_0^R r^{d-1} \exp(-\tfrac a2 r^2 + b r)\,dr$ by Gauss-Legendre rules on both sides of the peak.

    The integrand is log-concave, so where it lies within 45 nats of its peak is known before it is evaluated.

    Args:
        dim: d.
        curvature: a >= 0; where it is 0 the slope must be 0 too. slope: b. radius: R, infinite where a > 0 if need be.
    """
    a, b, R = (np.asarray(x, np.float64) for x in np.broadcast_arrays(curvature, slope, radius))
    if (a == 0).all() and (b == 0).all():
        return dim * np.log(R) - np.log(dim)
    root = np.sqrt(b**2 + 4 * a * (dim - 1))
    # the two forms of the positive root: neither subtracts nearly equal numbers
    free = np.where(b > 0, (b + root) / (2 * a), 2 * (dim - 1) / np.maximum(root - b, 1e-300))
    peak = np.minimum(free, R)
    inverse = 1 / np.maximum(peak, 1e-150)
    reach = np.sqrt(2 * NEGLIGIBLE / (a + (dim - 1) * inverse**2))
    rise = (dim - 1) * inverse - a * peak + b
    reach = np.where(rise > 0, np.minimum(reach, NEGLIGIBLE / np.maximum(rise, 1e-300)), reach)
    low = np.maximum(0.0, peak - reach)
    fall = 1.5 * a * peak - 0.5 * b  # the least rate of decay beyond twice the peak
    with np.errstate(divide="ignore"):
        high = np.minimum(np.sqrt(2 * NEGLIGIBLE / a) + peak, 2 * peak + NEGLIGIBLE / np.maximum(fall, 1e-300))
    high = np.minimum(high, R)
    height = _log_integrand(dim, a, b, peak)
    total = np.zeros_like(peak)
    for start, end in ((low, peak), (peak, high)):
        half = (end - start)[..., None] / 2
        r = (end + start)[..., None] / 2 + half * NODES
        values = _log_integrand(dim, a[..., None], b[..., None], r) - height[..., None]
        total = total + np.exp(values) @ WEIGHTS * half[..., 0]
    return height + np.log(total)


def _log_integrand(dim: int, a: np.ndarray, b: np.ndarray, r: np.ndarray) -> np.ndarray:
    power = (dim - 1) * np.log(np.maximum(r, 1e-300)) if dim > 1 else 0.0
    return power - 0.5 * a * r**2 + b * r
