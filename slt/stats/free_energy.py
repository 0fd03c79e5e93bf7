r"""Free energy -log Z and what its growth says: learning coefficient and multiplicity.

Z(s) = E_prior[exp(-s K)] at s = n beta, K = L_n - L_n(w*): all free energies are relative to n beta L_n(w*).
Watanabe's law: -log Z = lambda log s - (m - 1) log log s + O(1). The O(1) hides terms of order 1/log s that no sample
size in use makes small, so `fit_rlct` fits what the zeta function allows instead, exactly:

Z(s) = s^-lambda P(log s) + powers s^-(lambda + delta), or E[sK] = lambda - d log P / d log s + powers s^-delta,

P a polynomial of degree m - 1. Its m - 1 further coefficients, the exponents delta, their amplitudes, and for data the
fluctuation of L_n are unknown: they are integrated over a prior, so that the posterior of (lambda, m) has their
uncertainty in it and not Monte Carlo noise alone.

Where K grows like |w - w*|^2 or faster and the prior is positive at w*, Z(s) >= c s^(-d/2), so lambda <= d/2; with
equality and m = 1 at a regular minimum. A window is asymptotic where its slope has stopped to fall: corrections by P
raise it, and what falls is the shape of the prior, as long as K of its typical draws is not yet large.

Source: Watanabe 2009, Algebraic Geometry and Statistical Learning Theory, chapters 4 and 6.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular
from scipy.special import log_ndtr, logsumexp

from slt._options import checked
from slt._rows import Glance, as_html, as_text, to_dataframe
from slt._types import Estimate
from slt.draws import Cell, Verdict
from slt.stats.checks import finite
from slt.stats.growth_law import nuisance, polynomials
from slt.stats.replicates import log_mean

MAX_MULTIPLICITY = 8
DECIDED = 0.95
"""Posterior probability from which a multiplicity is stated."""
MAX_BINS = 12
LENGTH = 4.0
"""Least length of the window from which lambda is read off [e-folds of s]."""
LONG = 6.0
"""Least length from which m is stated [e-folds of s]: on shorter ones it was stated wrongly of regular models."""
FALL = 1.1
"""A slope beyond as many times the last one is not yet asymptotic."""
FEW_PARAMS = 6
"""Largest d for which m is stated: on exact curves of reduced rank models with d from 10 on it was stated wrongly."""
MODEL_ERROR = 0.02
"""Standard error of lambda, relative, that larger models have besides: as far off as those curves were."""
MAX_VARIANCE = 0.25
"""Of log Z between replicates, up to which a temperature counts [nats²]."""
ORIGIN = 1.0
"""Nats of free energy where log s is counted from: there K of typical draws of the prior is 1/s."""
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
    there, and "rlct", lambda [1], NaN where n beta is too small. fit: posterior of (lambda, m), whose reason is in the
    verdict, too. mean_energy: E[n beta (L_n - L_n(w*))] at every rung of each replicate [nats].
    """

    nbeta: Float[np.ndarray, " rung"]
    log_evidence: Float[np.ndarray, "replicate rung"]
    mean_energy: Float[np.ndarray, "replicate rung"]
    estimates: dict[str, Estimate]
    fit: RlctFit
    verdict: Verdict
    settings: dict[str, str | float | int]

    @property
    def refused(self) -> dict[str, Verdict]:
        """As of `Result`: lambda where it is not stated, whatever the verdict on -log Z is."""
        if "rlct" not in self.estimates or math.isfinite(self.estimates["rlct"].value):
            return {}
        return {"rlct": Verdict("not converged", (self.fit.reason,))}

    def rows(self) -> list[Cell]:
        """A row for every estimate, with the status of the verdict on it."""
        refused = self.refused
        return [Cell(name, x, refused.get(name, self.verdict).status) for name, x in self.estimates.items()]

    def glance(self) -> Glance:
        """What `repr` shows: every estimate, and the probability of each multiplicity."""
        lines = [(cell.name, str(cell.estimate), cell.status) for cell in self.rows()]
        lines += [
            (f"m = {m}", f"{p:.1%}", "") for m, p in (self.fit.probabilities if self.fit else {}).items() if p > 0.005
        ]
        return Glance(f"Free energy, {self.verdict.status}", lines, self.verdict.reasons)

    def to_dataframe(self) -> Any:
        """The estimates as a `pandas.DataFrame`, a row each."""
        return to_dataframe(self.rows())

    __repr__ = as_text
    _repr_html_ = as_html


