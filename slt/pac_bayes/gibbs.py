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

from slt._types import Estimate
from slt.pac_bayes.kl import KL
from slt.pac_bayes.laws import mean_estimate


class Floor(NamedTuple):
    """value: the least KL of any posterior with that expected loss [nats]; nbeta: where the maximum is.

    inside: whether it lies within the grid, so that the value is near the matched Gibbs posterior's own.
    """

    value: Estimate
    nbeta: float
    inside: bool


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
    evidence, loss = (np.atleast_1d(np.asarray(a, np.float64)) for a in (log_evidence, mean_loss))
    if evidence.ndim != 1 or evidence.shape != loss.shape or len(evidence) < 2:
        raise ValueError(
            f"gibbs_kl: log_evidence has shape {evidence.shape} and mean_loss {loss.shape}; give one number a "
            "replicate, at least 2 replicates."
        )
    values = -evidence - nbeta * loss
    if not np.isfinite(values).all():
        raise ValueError("gibbs_kl: a replicate is not finite; it did not reach this temperature.")
    return KL(mean_estimate(values), "exact", f"Gibbs posterior at nβ = {nbeta:.4g}")


def integrated_kl(nbetas: Float[ArrayLike, " beta"], mean_losses: Float[ArrayLike, " beta"]) -> np.ndarray:
    r"""KL at every temperature by thermodynamic integration, $\int_0^{n\beta} E_b[L]\,db - n\beta\,E_\beta[L]$ [nats].

    By the trapezoidal rule, and with E_b[L] constant below nbetas[0]: begin where nothing is learnt, n beta E[L] << 1,
    and step finely, by a factor 1.1 or so.

    Args:
        nbetas: ascending from 0 or a small positive number [1]. mean_losses: E_b[L] [nats/datum].

    Source: Maurer, Mirzaei & Pontil 2025, arXiv:2510.06028.
    """
    t, loss = np.asarray(nbetas, np.float64), np.asarray(mean_losses, np.float64)
    if t.ndim != 1 or t.shape != loss.shape or len(t) < 3 or t[0] < 0 or not (np.diff(t) > 0).all():
        raise ValueError(f"integrated_kl: nbetas {t.shape} and mean_losses {loss.shape}; give 3 or more, ascending.")
    pieces = 0.5 * (loss[1:] + loss[:-1]) * np.diff(t)
    free_energy = t[0] * loss[0] + np.concatenate([[0.0], np.cumsum(pieces)])
    return free_energy - t * loss


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
