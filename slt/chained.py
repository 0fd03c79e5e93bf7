"""The high-dimensional way to an estimate: kinetic Langevin chains, tuned on the typical set, at two steps.

The kernel is `sghmc` (BAOAB), exact on quadratics at any stable step. Its step follows the largest curvature where the
chains are; its batch grows until the heat of minibatch noise is a small correction, which is then subtracted. Half of
the chains use a step sqrt(2) smaller; in each half some start where the warm-up ended, some are driven outwards first.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slt._types import Estimate, Key, Params
from slt.draws import Draws, Options, Result, Verdict, Watch, ess, rhat
from slt.estimators.llc import llc, llc_two_temperature, llc_variance
from slt.samplers.langevin import sghmc
from slt.samplers.run import Chains, Record, Runner, advance_with_progress, draws_from_record, join_records, runner
from slt.samplers.tune import largest_curvature, noise_trace, warmup_end
from slt.targets.target import Target

STEP = 0.7
"""h sqrt(largest curvature): kinetic Langevin is stable below 2."""
DECAY = 0.05
"""h alpha: momentum is forgotten in 20 steps."""
HEAT = 0.04
"""Largest correction for minibatch noise, relative to the estimate, before the batch is grown."""
BLOCKS = 12
"""Stretches of the main run; after the fourth the run may end early."""
LEAST = 8
"""Draws of a block at least, whatever the budget."""
CURVATURE_ROWS, CURVATURE_SHARE = 1024, 630
"""Rows on which curvature is measured, fewer where its 7 x 30 gradients a row would take a third of the budget."""
NOISE_ROWS, NOISE_GROUPS = 64, 8
"""Rows of a gradient between which noise is measured, fewer with the rows above, and how many of those."""
RESTARTS = 2
"""How often a run in which a chain diverges starts again at half the step; after that the chain is left out."""
STRETCHES, RELAX = 3, 40
"""How often hot chains are driven outwards, and the steps they relax in between."""


class Plan(NamedTuple):
    """Time step h, friction alpha, rows of a batch, and gradients spent so far [of one datum]."""

    step_size: float
    friction: float
    batch_size: int
    spent: int


def chained_result(target: Target, options: Options) -> Result:
    """Estimate by two groups of chains, at h and h/sqrt(2), until the tolerance is met or the budget ends."""
    tune_key, run_key, heat_key = jax.random.split(jax.random.key(options.seed), 3)
    plan, positions = _warm_up(tune_key, target, options)
    chains, records = _run(run_key, target, options, plan, positions)
    for restart in range(1, RESTARTS + 1):
        if _is_finite(records):
            break
        plan, options = _halved(target, options, plan, records)
        key = jax.random.fold_in(run_key, restart)
        chains, records = _run(key, target, options, plan, positions, to_the_end=restart == RESTARTS)
    heat = _heat(heat_key, target, options, plan, chains)
    return _result(target, options, plan, records, heat)


def _warm_up(key: Key, target: Target, options: Options) -> tuple[Plan, Params]:
    """Stretches from w*; after each, the step follows the curvature at the ends, the batch the noise there.

    Three of them, or one where the tuning of a similar target is known: it starts at that step and batch. One that
    diverges, or that gradient noise has heated to twice its energy, is taken back and is followed by another.
    """
    rows = _measuring_rows(target, options)
    some = jax.tree.map(lambda a: a[jnp.linspace(0, a.shape[0] - 1, rows).astype(int)], target.data)
    positions = jax.tree.map(lambda a: jnp.repeat(a[None], options.num_chains, 0), target.minimum)
    batch = target.num_data if target.num_data <= 4 * options.batch_size else options.batch_size
    curvature, spent = float(largest_curvature(key, target.energy, target.minimum, some)), 30 * rows
    if options.warm_start is not None:
        curvature = max(curvature, (STEP / options.warm_start[0]) ** 2)
        batch = max(batch, min(options.warm_start[1], target.num_data))
    slower, good = 1.0, 0
    for round_key in jax.random.split(key, 8):
        record, moved, cost = _stretch(round_key, target, options, positions, slower * STEP / np.sqrt(curvature), batch)
        spent += cost
        ends = [_chain(moved, c) for c in range(2)]
        noise = _noise(round_key, target, options, ends)
        if not (np.isfinite(record.loss).all() and np.isfinite(noise)):
            curvature *= 4
            continue
        level = target.nbeta * float(np.mean(record.loss[:, -len(record.loss[0]) // 3 :]))
        wanted = STEP**2 / curvature / DECAY * noise / 4 / (HEAT * max(level, 0.25))
        hot = batch < target.num_data and HEAT * wanted / batch * slower**2 > 0.5
        spent += len(ends) * NOISE_GROUPS * min(rows, NOISE_ROWS)
        batch = _grown(batch, min(wanted, _affordable(target, options)), target.num_data)
        slower = 1.0 if batch == target.num_data else min(1.0, float(np.sqrt(batch / wanted)))
        if hot:
            continue
        positions, good = moved, good + 1
        curvature = max(0.8 * curvature, *(float(largest_curvature(round_key, target.energy, w, some)) for w in ends))
        spent += len(ends) * 30 * rows
        if good == (3 if options.warm_start is None else 1):
            break
    h = slower * STEP / np.sqrt(curvature)
    spent += STRETCHES * RELAX * options.num_chains * batch * target.gradients_per_row(batch)
    return Plan(float(h), float(DECAY / h), batch, spent), positions


def _affordable(target: Target, options: Options) -> int:
    """Rows of a batch at which the least main run takes half of the budget; where more are wanted the step shrinks.

    Heat goes with the square of the step over the rows, so that half the step is worth four times the rows.
    """
    return options.max_gradients // (2 * 5 * BLOCKS * LEAST * options.num_chains * (1 + target.control_variate))


def _measuring_rows(target: Target, options: Options) -> int:
    return min(target.num_data, CURVATURE_ROWS, max(options.max_gradients // CURVATURE_SHARE, 16))


def _noise(key: Key, target: Target, options: Options, positions: Sequence[Params]) -> float:
    """Trace of the covariance of one row's gradient of U, mean over positions [nats^2/unit^2]."""
    rows = min(_measuring_rows(target, options), NOISE_ROWS)
    keys = jax.random.split(key, len(positions))
    traces = (
        noise_trace(k, target.energy, w, target.data, num_rows=rows, num_groups=NOISE_GROUPS)
        for k, w in zip(keys, positions, strict=True)
    )
    return float(np.mean([float(trace) for trace in traces]))