def no_fit(reason: str) -> RlctFit:
    """What is returned where lambda cannot be told."""
    return RlctFit(Estimate(math.nan, math.inf), None, {}, {}, math.nan, reason)


@checked
def fit_rlct(
    nbeta: Float[np.ndarray, " temperature"],
    log_evidence: Float[np.ndarray, "replicate temperature"],
    *,
    num_params: int,
    num_data: int | None = None,
    largest: float | None = None,
    regular: bool = False,
) -> RlctFit:
    r"""Joint posterior of (lambda, m) from log Z at many n beta of one tempering run.

    Args:
        nbeta: s of each temperature, ascending [1].
        log_evidence: log Z(s) of independent replicates [nats].
        num_params: d; m is one of 1, ..., min(d, 8), equally likely at first.
        num_data: n, where K is an empirical loss; None where it is a function without noise. Its fluctuation then
            moves E[sK] by an unknown multiple of sqrt(beta), and of beta.
        largest: of lambda; d/2 unless K grows more slowly than quadratically around w*.
        regular: w* is a regular minimum, so that (d/2, 1) has a probability of 1/2 at first.

    Raises:
        ValueError: fewer than 8 replicates, or "not asymptotic": temperatures that span less than four e-folds of the
            asymptotic regime, or a slope that no hypothesis allows.
    """
    advice = "leave that replicate out, or end where all are finite."
    x = np.log(finite("fit_rlct", nbeta, ("temperature",), "give positive numbers.", what="n beta"))
    values = -finite("fit_rlct", log_evidence, ("replicate", "temperature"), advice, what="log evidence")
    if values.ndim != 2 or len(values) < 8 or values.shape[1] != len(x):
        raise ValueError(
            f"fit_rlct: log_evidence has shape {values.shape} for {len(x)} temperatures; needed: (replicate, "
            "temperature) with at least 8 replicates, whose covariance is the error."
        )
    x, values = _unbiased(x, values)
    edges = _asymptotic(x, values, _edges(x, values.mean(0)))
    slopes = np.diff(values[:, edges], axis=1) / np.diff(x[edges])
    origin = _origin(x, values.mean(0))
    fluctuation = None if num_data is None else np.log(num_data) - origin
    bound = num_params / 2 if largest is None else largest
    _check_slope(slopes, bound)
    found = _posterior(x[edges] - origin, slopes, num_params, fluctuation, _Prior(bound, regular))
    fit = _summary(found, x[edges], float(values[:, edges[-1]].mean()))
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
    number = int(min(MAX_BINS, (x[-1] - start) / 0.9))
    if x[-1] < start + LENGTH or number < 1:
        raise ValueError(_too_short(x[-1], start))
    wanted = np.linspace(start, x[-1], number + 1)
    return np.unique([int(np.argmin(abs(x - w))) for w in wanted])


def _asymptotic(x: np.ndarray, values: Float[np.ndarray, "replicate temperature"], edges: np.ndarray) -> np.ndarray:
    """The edges from where on no slope is above the last one, but for noise."""
    slopes = np.diff(values[:, edges], axis=1) / np.diff(x[edges])
    mean, error = slopes.mean(0), slopes.std(0, ddof=1) / math.sqrt(len(slopes))
    falling = np.flatnonzero(mean > FALL * mean[-1] + 2 * np.hypot(error, error[-1]))
    kept = edges[int(falling[-1]) + 1 if len(falling) else 0 :]
    if x[kept[-1]] - x[kept[0]] < LENGTH - 0.1:
        raise ValueError(_too_short(x[-1], float(x[kept[0]])))
    return kept


