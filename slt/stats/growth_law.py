r"""What moves the slope of the free energy, E[sK] = lambda - d log P/d log s + powers: priors of P and of powers.

A normal crossing K = (w_1 ... w_m)^(2k) on [0, 1]^m has the density t^(lambda-1) (-log t)^(m-1) of K = t, hence with
T ~ Gamma(lambda, 1), and up to what is exponentially small,

$$Z(s) \propto s^{-\lambda}\,P(\log s),\quad P(x) = \mathbb{E}[(x - \log T)^{m-1}].$$

In general the m - 1 lower coefficients of P are free: x - log T is replaced by x + shift + X, where X is -log T centred
and stretched. How far shift and stretch go, and the sizes in `nuisance`, are empirical: the range over a catalogue of
exact free energies (tests/benchmarks/free_energy_fit.py). They have no other source.
"""

import math

import numpy as np
from scipy.special import comb, digamma, polygamma

SHIFTS = np.linspace(-2.0, 2.8, 25)
"""Of log s in P, around the shift -psi(lambda) + 0.8 m/lambda of a normal crossing, in units of 2 + 0.4 m/lambda."""
SPREADS = np.array([-1.6, -0.8, -0.3, 0.0, 0.35, 0.7, 1.0, 1.5, 2.5])
"""Of the roots of P, relative to the variance psi'(lambda) of a normal crossing."""


def polynomials(m: int, edges: np.ndarray, rlct: float) -> tuple[np.ndarray, np.ndarray]:
    """log prior and mean slope of log P over each bin, of the polynomials that are positive and grow there."""
    if m == 1:
        return np.zeros(1), np.zeros((1, len(edges) - 1))
    spreads = SPREADS if m > 2 else np.zeros(1)
    rlct = max(rlct, 0.05)
    weight = np.exp(-0.5 * SHIFTS**2)
    shifts = 0.8 * m / rlct - digamma(rlct) + (2 + 0.4 * m / rlct) * SHIFTS
    log_prior, shapes = [], []
    for shift, share in zip(shifts, weight / weight.sum(), strict=True):
        for spread in spreads:
            moments = _moments(rlct, spread, m)
            values = sum((comb(m - 1, r) * moments[r] * (edges + shift) ** (m - 1 - r) for r in range(m)), 0.0 * edges)
            if (values > 0).all() and (np.diff(values) > 0).all():
                log_prior.append(math.log(share / len(spreads)))
                shapes.append(np.diff(np.log(values)) / np.diff(edges))
    return np.array(log_prior), np.array(shapes)


def _moments(rlct: float, spread: float, count: int) -> list[float]:
    """Central moments 0, ..., count - 1 of X in P = E[(log s + shift + X)^(m-1)].

    A normal crossing has X = -log Gamma(lambda), with cumulants (-1)^r psi^(r-1)(lambda); its variance is multiplied by
    `spread`, and a negative one parts the roots of P on the real line.
    """
    if spread < 0:
        return [0.0 if r % 2 else (spread * float(polygamma(1, rlct))) ** (r // 2) for r in range(count)]
    cumulants = [0.0, 0.0]
    cumulants += [float((-1) ** r * polygamma(r - 1, rlct)) * spread ** (r / 2) for r in range(2, count + 1)]
    moments = [1.0]
    for r in range(1, count):
        moments.append(float(sum(comb(r - 1, j - 1) * cumulants[j] * moments[r - j] for j in range(2, r + 1))))
    return moments


def nuisance(edges: np.ndarray, exponent: float, size: float, fluctuation: float | None, start: float) -> np.ndarray:
    r"""Prior covariance over the bins of what else moves E[sK], a sum of terms with independent normal amplitudes.

    With x = log s past the origin and delta the exponent: size e^(-delta x) and size e^(-2 delta x), the next powers;
    for data sqrt(size beta/2) and size beta, by which L_n - L_n(w*) differs from its expectation, beta = s/n; without,
    0.05 s/s_end, the rounding of K(w*). Independently in every bin: all of size/2 before `start`, 2 % e^(-0.7 (x -
    start + 1)) of the size after it, for powers further on.

    Args:
        edges: of the bins [x]. size: of the slope [1]. fluctuation: log n past the origin, None without data.
    """
    low, high = edges[:-1], edges[1:]

    def power(a: float) -> np.ndarray:  # mean of exp(-a L) over a bin
        return (np.exp(-a * low) - np.exp(-a * high)) / (a * (high - low))

    parts = [size * power(exponent), size * power(2 * exponent)]
    if fluctuation is None:
        parts.append(0.05 * np.exp(-edges[-1]) * power(-1.0))
    else:
        parts += [math.sqrt(size / 2) * np.exp(-fluctuation / 2) * power(-0.5), size * np.exp(-fluctuation) * power(-1)]
    rest = np.diag(np.where(low < start - 0.5, size / 2, 0.02 * size * np.exp(-0.7 * (low - start + 1))) ** 2)
    return rest + sum(np.outer(part, part) for part in parts)
