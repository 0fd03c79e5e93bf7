"""Divergence from draws by a normalising flow, through flowjax: the only file that imports it (extra `flows`)."""

import jax
import jax.numpy as jnp
import numpy as np

from slt._types import Key
from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import Law, mean_estimate


def flow_fit_kl(
    key: Key,
    draws: np.ndarray,
    prior: Law,
    *,
    held_out: float = 0.3,
    max_epochs: int = 100,
    learning_rate: float = 3e-3,
) -> KL:
    r"""$\mathbb{E}_{held\ out}[\log q_\phi - \log p]$: below KL in expectation: no $q_\phi$ codes Q better than Q.

    Args:
        key: JAX random key.
        draws: of Q, independent, dims (draw, dim).
        prior: P, whose density is known.
        held_out: fraction of the draws that the flow does not see.
        max_epochs, learning_rate: of flowjax's fit.

    Raises:
        ImportError: flowjax is not installed.
        ValueError: fewer than 100 draws.

    Source: Papamakarios et al. 2017, arXiv:1705.07057 (masked autoregressive flow).
    """
    try:
        from flowjax.distributions import StandardNormal
        from flowjax.flows import masked_autoregressive_flow
        from flowjax.train import fit_to_data
    except ImportError as error:
        raise ImportError("flow_fit_kl needs flowjax; install it with: pip install 'slt-toolkit[flows]'") from error
    white = prior.whiten(draws)
    num, dim = white.shape
    if num < 100:
        raise ValueError(f"flow_fit_kl: {num} draws; at least 100 are needed to fit a flow and to hold some out.")
    center, spread = white.mean(0), white.std(0) + 1e-12
    scaled = jnp.asarray((white - center) / spread, jnp.float32)
    cut = int(num * (1 - held_out))
    build_key, fit_key = jax.random.split(key)
    flow = masked_autoregressive_flow(build_key, base_dist=StandardNormal((dim,)), flow_layers=4)
    flow, _ = fit_to_data(
        fit_key, flow, scaled[:cut], learning_rate=learning_rate, max_epochs=max_epochs, show_progress=False
    )
    log_q = np.asarray(flow.log_prob(scaled[cut:]), np.float64) - np.log(spread).sum()
    log_p = -0.5 * (white[cut:] ** 2).sum(1) - 0.5 * dim * np.log(2 * np.pi)
    values = log_q - log_p
    return KL(mean_estimate(values), "lower", f"normalising flow of {cut} draws, on {num - cut} others")
