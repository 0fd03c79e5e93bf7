r"""The computations behind a comparison: each takes a minimum and gives the rows it was asked for.

All numbers [nats] are of one posterior, at the target's n beta and gamma: free energies, KL, and volumes of height
T = 1/(n beta) under the same prior, as -log of the volume; volumes in units of w are a group of their own. On a
quadratic they agree up to O(1), and half the effective dimension at alpha = precision/(n beta) is lambda itself.
To add a measure, write a function and name its rows below.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from slt._types import Estimate
from slt.draws import Verdict
from slt.estimate.comparison.certify import flattened, optimised
from slt.estimate.comparison.subjects import Subject
from slt.estimate.criteria import estimate_criteria
from slt.estimate.free_energy import estimate_free_energy
from slt.estimate.llc import estimate_llc
from slt.estimate.volume import SPLITTING_DATA, SPLITTING_DIM, basin_volumes
from slt.geometry.behaviour import behavioural_gradients
from slt.geometry.curvature import DENSE_DIM, curvature_spectrum
from slt.geometry.rank import Rank, numerical_rank, symmetric_rank_of_values
from slt.geometry.spectrum import Spectrum, effective_dimension, trace
from slt.geometry.volume import VolumeRow, laplace_log_evidence
from slt.pac_bayes.gaussian import gaussian_certificate
from slt.pac_bayes.gibbs import gibbs_kl
from slt.pac_bayes.holdout import holdout_bound
from slt.stats.replicates import replicate_mean
from slt.targets.gaussian import Gaussian
from slt.targets.target import Target, at_temperature

EXACT, NONE = "exact", "not available"


class Found(NamedTuple):
    """A row without the name of its minimum and its seconds; see `Measure`."""

    measure: str
    group: str
    estimate: Estimate
    status: str = EXACT
    reason: str = ""


class Asked(NamedTuple):
    """seed: of this computation on this subject; threshold: T [nats/datum]; options: of the computation; delta: of the
    certificates.
    """

    seed: int
    threshold: float
    options: dict[str, Any]
    delta: float = 0.05


def coefficient(subject: Subject, asked: Asked) -> list[Found]:
    """λ̂ of `estimate_llc`, and WBIC = n L(w*) + λ̂/β where β = 1/log n."""
    target = subject.target
    result = estimate_llc(target, seed=asked.seed, **asked.options)
    estimate, status, reason = result.estimates["llc"], result.verdict.status, " ".join(result.verdict.reasons)
    rows = [judged("λ̂", "dimension", estimate, result.verdict)]
    if target.log_likelihood is None:
        return [*rows, missing("WBIC", "total", "A potential has no data.")]
    n, beta = target.num_data, target.inverse_temperature
    if abs(beta * math.log(n) - 1) > 1e-6:
        return [*rows, missing("WBIC", "total", f"WBIC needs β = 1/log n = {1 / math.log(n):.3g}; it is {beta:.3g}.")]
    total = Estimate(n * target.loss_at_minimum + estimate.value / beta, estimate.mcse / beta, estimate.dof)
    return [*rows, judged("WBIC", "total", total, Verdict(status, (reason,) if reason else ()))]


def criteria(subject: Subject, asked: Asked) -> list[Found]:
    """ν and WAIC, at β = 1 as both are meant, and Bayes loss on the test data; all local, but WAIC cannot be."""
    target = at_temperature(subject.target, 1.0) if subject.target.log_likelihood else subject.target
    result = estimate_criteria(target, seed=asked.seed, test_data=subject.test_data, **asked.options)
    rows = [judged("ν", "dimension", result.estimates["singular_fluctuation"], result.verdict)]
    waic = result.estimates["waic"]
    if target.localization > 0:
        seen = (
            f"The prior is centred at w*, which has seen the data: WAIC (it read {waic}) would be too low. Take γ = 0."
        )
        rows.append(missing("WAIC", "loss", seen))
    else:
        rows.append(judged("WAIC", "loss", waic, result.verdict))
    if subject.test_data is None:
        return [*rows, missing("Bayes test loss", "loss", "There are no test data.")]
    return [*rows, judged("Bayes test loss", "loss", result.estimates["bayes_generalization"], result.verdict)]


def free_energy(subject: Subject, asked: Asked) -> list[Found]:
    """-log Z at the target's n beta, KL of that Gibbs posterior to its prior, and λ and m from the growth of -log Z."""
    target = subject.target
    if target.num_params > SPLITTING_DIM or target.num_data > SPLITTING_DATA:
        raise ValueError(
            f"Tempering is for at most {SPLITTING_DIM} parameters and {SPLITTING_DATA} data; these are "
            f"{target.num_params} and {target.num_data}."
        )
    found = estimate_free_energy(target, seed=asked.seed, **asked.options)
    own = int(np.argmin(np.abs(np.log(found.nbeta / target.nbeta))))
    kl = gibbs_kl(found.log_evidence[:, own], found.mean_energy[:, own] / target.nbeta, nbeta=target.nbeta)
    rows = [
        judged("free energy", "nats", found.estimates["free_energy"], found.verdict),
        judged("KL, Gibbs posterior", "nats", kl.value, found.verdict),
    ]
    if not math.isfinite(found.fit.rlct.value):
        reason = found.fit.reason
        return [*rows, missing("λ, free-energy growth", "dimension", reason), missing("m", "count", reason)]
    rows.append(judged("λ, free-energy growth", "dimension", found.fit.rlct, found.verdict))
    if found.fit.multiplicity is None:
        return [*rows, missing("m", "count", found.fit.reason)]
    probability = found.fit.probabilities[found.fit.multiplicity]
    m = Estimate(found.fit.multiplicity, 0.0)
    return [*rows, judged("m", "count", m, found.verdict._replace(reasons=(f"Of probability {probability:.3f}.",)))]


