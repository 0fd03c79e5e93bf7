"""Divergences from draws of Q alone, beside the exact one of the pushforward: none of them may enter a certificate.

They miss what training does to volume below the spacing of the draws. A 2-3-1 tanh net on XOR (13 parameters), full
batch; the exact divergence sums log-determinants. The flow needs flowjax, which nothing else here does.
Run: python tests/benchmarks/sample_kl.py [--draws 4000] [--steps 1000] [--flow]

Source: Kozachenko & Leonenko 1987; Papamakarios et al. 2017, arXiv:1705.07057 (masked autoregressive flow).
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree
from scipy.special import digamma, gammaln

from slt.pac_bayes.laws import flat_loss, mlp_law
from slt.pac_bayes.pushforward import push_forward, pushforward_kl
from slt.pac_bayes.steps import gradient_descent
from slt.stats.replicates import replicate_mean
from slt.targets.networks import mlp_init, mlp_loss

KEY = jax.random.key(0)
WIDTHS = (2, 3, 1)


def whitened(draws):
    """(x - mean) L^-T of the sample covariance L L^T, and log|det L|."""
    factor = np.linalg.cholesky(np.cov(draws.T, ddof=0))
    return np.linalg.solve(factor, (draws - draws.mean(0)).T).T, float(np.log(np.diag(factor)).sum())


def log_gaussian(white):
    return -0.5 * (white**2).sum(1) - 0.5 * white.shape[1] * np.log(2 * np.pi)


def nearest_neighbours(draws, neighbours=5):
    """Log density by the distance to the k-th neighbour, of whitened draws."""
    (num, dim), (white, log_det) = draws.shape, whitened(draws)
    distance = KDTree(white).query(white, neighbours + 1)[0][:, -1]
    log_ball = 0.5 * dim * np.log(np.pi) - gammaln(dim / 2 + 1)
    return -(digamma(num) - digamma(neighbours) + log_ball + dim * np.log(distance) + log_det)


def gaussian_fit(draws):
    """Log density of the Gaussian with the mean and covariance of the draws."""
    white, log_det = whitened(draws)
    return log_gaussian(white) - log_det


def flow_fit(draws):
    """Log density of the last third under a masked autoregressive flow that was fitted to the others."""
    from flowjax.distributions import StandardNormal
    from flowjax.flows import masked_autoregressive_flow
    from flowjax.train import fit_to_data

    center, spread, cut = draws.mean(0), draws.std(0), 2 * len(draws) // 3
    scaled = jnp.asarray((draws - center) / spread, jnp.float32)
    build_key, fit_key = jax.random.split(KEY)
    flow = masked_autoregressive_flow(build_key, base_dist=StandardNormal((draws.shape[1],)), flow_layers=4)
    flow, _ = fit_to_data(fit_key, flow, scaled[:cut], learning_rate=3e-3, max_epochs=100, show_progress=False)
    return np.asarray(flow.log_prob(scaled[cut:]), np.float64) - np.log(spread).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--flow", action="store_true", help="also fit a normalising flow (pip install flowjax)")
    chosen = parser.parse_args()
    inputs = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    data = {"inputs": inputs, "targets": inputs[:, :1] * inputs[:, 1:]}
    law = mlp_law(WIDTHS)
    training = gradient_descent(
        flat_loss(mlp_loss("tanh", "squared_error"), mlp_init(KEY, WIDTHS)), step_size=0.05
    )  # fmt: skip
    run = push_forward(
        KEY, law.draw(KEY, chosen.draws), training, data, law=law, times=(0, chosen.steps), vmap_size=500
    )  # fmt: skip
    print(f"exact, by log-determinants: {pushforward_kl(run).value} nats")
    end = np.asarray(run.positions[:, -1], np.float64)
    log_p = log_gaussian(law.whiten(end)) - np.log(law.flat(end.shape[1]).std).sum()
    ways = {"nearest neighbours": nearest_neighbours, "Gaussian fit": gaussian_fit}
    for name, density in (ways | ({"flow": flow_fit} if chosen.flow else {})).items():
        log_q = density(end)
        print(f"{name}: {replicate_mean(log_q - log_p[-len(log_q) :])} nats")


if __name__ == "__main__":
    main()
