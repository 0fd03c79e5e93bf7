r"""Volume of a quadratic basin $\{w: \tfrac12 (w-w^*)^\top H (w-w^*) \le T\}$, with every treatment of flat directions.

Everything is a function of the eigenvalues of H, the Hessian of the mean loss L_n [nats/datum per squared unit of w],
in float64 and in logs. Bits are -log2 of the volume: under the initialisation, the bits that locate the basin.
Source: Hebbar 2022, "Hessian and Basin volume"; the fuzzy ellipsoid and the units of c are worked out here.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from slt._options import checked
from slt._types import Estimate
from slt.geometry.prior_mass import log_prior_mass
from slt.targets.columns import real_array
from slt.targets.gaussian import Gaussian

Spectrum = Float[np.ndarray, " dim"]
POLICIES = ("refuse", "absolute", "clamp")
MASSES = ("fuzzy ellipsoid", "ellipsoid")
"""Names of the closed forms under the initialisation."""


class VolumeRow(NamedTuple):
    """One volume of one basin.

    treatment: what was done about flat directions, or which estimator it is. log_volume: [nats], Lebesgue measure in
    the units of w, or the log of a probability where `measure` is "initialisation". error: standard error [nats], 0
    where exact, infinite where it cannot be trusted. reason: why a value is infinite, undefined or not comparable.
    """

    treatment: str
    log_volume: float
    error: float = 0.0
    measure: str = "lebesgue"
    reason: str = ""

    @property
    def bits(self) -> float:
        """-log2 of the volume [bits]."""
        return -self.log_volume / math.log(2)


def log_unit_ball(dim: int) -> float:
    r"""$\log V_n = \tfrac n2 \log\pi - \log\Gamma(\tfrac n2 + 1)$, volume of the unit ball of n dimensions [nats]."""
    return 0.5 * dim * math.log(math.pi) - float(gammaln(0.5 * dim + 1))


def log_ellipsoid(log_det: float, dim: int, *, threshold: float) -> float:
    r"""$\log V_n + \tfrac n2 \log 2T - \tfrac12 \log\det H$ [nats]: volume of w'Hw/2 <= T, T [nats/datum]."""
    return log_unit_ball(dim) + 0.5 * dim * math.log(2 * threshold) - 0.5 * log_det


@checked
def hessian_volumes(
    eigenvalues: Spectrum,
    *,
    threshold: float,
    weight_decay: float = 0.0,
    prior: Gaussian | None = None,
    fraction: float = 0.01,
    zero_below: float | None = None,
    negative: str = "refuse",
) -> list[VolumeRow]:
    r"""Volumes of {w: (w-w*)'H(w-w*)/2 <= T} under every treatment of zero eigenvalues, side by side.

    As it is; zeros discarded (a volume of r < n dimensions); replaced by 1; by a fraction of the mean non-zero
    eigenvalue; H + (lambda + c) I with c = T/sigma^2, the curvature that the initialisation has at the scale T of the
    loss; then, under the initialisation, the fuzzy ellipsoid E[exp(-(w-w*)'H(w-w*)/(2T))] and the probability of the
    ellipsoid itself, both finite whatever is flat. Only the last four move continuously with an eigenvalue.

    Args:
        eigenvalues: of H [nats/datum per squared unit].
        threshold: T, how far the loss may rise [nats/datum].
        weight_decay: lambda of the trained objective; 0 where H is already the Hessian of the regularised loss.
        prior: the initialisation; without it c = 0 and there are no rows under it.
        fraction: of the mean non-zero eigenvalue, put in place of zeros [1].
        zero_below: |h| up to which an eigenvalue counts as zero; by default the round-off, n eps max|h|, of float64.
        negative: policy for eigenvalues below -zero_below: "refuse", "absolute" or "clamp" (to zero).

    Returns:
        Rows; infinite where H is singular and undefined (NaN) where it is indefinite, with the reason.
        H + (lambda + c) I and the fuzzy ellipsoid stay defined while what they add leaves no negative eigenvalue.

    Raises:
        ValueError: no or non-finite eigenvalues, a threshold or scale that is not positive, an unknown policy.
    """
    h, reason = _resolved(eigenvalues, zero_below, negative)
    _check(threshold, weight_decay, prior, fraction)
    c = 0.0 if prior is None else threshold / prior.std**2
    shifted = f"H + (λ + c) I, λ = {weight_decay:.3g}, c = {c:.3g}"
    if math.isnan(h[0]):
        names = ("as it is", "zeros discarded", "zeros replaced by 1", f"zeros replaced by {fraction:g} of the mean")
        raw = np.asarray(eigenvalues, np.float64)
        rest = _indefinite_rows(raw, weight_decay + c, prior, threshold, shifted, reason)
        return [*(VolumeRow(name, math.nan, reason=reason) for name in names), *rest]
    flat = h == 0
    rank, mean = int((~flat).sum()), float(h[~flat].mean()) if not flat.all() else 0.0

    def row(treatment: str, values: Spectrum, remark: str = "") -> VolumeRow:
        return _ellipsoid_row(treatment, values, threshold, " ".join(filter(None, (remark, reason))))

    discarded = f"A volume of {rank} dimensions, not of {h.size}: compare it with none of another rank."
    return [
        row("as it is", h),
        row("zeros discarded", h[~flat], discarded if flat.any() else ""),
        row("zeros replaced by 1", np.where(flat, 1.0, h)),
        row(f"zeros replaced by {fraction:g} of the mean", np.where(flat, fraction * mean, h)),
        row(shifted, h + weight_decay + c),
        *_mass_rows(h, prior, threshold, reason),
    ]


