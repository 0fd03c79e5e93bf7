"""The high-dimensional way to an estimate: kinetic Langevin chains that mix hot and are measured cold, in rounds.

The kernel is `sghmc` (BAOAB), exact on quadratics at any stable step. Energy is in the stiff directions, mixing in the
soft ones. So each round mixes at low friction, where soft directions fill fast, lets stiff ones cool at high friction,
and measures there; what heat of minibatch noise is left is subtracted, weighted by what the loss confines
(`slt.geometry.landscape`). Where every step sees all data there is no heat, all of a round is measured, and half of the
chains take a step sqrt(2) smaller, which shows whether the step matters. Rounds double in length.
"""

import itertools
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from slt._types import Energy, Estimate, Key, Params
from slt.draws import Draws, Options, Result, Verdict, Watch, rhat
from slt.estimate.elsewhere import beside
from slt.estimate.rounds import (
    Round,
    binned,
    divergence_reasons,
    finite_chains,
    is_enough,
    is_finite,
    judge,
    last_two,
    observed,
    read,
    shortfalls,
)
from slt.estimate.tuning import (
    SLOW,
    STEP,
    UNKNOWN,
    Plan,
    chain_at,
    measuring_batch,
    measuring_rows,
    noise_at,
    tune,
)
from slt.estimate.verdict import same_everywhere
from slt.geometry.landscape import CURVATURE_STEPS, NOISE_STEPS, Measure, Stage, largest_curvature
from slt.samplers.langevin import sghmc
from slt.samplers.run import (
    Chains,
    Record,
    Runner,
    advance_with_progress,
    draws_from_record,
    join_records,
    runner,
)
from slt.stats.learning_coefficient import llc_two_temperature, llc_variance, suited_ratio
from slt.targets.dependence import check_potential
from slt.targets.target import Target, noted

RESTARTS = 2
"""How often a run in which a chain diverges starts again at half the step; after that the chain is left out."""
FIRST, ROUNDS = 8, 8
"""Steps of a part of the first round, at least and about; rounds at most."""
LEAST_ROUNDS = 3
"""Rounds before a run may end."""
DIVERGED = 1e6
"""Times what the virial is, beyond which a chain has left for good."""
VECTORS = 2
"""Noise vectors of the heat of a round, at the ends of as many chains."""


class Forecast(NamedTuple):
    """What a run is about to take and to give, as it is said before the first round and kept with the result.

    gradients: of one datum, those of the tuning among them. seconds: of the rounds. error: standard error at their
    end [1]. asked: that which ends the run before the budget does [1].
    """

    gradients: float
    seconds: float
    error: float
    asked: float

    def __str__(self) -> str:
        end = "asked" if self.error <= self.asked else "asked and out of reach"
        cost = f"{self.gradients:.2g} gradients, {self.seconds:.2g} s"
        return f"forecast: {cost}, standard error {self.error:.2g} ({self.asked:.2g} {end})"


def chained_result(target: Target, options: Options) -> Result:
    """Rounds of chains until the tolerance is met or the budget ends; anew at half the step where a chain diverges."""
    if target.log_likelihood is None:
        check_potential(target.loss, target.minimum, target.precision)
    tune_key, run_key = jax.random.split(jax.random.key(options.seed))
    started = time.perf_counter()
    plan, positions = tune(tune_key, target, options)
    for restart in range(RESTARTS + 1):
        key = jax.random.fold_in(run_key, restart) if restart else run_key
        last = restart == RESTARTS
        expected = forecast(plan, options)
        rounds, plan = _run(key, plan, options, positions, started, expected, to_the_end=last)
        if last or is_finite(rounds):
            break
        plan, options = _halved(plan, options)
    result = _result(plan, options, rounds, expected)
    if result.verdict.status != "converged":
        return result
    return beside(jax.random.fold_in(run_key, RESTARTS + 1), plan, options, result)