def _check_slope(slopes: Float[np.ndarray, "replicate bin"], largest: float) -> None:
    """Raises ValueError where every slope is above what lambda can be."""
    mean, error = slopes.mean(0), slopes.std(0, ddof=1) / math.sqrt(len(slopes))
    if np.min(mean - 3 * error) > FALL * largest:
        raise ValueError(
            f"not asymptotic: -log Z grows by at least {mean.min():.3g} an e-fold, and lambda is at most "
            f"{largest:.3g}; take a larger n beta."
        )


def _too_short(end: float, start: float) -> str:
    return (
        f"not asymptotic: the temperatures end at n beta = {math.exp(end):.4g}; for this loss and prior lambda and m "
        f"are read off from {math.exp(start):.4g} to at least {math.exp(start + LENGTH):.4g}. Take a larger n beta, or "
        "more particles where log Z spreads between replicates."
    )


class _Prior(NamedTuple):
    """lambda is flat on (0, largest]; regular: as likely, it is largest itself, with m = 1."""

    largest: float
    regular: bool


class _Cell(NamedTuple):
    """Hypotheses with one m and one exponent: log weights, and mean and variance of lambda under each."""

    log_weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def _posterior(
    edges: np.ndarray,
    slopes: Float[np.ndarray, "replicate bin"],
    num_params: int,
    fluctuation: float | None,
    prior: _Prior,
) -> dict[int, list[_Cell]]:
    """Every hypothesis: multiplicity, polynomial and exponent, lambda and all amplitudes integrated out."""
    mean, noise = slopes.mean(0), _covariance(slopes)
    size = max(1.0, float(mean[-1]))
    starts = [start for start in STARTS if edges[-1] - start > 3 or start == STARTS[0]]
    covariances = [
        noise + nuisance(edges, exponent, size, fluctuation, start) for exponent in EXPONENTS for start in starts
    ]
    found: dict[int, list[_Cell]] = {}
    for m in range(1, min(num_params, MAX_MULTIPLICITY) + 1):
        log_prior, shapes = polynomials(m, edges, float(mean[-1]) + (m - 1) / (edges[-1] + 4))
        if len(shapes):
            found[m] = [_cell(mean + shapes, log_prior, covariance, prior.largest) for covariance in covariances]
    if prior.regular:
        found[1] += [_point(mean, math.log(len(found)), covariance, num_params / 2) for covariance in covariances]
    return found


def _covariance(slopes: Float[np.ndarray, "replicate bin"]) -> np.ndarray:
    """Of the mean of the replicates, shrunk towards its diagonal and widened for being estimated."""
    replicates, bins = slopes.shape
    sample = np.cov(slopes, rowvar=False).reshape(bins, bins) / replicates
    share = min(1.0, bins / replicates)
    shrunk = (1 - share) * sample + share * np.diag(np.diag(sample))
    return shrunk * (replicates - 1) / max(replicates - 2 - (1 - share) * bins, 1)


def _cell(
    residuals: Float[np.ndarray, "shape bin"], log_prior: np.ndarray, covariance: np.ndarray, largest: float
) -> _Cell:
    """Gaussian evidence of residuals = lambda + noise, lambda flat on (0, largest]."""
    root = cholesky(covariance, lower=True)
    white, one = (solve_triangular(root, a, lower=True) for a in (residuals.T, np.ones(len(covariance))))
    precision = float(one @ one)
    mean = one @ white / precision
    distance = (white**2).sum(0) - precision * mean**2
    log_mass, mean, variance = _within(mean, precision**-0.5, largest)
    log_weight = log_prior + log_mass - distance / 2 - np.log(np.diag(root)).sum()
    return _Cell(log_weight + 0.5 * math.log(2 * math.pi / precision) - math.log(largest), mean, variance)


