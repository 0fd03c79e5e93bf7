"""The high-dimensional way to an estimate: kinetic Langevin chains, tuned on the typical set, at two steps.

The kernel is `sghmc` (BAOAB), exact on quadratics at any stable step; `slt.tuning` finds its step and batch, and what
heat of minibatch noise is left is subtracted. Half of the chains use a step sqrt(2) smaller; in each half some start
where the warm-up ended, some are driven outwards first.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Estimate, Key, Params
from slt.draws import Draws, Options, Result, Verdict, Watch, ess, rhat
from slt.estimators.llc import llc, llc_two_temperature, llc_variance
from slt.samplers.langevin import sghmc
from slt.samplers.run import Chains, Record, Runner, advance_with_progress, draws_from_record, join_records, runner
from slt.samplers.tune import warmup_end
from slt.targets.target import Target
from slt.tuning import BLOCKS, LEAST, RELAX, STRETCHES, THINNING, Plan, chain_at, heat, noise_at, tune

RESTARTS = 2
"""How often a run in which a chain diverges starts again at half the step; after that the chain is left out."""


def chained_result(target: Target, options: Options) -> Result:
    """Estimate by two groups of chains, at h and h/sqrt(2), until the tolerance is met or the budget ends."""
    tune_key, run_key, heat_key = jax.random.split(jax.random.key(options.seed), 3)
    plan, positions = tune(tune_key, target, options)
    chains, records = _run(run_key, target, options, plan, positions)
    for restart in range(1, RESTARTS + 1):
        if _is_finite(records):
            break
        plan, options = _halved(target, options, plan, records)
        key = jax.random.fold_in(run_key, restart)
        chains, records = _run(key, target, options, plan, positions, to_the_end=restart == RESTARTS)
    excess = _heat(heat_key, target, options, plan, chains)
    return _result(target, options, plan, records, excess)


def _run(
    key: Key, target: Target, options: Options, plan: Plan, positions: Params, *, to_the_end: bool = False
) -> tuple[list[Chains], list[Record]]:
    """The main run in blocks, each checkpointed, both groups in turn; a divergence ends it unless told otherwise."""
    full = plan.batch_size >= target.num_data
    thinning = 1 if full else THINNING
    runs, chains = [], []
    records: list[Any] = [None, None]
    start_key, *group_keys = jax.random.split(key, 3)
    groups = _hot_and_cold(start_key, target, options, plan, positions)
    for h, group_key, group in zip(_steps(plan), group_keys, groups, strict=True):
        kernel = sghmc(target.energy, step_size=h, friction=plan.friction)
        run = runner(kernel, target.loss, batch_size=plan.batch_size, thinning=thinning, mesh=options.mesh)
        runs.append(run)
        chains.append(run.init(group_key, group, target.data))
    per_draw = plan.batch_size * thinning * options.num_chains * target.gradients_per_row(plan.batch_size)
    draws = max(LEAST, (options.max_gradients - plan.spent) // (BLOCKS * per_draw))
    for i in range(BLOCKS):
        for g, run in enumerate(runs):
            chains[g], new = _block(run, chains[g], target, options, draws, i, g)
            records[g] = join_records(records[g], new) if i else new
        if not (to_the_end or _is_finite(records)):
            break
        if i >= 3 and _is_enough(target, options, records):
            break
    return chains, records


def _block(
    run: Runner, chains: Chains, target: Target, options: Options, draws: int, i: int, g: int
) -> tuple[Chains, Record]:
    path = options.checkpoint and options.checkpoint.with_name(f"{options.checkpoint.name}-block{i}-group{g}")
    label = f"γ = {target.localization:.3g}, block {i + 1} of at most {BLOCKS}, step {g + 1} of 2"
    watch = options.watch and partial(_watch_chains, options.watch, g)
    return advance_with_progress(
        run, chains, target.data, draws, progress=options.progress, checkpoint=path, label=label, watch=watch,
        spacing=options.spacing,
    )  # fmt: skip


def _is_finite(records: Sequence[Record]) -> bool:
    return all(bool(np.isfinite(np.asarray(record.loss)).all()) for record in records)


def _halved(target: Target, options: Options, plan: Plan, records: Sequence[Record]) -> tuple[Plan, Options]:
    """Half the step at the same h alpha; what the run that diverged has spent is spent."""
    gradients = sum(int(np.sum(record.num_gradients, dtype=np.int64)) for record in records)
    spent = plan.spent + gradients * plan.batch_size * target.gradients_per_row(plan.batch_size)
    path = options.checkpoint and options.checkpoint.with_name(f"{options.checkpoint.name}-again")
    watch = options.watch and partial(_watch_again, options.watch)
    options = options._replace(checkpoint=path, watch=watch)
    return Plan(plan.step_size / 2, 2 * plan.friction, plan.batch_size, spent), options


def _watch_again(watch: Watch, group: int, positions: Params) -> None:
    watch(group + 2, positions)


def _watch_chains(watch: Watch, group: int, positions: Params) -> None:
    watch(group, jax.tree.map(lambda a: a[:, None], positions))


def _steps(plan: Plan) -> tuple[float, float]:
    return plan.step_size, plan.step_size / float(np.sqrt(2))


def _hot_and_cold(key: Key, target: Target, options: Options, plan: Plan, positions: Params) -> tuple[Params, Params]:
    """Starts of the two groups: in the order cold, hot, hot, cold the chains stay, or are driven away from w*.

    A hot chain has its displacement from w* stretched by sqrt(2) and relaxes for 40 steps, three times over. What is
    stiff comes back; what is soft is left nearly three times as wide, as if the chain had run eight times as long.
    """
    number = options.num_chains
    factor = np.where(np.isin(np.arange(number) % 4, (1, 2)), np.sqrt(2.0), 1.0)

    def stretch(w: Array, center: Array) -> Array:
        return center + jnp.asarray(factor, w.dtype).reshape((-1,) + (1,) * center.ndim) * (w - center)

    kernel = sghmc(target.energy, step_size=plan.step_size / 2, friction=plan.friction)
    run = runner(kernel, target.loss, batch_size=plan.batch_size, mesh=options.mesh)
    for round_key in jax.random.split(key, STRETCHES):
        stretched = jax.tree.map(stretch, positions, target.minimum)
        chains, record = run.advance(run.init(round_key, stretched, target.data), target.data, RELAX)
        if not np.isfinite(np.asarray(record.loss)).all():
            break
        positions = chains.states.position
    return jax.tree.map(lambda a: a[0::2], positions), jax.tree.map(lambda a: a[1::2], positions)


def _heat(key: Key, target: Target, options: Options, plan: Plan, chains: Sequence[Chains]) -> float:
    """Excess of the estimate at the larger step by minibatch noise, measured where the chains ended [1]."""
    if plan.batch_size >= target.num_data:
        return 0.0
    positions = [c.states.position for c in chains]
    ends = [chain_at(w, c) for w in positions for c in range(jax.tree.leaves(w)[0].shape[0])]
    return heat(plan.step_size, noise_at(key, target, options, ends), plan.batch_size)


def _is_enough(target: Target, options: Options, records: Sequence[Record]) -> bool:
    energies = target.nbeta * np.concatenate([np.asarray(r.loss, np.float64) for r in records])
    if not np.isfinite(energies).all():
        return False
    start, drift = warmup_end(energies)
    estimate = llc(energies[:, start:], nbeta=1.0)
    return abs(drift) < 2 and rhat(energies[:, start:]) < 1.02 and estimate.mcse <= options.asked(estimate)


def _result(target: Target, options: Options, plan: Plan, records: Sequence[Record], heat: float) -> Result:
    half = options.num_chains // 2
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), *records)
    energies = target.nbeta * np.asarray(joined.loss, np.float64)
    alive = np.isfinite(energies).all(1)
    both = alive[:half].any() and alive[half:].any()
    start, drift = warmup_end(energies[alive]) if both else (0, np.inf)
    draws = draws_from_record(joined, start)
    broken = _divergence_reasons(draws, plan)
    settings = plan._asdict() | {"sampler": "chains"}
    del settings["spent"]
    spent = plan.spent + draws.num_gradients * plan.batch_size * target.gradients_per_row(plan.batch_size)
    diagnostics = {"divergences": float((~alive).sum()), "datum_gradients": float(spent), "drift": drift}
    if not both:
        return Result(
            {"llc": Estimate(np.nan, np.inf, 1)}, Verdict("not converged", broken), draws, diagnostics, settings
        )
    kept = energies[:, start:] - np.repeat([heat, heat / np.sqrt(2)], half)[:, None]
    estimate, gap = _combine(kept, alive, half, heat)
    steps = energies.shape[1] * (1 if plan.batch_size >= target.num_data else THINNING)
    diagnostics |= {
        "relaxations": steps * plan.step_size * target.precision / plan.friction,
        "rhat": rhat(kept[alive]),
        "ess": ess(kept[alive]),
        "step_gap": gap.value,
        "step_gap_error": gap.mcse,
        "noise_correction": heat,
    }
    estimates = {"llc": estimate} | _exact_loss_estimates(
        target, plan, np.asarray(draws.loss, np.float64)[alive], estimate
    )
    return Result(estimates, _judge(diagnostics, estimate, options, broken), draws, diagnostics, settings)


def _exact_loss_estimates(
    target: Target, plan: Plan, loss: Float[np.ndarray, "chain draw"], estimate: Estimate
) -> dict[str, Estimate]:
    """Estimators that need the loss over all data; none where it was seen through minibatches."""
    if plan.batch_size < target.num_data:
        return {}
    ratio = 1 + 0.5 / np.sqrt(max(estimate.value, 1.0))
    return {
        "llc_variance": llc_variance(loss, nbeta=target.nbeta),
        "llc_two_temperature": llc_two_temperature(loss, nbeta=target.nbeta, ratio=ratio),
    }


def _combine(
    kept: Float[np.ndarray, "chain draw"], alive: np.ndarray, half: int, heat: float
) -> tuple[Estimate, Estimate]:
    """Mean of both groups, and the gap between their steps.

    What half of the gap, and half of the change from half to half of the run, have beyond their own errors joins the
    standard error, and so does a quarter of the noise correction.
    """
    pooled = llc(kept[alive], nbeta=1.0)
    large, small = (
        _group_mean(part[keep]) for part, keep in ((kept[:half], alive[:half]), (kept[half:], alive[half:]))
    )
    gap = Estimate(large.value - small.value, float(np.hypot(large.mcse, small.mcse)), pooled.dof)
    middle = kept.shape[1] // 2
    change = float(kept[alive, middle:].mean() - kept[alive, :middle].mean())
    bias = max(0.0, gap.value**2 - gap.mcse**2) / 4 + max(0.0, change**2 / 4 - pooled.mcse**2) + (heat / 4) ** 2
    return pooled._replace(mcse=float(np.sqrt(pooled.mcse**2 + bias))), gap


def _group_mean(values: Float[np.ndarray, "chain draw"]) -> Estimate:
    """Mean of a group; a single chain counts as two halves, so that its error can be had."""
    if len(values) == 1:
        length = values.shape[1] // 2
        values = np.stack([values[0, :length], values[0, -length:]])
    return llc(values, nbeta=1.0)


def _judge(diagnostics: dict[str, float], estimate: Estimate, options: Options, broken: tuple[str, ...]) -> Verdict:
    reasons = list(broken)
    if diagnostics["rhat"] > 1.1:
        reasons.append(f"R-hat is {diagnostics['rhat']:.2f}: hot and cold starts have not met; raise max_gradients.")
    if diagnostics["ess"] < 20:
        reasons.append(f"Only {diagnostics['ess']:.0f} effective draws; raise max_gradients.")
    # a run shorter than the relaxation of its localisation must show that it stands still
    if abs(diagnostics["drift"]) > (3.5 if diagnostics["relaxations"] > 1 else 2.2):
        reasons.append(
            f"The trace drifts by {diagnostics['drift']:.1f} standard errors from half to half: the chains are leaving "
            "w* or have not filled the posterior; raise max_gradients or the localisation."
        )
    if reasons:
        return Verdict("not converged", tuple(reasons))
    gap, error = abs(diagnostics["step_gap"]), diagnostics["step_gap_error"]
    if gap > 3.5 * error and gap > 0.05 * abs(estimate.value):
        return Verdict("biased", (f"The two step sizes disagree by {gap:.3g} ± {error:.2g}: the step is too large.",))
    return Verdict("converged", options.unmet(estimate))


def _divergence_reasons(draws: Draws, plan: Plan) -> tuple[str, ...]:
    return tuple(
        f"Chain {chain} diverged at draw {draw} and is left out; a larger gamma, and with it a smaller step, may help."
        for chain, draw in enumerate(draws.first_divergence)
        if draw >= 0
    )
