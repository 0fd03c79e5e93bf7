r"""Sharpness measures in use, and why each misleads about the volume of a basin.

- The trace adds what the volume multiplies: at a fixed trace, log V/n moves without bound with the spread of the
  eigenvalues.
- Random-direction radii estimate V = V_n E[r(u)^n] without bias, and are useless: E[r^n] lives in directions that n
  dimensions do not show in any feasible number of draws, so the median grows with that number, below the truth at
  every one; along a flat direction it is infinite. Adding (lambda + c) I cures the infinity and not the growth.

Source: Hebbar 2022, "Hessian and Basin volume"; radii: Huang et al. 2020, arXiv:1906.03291.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slt.geometry.volume import log_ellipsoid, log_unit_ball


class RadiusGrowth(NamedTuple):
    """Estimates of log V by random-direction radii, minus the exact value [nats].

    num_directions: N of each estimate; median, low, high: of the error of log V over repetitions, with the central
    90 %. dim: n.
    """

    num_directions: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dim: int


def radius_log_volumes(
    rng: np.random.Generator, eigenvalues: Float[np.ndarray, " dim"], *, threshold: float, num_directions: int
) -> Float[np.ndarray, " direction"]:
    r"""$\log V_n r(u)^n$ of uniform directions u, $r = \sqrt{2T/u^\top H u}$ [nats]: their mean is the volume.

    u'Hu is a ratio of sums of chi-squares, one for every distinct eigenvalue: no vector of n numbers is drawn.
    """
    values, counts = np.unique(np.asarray(eigenvalues, np.float64), return_counts=True)
    squares = rng.chisquare(counts, size=(num_directions, counts.size))
    height = squares @ values / squares.sum(1)
    dim = int(counts.sum())
    with np.errstate(divide="ignore"):
        return log_unit_ball(dim) + 0.5 * dim * (np.log(2 * threshold) - np.log(height))


def radius_growth(
    rng: np.random.Generator,
    eigenvalues: Float[np.ndarray, " dim"],
    num_directions: Sequence[int],
    *,
    threshold: float = 1.0,
    repetitions: int = 200,
) -> RadiusGrowth:
    """How the estimate log mean V_n r^n moves with the number N of directions, on an ellipsoid whose volume is known.

    Raises:
        ValueError: H singular, whose volume is infinite, or no N.
    """
    h = np.asarray(eigenvalues, np.float64)
    if not (h > 0).all() or not len(num_directions):
        raise ValueError(
            f"radius_growth: the smallest eigenvalue is {h.min():.3g} and {len(num_directions)} sizes are given; "
            "needed: H positive definite (add lambda + c first) and at least one N."
        )
    exact = log_ellipsoid(float(np.log(h).sum()), h.size, threshold=threshold)
    sizes = np.sort(np.asarray(num_directions, int))
    errors = np.empty((repetitions, sizes.size))
    for row in errors:
        draws = radius_log_volumes(rng, h, threshold=threshold, num_directions=int(sizes[-1]))
        row[:] = np.logaddexp.accumulate(draws)[sizes - 1] - np.log(sizes) - exact
    median, low, high = (np.quantile(errors, q, axis=0) for q in (0.5, 0.05, 0.95))
    return RadiusGrowth(sizes, median, low, high, h.size)


def spread_spectrum(dim: int, decades: float) -> Float[np.ndarray, " dim"]:
    """Of trace n, evenly spread in log over so many decades: alike to the trace, unlike to the volume."""
    values = np.logspace(-decades, 0, dim)
    return values * (dim / values.sum())