def curvature(subject: Subject, asked: Asked) -> list[Found]:
    """What the Hessian alone says: d/2, rank, effective dimension, trace, largest eigenvalue, quadratic free energy."""
    target = subject.target
    half = Found("d / 2", "dimension", Estimate(target.num_params / 2, 0.0))
    spectrum = curvature_spectrum(target, jax.random.key(asked.seed), **asked.options)
    rows = [
        half,
        Found("trace H", "curvature", trace(spectrum)),
        Found("largest eigenvalue of H", "curvature", Estimate(spectrum.lambda_max, 0.0)),
        attempt("rank H / 2", "dimension", lambda: _hessian_rank(spectrum)),
        attempt("effective dimension / 2", "dimension", lambda: _effective_dimension(target, spectrum)),
        attempt("free energy, quadratic", "nats", lambda: _quadratic_free_energy(target, spectrum)),
    ]
    slope = target.gradient_norm  # of the energy: with weight decay, L itself may have one
    flat = slope <= 1e-4 * spectrum.radius * max(spectrum.scale, 1.0)
    note = "" if flat else f"The energy has the gradient nβ {slope:.2g} at w*, which a quadratic about w* leaves out."
    alpha = target.prior.gaussian.precision / target.nbeta if target.prior.gaussian else math.nan
    spread = f"α = γ/(nβ) = {alpha:.3g}." if math.isfinite(alpha) else ""
    notes = {"effective dimension / 2": spread, "free energy, quadratic": note}
    return [row._replace(reason=f"{row.reason} {notes.get(row.measure, '')}".strip()) for row in rows]


def gradients(subject: Subject, asked: Asked) -> list[Found]:
    """Half the rank of the behavioural gradients, ∂outputs/∂w on the data."""
    if subject.network is None:
        raise ValueError("The rank of G needs outputs and loss apart: give the subject a `network`.")
    network = subject.network
    return [attempt("rank G / 2", "dimension", lambda: _half_rank(numerical_rank(behavioural_gradients(network))))]


def volumes(subject: Subject, asked: Asked) -> list[Found]:
    """-log of every volume of height T; those under the initialisation take the target's own prior for it."""
    options: dict[str, Any] = {"initialisation": _own_prior(subject.target)} | asked.options
    rows = basin_volumes(subject.target, threshold=asked.threshold, seed=asked.seed, **options)
    return [_volume(row) for row in rows]


