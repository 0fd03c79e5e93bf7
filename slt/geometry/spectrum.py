r"""A spectrum as quadrature nodes and weights, and every number that is read off it in float64.

`Spectrum` comes from Lanczos runs (`lanczos.lanczos_spectrum`: a row of Gauss nodes and one of Gauss–Radau nodes per
probe) or from all eigenvalues (`exact_spectrum`: one row, equal weights, no error). One spectrum serves every shift c,
threshold tau and alpha: $\sum_i f(\lambda_i) \approx n \cdot \mathrm{mean}_p \sum_j w_{pj} f(\theta_{pj})$.

Two errors stand side by side. Probes: a standard error. Truncation: for f with $f^{(2k)} < 0$ (log, lambda/(lambda +
alpha)) Gauss over- and Gauss–Radau, with its fixed node below every eigenvalue, under-estimates every quadratic form
(Golub & Meurant 1994; Golub & Strakos 1994). `Estimate` holds both: its value is the middle of that bracket and a third
of the width counts as one more independent standard deviation: the 90 % interval always holds the whole bracket.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from slt._options import checked
from slt._rows import as_fields
from slt._types import Estimate
from slt.draws import Verdict

POLICIES = ("refuse", "shift", "absolute", "clamp")


class Quadrature(NamedTuple):
    """Nodes theta and weights w of every probe; weights sum to 1, padded nodes have weight 0."""

    nodes: Float[np.ndarray, "probe node"]
    weights: Float[np.ndarray, "probe node"]


class Spectrum(NamedTuple):
    """What is known of the eigenvalues of a symmetric matrix; in its units [nats/datum per squared unit].

    gauss, radau: quadratures that bracket; half: Gauss at half the steps. steps: of every probe.
    lower_bound: no eigenvalue is below it: given, or with probability 0.9999 from the runs.
    lambda_min, lambda_max: extreme Ritz values, inside the true ones; the true ones where `exact`.
    noise_floor: rounding of the products, eps |A| sqrt(n). gradient_norm, scale: as in `Operator`, NaN where unknown.
    """

    gauss: Quadrature
    radau: Quadrature
    half: Quadrature
    steps: Int[np.ndarray, " probe"]
    dim: int
    lower_bound: float
    lambda_min: float
    lambda_max: float
    noise_floor: float
    exact: bool
    gradient_norm: float = math.nan
    scale: float = math.nan

    @property
    def radius(self) -> float:
        """Largest |eigenvalue|."""
        return max(abs(self.lambda_min), abs(self.lambda_max))

    @property
    def resolution(self) -> float:
        """Below this near-zero eigenvalues run together: radius/k^2 at a semidefinite edge, radius/k inside."""
        if self.exact:
            return self.noise_floor
        k = float(np.min(self.steps))
        return max(self.noise_floor, self.radius / (k * k if self.lower_bound >= -self.noise_floor else k))

    @property
    def negative_share(self) -> float:
        r"""$\sum_{\lambda<0} |\lambda| / \sum |\lambda|$, rounding left out."""
        nodes, weights = self.gauss
        total = np.sum(weights * np.abs(nodes))
        return float(np.sum(weights * np.where(nodes < -self.noise_floor, -nodes, 0.0)) / max(total, 1e-300))

    @property
    def critical(self) -> bool:
        """Whether the gradient is negligible: |grad L| at most 1e-4 of what moving by |w| along the steepest curvature
        would give. True where it is unknown.
        """
        return not self.gradient_norm > 1e-4 * self.radius * max(self.scale, 1.0)

    __repr__ = as_fields


class LogDet(NamedTuple):
    """log det(A + cI) with what supports it [nats].

    value: with both errors; sem: of the probes alone, NaN for one probe; bracket: [Gauss–Radau, Gauss] means.
    info: log det(I + A/c), the same errors. shift: c, with what the policy "shift" added.
    verdict: "converged", "not converged" (truncation, certificate or noise), "not a minimum" (the gradient).
    """

    value: Estimate
    info: Estimate
    sem: float
    bracket: tuple[float, float]
    shift: float
    indefinite: str
    lambda_min: float
    lambda_max: float
    lower_bound: float
    negative_share: float
    resolution: float
    noise_floor: float
    steps: int
    num_probes: int
    verdict: Verdict


def exact_spectrum(
    eigenvalues: Float[np.ndarray, " dim"],
    *,
    dtype: type | np.dtype = np.float64,
    gradient_norm: float = math.nan,
    scale: float = math.nan,
) -> Spectrum:
    """The spectrum of all eigenvalues.

    Args:
        dtype: that the matrix was computed in: sets the noise floor.

    Raises:
        ValueError: none, or one that is not finite.
    """
    values = np.sort(np.asarray(eigenvalues, np.float64).ravel())
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(f"exact_spectrum: {values.size} eigenvalues; give at least one, and finite ones.")
    rule = Quadrature(values[None], np.full((1, values.size), 1 / values.size))
    floor = noise_floor(dtype, float(np.max(np.abs(values))), values.size)
    return Spectrum(
        rule, rule, rule, np.array([values.size]), values.size, float(values[0]), float(values[0]), float(values[-1]),
        floor, exact=True, gradient_norm=gradient_norm, scale=scale,
    )  # fmt: skip


def noise_floor(dtype: type | np.dtype, radius: float, dim: int) -> float:
    """eps |A| sqrt(n): eigenvalues this small cannot be told from zero."""
    return float(np.finfo(dtype).eps) * radius * math.sqrt(dim)


def trace(spectrum: Spectrum) -> Estimate:
    """tr A: exact for every probe, so the error is of the probes alone."""
    return _combine(spectrum, *_sums(spectrum, lambda x: x, bracketed=False)[:1] * 2)[0]


@checked
def log_det(spectrum: Spectrum, shift: float, *, indefinite: str = "refuse") -> LogDet:
    r"""$\log\det(A + cI) = \sum_i \log(\lambda_i + c)$ [nats].

    Args:
        shift: c > 0; 0 is allowed where every eigenvalue is certain to be positive.
        indefinite: what to do where A + cI may have negative eigenvalues. "refuse": raise. "shift": add to c whatever
            makes A + cI at least c. "absolute": of |A| + cI. "clamp": of max(A, 0) + cI. For the Gauss–Newton matrix
            instead, give its spectrum. The negative share is reported under all.

    Raises:
        ValueError: an unknown policy, a negative or non-finite shift, zero with a singular matrix, or an indefinite
            A + cI under "refuse".
    """
    added = _admit(spectrum, shift, indefinite, "log_det")
    c = shift + added
    bracketed = indefinite in ("refuse", "shift")
    gauss, other = _sums(spectrum, lambda x: np.log(_treat(x, indefinite) + c), bracketed=bracketed, shift=c)
    value, sem, bracket = _combine(spectrum, gauss, other)
    if spectrum.lower_bound + c < spectrum.noise_floor and bracketed:
        value = value._replace(mcse=math.inf)
    base = spectrum.dim * math.log(c) if c > 0 else -math.inf
    return LogDet(
        value, value._replace(value=value.value - base), sem, bracket, c, indefinite, spectrum.lambda_min,
        spectrum.lambda_max, spectrum.lower_bound, spectrum.negative_share, spectrum.resolution, spectrum.noise_floor,
        int(np.min(spectrum.steps)), len(spectrum.steps), _judge(spectrum, c, sem, bracket, bracketed=bracketed),
    )  # fmt: skip


@checked
def effective_dimension(spectrum: Spectrum, alpha: float, *, indefinite: str = "refuse") -> Estimate:
    r"""$\sum_i \lambda_i / (\lambda_i + \alpha)$ (MacKay 1992), one of many dimensions: name alpha beside it.

    Args:
        alpha: > 0, in the units of the eigenvalues.
        indefinite: as for `log_det`; "shift" is not meaningful here.

    Raises:
        ValueError: alpha not positive, or A + alpha I indefinite under "refuse".
    """
    if indefinite == "shift" or not alpha > 0:
        raise ValueError(
            f"effective_dimension: alpha is {alpha} and indefinite is {indefinite!r}; alpha must be positive and the "
            'policy "refuse", "absolute" or "clamp".'
        )
    _admit(spectrum, alpha, indefinite, "effective_dimension")

    def share(x: np.ndarray) -> np.ndarray:
        treated = _treat(x, indefinite)
        return treated / (treated + alpha)

    return _combine(spectrum, *_sums(spectrum, share, bracketed=indefinite == "refuse", shift=alpha))[0]


@checked
def count_below(spectrum: Spectrum, threshold: float) -> Estimate:
    r"""Number of eigenvalues with $|\lambda| < \tau$.

    Truncation is bracketed by the Chebyshev–Markov–Stieltjes inequalities: the mass left of a Gauss node lies between
    the weights before it and those up to it.

    Raises:
        ValueError: a threshold below the resolution of the run, where a count means nothing.
    """
    if not threshold > spectrum.resolution:
        raise ValueError(
            f"count_below: the threshold {threshold:.3g} is below the resolution {spectrum.resolution:.3g} of this "
            f"spectrum ({int(np.min(spectrum.steps))} steps); raise it, take more steps, or use the exact spectrum."
        )
    nodes, weights = spectrum.gauss
    inside = np.sum(weights * (np.abs(nodes) < threshold), 1)
    if spectrum.exact:
        return Estimate(float(round(spectrum.dim * inside[0])), 0.0)
    low, high = np.empty_like(inside), np.empty_like(inside)
    for p, k in enumerate(spectrum.steps):
        (left_low, left_high), (right_low, right_high) = (
            _mass_below(nodes[p, :k], weights[p, :k], edge) for edge in (-threshold, threshold)
        )
        if spectrum.lower_bound > -threshold:
            left_low = left_high = 0.0
        low[p], high[p] = max(0.0, right_low - left_high), right_high - left_low
    return _combine(spectrum, high * spectrum.dim, low * spectrum.dim)[0]


def density(
    spectrum: Spectrum, grid: Float[np.ndarray, " point"], *, width: float | None = None
) -> Float[np.ndarray, " point"]:
    """Spectral density on a grid, integrating to 1: nodes blurred by a Gaussian.

    Args:
        width: standard deviation of the blur [unit of the eigenvalues]; the distance between Ritz values, spread/k, by
            default.
    """
    spread = max(spectrum.lambda_max - spectrum.lambda_min, spectrum.noise_floor, 1e-300)
    k = min(100, int(np.min(spectrum.steps)))
    sigma = width if width is not None else spread / k
    if not sigma > 0:
        raise ValueError(f"density: width is {width}; it must be positive.")
    nodes, weights = (a.ravel() for a in spectrum.gauss)
    keep = weights > 0
    z = (np.asarray(grid, np.float64)[:, None] - nodes[keep]) / sigma
    return np.exp(-0.5 * z**2) @ weights[keep] / (len(spectrum.steps) * sigma * math.sqrt(2 * math.pi))


def _mass_below(nodes: np.ndarray, weights: np.ndarray, edge: float) -> tuple[float, float]:
    """Bounds of the mass left of `edge`."""
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    i = int(np.searchsorted(nodes, edge))
    return float(cumulative[max(i - 1, 0)]), float(cumulative[min(i + 1, nodes.size)])


def _treat(nodes: np.ndarray, indefinite: str) -> np.ndarray:
    return {"absolute": np.abs, "clamp": lambda x: np.maximum(x, 0.0)}.get(indefinite, lambda x: x)(nodes)


def _sums(spectrum: Spectrum, function, *, bracketed: bool, shift: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the function over the eigenvalues by every probe: by Gauss, and by Radau or by Gauss at half the steps.

    Gauss nodes that only rounding can have put below -shift count as zero.
    """
    nodes, weights = spectrum.gauss
    rounded = np.where((nodes <= -shift) & (nodes >= -spectrum.noise_floor), 0.0, nodes)
    sums = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for x, w in ((rounded, weights), spectrum.radau if bracketed else spectrum.half):
            sums.append(spectrum.dim * np.sum(np.where(w > 0, w * function(x), 0.0), 1))
    return sums[0], np.where(np.isnan(sums[1]), -np.inf, sums[1])  # the Radau node may lie where f does not exist