def shifted_log_volume(log_det: Estimate, dim: int, *, threshold: float, treatment: str = "H + (λ + c) I") -> VolumeRow:
    """The (lambda + c) volume from log det(H + (lambda + c) I) alone, e.g. by stochastic Lanczos quadrature.

    Args:
        log_det: log det of the shifted Hessian [nats].
        dim: number of parameters n.
        threshold: T [nats/datum].
    """
    volume = log_ellipsoid(log_det.value, dim, threshold=threshold)
    return VolumeRow(treatment, volume, 0.5 * log_det.mcse)


def fuzzy_log_volume(log_det: Estimate, dim: int, *, threshold: float, prior_scale: float) -> VolumeRow:
    r"""Fuzzy ellipsoid about the mean of the initialisation, $-\tfrac12(\log\det(H + cI) - n\log c)$, c = T/sigma^2.

    Args:
        log_det: log det(H + c I) at that c [nats].
        dim: number of parameters n.
        threshold: T [nats/datum].
        prior_scale: sigma [units of w].
    """
    value = -0.5 * (log_det.value - dim * math.log(threshold / prior_scale**2))
    return VolumeRow("fuzzy ellipsoid", value, 0.5 * log_det.mcse, "initialisation")


def log_fuzzy_ellipsoid(eigenvalues: Spectrum, prior: Gaussian, *, threshold: float) -> float:
    r"""$\log \mathbb{E}_{w\sim N(m, \sigma^2 I)} \exp(-(w-w^*)^\top H (w-w^*)/2T)$, in closed form for any m [nats].

    With a_i = sigma^2 h_i / T and the offset d = w* - m in the eigenbasis:
    -1/2 sum log(1 + a_i) - 1/2 sum (d_i/sigma)^2 a_i/(1 + a_i). At T = 1/(n beta) it is the Laplace log evidence.
    """
    a = prior.std**2 * np.asarray(eigenvalues, np.float64) / threshold
    if not a.min() > -1:
        return math.nan
    pull = float(np.sum((prior.mean / prior.std) ** 2 * a / (1 + a)))
    return float(-0.5 * np.sum(np.log1p(a)) - 0.5 * pull)


def laplace_log_evidence(
    eigenvalues: Spectrum, *, nbeta: float, precision: float, offset: Spectrum | None = None
) -> float:
    r"""$\log \mathbb{E}_{prior}[\exp(-n\beta(L_n - L_n(w^*)))]$ of the quadratic loss under N(m, I/precision) [nats].

    Args:
        eigenvalues: of the Hessian of L_n at w* [nats/datum per squared unit].
        nbeta: n beta [1].
        precision: of the prior, gamma [per squared unit].
        offset: w* - m in the eigenbasis; 0 for a prior centred at w*.

    Raises:
        ValueError: nbeta or precision not positive, or H + (gamma/n beta) I not positive definite.
    """
    if not (nbeta > 0 and precision > 0):
        raise ValueError(f"laplace_log_evidence: nbeta is {nbeta}, precision {precision}; both must be positive.")
    value = log_fuzzy_ellipsoid(
        eigenvalues, Gaussian(0.0 if offset is None else -offset, precision**-0.5), threshold=1 / nbeta
    )
    if math.isnan(value):
        raise ValueError(
            f"laplace_log_evidence: the smallest eigenvalue {np.min(eigenvalues):.3g} is below -gamma/(n beta) = "
            f"{-precision / nbeta:.3g}: no Gaussian integral. Polish w*, or raise precision."
        )
    return value


