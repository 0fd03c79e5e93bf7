r"""Free energy -log Z and what its growth says: learning coefficient and multiplicity.

Z(s) = E_prior[exp(-s K)] at s = n beta, K = L_n - L_n(w*): all free energies are relative to n beta L_n(w*).
Watanabe's law: -log Z = lambda log s - (m - 1) log log s + O(1). The O(1) hides terms of order 1/log s that no sample
size in use makes small, so `fit_rlct` fits what the zeta function allows instead, exactly:

Z(s) = s^-lambda P(log s) + powers s^-(lambda + delta),

P a polynomial of degree m - 1. Its m - 1 further coefficients, the exponents delta, their amplitudes, and for data the
fluctuation of L_n are unknown: they are integrated over a prior, so that the posterior of (lambda, m) has their
uncertainty in it and not Monte Carlo noise alone.

Source: Watanabe 2009, Algebraic Geometry and Statistical Learning Theory, chapters 4 and 6.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular
from scipy.special import comb, digamma, logsumexp, polygamma

from slt._types import Estimate
from slt.draws import Verdict
from slt.estimators.llc import replicate_mean

MAX_MULTIPLICITY = 8
DECIDED = 0.95
"""Posterior probability from which a multiplicity is stated."""
MAX_BINS = 12
FEW_PARAMS = 6
"""Largest d for which m is stated: on exact curves of reduced rank models with d from 10 on it was stated wrongly."""
MODEL_ERROR = 0.02
"""Standard error of lambda, relative, that larger models have besides: as far off as those curves were."""
MAX_VARIANCE = 0.25
"""Of log Z between replicates, up to which a temperature counts [nats²]."""
ORIGIN = 1.0
"""Nats of free energy where log s is counted from: there K of typical draws of the prior is 1/s."""
SHIFTS = np.linspace(-2.0, 2.8, 25)
"""Of log s in P, around the shift -psi(lambda) + 0.8 m/lambda of a normal crossing, in units of 2 + 0.4 m/lambda."""
SPREADS = np.array([-1.6, -0.8, -0.3, 0.0, 0.35, 0.7, 1.0, 1.5, 2.5])
"""Of the roots of P, relative to the variance psi'(lambda) of a normal crossing."""
EXPONENTS = np.geomspace(0.1, 2.0, 9)
STARTS = np.array([1.0, 4.0, 8.0, 12.0])
"""Where the asymptotic regime may begin [e-folds past the origin]."""


class RlctFit(NamedTuple):
    """The posterior of learning coefficient and multiplicity.

    rlct: lambda over all m. multiplicity: m where one has a probability of at least 0.95, else None.
    probabilities: of every m. rlct_given: lambda at each m. constant: c of -log Z = lambda log s - (m-1) log log s + c
    at the likeliest m, at the end of the data. reason: why m is not stated, or empty.
    """

    rlct: Estimate
    multiplicity: int | None
    probabilities: dict[int, float]
    rlct_given: dict[int, Estimate]
    constant: float
    reason: str


class FreeEnergy(NamedTuple):
    """Free energies along one tempering run, relative to n beta L_n(w*).

    nbeta: of every rung [1]. log_evidence: log Z(n beta) of each replicate [nats], dims (replicate, rung).
    estimates: "free_energy", by the evidence at the target's n beta, "thermodynamic", by integration over beta up to
    there, and "rlct", lambda [1]. fit: posterior of (lambda, m), or None with a reason in the verdict.
    mean_energy: E[n beta (L_n - L_n(w*))] at every rung of each replicate [nats].
    """

    nbeta: Float[np.ndarray, " rung"]
    log_evidence: Float[np.ndarray, "replicate rung"]
    mean_energy: Float[np.ndarray, "replicate rung"]
    estimates: dict[str, Estimate]
    fit: RlctFit | None
    verdict: Verdict
    settings: dict[str, str | float | int]


