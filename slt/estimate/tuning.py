"""Tuning of kinetic Langevin chains where they are going to be: step, batch and control variate for the least error.

The step follows the largest curvature on the typical set. The batch weighs the error of its heat, of which a fifth is
believed to be unknown, against that of fewer steps; where the budget does not allow the rows that the heat asks for,
the step shrinks instead.
"""

import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt._types import Batch, Key, Params
from slt.draws import Options
from slt.geometry.landscape import (
    CURVATURE_STEPS,
    NOISE_STEPS,
    Measure,
    as_measure,
    largest_curvature,
    loss_measure,
    noise_measure,
)
from slt.samplers.langevin import sghmc
from slt.samplers.run import runner
from slt.targets.rows import evenly
from slt.targets.target import Target, without_control_variate

STEP = 0.6
"""h sqrt(largest curvature): kinetic Langevin is stable below 2."""
MIX, MEASURE = (0.03, 0.2), 0.4
"""h alpha, at least and at most, where soft directions fill fast, and where stiff ones are cold."""
MIXED, WHOLE = (2, 1, 3), (0, 0, 1)
"""Parts of a round that are mixed, cooled and measured: with minibatches, and with all data in every step."""
UNKNOWN = 0.2
"""Share of the heat of minibatches by which its correction may be wrong."""
HEAT = 0.05
"""Largest correction for minibatch noise, relative to the estimate."""
SLOW = 40
"""Steps in which the energy is believed to forget itself, where a batch is chosen."""
MOST = 0.4
"""Share of the budget after which no further pilot is run."""
LEAST = 200
"""Steps that a run must have; where its batch is too large for so many, the step shrinks instead."""
PILOT, SHARE = 400, 8
"""Steps of a pilot run, fewer where they would take a share of the budget; with the mixing of rounds these fill soft
directions."""
CURVATURE_ROWS, ROWS_SHARE = 1024, 1500
"""Rows on which curvature is measured, fewer where its some 300 gradients a row would take a fifth of the budget."""
NOISE_ROWS = 64
"""Rows of a gradient between which noise is measured."""


class Plan(NamedTuple):
    """Time step h, rows of a batch, gradients spent so far [of one datum], and what is known of where the chains stand.

    target: with the control variate or without. curvature: largest, of U on the typical set [nats/unit^2].
    level: of the estimate, about. heat: of the batches in it, about. pace: of pilots of that batch, or the last
    [s/gradient].
    """

    target: Target
    step_size: float
    batch_size: int
    curvature: float
    spent: int
    level: float
    heat: float = 0.0
    pace: float = math.inf

    @property
    def whole(self) -> bool:
        """Whether every step sees all data."""
        return self.batch_size >= self.target.num_data

    def per_step(self, options: Options) -> int:
        """Gradients of one datum in a step of all chains."""
        return options.num_chains * self.batch_size * self.target.gradients_per_row(self.batch_size)

    @property
    def mix(self) -> float:
        """h alpha that damps what the prior alone confines critically, so that it fills fastest."""
        return min(max(2 * self.step_size * math.sqrt(max(self.target.precision, 0.0)), MIX[0]), MIX[1])

    @property
    def parts(self) -> tuple[int, int, int]:
        """Of a round: mixed, cooled and measured."""
        return WHOLE if self.whole else MIXED

    @property
    def decay(self) -> float:
        """h alpha where the chains are measured: there is nothing to cool where every step sees all data."""
        return self.mix if self.whole else MEASURE


