"""`estimate_llc`: a target in, a number with an error bar and a verdict out, no hyperparameters asked for.

Two ways. Where the whole energy is cheap and the dimension low, tempered SMC between prior and posterior: it needs no tuning
and finds thin valleys. Elsewhere kinetic Langevin chains (BAOAB) whose step comes from the curvature on the typical set,
whose batch comes from the measured gradient noise, half of them at a smaller step, half started hot and half cold.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt._types import Estimate
from slt.draws import Draws, Result, Verdict, ess, rhat
from slt.estimators.llc import llc, llc_two_temperature, llc_variance, replicate_mean
from slt.samplers.langevin import sghmc
from slt.samplers.run import advance_with_progress, draws_from_record, runner
from slt.samplers.tempering import tempered_smc
from slt.samplers.tune import half_drift, largest_curvature, noise_trace, warmup_end
from slt.targets.polish import deficit
from slt.targets.target import Target

TEMPERING_DIM = 50
"""Largest dimension at which tempered SMC is the default."""
TEMPERING_DATA = 500
"""Largest data set at which it is the default: every particle sees all data at every step."""
MAX_GRADIENTS = 30_000_000
"""Default budget of the chains [gradients of one datum]."""


class Options(NamedTuple):
    """What `estimate_llc` was asked for; see there."""

    seed: int
    tolerance: float
    max_gradients: int
    num_chains: int
    batch_size: int
    progress: bool
    checkpoint: Path | None


def estimate_llc(
    target: Target,
    *,
    seed: int = 0,
    sampler: str = "auto",
    tolerance: float = 0.01,
    max_gradients: int = MAX_GRADIENTS,
    num_chains: int = 4,
    batch_size: int = 500,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> Result:
    r"""Local learning coefficient $n\beta(\mathbb{E}[L_n(w)] - L_n(w^*))$ under the target's posterior.

    Args:
        sampler: "auto", "tempering" or "chains".
        tolerance: standard error to reach, relative to max(estimate, 1/4); the run ends there or with the budget.
        max_gradients: budget of the chains [gradients of one datum, tuning included].
        num_chains: even, at least 2. batch_size: rows of a minibatch at first; grown where gradient noise asks for it.
        checkpoint: file stem; a killed run resumes from it bit for bit.

    Returns:
        Result with estimates "llc" and, where losses are exact, "llc_variance" and "llc_two_temperature"; a verdict
        "converged", "not converged", "biased" or "not a minimum" with reasons.

    Raises:
        ValueError: an unknown sampler, an odd or too small number of chains, an improper prior for tempering.
    """
    ways = {"auto": None, "tempering": _tempered, "chains": _chained}
    if sampler not in ways:
        raise ValueError(f"estimate_llc: sampler is {sampler!r}; it must be one of {', '.join(ways)}.")
    if num_chains < 2 or num_chains % 2:
        raise ValueError(f"estimate_llc: num_chains is {num_chains}; give an even number of at least 2, half of them per step.")
    if not tolerance > 0 or max_gradients < 1 or batch_size < 1:
        raise ValueError(
            f"estimate_llc: tolerance {tolerance}, max_gradients {max_gradients}, batch_size {batch_size}: all must be positive."
        )
    options = Options(
        seed, tolerance, max_gradients, num_chains, batch_size, progress, None if checkpoint is None else Path(checkpoint)
    )
    started = time.perf_counter()
    result = (ways[sampler] or _choose(target))(target, options)
    diagnostics = result.diagnostics | {"seconds": time.perf_counter() - started, "gradient_norm": target.gradient_norm}
    verdict = _judge_minimum(target, result) or result.verdict
    return result._replace(diagnostics=diagnostics, verdict=verdict)


def _choose(target: Target) -> Callable[[Target, Options], Result]:
    cheap = target.num_params <= TEMPERING_DIM and target.num_data <= TEMPERING_DATA
    return _tempered if cheap and target.draw_prior is not None else _chained


def _tempered(target: Target, options: Options) -> Result:
    """Tempered SMC: independent replicates, so the error is between them; sweeps until the tolerance or 10 blocks."""
    if target.draw_prior is None:
        raise ValueError("estimate_llc: tempering starts from the prior, which gamma = 0 makes improper; give gamma > 0 or a box.")
    leapfrogs = 4 if target.num_params <= 5 else 8
    particles = int(np.clip(1024 * 200 // max(target.num_data, 1), 128, 1024))

    def energy(w: Any) -> jax.Array:
        return target.nbeta * target.loss(w, target.data)

    smc = tempered_smc(
        energy,
        target.log_prior,
        target.draw_prior,
        log_weight=target.log_weight,
        fold=target.fold,
        num_particles=particles,
        num_integration_steps=leapfrogs,
    )
    keys = jax.random.split(jax.random.key(options.seed), 12)
    current = smc.run(keys[0])
    current, warm, _ = smc.sweep(keys[1], current, 5)
    blocks, rates, estimate = [], [], None
    for key in keys[2:]:
        current, energies, rate = smc.sweep(key, current, 25)
        blocks.append(np.asarray(energies, np.float64))
        rates.append(np.asarray(rate))
        estimate = replicate_mean(np.mean(blocks, (0, 2, 3)))
        if len(blocks) > 1 and estimate.mcse <= _asked(options, estimate):
            break
    energies = np.concatenate(blocks, 1)
    return _tempered_result(target, options, current, np.asarray(warm), energies, np.concatenate(rates, 1), leapfrogs)


def _tempered_result(
    target: Target, options: Options, smc: Any, warm: np.ndarray, energies: np.ndarray, rates: np.ndarray, leapfrogs: int
) -> Result:
    trace = energies.mean(2)
    estimate = replicate_mean(trace.mean(1))
    center = energies.mean()
    half = trace.shape[1] // 2
    drift = replicate_mean(trace[:, half:].mean(1) - trace[:, :half].mean(1))
    evidence = replicate_mean(np.asarray(smc.log_evidence, np.float64))
    num_moves = (6 * int(np.sum(smc.num_temperatures)) + energies.shape[1] * len(trace)) * energies.shape[2]
    diagnostics = {
        "rhat": rhat(energies[:, ::5, :200].reshape(len(trace), -1)),
        "ess": float(energies.var() / estimate.mcse**2) if estimate.mcse > 0 else float(energies.size),
        "drift": drift.value / drift.mcse if drift.mcse > 0 else 0.0,
        "drift_size": abs(drift.value),
        "acceptance_rate": float(rates.mean()),
        "evidence_spread": evidence.mcse * np.sqrt(len(trace)),
        "temperatures": float(np.mean(smc.num_temperatures)),
        "divergences": float((~np.isfinite(energies)).sum()),
        "lowest_energy": float(energies.min()),
        "finished": float(np.asarray(smc.finished).all()),
    }
    draws = Draws(
        loss=trace / target.nbeta,
        warmup_loss=warm.mean(2) / target.nbeta,
        acceptance_rate=rates,
        diverging=~np.isfinite(trace),
        first_divergence=np.full(len(trace), -1),
        num_gradients=num_moves * leapfrogs,
    )
    estimates = {
        "llc": estimate,
        "llc_variance": replicate_mean(((energies - center) ** 2).mean((1, 2))),
        "log_evidence": evidence,
    }
    return Result(estimates, _judge_tempered(diagnostics, estimate), draws, diagnostics, _settings(target, options, "tempering"))


def _judge_tempered(diagnostics: dict[str, float], estimate: Estimate) -> Verdict:
    reasons = []
    if not diagnostics["finished"]:
        reasons.append("The posterior was not reached from the prior in 500 temperatures; lower nbeta or use chains.")
    if diagnostics["acceptance_rate"] < 0.05:
        reasons.append(f"Only {diagnostics['acceptance_rate']:.1%} of the moves were accepted; the particles stand still.")
    if diagnostics["evidence_spread"] > 1.5:
        reasons.append(
            f"log Z differs by {diagnostics['evidence_spread']:.1f} nats between replicates; use chains or a lower dimension."
        )
    if abs(diagnostics["drift"]) > 4 and diagnostics["drift_size"] > 0.01 * max(estimate.value, 0.25):
        reasons.append(f"The estimate still drifts, by {diagnostics['drift']:.1f} standard errors from half to half.")
    if diagnostics["divergences"]:
        reasons.append(f"{diagnostics['divergences']:.0f} energies were not finite; check the loss away from w*.")
    return Verdict("not converged" if reasons else "converged", tuple(reasons))


class _Plan(NamedTuple):
    """Tuned settings of the chains: time step h, friction alpha, batch size, spent gradients [of one datum]."""

    step_size: float
    friction: float
    batch_size: int
    spent: int


STEP = 0.7
"""h sqrt(largest curvature): kinetic Langevin is stable below 2."""
DECAY = 0.05
"""h alpha: momentum is forgotten in 20 steps."""
HEAT = 0.04
"""Largest first-order noise correction, relative to the estimate, before the batch is grown."""


def _chained(target: Target, options: Options) -> Result:
    """Two groups of chains, at h and h/sqrt(2); blocks until the tolerance is met or the budget ends."""
    key = jax.random.key(options.seed)
    tune_key, *group_keys = jax.random.split(key, 3)
    plan, positions = _warm_up(tune_key, target, options)
    steps = [plan.step_size, plan.step_size / np.sqrt(2)]
    full = plan.batch_size >= target.num_data
    thinning = 1 if full else 5
    runs, chains, records = [], [], [None, None]
    for h, group_key, group in zip(steps, group_keys, _hot_and_cold(target, positions), strict=True):
        kernel = sghmc(target.energy, step_size=float(h), friction=plan.friction)
        runs.append(runner(kernel, target.loss, batch_size=plan.batch_size, thinning=thinning))
        chains.append(runs[-1].init(group_key, group, target.data))
    per_draw = plan.batch_size * thinning * options.num_chains
    block = max(20, int((options.max_gradients - plan.spent) / per_draw) // 12)
    for i in range(12):
        for g in range(2):
            path = options.checkpoint and options.checkpoint.with_suffix(f".group{g}.block{i}")
            chains[g], new = advance_with_progress(
                runs[g], chains[g], target.data, block, progress=options.progress, checkpoint=path, label=f"block {i + 1}/12"
            )
            records[g] = new if records[g] is None else jax.tree.map(lambda a, b: np.concatenate([a, b], 1), records[g], new)
        if i >= 3 and _is_enough(target, options, records):
            break
    heat = _heat(tune_key, target, plan, chains)
    return _chained_result(target, options, plan, records, heat)


def _warm_up(key: jax.Array, target: Target, options: Options) -> tuple[_Plan, Any]:
    """Three stretches from w*; after each the step follows the curvature where the chains are, the batch their noise."""
    rows = min(target.num_data, 1024)
    some = jax.tree.map(lambda a: a[jnp.linspace(0, a.shape[0] - 1, rows).astype(int)], target.data)
    curvature_at = jax.jit(lambda k, w: largest_curvature(k, target.energy, w, some))
    noise_at = jax.jit(lambda k, w: noise_trace(k, target.energy, w, target.data))
    positions = jax.tree.map(lambda a: jnp.repeat(a[None], options.num_chains, 0), target.minimum)
    curvature = float(curvature_at(key, target.minimum))
    batch = min(options.batch_size, target.num_data)
    spent = 30 * rows
    for i, key in enumerate(jax.random.split(key, 3)):
        h = STEP / np.sqrt(curvature)
        kernel = sghmc(target.energy, step_size=h, friction=DECAY / h)
        run = runner(kernel, target.loss, batch_size=batch, thinning=5)
        draws = max(8, int(0.08 * options.max_gradients / (batch * 5 * options.num_chains)))
        chains, record = run.advance(run.init(key, positions, target.data), target.data, min(draws, 400))
        if not np.isfinite(np.asarray(record.loss)).all():
            curvature *= 4
            continue
        positions = chains.states.position
        ends = [jax.tree.map(lambda a, c=c: a[c], positions) for c in range(min(2, options.num_chains))]
        curvature = max([curvature * (0.8 if i else 1.0), *(float(curvature_at(key, w)) for w in ends)])
        noise = np.mean([float(noise_at(key, w)) for w in ends])
        level = target.nbeta * float(np.mean(np.asarray(record.loss)[:, -max(1, draws // 3) :]))
        wanted = (STEP / np.sqrt(curvature)) ** 2 / DECAY * noise / 4 / (HEAT * max(level, 0.25))
        grown = min(target.num_data, max(batch, int(np.ceil(wanted))))
        spent += min(draws, 400) * 5 * options.num_chains * batch + len(ends) * (30 * rows + 512)
        batch = target.num_data if grown > 0.5 * target.num_data else grown
    h = float(STEP / np.sqrt(curvature))
    return _Plan(h, DECAY / h, batch, spent), positions


def _hot_and_cold(target: Target, positions: Any) -> tuple[Any, Any]:
    """Displacements from w* doubled and halved in energy, chain by chain; even chains for one group, odd for the other."""
    number = jax.tree.leaves(positions)[0].shape[0]
    # groups take chains 0, 2, ... and 1, 3, ...: the pattern cold, hot, hot, cold gives each group both kinds
    factor = np.where(np.isin(np.arange(number) % 4, (1, 2)), np.sqrt(2), np.sqrt(0.5))

    def stretch(w: jax.Array, center: jax.Array) -> jax.Array:
        scale = jnp.asarray(factor, w.dtype).reshape((-1,) + (1,) * center.ndim)
        return center + scale * (w - center)

    stretched = jax.tree.map(stretch, positions, target.minimum)
    return jax.tree.map(lambda a: a[0::2], stretched), jax.tree.map(lambda a: a[1::2], stretched)


def _heat(key: jax.Array, target: Target, plan: _Plan, chains: list) -> float:
    r"""First-order excess of the estimate at step h by minibatch noise, $h\,\mathrm{tr}\,\Sigma_B/(4\alpha)$ [1].

    Each stiff direction is heated by h Sigma_ii/(2 alpha) and holds 1/2; gradient noise lives in directions the loss sees.
    """
    if plan.batch_size >= target.num_data:
        return 0.0
    noise_at = jax.jit(lambda k, w: noise_trace(k, target.energy, w, target.data))
    ends = [jax.tree.map(lambda a, c=c: a[c], c_.states.position) for c_ in chains for c in range(len(jax.tree.leaves(c_.states)[0]))]
    noise = np.mean([float(noise_at(k, w)) for k, w in zip(jax.random.split(key, len(ends)), ends, strict=True)])
    return float(plan.step_size * noise / plan.batch_size / (4 * plan.friction))


def _is_enough(target: Target, options: Options, records: list) -> bool:
    energies = target.nbeta * np.concatenate([np.asarray(r.loss, np.float64) for r in records])
    if not np.isfinite(energies).all():
        return False
    start, drift = warmup_end(energies)
    estimate = llc(energies[:, start:], nbeta=1.0)
    return abs(drift) < 2 and rhat(energies[:, start:]) < 1.02 and estimate.mcse <= _asked(options, estimate)


def _chained_result(target: Target, options: Options, plan: _Plan, records: list, heat: float) -> Result:
    half = options.num_chains // 2
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), *records)
    energies = target.nbeta * np.asarray(joined.loss, np.float64)
    alive = np.isfinite(energies).all(1)
    start, drift = warmup_end(energies[alive]) if alive.any() else (0, np.inf)
    draws = draws_from_record(joined, start)
    draws = draws._replace(num_gradients=draws.num_gradients + plan.spent // plan.batch_size)
    settings = _settings(target, options, "chains") | {
        "step_size": plan.step_size,
        "friction": plan.friction,
        "batch_size": min(plan.batch_size, target.num_data),
    }
    if alive[:half].sum() < 1 or alive[half:].sum() < 1 or alive.sum() < 2:
        broken = Verdict("not converged", _divergence_reasons(draws, plan))
        return Result({"llc": Estimate(np.nan, np.inf, 1)}, broken, draws, {"divergences": float((~alive).sum())}, settings)
    kept = energies[:, start:] - np.repeat([heat, heat / np.sqrt(2)], half)[:, None]
    estimate, gap, gap_error = _combine(kept, alive, half, heat)
    diagnostics = {
        "rhat": rhat(kept[alive]),
        "ess": ess(kept[alive]),
        "drift": drift,
        "step_gap": gap,
        "step_gap_error": gap_error,
        "noise_correction": heat,
        "divergences": float((~alive).sum()),
        "warmup_draws": float(start),
        "datum_gradients": float(draws.num_gradients * plan.batch_size),
    }
    estimates = {"llc": estimate}
    if plan.batch_size >= target.num_data:
        loss = np.asarray(draws.loss[alive], np.float64)
        estimates["llc_variance"] = llc_variance(loss, nbeta=target.nbeta)
        ratio = 1 + 0.5 / np.sqrt(max(estimate.value, 1))
        estimates["llc_two_temperature"] = llc_two_temperature(loss, nbeta=target.nbeta, ratio=ratio)
    verdict = _judge_chained(diagnostics, estimate, options, _divergence_reasons(draws, plan))
    return Result(estimates, verdict, draws, diagnostics, settings)


def _combine(kept: np.ndarray, alive: np.ndarray, half: int, heat: float) -> tuple[Estimate, float, float]:
    """Mean of both groups; the gap between their steps, beyond its own error, and a quarter of the correction join the error."""
    pooled = llc(kept[alive], nbeta=1.0)
    groups = [_group_mean(kept[:half][alive[:half]]), _group_mean(kept[half:][alive[half:]])]
    gap = groups[0].value - groups[1].value
    gap_error = float(np.hypot(groups[0].mcse, groups[1].mcse))
    between = 0.5 * abs(gap)
    mcse = max(pooled.mcse, min(between, 0.5 * gap_error) if between > pooled.mcse else 0.0)
    bias = max(0.0, gap**2 - gap_error**2) / 4 + (0.25 * heat) ** 2
    return Estimate(pooled.value, float(np.sqrt(mcse**2 + bias)), pooled.dof), gap, gap_error


def _group_mean(values: np.ndarray) -> Estimate:
    """llc of a group; a single chain is split in two so that its error can be had."""
    if len(values) == 1:
        length = values.shape[1] // 2
        values = np.stack([values[0, :length], values[0, -length:]])
    return llc(values, nbeta=1.0)


def _judge_chained(diagnostics: dict[str, float], estimate: Estimate, options: Options, broken: tuple[str, ...]) -> Verdict:
    reasons = list(broken)
    if diagnostics["rhat"] > 1.1:
        reasons.append(f"R-hat is {diagnostics['rhat']:.2f}: hot and cold starts have not met; raise max_gradients.")
    if diagnostics["ess"] < 20:
        reasons.append(f"Only {diagnostics['ess']:.0f} effective draws; raise max_gradients.")
    if abs(diagnostics["drift"]) > 3:
        reasons.append(
            f"The trace still drifts, by {diagnostics['drift']:.1f} standard errors from half to half: the chain is leaving w* "
            "or has not filled its posterior; raise max_gradients, or the localisation."
        )
    if reasons:
        return Verdict("not converged", tuple(reasons))
    gap = abs(diagnostics["step_gap"])
    if gap > 3.5 * diagnostics["step_gap_error"] and gap > 0.05 * abs(estimate.value):
        return Verdict("biased", (f"The two step sizes disagree by {gap:.3g}; the discretisation bias exceeds the error bar.",))
    if estimate.mcse > _asked(options, estimate):
        return Verdict(
            "converged", (f"The budget ended at a standard error of {estimate.mcse:.2g}, above the {_asked(options, estimate):.2g} asked.",)
        )
    return Verdict("converged")


def _divergence_reasons(draws: Draws, plan: _Plan) -> tuple[str, ...]:
    return tuple(
        f"Chain {chain} diverged at draw {draw} and is left out; lower the step size below {plan.step_size:.2g} or raise gamma."
        for chain, draw in enumerate(draws.first_divergence)
        if draw >= 0
    )


def _judge_minimum(target: Target, result: Result) -> Verdict | None:
    """Refuse where a lower loss than L_n(w*) is within reach: the estimate would be too low, or negative."""
    estimate = result.estimates["llc"]
    size = max(abs(estimate.value), 0.25) if np.isfinite(estimate.value) else 0.25
    lowest = -result.diagnostics.get("lowest_energy", 0.0)
    precision = max(target.localization, 1e-12)
    reachable = (target.nbeta * target.gradient_norm) ** 2 / (2 * precision)
    gap = deficit(target) if reachable > 0.02 * size else 0.0
    worst = max(lowest, gap)
    if estimate.value < -3 * estimate.mcse or worst > max(0.1 * size, 3 * estimate.mcse, 1e-3 * target.nbeta * 1e-3):
        reason = (
            f"w* is not a minimum: an energy {worst:.3g} nats below that of w* was found (gradient norm {target.gradient_norm:.2g}). "
            "The estimate is too low by up to as much. Train or `polish` further, or give the weight decay that was trained with."
        )
        return Verdict("not a minimum", (reason, *result.verdict.reasons))
    return None


def _asked(options: Options, estimate: Estimate) -> float:
    return options.tolerance * max(estimate.value, 0.25)


def _settings(target: Target, options: Options, sampler: str) -> dict[str, str | float | int]:
    return {
        "sampler": sampler,
        "seed": options.seed,
        "nbeta": target.nbeta,
        "localization": target.localization,
        "num_params": target.num_params,
        "num_data": target.num_data,
        "tolerance": options.tolerance,
    }