def fit_rlct(
    nbeta: Float[np.ndarray, " temperature"],
    log_evidence: Float[np.ndarray, "replicate temperature"],
    *,
    num_params: int,
    num_data: int | None = None,
) -> RlctFit:
    r"""Joint posterior of (lambda, m) from log Z at many n beta of one tempering run.

    Args:
        nbeta: s of each temperature, ascending [1].
        log_evidence: log Z(s) of independent replicates [nats].
        num_params: d; m is one of 1, ..., min(d, 8), equally likely at first.
        num_data: n, where K is an empirical loss; None where it is a function without noise. Its fluctuation then
            moves E[sK] by an unknown multiple of sqrt(beta), and of beta.

    Raises:
        ValueError: fewer than 8 replicates, or temperatures that span less than two e-folds of the asymptotic regime.
    """
    x, values = np.log(np.asarray(nbeta, np.float64)), -np.asarray(log_evidence, np.float64)
    if values.ndim != 2 or len(values) < 8 or values.shape[1] != len(x):
        raise ValueError(
            f"fit_rlct: log_evidence has shape {values.shape} for {len(x)} temperatures; needed: (replicate, "
            "temperature) with at least 8 replicates, whose covariance is the error."
        )
    x, values = _unbiased(x, values)
    edges = _edges(x, values.mean(0))
    slopes = np.diff(values[:, edges], axis=1) / np.diff(x[edges])
    origin = _origin(x, values.mean(0))
    fluctuation = None if num_data is None else np.log(num_data) - origin
    found = _posterior(x[edges] - origin, slopes, num_params, fluctuation)
    fit = _summary(found, float(x[edges[-1]]), float(values[:, edges[-1]].mean()))
    return fit if num_params <= FEW_PARAMS else _cautious(fit, num_params)


def _cautious(fit: RlctFit, num_params: int) -> RlctFit:
    """Of many parameters: no m, and a wider error; powers with logarithms, which the fit leaves out, matter there."""
    rlct = fit.rlct._replace(mcse=math.hypot(fit.rlct.mcse, MODEL_ERROR * fit.rlct.value))
    reason = f"the fit is not trusted with the multiplicity of {num_params} parameters, only up to {FEW_PARAMS}."
    return fit._replace(rlct=rlct, multiplicity=None, reason=reason)