def _resolved(eigenvalues: Spectrum, zero_below: float | None, negative: str) -> tuple[Spectrum, str]:
    """Eigenvalues with zeros exactly 0, and what the policy did to negative ones; NaN where it refuses."""
    h = real_array(eigenvalues, "hessian_volumes: the eigenvalues")
    if negative not in POLICIES:
        raise ValueError(f"negative is {negative!r}; the policy must be one of {', '.join(POLICIES)}.")
    if h.ndim != 1 or h.size == 0 or not np.isfinite(h).all():
        raise ValueError(
            f"eigenvalues have shape {h.shape} and {int((~np.isfinite(h)).sum())} non-finite entries; give a "
            "vector of "
            "at least one finite number, from a Hessian at a point where the loss is smooth."
        )
    floor = h.size * np.finfo(np.float64).eps * float(abs(h).max()) if zero_below is None else zero_below
    h = np.where(abs(h) <= floor, 0.0, h)
    below = h < 0
    if not below.any():
        return h, ""
    mass = f"{int(below.sum())} eigenvalues are negative, of sum {h[below].sum():.3g}"
    if negative == "absolute":
        return abs(h), f"{mass}; their absolute values are used."
    if negative == "clamp":
        return np.maximum(h, 0.0), f"{mass}; they count as zeros."
    remedy = "w* is no minimum of the quadratic; polish it, or choose another policy for negative ones."
    return np.full(1, np.nan), f"{mass}: {remedy}"


def _check(threshold: float, weight_decay: float, prior: Gaussian | None, fraction: float) -> None:
    if not (threshold > 0 and math.isfinite(threshold)):
        raise ValueError(f"threshold is {threshold}; it must be positive and finite [nats/datum].")
    if not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise ValueError(f"weight_decay is {weight_decay}; it must be finite and at least 0.")
    if not fraction > 0:
        raise ValueError(f"fraction is {fraction}; it must be positive.")
    if prior is not None and not (np.ndim(prior.std) == 0 and prior.std > 0 and math.isfinite(prior.std)):
        raise ValueError(f"prior.std is {prior.std}; it needs one positive standard deviation for all.")


def _ellipsoid_row(treatment: str, h: Spectrum, threshold: float, reason: str) -> VolumeRow:
    if h.size == 0:
        return VolumeRow(treatment, 0.0, reason=f"H is zero. {reason}".strip())
    if h.min() <= 0:
        flat = f"H is singular: {int((h <= 0).sum())} of {h.size} directions are flat, and no λ + c > 0 bounds them."
        return VolumeRow(treatment, math.inf, reason=f"{flat} {reason}".strip())
    return VolumeRow(treatment, log_ellipsoid(float(np.sum(np.log(h))), h.size, threshold=threshold), reason=reason)


def _mass_rows(h: Spectrum, prior: Gaussian | None, threshold: float, reason: str) -> list[VolumeRow]:
    if prior is None:
        return []
    values = (
        log_fuzzy_ellipsoid(h, prior, threshold=threshold),
        log_prior_mass(h, threshold=threshold, scale=prior.std, offset=-prior.flat(h.size).mean),
    )
    return [VolumeRow(n, v, 0.0, "initialisation", reason) for n, v in zip(MASSES, values, strict=True)]


def _indefinite_rows(
    h: Spectrum, shift: float, prior: Gaussian | None, threshold: float, shifted: str, reason: str
) -> list[VolumeRow]:
    """The treatments that stay defined where the shift, or the initialisation, outweighs every negative eigenvalue."""
    bounded = bool(h.min() + shift > 0)
    first = _ellipsoid_row(shifted, h + shift, threshold, reason) if bounded else VolumeRow(shifted, math.nan, 0.0)
    rows = [first._replace(reason=reason)]
    if prior is not None:
        fuzzy = log_fuzzy_ellipsoid(h, prior, threshold=threshold)
        rows += [VolumeRow(n, v, 0.0, "initialisation", reason) for n, v in zip(MASSES, (fuzzy, math.nan), strict=True)]
    return rows