def certificate(subject: Subject, asked: Asked) -> list[Found]:
    """KL and bound of a Gaussian posterior that starts from w* and is trained on the bound."""
    model = flattened(subject)
    fit_key, draw_key = jax.random.split(jax.random.key(asked.seed))
    posterior, kl = optimised(
        fit_key, model, model.minimum, model.prior, num_data=model.num_data, delta=asked.delta, **asked.options
    )
    found = gaussian_certificate(draw_key, model.errors, posterior, kl, model.rows, delta=asked.delta)
    held = f"With probability {1 - asked.delta:.0%}, of the zero-one loss of this posterior."
    empty = " It is 1: nothing is certified." if found.vacuous else ""
    return [
        Found("KL, Gaussian posterior", "nats", Estimate(found.kl, 0.0), reason=f"{kl.note}."),
        Found("PAC-Bayes bound", "error", Estimate(min(found.bound, 1.0), 0.0), reason=held + empty),
    ]


def losses(subject: Subject, asked: Asked) -> list[Found]:
    """Train and test loss and error of w* itself, and what the test set certifies; errors are over the data."""
    target = subject.target
    if target.log_likelihood is None:
        raise ValueError("A potential has no data.")
    train = Found("train loss", "loss", Estimate(target.loss_at_minimum, 0.0))
    if subject.test_data is None:
        reason = "There are no test data."
        names = (("test loss", "loss"), ("test error", "error"), ("test-set bound", "error"))
        return [train, *(missing(name, group, reason) for name, group in names)]
    count = jax.tree.leaves(subject.test_data)[0].shape[0]
    values = -np.asarray(target.log_likelihood(target.minimum, (subject.test_data, jnp.zeros(count))), np.float64)
    rows = [train, Found("test loss", "loss", replicate_mean(values), reason="Standard error over the test data.")]
    if subject.errors is None:
        reason = "There is no zero-one loss: give the subject `errors`."
        return [*rows, missing("test error", "error", reason), missing("test-set bound", "error", reason)]
    wrong = np.asarray(subject.errors(target.minimum, subject.test_data), np.float64)
    bound = float(holdout_bound(float(wrong.sum()), count, delta=asked.delta))
    held = f"With probability {1 - asked.delta:.0%}, of w* itself, where the test set was not looked at before."
    return [
        *rows,
        Found("test error", "error", replicate_mean(wrong), reason="Standard error over the test data."),
        Found("test-set bound", "error", Estimate(bound, 0.0), reason=held),
    ]


class Computation(NamedTuple):
    """run: what computes the rows; names: (measure, group) of each, for when it refuses."""

    run: Callable[[Subject, Asked], list[Found]]
    names: tuple[tuple[str, str], ...]


_TREATMENTS = (
    "as it is",
    "zeros discarded",
    "zeros replaced by 1",
    "zeros replaced by 0.01 of the mean",
    "H + (λ + c) I",
)
_MASSES = ("fuzzy ellipsoid", "ellipsoid", "radial, star-shaped", "splitting")
_VOLUMES = (
    *((f"−log V, {name}", "volume") for name in _TREATMENTS), *((f"−log V, {name}", "nats") for name in _MASSES),
)  # fmt: skip

COMPUTATIONS: dict[str, Computation] = {
    "llc": Computation(coefficient, (("λ̂", "dimension"), ("WBIC", "total"))),
    "criteria": Computation(criteria, (("ν", "dimension"), ("WAIC", "loss"), ("Bayes test loss", "loss"))),
    "free_energy": Computation(
        free_energy,
        (
            ("free energy", "nats"), ("KL, Gibbs posterior", "nats"), ("λ, free-energy growth", "dimension"),
            ("m", "count"),
        ),
    ),
    "curvature": Computation(
        curvature,
        (
            ("d / 2", "dimension"), ("rank H / 2", "dimension"), ("effective dimension / 2", "dimension"),
            ("trace H", "curvature"), ("largest eigenvalue of H", "curvature"), ("free energy, quadratic", "nats"),
        ),
    ),
    "gradients": Computation(gradients, (("rank G / 2", "dimension"),)),
    "volumes": Computation(volumes, _VOLUMES),
    "certificate": Computation(certificate, (("KL, Gaussian posterior", "nats"), ("PAC-Bayes bound", "error"))),
    "losses": Computation(
        losses, (("train loss", "loss"), ("test loss", "loss"), ("test error", "error"), ("test-set bound", "error"))
    ),
}  # fmt: skip
"""By the name that `compare(measures=...)` takes."""