def _unbiased(x: np.ndarray, free_energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Free energies without the half of their variance that a logarithm of an unbiased Z has too much.

    It comes from a log-normal law, so it ends where replicates spread by more than half a nat.
    """
    variance = free_energy.var(0, ddof=1)
    wide = np.flatnonzero(variance > MAX_VARIANCE)
    end = int(wide[0]) if len(wide) else len(x)
    return x[:end], (free_energy - variance / 2)[:, :end]


def _origin(x: np.ndarray, free_energy: np.ndarray) -> float:
    """log s where the free energy is 1 nat; the first temperature if it is more already there."""
    return float(np.interp(ORIGIN, free_energy, x))


def _edges(x: np.ndarray, free_energy: np.ndarray) -> np.ndarray:
    """Indices of temperatures that bound at most 12 bins, at least 0.9 e-folds wide, one e-fold past the origin."""
    start = _origin(x, free_energy) + 1.0
    if x[-1] < start + 2.0:
        raise ValueError(
            f"The temperatures end at n beta = {math.exp(x[-1]):.4g}; for this loss and prior lambda and m are read "
            f"off from {math.exp(start):.4g} to at least {math.exp(start + 2):.4g}. Take a larger n beta, or more "
            "particles where log Z spreads between replicates."
        )
    number = int(min(MAX_BINS, (x[-1] - start) / 0.9))
    wanted = np.linspace(start, x[-1], number + 1)
    return np.unique([int(np.argmin(abs(x - w))) for w in wanted])


class _Cell(NamedTuple):
    """Hypotheses with one m and one exponent: log weights, and mean and variance of lambda under each."""

    log_weight: np.ndarray
    mean: np.ndarray
    variance: float


def _posterior(
    edges: np.ndarray, slopes: Float[np.ndarray, "replicate bin"], num_params: int, fluctuation: float | None
) -> dict[int, list[_Cell]]:
    """Every hypothesis: multiplicity, polynomial and exponent, lambda and all amplitudes integrated out."""
    mean, noise = slopes.mean(0), _covariance(slopes)
    size = max(1.0, float(mean[-1]))
    starts = [start for start in STARTS if edges[-1] - start > 3 or start == STARTS[0]]
    covariances = [
        noise + _nuisance(edges, exponent, size, fluctuation, start) for exponent in EXPONENTS for start in starts
    ]
    found: dict[int, list[_Cell]] = {}
    for m in range(1, min(num_params, MAX_MULTIPLICITY) + 1):
        log_prior, shapes = _polynomials(m, edges, float(mean[-1]) + (m - 1) / (edges[-1] + 4))
        if len(shapes):
            found[m] = [_cell(mean + shapes, log_prior, covariance) for covariance in covariances]
    return found


def _covariance(slopes: Float[np.ndarray, "replicate bin"]) -> np.ndarray:
    """Of the mean of the replicates, shrunk towards its diagonal and widened for being estimated."""
    replicates, bins = slopes.shape
    sample = np.cov(slopes, rowvar=False).reshape(bins, bins) / replicates
    share = min(1.0, bins / replicates)
    shrunk = (1 - share) * sample + share * np.diag(np.diag(sample))
    return shrunk * (replicates - 1) / max(replicates - 2 - (1 - share) * bins, 1)


def _nuisance(edges: np.ndarray, exponent: float, size: float, fluctuation: float | None, start: float) -> np.ndarray:
    """Prior covariance of what else moves E[sK]: powers, what is left of them, and the fluctuation or rounding of K."""
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


def _polynomials(m: int, edges: np.ndarray, rlct: float) -> tuple[np.ndarray, np.ndarray]:
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


def _cell(residuals: Float[np.ndarray, "shape bin"], log_prior: np.ndarray, covariance: np.ndarray) -> _Cell:
    """Gaussian evidence of residuals = lambda + noise, lambda flat and positive."""
    root = cholesky(covariance, lower=True)
    white, one = (solve_triangular(root, a, lower=True) for a in (residuals.T, np.ones(len(covariance))))
    precision = float(one @ one)
    mean = one @ white / precision
    distance = (white**2).sum(0) - precision * mean**2
    log_weight = log_prior - distance / 2 - np.log(np.diag(root)).sum() - math.log(precision) / 2
    return _Cell(np.where(mean > 0, log_weight, -np.inf), mean, 1 / precision)


def _summary(found: dict[int, list[_Cell]], end: float, free_energy: float) -> RlctFit:
    totals = {m: _log_sum([cell.log_weight for cell in cells]) for m, cells in found.items()}
    norm = _log_sum([np.asarray(list(totals.values()))])
    probabilities = {m: math.exp(total - norm) for m, total in totals.items()}
    given = {m: _mixture(cells) for m, cells in found.items()}
    rlct = _mixture([cell for cells in found.values() for cell in cells])
    best = max(probabilities, key=lambda m: probabilities[m])
    constant = free_energy - given[best].value * end + (best - 1) * math.log(end)
    reason = ""
    if probabilities[best] < DECIDED:
        odds = ", ".join(f"{m}: {p:.2f}" for m, p in probabilities.items() if p >= 0.005)
        reason = f"the free energy does not decide the multiplicity (probabilities {odds}); a larger n beta would."
    return RlctFit(rlct, None if reason else best, probabilities, given, constant, reason)


def _mixture(cells: list[_Cell]) -> Estimate:
    """Mean and standard deviation of lambda over hypotheses."""
    log_weight = np.concatenate([cell.log_weight for cell in cells])
    weight = np.exp(log_weight - logsumexp(log_weight))
    mean = np.concatenate([cell.mean for cell in cells])
    variance = np.concatenate([np.full(len(cell.mean), cell.variance) for cell in cells])
    value = float(weight @ mean)
    return Estimate(value, float(np.sqrt(weight @ (variance + (mean - value) ** 2))))


def thermodynamic_integral(
    temperatures: Float[np.ndarray, " rung"],
    mean_energy: Float[np.ndarray, "replicate rung"],
    variance_energy: Float[np.ndarray, "replicate rung"],
    head: Float[np.ndarray, " replicate"],
) -> Estimate:
    r"""$-\log Z = -\log Z(t_1) + \int_{t_1}^1 \mathbb{E}_t[U]\,dt$ [nats] from draws at every rung t_1 < ... < t_J = 1.

    In log t the integrand is t E[U], with derivative t E[U] - t^2 Var[U], so each stretch is a cubic (Hermite). A
    sixteenth, by the order of the rule, of what leaving out every other rung changes joins the error.

    Args:
        head: -log Z(t_1), where the energy under the prior may be too heavy-tailed to average [nats].

    Source: Gelman & Meng 1998; corrected by derivatives: Friel, Hurn & Wyse 2014, arXiv:1209.3198.
    """
    kept = np.r_[0, np.arange(len(temperatures) - 1, 0, -2)[::-1]]
    fine = head + _integral(temperatures, mean_energy, variance_energy)
    coarse = head + _integral(temperatures[kept], mean_energy[:, kept], variance_energy[:, kept])
    estimate = replicate_mean(fine)
    return estimate._replace(mcse=math.hypot(estimate.mcse, float((coarse - fine).mean()) / 16))


def _integral(t: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    width, value = np.diff(np.log(t)), t * mean
    slope = value - t**2 * variance
    ends = (value[:, 1:] + value[:, :-1]) / 2
    return (width * ends + width**2 / 12 * (slope[:, :-1] - slope[:, 1:])).sum(1)


def _log_sum(parts: list[np.ndarray]) -> float:
    return float(np.asarray(logsumexp(np.concatenate(parts))))
