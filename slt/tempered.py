"""The low-dimensional way to an estimate: tempered SMC, independent replicates, errors between them."""

from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Estimate, Key
from slt.draws import Draws, Options, Result, Verdict, rhat
from slt.estimators.llc import replicate_mean, two_temperature
from slt.samplers.tempering import Tempered, Tempering, tempered_smc
from slt.targets.target import Target

Energies = Float[np.ndarray, "replicate sweep particle"]
BLOCK = 25
"""Sweeps between two looks at the standard error."""
LOOK = 5
"""Sweeps between two looks at the particles."""
MAX_BLOCKS = 10


def tempered_result(target: Target, options: Options) -> Result:
    """Estimate by tempered SMC from the prior, and sweeps at the posterior as many as the tolerance asks for.

    Raises:
        ValueError: the prior is improper.
    """
    if target.draw_prior is None:
        raise ValueError(
            "estimate_llc: tempering starts from the prior, improper at gamma = 0; give gamma > 0 or a box."
        )
    leapfrogs = 4 if target.num_params <= 5 else 8
    smc = _smc(target, leapfrogs)
    run_key, pilot_key, key = jax.random.split(jax.random.key(options.seed), 3)
    current, warm = _pilot(pilot_key, smc, smc.run(run_key), options)
    unravel = ravel_pytree(target.minimum)[1]
    blocks, rates = [], []
    for block_key in jax.random.split(key, warm.shape[1] // BLOCK):
        for sweep_key, sweeps in _looks(block_key, options):
            current, energies, rate = smc.sweep(sweep_key, current, sweeps)
            blocks.append(np.asarray(energies, np.float64))
            rates.append(np.asarray(rate))
            if options.watch is not None:
                options.watch(0, jax.vmap(jax.vmap(unravel))(current.states.position))
    energies, rate = np.concatenate(blocks, 1), np.concatenate(rates, 1)
    draws = _draws(target, current, warm, energies, rate, leapfrogs)
    settings: dict[str, str | float | int] = {"sampler": "tempering"}
    broken = float((~np.isfinite(energies)).sum())
    if broken:
        reason = f"{broken:.0f} of {energies.size} energies were not finite; check the loss away from w*."
        verdict = Verdict("not converged", (reason,))
        return Result({"llc": Estimate(np.nan, np.inf, 1)}, verdict, draws, {"divergences": broken}, settings)
    diagnostics = _diagnostics(current, energies, rate)
    estimates = _estimates(current, energies)
    return Result(estimates, _judge(diagnostics, estimates["llc"], options), draws, diagnostics, settings)


def _looks(key: Key, options: Options) -> list[tuple[Key, int]]:
    """Keys and lengths of the stretches of a block: one, or several where somebody looks at the particles between."""
    if options.watch is None:
        return [(key, BLOCK)]
    return [(part, LOOK) for part in jax.random.split(key, BLOCK // LOOK)]


def _pilot(key: Key, smc: Tempering, current: Tempered, options: Options) -> tuple[Tempered, Energies]:
    """Blocks of sweeps until the standard error meets the tolerance; as many again are then kept.

    A run that ends when its own error looks small enough ends too often on an error that is too small. So the sweeps
    that decide the length are warm-up, and the estimate and its error come from others.
    """
    blocks = []
    for block_key in jax.random.split(key, MAX_BLOCKS):
        current, energies, _ = smc.sweep(block_key, current, BLOCK)
        blocks.append(np.asarray(energies, np.float64))
        estimate = replicate_mean(np.mean(blocks, (0, 2, 3)))
        if len(blocks) > 1 and estimate.mcse <= options.asked(estimate):
            break
    return current, np.concatenate(blocks, 1)


def _smc(target: Target, leapfrogs: int) -> Tempering:
    def energy(w: Any) -> Array:
        return target.nbeta * target.loss(w, target.data)

    assert target.draw_prior is not None
    return tempered_smc(
        energy,
        target.log_prior,
        target.draw_prior,
        log_weight=target.log_weight,
        fold=target.fold,
        num_particles=int(np.clip(1024 * 200 // target.num_data, 128, 1024)),
        num_integration_steps=leapfrogs,
    )


def _estimates(smc: Tempered, energies: Energies) -> dict[str, Estimate]:
    mean = replicate_mean(energies.mean((1, 2)))
    ratio = 1 + 0.5 / np.sqrt(max(mean.value, 1.0))
    return {
        "llc": mean,
        "llc_variance": replicate_mean(((energies - energies.mean()) ** 2).mean((1, 2))),
        "llc_two_temperature": replicate_mean(np.array([two_temperature(e, nbeta=1.0, ratio=ratio) for e in energies])),
        "log_evidence": replicate_mean(np.asarray(smc.log_evidence, np.float64)),
    }


def _diagnostics(smc: Tempered, energies: Energies, rate: Float[np.ndarray, "replicate sweep"]) -> dict[str, float]:
    """R-hat is of single particles; the effective draws are as many as would have the error between replicates."""
    trace = energies.mean(2)
    half = trace.shape[1] // 2
    drift = replicate_mean(trace[:, half:].mean(1) - trace[:, :half].mean(1))
    mcse = replicate_mean(trace.mean(1)).mcse
    return {
        "rhat": rhat(energies[:, ::5, :200].reshape(len(trace), -1)),
        "ess": float(energies.var() / mcse**2) if mcse > 0 else float(energies.size),
        "drift": drift.value / drift.mcse if drift.mcse > 0 else 0.0,
        "drift_size": abs(drift.value),
        "acceptance_rate": float(rate.mean()),
        "evidence_spread": float(np.std(np.asarray(smc.log_evidence, np.float64), ddof=1)),
        "temperatures": float(np.mean(smc.num_temperatures)),
        "divergences": 0.0,
        "lowest_energy": float(energies.min()),
        "finished": float(np.asarray(smc.finished).all()),
    }


def _draws(
    target: Target,
    smc: Tempered,
    warm: Energies,
    energies: Energies,
    rate: Float[np.ndarray, "replicate sweep"],
    leapfrogs: int,
) -> Draws:
    """A chain is a replicate, a draw the mean of its particles after one sweep."""
    replicates, sweeps, particles = energies.shape
    diverging = ~np.isfinite(energies).all(2)
    moves = (6 * int(np.sum(smc.num_temperatures)) + (sweeps + warm.shape[1]) * replicates) * particles
    return Draws(
        loss=energies.mean(2) / target.nbeta,
        warmup_loss=warm.mean(2) / target.nbeta,
        acceptance_rate=rate,
        diverging=diverging,
        first_divergence=np.where(diverging.any(1), diverging.argmax(1), -1),
        num_gradients=moves * leapfrogs,
    )


def _judge(diagnostics: dict[str, float], estimate: Estimate, options: Options) -> Verdict:
    reasons = []
    if not diagnostics["finished"]:
        reasons.append("The posterior was not reached from the prior in 500 temperatures; lower nbeta or use chains.")
    if diagnostics["acceptance_rate"] < 0.05:
        reasons.append(
            f"Only {diagnostics['acceptance_rate']:.1%} of the moves were accepted; the particles stand still."
        )
    if diagnostics["evidence_spread"] > 1.5:
        reasons.append(f"log Z spreads by {diagnostics['evidence_spread']:.1f} nats between replicates; use chains.")
    if abs(diagnostics["drift"]) > 4 and diagnostics["drift_size"] > 0.01 * max(estimate.value, 0.25):
        reasons.append(f"The estimate still drifts, by {diagnostics['drift']:.1f} standard errors from half to half.")
    if reasons:
        return Verdict("not converged", tuple(reasons))
    return Verdict("converged", options.unmet(estimate))
