"""`estimate_free_energy`: one tempering run in; -log Z at every n beta, and from its growth (lambda, m), out."""

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._options import checked
from slt._types import Estimate, Params, Scalar
from slt.draws import Verdict
from slt.geometry.growth import Growth, growth_at_minimum
from slt.samplers.tempering import Tempered, Tempering, tempered_smc
from slt.stats.free_energy import FreeEnergy, RlctFit, fit_rlct, no_fit, thermodynamic_integral
from slt.stats.replicates import MAX_SPREAD, log_mean
from slt.targets.numpyro_models import as_target
from slt.targets.target import Target

FAR = 1e16
"""n beta to which an analytic potential is followed: it has no data that would end its law."""
MAX_RISE = 0.05
"""Of E[n beta K] in an e-fold, relative, by directions whose curvature is not yet well above the prior's."""
RUNG = 0.6
"""Largest step of the ladder in log n beta, past the first temperature."""


@checked
def estimate_free_energy(
    target: Target | Callable,
    *data: Any,
    seed: int = 0,
    num_particles: int = 1024,
    num_replicates: int = 32,
    max_nbeta: float | None = None,
    **named_data: Any,
) -> FreeEnergy:
    r"""$-\log Z(n\beta) = -\log\mathbb{E}_{prior}[e^{-n\beta(L_n - L_n(w^*))}]$ at every n beta, and (lambda, m).

    Adaptive tempered SMC finds a ladder; fresh replicates climb it, so that their evidence is unbiased and errors lie
    between replicates. A target with data is followed to its own n beta; an analytic potential has no data, and is
    followed in float64 up to n beta = 1e16, or where rounding of K(w*) would show.

    Args:
        target: a Target, or a NumPyro model, whose beta is then 1 unless inverse_temperature is given.
        data, named_data: arguments of a NumPyro model, and options of `numpyro_target`.
        max_nbeta: where the ladder ends; at least the target's n beta.

    Returns:
        FreeEnergy; "rlct" is NaN and the verdict says "not asymptotic" where n beta is too small for the law of
        growth, as often with data.

    Raises:
        ValueError: an improper prior, too few replicates or particles, or max_nbeta below the target's.

    Source: thermodynamic integration: Gelman & Meng 1998; the rest as in `estimators.free_energy`.
    """
    target = as_target(target, data, named_data, inverse_temperature=1.0)
    target.prior.check_drawn("estimate_free_energy")
    if num_replicates < 8:
        raise ValueError(f"estimate_free_energy: num_replicates is {num_replicates}; at least 8 are needed.")
    analytic = not jax.tree.leaves(target.data)
    end = _end(target) if max_nbeta is None and analytic else max_nbeta or target.nbeta
    if end < target.nbeta:
        raise ValueError(f"estimate_free_energy: max_nbeta is {end}, below the target's n beta = {target.nbeta}.")
    with jax.enable_x64(True) if analytic else nullcontext():
        smc = _smc(target, end, num_particles, num_replicates)
        pilot_key, key = jax.random.split(jax.random.key(seed))
        pilot = _smc(target, end, num_particles, 2).run(pilot_key)
        ladder = _ladder(pilot, target.nbeta / end)
        path = jax.tree.map(lambda a: np.asarray(a, np.float64), smc.climb(key, jnp.asarray(ladder)))
        growth = growth_at_minimum(jax.random.fold_in(key, 0), target, end)
    return _result(target, end, ladder, path, pilot, analytic, seed, growth)


def _end(target: Target) -> float:
    """Where K(w*), if it is mere rounding, would be a hundredth of a nat."""
    floor = abs(target.loss_at_minimum)
    precision = float(jnp.finfo(jax.tree.leaves(target.minimum)[0].dtype).eps)
    noise = floor if floor < 1e-6 else floor * precision
    return max(target.nbeta, min(FAR, 0.01 / noise if noise else FAR))


def _smc(target: Target, end: float, num_particles: int, num_replicates: int) -> Tempering:
    assert target.prior.draw is not None
    draw_prior: Callable = target.prior.draw

    def energy(w: Params) -> Scalar:
        return end * target.loss(w, target.data)

    def draw(key: Array) -> Params:
        wide = jnp.zeros(()).dtype
        return jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, wide)), draw_prior(key))

    return tempered_smc(
        energy,
        target.prior.log_density,
        draw,
        log_weight=target.prior.log_weight,
        fold=target.prior.fold,
        num_particles=num_particles,
        num_replicates=num_replicates,
        num_integration_steps=4 if target.num_params <= 5 else 8,
    )