def _stretch(
    key: Key, target: Target, options: Options, positions: Params, h: float, batch: int
) -> tuple[Record, Params, int]:
    """A twelfth of the budget, at most 2000 steps: its record, where it ends, and its gradients of one datum."""
    kernel = sghmc(target.energy, step_size=h, friction=DECAY / h)
    run = runner(kernel, target.loss, batch_size=batch, thinning=5, mesh=options.mesh)
    per_draw = 5 * options.num_chains * batch * target.gradients_per_row(batch)
    draws = min(max(LEAST, options.max_gradients // (BLOCKS * per_draw)), 400)
    chains, record = run.advance(run.init(key, positions, target.data), target.data, draws)
    return jax.tree.map(np.asarray, record), chains.states.position, draws * per_draw


def _grown(batch: int, wanted: float, num_data: int) -> int:
    """The wanted batch, never smaller than before; all data where that is more than half of them."""
    size = min(max(batch, int(np.ceil(wanted))), num_data)
    return num_data if 2 * size > num_data else size


def _run(
    key: Key, target: Target, options: Options, plan: Plan, positions: Params, *, to_the_end: bool = False
) -> tuple[list[Chains], list[Record]]:
    """The main run in blocks, each checkpointed, both groups in turn; a divergence ends it unless told otherwise."""
    full = plan.batch_size >= target.num_data
    thinning = 1 if full else 5
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
    r"""First-order excess of the estimate at step h by minibatch noise, $h\,\mathrm{tr}\,\Sigma_B/(4\alpha)$ [1].

    Direction i is heated to temperature 1 + h Sigma_ii/(2 alpha), and each direction that the loss confines holds 1/2;
    a gradient has noise in no others. At high friction this is the (eps/4) tr Sigma of Leimkuhler-Matthews.
    """
    if plan.batch_size >= target.num_data:
        return 0.0
    positions = [c.states.position for c in chains]
    ends = [_chain(w, c) for w in positions for c in range(jax.tree.leaves(w)[0].shape[0])]
    return float(plan.step_size * _noise(key, target, options, ends) / plan.batch_size / (4 * plan.friction))


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
    steps = energies.shape[1] * (1 if plan.batch_size >= target.num_data else 5)
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


def _chain(positions: Params, chain: int) -> Params:
    return jax.tree.map(lambda a: a[chain], positions)