def _run(
    key: Key, plan: Plan, options: Options, positions: Params, started: float, expected: Forecast, *, to_the_end: bool
) -> tuple[list[Round], Plan]:
    """The rounds, each checkpointed; a divergence ends them unless told otherwise. The plan knows what was spent."""
    target, (number, unit, stretch) = plan.target, _lengths(plan, options)
    observe = Partial(excess_and_virial, target.loss, target.energy, target.minimum)
    *group_keys, heat_key = jax.random.split(key, 3)
    shape = {"batch_size": plan.batch_size, "mesh": options.mesh}
    per_step = plan.per_step(options)
    rounds: list[Round] = []
    stages: list[Stage] = []
    chains: list[Any] = [None, None]
    for r in range(number):
        records = []
        began = time.perf_counter()
        for g, h in enumerate(_steps(plan)):
            mix, cold = (
                runner(sghmc(target.energy, step_size=step, friction=decay / step), observe, **shape)
                for step, decay in ((plan.step_size, plan.mix), (h, plan.decay))
            )
            if chains[g] is None:
                starts = jax.tree.map(lambda a, g=g: a[g::2], positions)
                chains[g] = mix.init(group_keys[g], starts, target.data)
            for part, length in zip(("mix", "cool", "measure"), plan.parts, strict=True):
                if length:
                    label = f"γ = {target.localization:.3g}, round {r + 1} of at most {number}, {part} at step {g + 1}"
                    chains[g], record = _stretch(
                        mix if part == "mix" else cold, chains[g], target, options, length * unit * 2**r, stretch,
                        f"round{r}-{part}-group{g}", label, g if part == "measure" else None, str(expected),
                    )  # fmt: skip
            records.append(record)
        plan = plan._replace(spent=plan.spent + sum(plan.parts) * unit * 2**r * per_step)
        stages += [Stage(plan.step_size, plan.mix, plan.parts[0] * unit * 2**r)]
        stages += [Stage(plan.step_size, plan.decay, part * unit * 2**r) for part in plan.parts[1:]]
        heat, temperature = Estimate(0.0, 0.0), 0.0
        if r:
            plan, heat, temperature = _looked(jax.random.fold_in(heat_key, r), plan, options, chains, stages)
        rounds.append(Round(records, heat, temperature))
        if not (to_the_end or is_finite(rounds)):
            break
        now = time.perf_counter()
        late = options.max_seconds is not None and now + 2 * (now - began) > started + options.max_seconds
        if late or (r + 1 >= LEAST_ROUNDS and is_enough(plan, options, rounds)):
            break
    return rounds, plan


def excess_and_virial(loss: Energy, energy: Energy, minimum: Params, w: Params, batch: Any) -> Float[Array, "2"]:
    """Excess loss [nats/datum] and virial, grad U . (w - w*) [nats], of which a step computes all but a product.

    Not finite where the virial, which is about d, is a million times that: the chain has diverged.
    """
    force = jax.grad(energy)(w, batch)
    virial = jax.tree.reduce(jnp.add, jax.tree.map(lambda f, a, b: jnp.vdot(f, a - b), force, w, minimum))
    lost = jnp.abs(virial) > DIVERGED * sum(leaf.size for leaf in jax.tree.leaves(w))
    return jnp.where(lost, jnp.inf, jnp.stack([loss(w, batch), virial]))


