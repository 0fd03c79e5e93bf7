r"""Divergences from draws of Q alone, for comparison: none of them may enter a certificate.

They miss what training does to volume below the spacing of the draws: on a 13-parameter net with KL = 389 nats a
nearest-neighbour estimate from 4000 draws says 52, a Gaussian fit 33. Smooth first, or sum log-determinants.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.special import digamma, gammaln

from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import Law, mean_estimate

Points = Float[np.ndarray, "draw dim"]


def nearest_neighbour_kl(draws: Points, prior: Law, *, neighbours: int = 5) -> KL:
    r"""$-\hat H - \overline{\log p}$, $\hat H = \psi(N) - \psi(k) + \ln V_D + \frac DN \sum_i \ln \varepsilon_i$.

    Draws are whitened by their own covariance first, without which unequal scales ruin the estimate. The error is the
    spread of the summands; neighbouring ones are dependent, and the bias, downwards in high dimension, is not in it.

    Args:
        draws: of Q. prior: P, whose density is known.
        neighbours: k; epsilon_i is the distance to the k-th.

    Source: Kozachenko & Leonenko 1987; Kraskov, Stögbauer & Grassberger 2004, doi:10.1103/PhysRevE.69.066138.
    """
    draws = _checked(draws, neighbours)
    num, dim = draws.shape
    white, log_det = _whitened(draws)
    distance = KDTree(white).query(white, neighbours + 1)[0][:, -1]
    if not (distance > 0).all():
        raise ValueError("nearest_neighbour_kl: some draws are equal, so Q has no density; smooth them first.")
    log_ball = 0.5 * dim * np.log(np.pi) - gammaln(dim / 2 + 1)
    log_q = -(digamma(num) - digamma(neighbours) + log_ball + dim * np.log(distance) + log_det)
    return KL(
        mean_estimate(log_q - _log_prior(draws, prior)), "none", f"{neighbours} nearest neighbours of {num} draws"
    )


def gaussian_fit_kl(draws: Points, prior: Law) -> KL:
    r"""Divergence to P of the Gaussian with the mean and covariance of the draws.

    Of all laws with these moments it has the largest entropy: a lower bound, up to the error of the moments.
    """
    draws = _checked(draws, 1)
    num, dim = draws.shape
    white, log_det = _whitened(draws)
    log_q = -0.5 * (white**2).sum(1) - 0.5 * dim * np.log(2 * np.pi) - log_det
    return KL(mean_estimate(log_q - _log_prior(draws, prior)), "lower", f"Gaussian with the moments of {num} draws")


def _whitened(draws: Points) -> tuple[np.ndarray, float]:
    """(x - mean) L^-T of the sample covariance L L^T, and log|det L|."""
    factor = np.linalg.cholesky(np.cov(draws.T, ddof=0).reshape(draws.shape[1], -1))
    white = np.linalg.solve(factor, (draws - draws.mean(0)).T).T
    return white, float(np.log(np.diag(factor)).sum())


def _log_prior(draws: Points, prior: Law) -> np.ndarray:
    constant = np.log(prior.std).sum() + 0.5 * draws.shape[1] * np.log(2 * np.pi)
    return -0.5 * (prior.whiten(draws) ** 2).sum(1) - constant


def _checked(draws: Points, neighbours: int) -> np.ndarray:
    draws = np.asarray(draws, np.float64)
    if draws.ndim != 2 or not np.isfinite(draws).all():
        raise ValueError(f"sample KL: draws has shape {draws.shape}; give finite draws (draw, dim).")
    if not 1 <= neighbours < len(draws) or len(draws) <= draws.shape[1] + 1:
        raise ValueError(
            f"sample KL: {len(draws)} draws in {draws.shape[1]} dimensions with {neighbours} neighbours; at least "
            "dim + 2 draws, and more draws than neighbours, are needed."
        )
    return draws