def _combine(spectrum: Spectrum, gauss: np.ndarray, other: np.ndarray) -> tuple[Estimate, float, tuple[float, float]]:
    """(estimate with both errors, standard error of the probes, bracket)."""
    ends = float(np.mean(other)), float(np.mean(gauss))
    if spectrum.exact:
        return Estimate(ends[1], 0.0), 0.0, (ends[1], ends[1])
    m = gauss.size
    sem = float(np.std(gauss, ddof=1) / math.sqrt(m)) if m > 1 else math.nan
    low, high = min(ends), max(ends)
    if not math.isfinite(low):
        return Estimate(high, math.inf, max(m - 1, 1)), sem, (low, high)
    third = (high - low) / 3
    error = math.hypot(sem, third)
    dof = (m - 1) * (error / sem) ** 4 if sem > 0 else math.inf  # Welch and Satterthwaite
    return Estimate((low + high) / 2, error, dof), sem, (low, high)


def _admit(spectrum: Spectrum, shift: float, indefinite: str, name: str) -> float:
    """What the policy adds to the shift; raises ValueError where it refuses."""
    if indefinite not in POLICIES:
        raise ValueError(
            f"{name}: indefinite is {indefinite!r}; choose one of {', '.join(POLICIES)}, or give the spectrum of the "
            "Gauss–Newton matrix."
        )
    if not (shift >= 0 and math.isfinite(shift)):
        raise ValueError(f"{name}: the shift c is {shift}; it must be finite and positive.")
    if shift == 0 and not spectrum.lower_bound > spectrum.noise_floor:
        raise ValueError(
            f"{name}: c = 0, and the matrix is singular or not known to be regular (smallest eigenvalue "
            f"{spectrum.lambda_min:.3g}, rounding {spectrum.noise_floor:.2g}): its log det is -inf. Give c > 0, "
            "such as weight decay plus 1/(n beta sigma^2) of the initialisation."
        )
    if indefinite == "shift":
        if not math.isfinite(spectrum.lower_bound):
            raise ValueError(f'{name}: "shift" needs a lower bound of the spectrum; take more steps or give one.')
        return max(0.0, -spectrum.lower_bound)
    if indefinite == "refuse" and spectrum.lambda_min < min(-spectrum.noise_floor, -shift):
        raise ValueError(
            f"{name}: A + cI is indefinite: c = {shift:.3g} but an eigenvalue is at most {spectrum.lambda_min:.4g}, "
            f"and {spectrum.negative_share:.2%} of the sum of |eigenvalues| is negative. Take c above "
            f'{-spectrum.lower_bound:.3g}, train to a minimum, say indefinite="shift", "absolute" or "clamp", or use '
            "the Gauss–Newton matrix."
        )
    return 0.0