def judged(measure: str, group: str, estimate: Estimate, verdict: Verdict) -> Found:
    """The number where the verdict is "converged"; elsewhere none, and the number only within the reason."""
    reason = " ".join(verdict.reasons)
    if verdict.status == "converged":
        return Found(measure, group, estimate, "converged", reason)
    text = f"Refused as {verdict.status} (it read {estimate}). {reason}".strip()
    return Found(measure, group, Estimate(math.nan, math.nan), verdict.status, text)


def missing(measure: str, group: str, reason: str) -> Found:
    """No number, and why."""
    return Found(measure, group, Estimate(math.nan, math.nan), NONE, reason)


def attempt(measure: str, group: str, number: Callable[[], Estimate]) -> Found:
    """The number, or why it is refused."""
    try:
        return Found(measure, group, number())
    except ValueError as error:
        return missing(measure, group, str(error))


def _volume(row: VolumeRow) -> Found:
    name, group = f"−log V, {row.treatment.split(', λ =')[0]}", "volume" if row.measure == "lebesgue" else "nats"
    if not math.isfinite(row.log_volume):
        return missing(name, group, row.reason)
    if not math.isfinite(row.error):
        return judged(name, group, Estimate(-row.log_volume, math.inf), Verdict("not converged", (row.reason,)))
    status = EXACT if row.error == 0 else "converged"
    return Found(name, group, Estimate(0.0 - row.log_volume, row.error), status, row.reason)


def _own_prior(target: Target) -> Gaussian | None:
    """The target's prior where it is a proper Gaussian; None where `basin_volumes` takes it, or a default, itself."""
    gaussian = target.prior.gaussian
    return gaussian if gaussian and gaussian.precision > 0 else None


def _hessian_rank(spectrum: Spectrum) -> Estimate:
    if not spectrum.exact:
        raise ValueError(f"A rank needs all eigenvalues, at most {DENSE_DIM} of them; there are {spectrum.dim}.")
    rank = symmetric_rank_of_values(spectrum.gauss.nodes[0])
    if rank.negative:
        raise ValueError(
            f"{rank.negative} of the {rank.rank} eigenvalues that count are negative: w* is no minimum of the loss, "
            "and its rank no dimension of one. `polish` w*, or train on."
        )
    return _half_rank(rank)


def _half_rank(rank: Rank) -> Estimate:
    if rank.status != "gap":
        counts = ", ".join(f"{count} at {tolerance:.0e}" for tolerance, count in rank.by_tolerance.items())
        raise ValueError(f"No gap decides the rank: {rank.reason}; ranks by relative tolerance: {counts}.")
    return Estimate(rank.rank / 2, 0.0)


def _quadratic_free_energy(target: Target, spectrum: Spectrum) -> Estimate:
    """-log Z where w* minimises the energy and the loss is its quadratic: pull of the prior, and the Laplace term."""
    if not spectrum.exact:
        raise ValueError(f"The quadratic free energy needs all eigenvalues; there are {spectrum.dim}.")
    gaussian = target.prior.proper_gaussian("The quadratic free energy")
    precision = gaussian.precision
    evidence = laplace_log_evidence(spectrum.gauss.nodes[0], nbeta=target.nbeta, precision=precision)
    away = np.asarray(ravel_pytree(target.minimum)[0], np.float64) - gaussian.flat(target.num_params).mean
    return Estimate(0.5 * precision * float(away @ away) - evidence, 0.0)


def _effective_dimension(target: Target, spectrum: Spectrum) -> Estimate:
    if target.prior.gaussian is None:
        target.prior.proper_gaussian("The effective dimension")
    return _halved(effective_dimension(spectrum, target.precision / target.nbeta))


def _halved(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value / 2, estimate.mcse / 2, estimate.dof)