def _point(residual: Float[np.ndarray, " bin"], log_prior: float, covariance: np.ndarray, rlct: float) -> _Cell:
    """The same where lambda is known."""
    root = cholesky(covariance, lower=True)
    white = solve_triangular(root, residual - rlct, lower=True)
    log_weight = log_prior - white @ white / 2 - np.log(np.diag(root)).sum()
    return _Cell(np.array([log_weight]), np.array([rlct]), np.zeros(1))


def _within(mean: np.ndarray, std: float, largest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log mass, mean and variance of normal laws cut to (0, largest]; what lies far below 0 has no mass."""
    low, high = -mean / std, (largest - mean) / std
    log_mass = log_ndtr(high) + np.log1p(-np.exp(np.minimum(log_ndtr(low) - log_ndtr(high), -1e-12)))
    at_low, at_high = (np.exp(-(z**2) / 2 - 0.5 * math.log(2 * math.pi) - log_mass) for z in (low, high))
    shift = at_low - at_high
    variance = std**2 * np.clip(1 + low * at_low - high * at_high - shift**2, 0.0, 1.0)
    cut = np.clip(mean + std * shift, 0.0, largest)
    return np.where(low > 3, -np.inf, log_mass), cut, variance


def _summary(found: dict[int, list[_Cell]], window: np.ndarray, free_energy: float) -> RlctFit:
    end, length = float(window[-1]), float(window[-1] - window[0])
    totals = {m: _log_sum([cell.log_weight for cell in cells]) for m, cells in found.items()}
    norm = _log_sum([np.asarray(list(totals.values()))])
    if not np.isfinite(norm):
        raise ValueError("not asymptotic: no (lambda, m) allows this growth of the free energy; take a larger n beta.")
    probabilities = {m: math.exp(total - norm) for m, total in totals.items()}
    given = {m: _mixture(cells) for m, cells in found.items()}
    rlct = _mixture([cell for cells in found.values() for cell in cells])
    best = max(probabilities, key=lambda m: probabilities[m])
    constant = free_energy - given[best].value * end + (best - 1) * math.log(end)
    reason = ""
    if length < LONG:
        reason = f"the asymptotic regime spans {length:.1f} e-folds of n beta, and {LONG:.0f} are needed for m."
    elif probabilities[best] < DECIDED:
        odds = ", ".join(f"{m}: {p:.2f}" for m, p in probabilities.items() if p >= 0.005)
        reason = f"the free energy does not decide the multiplicity (probabilities {odds}); a larger n beta would."
    return RlctFit(rlct, None if reason else best, probabilities, given, constant, reason)


def _mixture(cells: list[_Cell]) -> Estimate:
    """Mean and standard deviation of lambda over hypotheses."""
    log_weight = np.concatenate([cell.log_weight for cell in cells])
    total = float(np.asarray(logsumexp(log_weight)))
    if not math.isfinite(total):
        return Estimate(math.nan, math.inf)
    weight = np.exp(log_weight - total)
    mean = np.concatenate([cell.mean for cell in cells])
    variance = np.concatenate([cell.variance for cell in cells])
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
    for what, energies in (("mean energy", mean_energy), ("variance", variance_energy)):
        finite("thermodynamic_integral", energies, ("replicate", "rung"), "leave that replicate out.", what=what)
    kept = np.r_[0, np.arange(len(temperatures) - 1, 0, -2)[::-1]]
    fine = head + _integral(temperatures, mean_energy, variance_energy)
    coarse = head + _integral(temperatures[kept], mean_energy[:, kept], variance_energy[:, kept])
    found = log_mean(-head, plus=head - fine)
    return found._replace(value=-found.value, mcse=math.hypot(found.mcse, float((coarse - fine).mean()) / 16))


def _integral(t: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    width, value = np.diff(np.log(t)), t * mean
    slope = value - t**2 * variance
    ends = (value[:, 1:] + value[:, :-1]) / 2
    return (width * ends + width**2 / 12 * (slope[:, :-1] - slope[:, 1:])).sum(1)


def _log_sum(parts: list[np.ndarray]) -> float:
    return float(np.asarray(logsumexp(np.concatenate(parts))))
