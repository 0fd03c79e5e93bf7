r"""The Gibbs posterior, $Q_\beta(w) \propto p(w)\,e^{-n\beta L_n(w)}$: the least KL that an expected loss costs.

$$\mathrm{KL}(Q_\beta \Vert P) = F_n - n\beta\,\mathbb{E}_\beta[L_n],\quad F_n = -\ln \mathbb{E}_P[e^{-n\beta L_n}]$$

since $F_n(\beta)$ is the least $n\beta\,\mathbb{E}_Q[L_n] + \mathrm{KL}(Q \Vert P)$ of all Q, every Q has

$$\mathrm{KL}(Q \Vert P) \ge \max_\beta\{F_n(\beta) - n\beta\,\mathbb{E}_Q[L_n]\},$$

with equality for the Gibbs posterior of the same expected loss. Losses may be relative to L_n(w*) or not, if all are.

Source: Donsker & Varadhan 1975; Catoni 2007, arXiv:0712.0248.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from slt._options import checked
from slt._types import Estimate
from slt.pac_bayes.kl import KL
from slt.stats.replicates import log_mean
from slt.targets.columns import real_array


class Floor(NamedTuple):
    """value: the least KL of any posterior with that expected loss [nats]; nbeta: where the maximum is.

    inside: whether it lies within the grid, so that the value is near the matched Gibbs posterior's own.
    """

    value: Estimate
    nbeta: float
    inside: bool


@checked
def gibbs_kl(
    log_evidence: Float[ArrayLike, " replicate"], mean_loss: Float[ArrayLike, " replicate"], *, nbeta: float
) -> KL:
    """KL(Q_beta to P) from independent replicates of tempering [nats].

    Args:
        log_evidence: ln E_P[exp(-n beta L)] of every replicate [nats], prior normalised.
        mean_loss: E_beta[L] of every replicate [nats/datum].
        nbeta: n times beta [1].

    Raises:
        ValueError: fewer than 2 replicates, unequal numbers, or a value that is not finite.
    """
    named = (("log_evidence", log_evidence), ("mean_loss", mean_loss))
    evidence, loss = (np.atleast_1d(real_array(a, f"gibbs_kl: {name}")) for name, a in named)
    if evidence.ndim != 1 or evidence.shape != loss.shape or len(evidence) < 2:
        raise ValueError(
            f"gibbs_kl: log_evidence has shape {evidence.shape} and mean_loss {loss.shape}; give one number a "
            "replicate, at least 2 replicates."
        )
    if not (np.isfinite(evidence).all() and np.isfinite(loss).all()):
        raise ValueError("gibbs_kl: a replicate is not finite; it did not reach this temperature.")
    found = log_mean(evidence, plus=nbeta * loss)
    return KL(found._replace(value=-found.value), "exact", f"Gibbs posterior at nβ = {nbeta:.4g}")


@checked
def kl_floor(nbetas: Sequence[float], free_energies: Sequence[Estimate], expected_loss: float) -> Floor:
    """The least KL(Q to P) that any posterior with this expected loss can have, from a grid of temperatures.

    Args:
        nbetas: n beta of every temperature [1]. free_energies: F_n there [nats], relative as the loss is.
        expected_loss: E_Q[L_n] [nats/datum].

    Raises:
        ValueError: no temperatures, or unequal numbers.
    """
    if not len(nbetas) or len(nbetas) != len(free_energies):
        raise ValueError(f"kl_floor: {len(nbetas)} temperatures, {len(free_energies)} free energies; give one each.")
    values = np.array([f.value for f in free_energies]) - np.asarray(nbetas, np.float64) * expected_loss
    best = int(np.argmax(values))
    chosen = free_energies[best]
    inside = 0 < best < len(values) - 1
    if values[best] < 0:  # beta = 0 always belongs to the grid
        return Floor(Estimate(0.0, 0.0), 0.0, False)
    return Floor(chosen._replace(value=float(values[best])), float(nbetas[best]), inside)