def _stretch(
    run: Runner, chains: Chains, target: Target, options: Options, draws: int, stretch: int, name: str, label: str,
    watched: int | None, note: str,
) -> tuple[Chains, Record]:  # fmt: skip
    path = options.checkpoint and options.checkpoint.with_name(f"{options.checkpoint.name}-{name}")
    watch = (
        _every(options.watch, watched, -(-options.spacing // stretch))
        if options.watch and watched is not None
        else None
    )
    return advance_with_progress(
        run, chains, target.data, draws, progress=options.progress, checkpoint=path, label=label, watch=watch,
        stretch=min(stretch, draws), note=note,
    )  # fmt: skip


def _lengths(plan: Plan, options: Options) -> tuple[int, int, int]:
    """Rounds at most, steps of a part of the first, and steps of a stretch, which divides it: a power of two."""
    per_step, parts = plan.per_step(options), sum(plan.parts)
    left = options.max_gradients - plan.spent
    number = min(ROUNDS, max(LEAST_ROUNDS, int(math.log2(max(left / per_step / (FIRST * parts), 1) + 1))))
    unit = max(int((left - number * _look_cost(plan, options)) / per_step / parts / (2**number - 1)), 1)
    stretch = 2 ** max(int(math.log2(unit)) - 3, 0)
    return number, unit // stretch * stretch, stretch


def _look_cost(plan: Plan, options: Options) -> int:
    rows = measuring_rows(plan.target, options)
    return rows * (2 * CURVATURE_STEPS + (0 if plan.whole else 2 * NOISE_STEPS * VECTORS))


def _looked(
    key: Key, plan: Plan, options: Options, chains: list[Chains], stages: list[Stage]
) -> tuple[Plan, Estimate, float]:
    """A step that the curvature at the ends allows, and heat and temperature there; a dead chain has no place in it."""
    ends = [chain_at(c.states.position, i) for c in chains for i in range(options.num_chains // 2)]
    ends = [w for w in ends if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(w))][:VECTORS]
    if not ends:
        return plan, Estimate(0.0, 0.0), 0.0
    keys = jax.random.split(key, len(ends) + 1)
    heat, temperature, h = Estimate(0.0, 0.0), 0.0, plan.step_size
    if not plan.whole:
        seen = [noise_at(k, plan, options, w, VECTORS // len(ends))[0] for k, w in zip(keys[1:], ends, strict=True)]
        noise = Measure(*map(np.concatenate, zip(*seen, strict=True)))
        heat, temperature = noise.after(stages, precision=plan.target.precision, rows=plan.batch_size)
    curvature = float(largest_curvature(keys[0], plan.target.energy, ends[0], measuring_batch(plan.target, options)))
    plan = plan._replace(
        spent=plan.spent + _look_cost(plan, options),
        curvature=curvature,
        step_size=STEP / math.sqrt(curvature) if curvature * h**2 > 1 else h,
    )
    return plan, heat, temperature


def _steps(plan: Plan) -> tuple[float, float]:
    """Of both groups: another step shows whether it matters, but would not be as cold where there is heat."""
    return plan.step_size, plan.step_size / math.sqrt(2) if plan.whole else plan.step_size


def _halved(plan: Plan, options: Options) -> tuple[Plan, Options]:
    """Half the step; what the run that diverged has spent is spent."""
    path = options.checkpoint and options.checkpoint.with_name(f"{options.checkpoint.name}-again")
    watch = options.watch and partial(_watch_again, options.watch)
    return plan._replace(step_size=plan.step_size / 2), options._replace(checkpoint=path, watch=watch)


def _watch_again(watch: Watch, group: int, positions: Params) -> None:
    watch(group + 2, positions)


def _every(watch: Watch, group: int, number: int) -> Callable[[Params], None]:
    """A look at every so many stretches: another length of them would be another program, with other rounding."""
    seen = itertools.count(1)

    def look(positions: Params) -> None:
        if next(seen) % number == 0:
            watch(group, jax.tree.map(lambda a: a[:, None], positions))

    return look


def forecast(plan: Plan, options: Options) -> Forecast:
    """The first number of rounds that gives the standard error asked, or all that the budget has."""
    number, unit, _ = _lengths(plan, options)
    asked, error, gradients = options.asked(Estimate(plan.level, 0.0)), math.inf, 0.0
    for r in range(LEAST_ROUNDS, number + 1):
        kept = plan.parts[-1] * unit * (2 ** (r - 1) + 2 ** (r - 2))
        error = math.hypot(math.sqrt(plan.level * SLOW / (options.num_chains * kept)), UNKNOWN * plan.heat)
        steps = sum(plan.parts) * unit * (2**r - 1)
        gradients = plan.spent + steps * plan.per_step(options) + r * _look_cost(plan, options)
        if error <= asked:
            break
    else:
        gradients = max(options.max_gradients, plan.spent)
    return Forecast(float(gradients), plan.pace * (gradients - plan.spent), error, asked)


def _result(plan: Plan, options: Options, rounds: list[Round], expected: Forecast) -> Result:
    half, target = options.num_chains // 2, plan.target
    alive = finite_chains(rounds)
    both = bool(alive[:half].any() and alive[half:].any())
    draws = _draws(rounds)
    broken = divergence_reasons(draws)
    settings = {
        "sampler": "chains", "step_size": plan.step_size, "friction": plan.decay / plan.step_size,
        "batch_size": plan.batch_size, "control_variate": int(target.control_variate), **noted(target),
    }  # fmt: skip
    diagnostics = {f"forecast_{name}": value for name, value in expected._asdict().items()} | {
        "divergences": float((~alive).sum()),
        "datum_gradients": float(plan.spent),
        "kappa": max(plan.curvature / target.precision - 1, 0.0) if target.precision > 0 else math.inf,
    }
    if not both:
        return Result(
            {"llc": Estimate(np.nan, np.inf, 1)}, Verdict("not converged", broken), draws, diagnostics, settings
        )
    reading = read(plan, options, rounds, alive)
    diagnostics |= {
        "rhat": rhat(binned(reading.energies)),
        "ess": reading.effective,
        "change": reading.change.value,
        "change_error": reading.change.mcse,
        "step_gap": reading.gap.value,
        "step_gap_error": reading.gap.mcse,
        "virial": reading.virial.value,
        "virial_error": reading.virial.mcse,
        "noise_correction": reading.heat,
    }
    estimates = {"llc": reading.estimate}
    if plan.whole:  # estimators that need the loss over all data
        losses = reading.energies / target.nbeta
        ratio = suited_ratio(reading.estimate.value)
        estimates |= {
            "llc_variance": llc_variance(losses, nbeta=target.nbeta),
            "llc_two_temperature": llc_two_temperature(losses, nbeta=target.nbeta, ratio=ratio),
        }
    same = same_everywhere(reading.energies, reading.estimate)
    reasons = (*broken, *same, *shortfalls(plan, options, rounds, reading))
    return Result(estimates, judge(reading, options, reasons), draws, diagnostics, settings)


def _draws(rounds: list[Round]) -> Draws:
    """Losses of all that was measured; what is not of the last two rounds is warm-up."""
    records = [jax.tree.map(lambda *a: np.concatenate(a), *part.records) for part in rounds]
    record = records[0]
    for later in records[1:]:
        record = join_records(record, later)
    kept = sum(observed(part, 0).shape[1] for part in last_two(rounds))
    return draws_from_record(record._replace(loss=record.loss[..., 0]), record.loss.shape[1] - kept)
