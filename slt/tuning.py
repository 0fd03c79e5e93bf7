"""Tuning of kinetic Langevin chains on the typical set: a step, a batch, and where the chains then stand.

The step follows the largest curvature where the chains are; the batch grows until the heat of minibatch noise is a
small correction, or, where the budget does not allow that, the step shrinks instead.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from slt._types import Key, Params
from slt.draws import Options
from slt.samplers.langevin import sghmc
from slt.samplers.run import Record, runner
from slt.samplers.tune import largest_curvature, noise_trace
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
THINNING = 5
"""Steps of a draw where the loss is seen through minibatches."""
CURVATURE_ROWS, CURVATURE_SHARE = 1024, 630
"""Rows on which curvature is measured, fewer where its 7 x 30 gradients a row would take a third of the budget."""
NOISE_ROWS, NOISE_GROUPS = 64, 8
"""Rows of a gradient between which noise is measured, fewer with the rows above, and how many of those."""
STRETCHES, RELAX = 3, 40
"""How often hot chains are driven outwards, and the steps they relax in between."""


class Plan(NamedTuple):
    """Time step h, friction alpha, rows of a batch, and gradients spent so far [of one datum]."""

    step_size: float
    friction: float
    batch_size: int
    spent: int


def tune(key: Key, target: Target, options: Options) -> tuple[Plan, Params]:
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
        h = slower * STEP / np.sqrt(curvature)
        record, moved, cost = _stretch(round_key, target, options, positions, h, batch)
        spent += cost
        ends = [chain_at(moved, c) for c in range(2)]
        noise = noise_at(round_key, target, options, ends)
        if not (np.isfinite(record.loss).all() and np.isfinite(noise)):
            curvature *= 4
            continue
        level = max(target.nbeta * float(np.mean(record.loss[:, -len(record.loss[0]) // 3 :])), 0.25)
        wanted = heat(STEP / np.sqrt(curvature), noise, 1) / (HEAT * level)
        hot = batch < target.num_data and heat(h, noise, batch) > 0.5 * level
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


def heat(step_size: float, noise: float, rows: int) -> float:
    r"""First-order excess of the estimate by minibatch noise, $h\,\mathrm{tr}\,\Sigma_B/(4\alpha)$ [1].

    Direction i is heated to temperature 1 + h Sigma_ii/(2 alpha), and each direction that the loss confines holds 1/2;
    a gradient has noise in no others. At high friction this is the (eps/4) tr Sigma of Leimkuhler-Matthews.

    Args:
        step_size: h, at h alpha = DECAY. noise: of `noise_at`. rows: of a batch.
    """
    return float(step_size**2 / DECAY * noise / rows / 4)


def _affordable(target: Target, options: Options) -> int:
    """Rows of a batch at which the least main run takes half of the budget; where more are wanted the step shrinks.

    Heat goes with the square of the step over the rows, so that half the step is worth four times the rows.
    """
    per_row = THINNING * BLOCKS * LEAST * options.num_chains * target.gradients_per_row(1)
    return options.max_gradients // (2 * per_row)


def _measuring_rows(target: Target, options: Options) -> int:
    return min(target.num_data, CURVATURE_ROWS, max(options.max_gradients // CURVATURE_SHARE, 16))


def noise_at(key: Key, target: Target, options: Options, positions: Sequence[Params]) -> float:
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
    run = runner(kernel, target.loss, batch_size=batch, thinning=THINNING, mesh=options.mesh)
    per_draw = THINNING * options.num_chains * batch * target.gradients_per_row(batch)
    draws = min(max(LEAST, options.max_gradients // (BLOCKS * per_draw)), 400)
    chains, record = run.advance(run.init(key, positions, target.data), target.data, draws)
    return jax.tree.map(np.asarray, record), chains.states.position, draws * per_draw


def _grown(batch: int, wanted: float, num_data: int) -> int:
    """The wanted batch, never smaller than before; all data where that is more than half of them."""
    size = min(max(batch, int(np.ceil(wanted))), num_data)
    return num_data if 2 * size > num_data else size


def chain_at(positions: Params, chain: int) -> Params:
    """Position of one chain."""
    return jax.tree.map(lambda a: a[chain], positions)