def _ladder(pilot: Tempered, own: float) -> Float[np.ndarray, " rung"]:
    """The pilot's temperatures with geometric rungs between, and one at the target's own."""
    longest = int(np.argmax(pilot.num_temperatures))
    steps = np.asarray(pilot.temperatures, np.float64)[longest][: int(pilot.num_temperatures[longest])]
    found = np.unique(np.append(steps, [own, 1.0]))
    found = found[(found > 0) & (found <= 1)]
    rungs = [found[:1]]
    for low, high in itertools.pairwise(found):
        rungs.append(np.geomspace(low, high, 1 + math.ceil(math.log(high / low) / RUNG))[1:])
    return np.concatenate(rungs)


def _result(
    target: Target,
    end: float,
    ladder: np.ndarray,
    path: Any,
    pilot: Tempered,
    analytic: bool,
    seed: int,
    growth: Growth,
) -> FreeEnergy:
    own = int(np.argmin(abs(np.log(ladder * end / target.nbeta))))
    scale, climbed = ladder[own], slice(1, own + 2)
    if not np.isfinite(path.log_evidence).all():
        replicate, rung = np.argwhere(~np.isfinite(path.log_evidence))[0]
        raise ValueError(
            f"estimate_free_energy: log Z of replicate {replicate} is {path.log_evidence[replicate, rung]} from "
            f"n beta = {(ladder * end)[max(rung - 1, 0)]:.4g} on: the loss is not finite at some draws of the prior; "
            "mend it there, or give a box that leaves them out."
        )
    free_energy = log_mean(path.log_evidence[:, own + 1])
    estimates = {
        "free_energy": free_energy._replace(value=-free_energy.value),
        "thermodynamic": thermodynamic_integral(
            ladder[: own + 1] / scale,
            path.mean_energy[:, climbed] * scale,
            path.variance_energy[:, climbed] * scale**2,
            head=-path.log_evidence[:, 1],
        ),
    }
    reasons = _reasons(path, pilot, estimates)
    nbeta, log_evidence = ladder * end, path.log_evidence[:, 1:]
    fit = _fit(nbeta, log_evidence, float(path.mean_energy[:, -1].mean()), target, analytic, growth)
    estimates["rlct"] = fit.rlct
    verdict = Verdict("not converged" if reasons else "converged", tuple(reasons))
    if fit.reason:
        what = "m is" if math.isfinite(fit.rlct.value) else "lambda and m are"
        verdict = verdict._replace(reasons=(*verdict.reasons, f"{what} not stated: {fit.reason}"))
    settings = {
        "seed": seed,
        "nbeta": target.nbeta,
        "max_nbeta": end,
        "localization": target.localization,
        "num_params": target.num_params,
        "num_data": target.num_data,
        "num_replicates": len(log_evidence),
        "sampler": "tempering",
    }
    return FreeEnergy(nbeta, log_evidence, path.mean_energy[:, 1:] * ladder, estimates, fit, verdict, settings)


def _fit(
    nbeta: np.ndarray, log_evidence: np.ndarray, slope: float, target: Target, analytic: bool, growth: Growth
) -> RlctFit:
    """Posterior of (lambda, m), or why there is none."""
    if growth.rise > MAX_RISE * slope:
        return no_fit(
            f"not asymptotic: by the curvature at w*, E[n beta K] = {slope:.3g} rises by another {growth.rise:.2g} as "
            "n beta grows by a factor e; take a larger n beta."
        )
    try:
        return fit_rlct(
            nbeta,
            log_evidence,
            num_params=target.num_params,
            num_data=None if analytic else target.num_data,
            largest=growth.largest,
            regular=growth.regular,
        )
    except ValueError as error:
        return no_fit(str(error))


def _reasons(path: Any, pilot: Tempered, estimates: dict[str, Estimate]) -> list[str]:
    reasons = []
    if not np.asarray(pilot.finished).all():
        reasons.append("The posterior was not reached from the prior in 500 temperatures; lower max_nbeta.")
    spread = float(path.log_evidence[:, -1].std(ddof=1))
    if spread > MAX_SPREAD:
        reasons.append(f"log Z spreads by {spread:.1f} nats between replicates; take more particles.")
    smc, integral = estimates["free_energy"], estimates["thermodynamic"]
    gap, error = abs(smc.value - integral.value), math.hypot(smc.mcse, integral.mcse)
    if gap > 4 * error:
        reasons.append(f"Evidence and thermodynamic integration disagree, by {gap:.2g} ± {error:.2g} nats.")
    return reasons
