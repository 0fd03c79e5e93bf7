r"""Basin volumes of a target by every estimator side by side, and the exponent of the volume.

The Hessian gives closed forms at w*, rays what is star-shaped about it, splitting everything the prior reaches. As
epsilon goes to 0, d log V/d log epsilon is the learning coefficient; the quadratic has rank H / 2 or d/2 instead.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from slt._options import checked
from slt._types import Estimate, Key, Params
from slt.draws import Verdict
from slt.geometry.curvature import DENSE_DIM, log_determinant
from slt.geometry.exponent import Exponent, Scaling, on_grid, volume_exponent
from slt.geometry.local import Eigenbasis, LocalLoss, eigenbasis, local_loss
from slt.geometry.rank import rank_of_values
from slt.geometry.rays import RADIAL, radial_volume
from slt.geometry.volume import MASSES, VolumeRow, fuzzy_log_volume, hessian_volumes, shifted_log_volume
from slt.samplers.seeds import derived_seed
from slt.samplers.splitting import Ladder, splitting
from slt.stats.replicates import replicate_mean
from slt.targets.gaussian import Gaussian
from slt.targets.target import Target

ESTIMATORS = ("hessian", "radial", "splitting")
SPLITTING_DIM, SPLITTING_DATA = 50, 500
"""Largest numbers of parameters and data at which splitting is on by default."""
STOPS = (
    "",
    "The budget ended at epsilon = {:.1e}, above the {:.0e} asked; raise max_evaluations.",
    "Round-off of the loss ends the ladder at epsilon = {:.1e}, above the {:.0e} asked.",
    "The loss is constant on a set of positive volume, below epsilon = {:.1e} (asked: {:.0e}).",
)
"""By `Ladder.stop`."""


@checked
def basin_volumes(
    target: Target,
    *,
    threshold: float = 1e-2,
    initialisation: Gaussian | None = None,
    estimators: Sequence[str] | None = None,
    weight_decay: float | None = None,
    negative: str = "refuse",
    num_rays: int = 400,
    seed: int = 0,
    **options: Any,
) -> list[VolumeRow]:
    r"""Log volumes of {w: L_n(w) - L_n(w*) < T} around w*, one row for each treatment and estimator.

    Beyond 5000 parameters only the (lambda + c) and fuzzy ellipsoids remain, from a sampled log determinant.

    Args:
        threshold: T [nats/datum]; 0.01 is the cutoff of Scherlis & Belrose 2025.
        initialisation: N(mean, std^2 I), mean a number or like w*. By default N(0, rms(w*)^2 I), and N(0, I) where
            w* = 0; for a prior that is no Gaussian, as of a box or a NumPyro model, that prior itself, which splitting
            samples and the closed forms refuse.
        estimators: of "hessian", "radial" and "splitting"; by default the first two up to 5000 parameters, and
            splitting up to 50 parameters and 500 data.
        weight_decay: lambda of the (lambda + c) treatment; the target's own by default, whose loss is without it.
        negative: policy for negative eigenvalues; see `hessian_volumes`.
        num_rays: rays cast. options: of `volume_ladder`.

    Raises:
        ValueError: an unknown estimator, a threshold or scale that is not positive, a Hessian that is not finite.
    """
    local = local_loss(target)
    start = _isotropic(initialisation) or (_default_initialisation(local) if target.prior.gaussian else None)
    decay = target.prior.decay / target.num_data if weight_decay is None else weight_decay
    names = _default_estimators(target) if estimators is None else tuple(estimators)
    if not names or set(names) - set(ESTIMATORS):
        raise ValueError(f"basin_volumes: estimators is {names}; choose from {', '.join(ESTIMATORS)}.")
    if not (threshold > 0 and math.isfinite(threshold)):
        raise ValueError(f"basin_volumes: threshold is {threshold}; it must be positive and finite [nats/datum].")
    rows: list[VolumeRow] = []
    if names == ("hessian",) and target.num_params > DENSE_DIM:
        return _sampled_rows(jax.random.key(seed), target, start, threshold, decay)
    if {"hessian", "radial"} & set(names):
        basis = eigenbasis(target)
        prior = start and Gaussian(basis.vectors.T @ (start.flat(local.center.size).mean - local.center), start.std)
    if "hessian" in names:
        quadratic = hessian_volumes(
            basis.values, threshold=threshold, weight_decay=decay, prior=prior, negative=negative
        )
        warning = _slope_warning(local, basis, threshold, decay, threshold / start.std**2 if start else 0.0)
        rows += [row._replace(reason=f"{row.reason} {warning}".strip()) for row in quadratic]
        rows += [] if prior else [_refused_row(target, name) for name in MASSES]
    if "radial" in names and prior is None:
        rows.append(_refused_row(target, RADIAL))
    elif "radial" in names:
        key = jax.random.key(derived_seed(seed, "rays"))
        rows.append(radial_volume(key, local, basis, threshold=threshold, prior=prior, num_rays=num_rays))
    if "splitting" in names:
        if start is None and target.prior.draw is None:
            rows.append(VolumeRow("splitting", math.nan, 0.0, "initialisation", f"The prior is {target.prior.kind}."))
        else:
            ladder = volume_ladder(
                target, initialisation=start, lowest=threshold, seed=derived_seed(seed, "ladder"), **options
            )
            rows.append(_splitting_row(ladder, threshold))
    return rows


@checked
def posterior_volume(target: Target, *, seed: int = 0, **options: Any) -> Estimate:
    r"""$-\tfrac12\log\det(I + \tfrac{n\beta}{\gamma} H)$, log volume of the Hessian basin of a posterior [nats].

    The share of N(w*, I/gamma), with weight decay gamma + n beta a, that the fuzzy basin w'Hw/2 < 1/(n beta) holds: a
    volume at the n beta and gamma of the learning coefficient, which is its slope, $-d\log V/d\log n\beta$, where the
    loss is quadratic. Exact up to 5000 parameters, by stochastic Lanczos quadrature beyond.

    Args:
        options: of `log_determinant`, such as num_probes.

    Raises:
        ValueError: a prior that is improper or no Gaussian, H + gamma/(n beta) I indefinite, a sampled determinant that
            did not converge. That w* is a minimum is not looked at.
    """
    precision = target.prior.proper_gaussian("posterior_volume").precision
    found = log_determinant(target, precision / target.nbeta, jax.random.key(seed), **options)
    estimate = found.info._replace(value=-0.5 * found.info.value, mcse=0.5 * found.info.mcse)
    if found.verdict.status == "not converged":
        raise ValueError(f"posterior_volume: not converged (it read {estimate}). {' '.join(found.verdict.reasons)}")
    return estimate


@checked
def volume_ladder(
    target: Target,
    *,
    initialisation: Gaussian | None = None,
    lowest: float = 1e-24,
    seed: int = 0,
    num_particles: int = 512,
    num_replicates: int = 12,
    num_moves: int | None = None,
    max_evaluations: int = 200_000_000,
) -> Ladder:
    """log P(L_n(w) - L_n(w*) < epsilon) down a ladder of epsilon, by multilevel splitting in float64.

    Args:
        initialisation: the measure; the target's own prior by default, which must be proper.
        lowest: epsilon at which a replicate ends [nats/datum].
        num_moves: of every particle at every halving of the volume; 30 + 10 d by default. With too few the copies
            stay alike and the volume comes out too large, which the error between replicates does not see.
        max_evaluations: budget [evaluations of the whole loss].

    Raises:
        ValueError: an improper prior, or a budget too small for a single halving.
    """
    local = local_loss(target)
    moves = num_moves or 30 + 10 * local.center.size
    levels = max_evaluations // (num_particles * num_replicates * moves)
    if levels < 1:
        raise ValueError(
            f"volume_ladder: max_evaluations is {max_evaluations}; one halving takes "
            f"{num_particles * num_replicates * moves}. Raise it, or lower num_particles or num_moves."
        )
    with jax.enable_x64(True):
        measure = _measure(target, local, _isotropic(initialisation))

        def run(key: Key, data: Any) -> Ladder:
            return splitting(
                lambda x: local.loss(x, data),
                lowest=lowest,
                num_particles=num_particles,
                num_replicates=num_replicates,
                num_moves=moves,
                max_levels=min(levels, 5000),
                **measure,
            )(key)

        return jax.tree.map(np.asarray, jax.jit(run)(jax.random.key(seed), local.data))


def volume_scaling(target: Target, **options: Any) -> Scaling:
    r"""The learning coefficient as the exponent of the volume, $\lambda = d\log V(\epsilon)/d\log\epsilon$.

    Its error covers Monte Carlo and what the possible multiplicities and corrections disagree about; see
    `volume_exponent`. options: of `volume_ladder`.

    Raises:
        ValueError: an improper prior, or a ladder of less than two decades.
    """
    local = local_loss(target)
    dim = local.center.size
    ladder = volume_ladder(target, **options)
    log_epsilon, log_volume = np.asarray(ladder.log_epsilon), np.asarray(ladder.log_volume)
    exponent = volume_exponent(log_epsilon, log_volume, max_multiplicity=min(dim, 4))
    rank = None
    if dim <= DENSE_DIM:
        values = np.sort(np.abs(eigenbasis(target).values))[::-1]
        rank = rank_of_values(values, (dim, dim)).rank
    verdict = _judge(ladder, exponent, options.get("lowest", 1e-24))
    return Scaling(exponent, verdict, log_epsilon, log_volume, rank, dim)


def _judge(ladder: Ladder, exponent: Exponent, lowest: float) -> Verdict:
    reasons = [_stop_reason(ladder, lowest)] if (ladder.stop != 0).any() else []
    error = exponent.rlct.mcse
    if (ladder.stop == 3).any() or ladder.acceptance_rate.min() < 0.005 or error > 0.1 * max(exponent.rlct.value, 0.05):
        reasons.append(
            f"The exponent is known to {error:.2g} only (acceptance {ladder.acceptance_rate.min():.1%}); raise "
            "max_evaluations or num_particles."
        )
        return Verdict("not converged", tuple(reasons))
    if exponent.misfit > 3.5:
        reasons.append(f"No shape fits the ladder (chi-square {exponent.misfit:.1f} a degree of freedom).")
        return Verdict("not converged", tuple(reasons))
    return Verdict("converged", tuple(reasons))


def _stop_reason(ladder: Ladder, lowest: float) -> str:
    last = np.nanmin(ladder.log_epsilon, axis=1)
    return STOPS[int(ladder.stop.max())].format(math.exp(min(max(last.max(), -700.0), 700.0)), lowest)


def _splitting_row(ladder: Ladder, threshold: float) -> VolumeRow:
    volumes = on_grid(np.asarray(ladder.log_epsilon), np.asarray(ladder.log_volume), np.array([math.log(threshold)]))[
        :, 0
    ]
    if not np.isfinite(volumes).all():
        return VolumeRow("splitting", math.nan, math.inf, "initialisation", _stop_reason(ladder, threshold))
    estimate = replicate_mean(volumes)
    return VolumeRow("splitting", estimate.value, estimate.mcse, "initialisation")


def _default_estimators(target: Target) -> tuple[str, ...]:
    if target.num_params > DENSE_DIM:
        return ("hessian",)
    small = target.num_params <= SPLITTING_DIM and target.num_data <= SPLITTING_DATA
    return ESTIMATORS if small else ESTIMATORS[:2]


def _refused_row(target: Target, treatment: str) -> VolumeRow:
    reason = f"It needs a Gaussian measure, and the prior is {target.prior.kind}; splitting samples it, or give an "
    return VolumeRow(treatment, math.nan, 0.0, "initialisation", reason + "initialisation.")


def _sampled_rows(
    key: Key, target: Target, start: Gaussian | None, threshold: float, weight_decay: float
) -> list[VolumeRow]:
    """What needs log det(H + cI) alone, by stochastic Lanczos quadrature."""
    if start is None:
        return [_refused_row(target, name) for name in (f"H + (λ + c) I, λ = {weight_decay:.3g}", MASSES[0])]
    c = threshold / start.std**2
    shifted_key, fuzzy_key = jax.random.split(key)
    name = f"H + (λ + c) I, λ = {weight_decay:.3g}, c = {c:.3g}"
    shifted = log_determinant(target, weight_decay + c, shifted_key)
    fuzzy = shifted if weight_decay == 0 else log_determinant(target, c, fuzzy_key)
    dim = target.num_params
    rows = [
        shifted_log_volume(shifted.value, dim, threshold=threshold, treatment=name),
        fuzzy_log_volume(fuzzy.value, dim, threshold=threshold, prior_scale=start.std),
    ]
    reasons = [" ".join(shifted.verdict.reasons), " ".join((*fuzzy.verdict.reasons, _CENTRED))]
    return [row._replace(reason=reason.strip()) for row, reason in zip(rows, reasons, strict=True)]


_CENTRED = "Of an initialisation centred at w*: the pull of another centre needs the eigenvectors."


def _isotropic(start: Gaussian | None) -> Gaussian | None:
    if start is not None and not (np.ndim(start.std) == 0 and start.std > 0 and math.isfinite(start.std)):
        raise ValueError(f"initialisation: its std is {start.std}; give one positive number for all parameters.")
    return start


def _default_initialisation(local: LocalLoss) -> Gaussian:
    return Gaussian(0.0, float(np.sqrt(np.mean(local.center**2))) or 1.0)


def _slope_warning(local: LocalLoss, basis: Eigenbasis, threshold: float, decay: float, c: float) -> str:
    """Said where the quadratic falls by a tenth of T within reach: w* is then no critical point of the objective."""
    slope = basis.vectors.T @ (local.gradient + decay * local.center)
    fall = 0.5 * float(np.sum(slope**2 / (np.abs(basis.values) + decay + c)))
    if fall < 0.1 * threshold:
        return ""
    return (
        f"Not a critical point: |grad| = {np.linalg.norm(slope):.2g}, and the quadratic falls by {fall:.2g} nats/datum "
        "within reach. Polish w*, or give a larger threshold."
    )


def _measure(target: Target, local: LocalLoss, start: Gaussian | None) -> dict[str, Any]:
    """Prior of flat float64 vectors: the initialisation, or the target's own."""
    if start is not None:
        mean = jnp.asarray(start.flat(local.center.size).mean)
        return {
            "log_prior": lambda x: -0.5 * jnp.sum((x - mean) ** 2) / start.std**2,
            "draw_prior": lambda key: mean + start.std * jax.random.normal(key, mean.shape, mean.dtype),
        }
    target.prior.check_drawn("volume_ladder (without an initialisation)")
    prior, unravel = target.prior, local.unravel
    draw = prior.draw
    assert draw is not None

    def flat(w: Params) -> Array:
        return ravel_pytree(w)[0].astype(local.center.dtype)

    return {
        "log_prior": lambda x: jnp.asarray(prior.log_density(unravel(x)), local.center.dtype),
        "draw_prior": lambda key: flat(draw(key)),
        "log_weight": lambda x: jnp.asarray(prior.log_weight(unravel(x)), local.center.dtype),
        "fold": lambda x: flat(prior.fold(unravel(x))),
    }