def tune(key: Key, target: Target, options: Options) -> tuple[Plan, Params]:
    """Pilot runs from w* until the curvature at their ends is known, one where a similar target's tuning is.

    One that diverges, or that gradient noise has heated to twice its energy, is taken back and is followed by another.
    """
    rows = measuring_rows(target, options)
    some = measuring_batch(target, options)
    # at w* a control variate takes all noise away, so that there only the plain gradient tells of it
    plain = without_control_variate(target)
    positions = jax.tree.map(lambda a: jnp.repeat(jnp.asarray(a)[None], options.num_chains, 0), target.minimum)
    curvature_key, level_key, noise_key, *pilot_keys = jax.random.split(key, 10)
    curvature = float(largest_curvature(curvature_key, target.energy, target.minimum, some))
    seen = loss_measure(level_key, plain.loss, target.nbeta, target.minimum, some)
    level = max(as_measure(seen).harmonic(target.precision).value, 0.25)
    plan = Plan(plain, 0.0, _first_batch(target, options), curvature, 4 * CURVATURE_STEPS * rows, level)
    if options.warm_start is not None:
        curvature = max(curvature, (STEP / options.warm_start[0]) ** 2)
        plan = plan._replace(batch_size=max(plan.batch_size, min(options.warm_start[1], target.num_data)))
    plan, _ = _planned(noise_key, plan._replace(curvature=curvature), options, target.minimum, [plain])
    good, pace, paces = 0, math.inf, dict[int, float]()
    for pilot_key in pilot_keys:
        run_key, end_key, noise_key = jax.random.split(pilot_key, 3)
        began = time.perf_counter()
        loss, moved, cost = pilot(run_key, plan, options, positions, pilot_steps(plan, options), plan.mix)
        pace = (time.perf_counter() - began) / cost
        paces[plan.batch_size] = min(paces.get(plan.batch_size, pace), pace)  # the first has compilation in it
        plan = plan._replace(spent=plan.spent + cost)
        if not np.isfinite(loss).all():
            plan = plan._replace(step_size=plan.step_size / 2, curvature=4 * plan.curvature)
            continue
        ends = [chain_at(moved, c) for c in (0, options.num_chains - 1)]
        found = max(float(largest_curvature(end_key, target.energy, w, some)) for w in ends)
        plan = plan._replace(spent=plan.spent + 4 * CURVATURE_STEPS * rows)
        settled = found < 1.2 * plan.curvature
        level = max(target.nbeta * float(np.mean(loss[:, -len(loss[0]) // 3 :])), 0.25)
        plan = plan._replace(curvature=found if good else max(found, 0.8 * plan.curvature), level=level)
        choices = [target, plain] if target.control_variate else [plain]
        plan, hot = _planned(noise_key, plan, options, ends[0], choices)
        if not hot:
            positions, good = moved, good + 1
        if (
            good == 3
            or (settled and good >= (1 if options.warm_start else 2))
            or plan.spent > MOST * options.max_gradients
        ):
            break
    return plan._replace(pace=paces.get(plan.batch_size, pace)), positions


def measuring_rows(target: Target, options: Options) -> int:
    """How many rows curvature and heat are measured on."""
    return min(target.num_data, CURVATURE_ROWS, max(options.max_gradients // ROWS_SHARE, 16))


def measuring_batch(target: Target, options: Options) -> Batch:
    """Those rows, evenly spaced."""
    return evenly(target.data, measuring_rows(target, options))


def noise_at(key: Key, plan: Plan, options: Options, position: Params, num_vectors: int) -> tuple[Measure, int]:
    """Spectral measure of the noise of one row's gradient at a position, and its gradients of one datum."""
    target, some, rows = plan.target, measuring_batch(plan.target, options), measuring_rows(plan.target, options)
    loss = without_control_variate(target).loss
    found = noise_measure(
        key, target.energy, loss, target.nbeta, position, some, target.data,
        num_vectors=num_vectors, num_rows=min(NOISE_ROWS, rows),
    )  # fmt: skip
    cost = num_vectors * 2 * (NOISE_STEPS * rows + min(NOISE_ROWS, rows))
    return as_measure(found), cost


def chain_at(positions: Params, chain: int) -> Params:
    """Position of one chain."""
    return jax.tree.map(lambda a: a[chain], positions)


def _first_batch(target: Target, options: Options) -> int:
    whole = target.num_data <= 4 * options.batch_size
    return target.num_data if whole else options.batch_size


def _planned(key: Key, plan: Plan, options: Options, position: Params, targets: list[Target]) -> tuple[Plan, bool]:
    r"""Step, batch and control variate for the least error at a position; whether the plan so far is too hot there.

    The squared relative error of the estimate is $(u\,q/B\lambda)^2 + \tau B/(\lambda G)$ for an unknown share u of
    the heat q/B of a batch of B rows, and G gradients whose steps forget the energy in tau:
    $B^3 = 2u^2q^2G/(\tau\lambda)$. No batch is so small that its heat is above HEAT, nor so large that fewer than
    LEAST steps are left.
    """
    level = plan.level
    h = STEP / math.sqrt(max(plan.curvature, 1e-30))
    if plan.target.num_data <= 4 * options.batch_size:
        return plan._replace(step_size=h), False
    choices, hot = [], False
    for i, target in enumerate(targets):
        noise, cost = noise_at(key, plan._replace(target=target), options, position, 1)
        plan = plan._replace(spent=plan.spent + cost)
        price = target.gradients_per_row(1)
        heat = noise.heat(step_size=h, decay=MEASURE, precision=target.precision, rows=1).value
        choices.append((heat * price, i, price, heat))
        if plan.step_size > 0 and not plan.whole and target.control_variate == plan.target.control_variate:
            now = {"step_size": plan.step_size, "decay": plan.mix, "rows": plan.batch_size}
            hot = noise.heat(precision=target.precision, **now).value > 0.5 * level
    _, i, price, heat = min(choices)
    left = max(options.max_gradients - plan.spent, 1)
    wanted = heat / (HEAT * level)
    best = (UNKNOWN**2 * heat**2 * left / (price * SLOW * level)) ** (1 / 3)
    affordable = left / (price * options.num_chains * LEAST)
    batch = max(min(max(wanted, options.batch_size, min(best, affordable / 2)), affordable), 1)
    batch = _rounded(batch, options.batch_size)
    if 2 * batch > plan.target.num_data:
        return plan._replace(step_size=h, batch_size=plan.target.num_data, heat=0.0), hot
    slower = min(1.0, math.sqrt(batch / wanted)) if wanted > 0 else 1.0
    heat *= slower**2 / batch
    return plan._replace(step_size=slower * h, batch_size=batch, target=targets[i], heat=heat), hot


def _rounded(batch: float, asked: int) -> int:
    """On a grid of ratio sqrt(2), so that similar targets share programs."""
    return max(1, math.ceil(asked * 2 ** (round(2 * math.log2(batch / asked)) / 2)))


def pilot(
    key: Key, plan: Plan, options: Options, positions: Params, steps: int, decay: float
) -> tuple[np.ndarray, Params, int]:  # fmt: skip
    """Losses of a pilot run at h alpha = decay, where it ends, and its gradients of one datum."""
    target, batch = plan.target, plan.batch_size
    kernel = sghmc(target.energy, step_size=plan.step_size, friction=decay / plan.step_size)
    run = runner(kernel, target.loss, batch_size=batch, mesh=options.mesh)
    chains, record = run.advance(run.init(key, positions, target.data), target.data, steps)
    return np.asarray(record.loss), chains.states.position, steps * plan.per_step(options)


def pilot_steps(plan: Plan, options: Options) -> int:
    """Steps of a pilot run."""
    return min(max(options.max_gradients // (SHARE * plan.per_step(options)), 8), PILOT)