def _judge(spectrum: Spectrum, shift: float, sem: float, bracket: tuple[float, float], *, bracketed: bool) -> Verdict:
    reasons = []
    floor, bound = spectrum.noise_floor, spectrum.lower_bound
    if bracketed and -floor <= bound < floor - shift:
        reasons.append(f"c = {shift:.2g} is below the rounding of the products, {floor:.2g}: raise c or use float64.")
    if not spectrum.exact:
        if math.isnan(sem):
            reasons.append("One probe has no standard error: use at least two, better ten.")
        if bracketed and bound < -floor and bound + shift < floor:
            reasons.append(
                f"A + cI is not certified positive definite: an eigenvalue may be as low as {bound:.3g}. "
                "Take more steps, give lower_bound (0 for a Gauss–Newton matrix), or a larger c."
            )
        gap = bracket[1] - bracket[0]
        if math.isfinite(gap) and gap > sem:
            kind = "bracket" if bracketed else "change since half the steps (no bound for this policy)"
            reasons.append(
                f"Truncation: the {kind} is {gap:.3g} nats wide, above the standard error {sem:.3g}; take more steps "
                "(`resolve=c`)."
            )
    status = "not converged" if reasons else "converged"
    if not spectrum.critical:
        reasons.append(
            f"Not at a critical point: |grad L| = {spectrum.gradient_norm:.3g}. The determinant holds, a volume or "
            "Laplace evidence from it does not; `polish` the parameters or add the weight decay they were trained with."
        )
        status = "not a minimum" if status == "converged" else status
    return Verdict(status, tuple(reasons))
