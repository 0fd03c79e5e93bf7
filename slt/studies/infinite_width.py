r"""The prior of functions at infinite width: a Gaussian process, and the probability it gives to a labelling.

With weights N(0, sigma_w^2/fan-in) and biases N(0, sigma_b^2), the kernel of a layer follows from that of the last,

$$K_{l+1}(x, x') = \sigma_b^2 + \sigma_w^2\,\mathbb{E}[\phi(u)\phi(u')],\quad (u, u') \sim \mathcal{N}(0, K_l).$$

Source: Neal 1996; Lee et al. 2018, arXiv:1711.00165; ReLU: Cho & Saul 2009; erf: Williams 1997.
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import qmc

from slt._types import Estimate
from slt.samplers.seeds import derived_seed
from slt.stats.replicates import log_mean

NODES = 64
"""Gauss-Hermite nodes a side for activations without a closed form."""


def nngp_kernel(
    inputs: Float[ArrayLike, "input feature"],
    *,
    depth: int,
    activation: str = "relu",
    weight_scale: float = 1.0,
    bias_std: float = 1.0,
) -> Float[np.ndarray, "input input"]:
    """Covariance of the outputs of an infinitely wide network with `depth` hidden layers.

    Args:
        activation: "relu" and "erf" in closed form, "tanh" by quadrature.
        weight_scale, bias_std: sigma_w and sigma_b, as of `mlp_law`.

    Raises:
        ValueError: an unknown activation, or a negative depth.
    """
    expectations = {"relu": _relu, "erf": _erf, "tanh": _tanh}
    if activation not in expectations or depth < 0:
        raise ValueError(
            f"nngp_kernel: activation is {activation!r} and depth {depth}; choose one of {', '.join(expectations)} and "
            "a depth of at least 0."
        )
    x = np.asarray(inputs, np.float64)
    kernel = bias_std**2 + weight_scale**2 * (x @ x.T) / x.shape[1]
    for _ in range(depth):
        kernel = bias_std**2 + weight_scale**2 * expectations[activation](kernel)
    return kernel


def orthant_probability(
    kernel: Float[np.ndarray, "input input"],
    targets: Bool[ArrayLike, " input"],
    *,
    seed: int = 0,
    log2_points: int = 12,
    num_replicates: int = 8,
) -> Estimate:
    r"""$-\ln P(f)$ of the labelling f under the process, $-\ln P(y_i u_i > 0 \;\forall i)$, $u \sim \mathcal{N}(0, K)$.

    Conditionals are sampled one by one along the Cholesky factor, with scrambled Sobol points; the least likely
    condition goes first. Summed in logarithms, so small probabilities keep their relative error.

    Args:
        kernel: positive definite.
        log2_points: of every replicate. num_replicates: scramblings, between which the error is taken.

    Returns:
        Estimate of -ln P [nats].

    Raises:
        ValueError: a kernel that is not positive definite, or labels that do not match it.

    Source: Genz 1992, doi:10.1080/10618600.1992.10477010.
    """
    sign = np.where(np.asarray(targets, bool), 1.0, -1.0)
    if kernel.shape != (len(sign), len(sign)):
        raise ValueError(f"orthant_probability: kernel has shape {kernel.shape} for {len(sign)} labels; give n x n.")
    try:
        factor = _ordered_factor(np.asarray(kernel, np.float64) * np.outer(sign, sign))
    except np.linalg.LinAlgError:
        raise ValueError("orthant_probability: the kernel is not positive definite; leave out equal inputs.") from None
    logs = np.array([_one_scrambling(factor, derived_seed(seed, r), log2_points) for r in range(num_replicates)])
    found = log_mean(logs)
    return found._replace(value=-found.value)


def _ordered_factor(cov: np.ndarray) -> np.ndarray:
    """Cholesky factor of cov, at each step pivoting on the row least likely to be positive given those before."""
    n = len(cov)
    order = np.arange(n)
    cov, lower, y = cov.copy(), np.zeros((n, n)), np.zeros(n)
    for i in range(n):
        rest = np.arange(i, n)
        variance = cov[rest, rest] - (lower[rest, :i] ** 2).sum(1)
        if variance.min() <= 1e-12 * cov[rest, rest].max():
            raise np.linalg.LinAlgError
        bound = -(lower[rest, :i] @ y[:i]) / np.sqrt(variance)
        k = i + int(np.argmax(bound))
        swap = [k, i]
        cov[[i, k]], lower[[i, k]], order[[i, k]] = cov[swap], lower[swap], order[swap]
        cov[:, [i, k]] = cov[:, swap]
        lower[i, i] = np.sqrt(cov[i, i] - (lower[i, :i] ** 2).sum())
        lower[i + 1 :, i] = (cov[i + 1 :, i] - lower[i + 1 :, :i] @ lower[i, :i]) / lower[i, i]
        b = bound[k - i]
        y[i] = np.exp(-0.5 * b**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(-b))  # mean of a normal beyond b
    return lower


def _one_scrambling(factor: np.ndarray, seed: int, log2_points: int) -> float:
    """Log of the mean over Sobol points of prod_i P(row i positive | rows before)."""
    n = len(factor)
    uniform = qmc.Sobol(n, rng=seed).random_base2(log2_points)
    y, total = np.zeros((len(uniform), n)), np.zeros(len(uniform))
    for i in range(n):
        bound = -(y[:, :i] @ factor[i, :i]) / factor[i, i]
        tail = ndtr(-bound)
        total += log_ndtr(-bound)
        y[:, i] = -ndtri(np.clip(uniform[:, i], 1e-15, 1 - 1e-15) * tail)
    top = total.max()
    return float(top + np.log(np.exp(total - top).mean()))


def _relu(kernel: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
    cosine = np.clip(kernel / scale, -1, 1)
    angle = np.arccos(cosine)
    return scale * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)


def _erf(kernel: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.outer(1 + 2 * np.diag(kernel), 1 + 2 * np.diag(kernel)))
    return 2 / np.pi * np.arcsin(2 * kernel / scale)


def _tanh(kernel: np.ndarray) -> np.ndarray:
    """E[tanh u tanh u'] by Gauss-Hermite quadrature in both."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    std = np.sqrt(np.diag(kernel))
    out = np.empty_like(kernel)
    for i, s in enumerate(std):
        slope = kernel[i] / s
        rest = np.sqrt(np.maximum(std**2 - slope**2, 0.0))
        second = np.tanh(slope[:, None, None] * nodes[:, None] + rest[:, None, None] * nodes)
        out[i] = (np.tanh(s * nodes) * weights) @ (second @ weights).T
    return (out + out.T) / 2
