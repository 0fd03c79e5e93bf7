"""Chains from draws of the prior beside those from w*: where they stay at another energy, there is another phase.

All chains of an estimate start at w*. Where the posterior has parts between which none moves, they agree on the energy
of one part, and nothing that they say tells of the others. With few parameters draws of the prior fall into all parts
that are wide; where there are many they would only say that a network has other minima.
"""

import math

import jax
import numpy as np

from slt._types import Estimate, Key
from slt.draws import Options, Result, Verdict, rhat
from slt.estimate.rounds import RHAT, binned, difference, mean
from slt.estimate.tuning import Plan, pilot, pilot_steps

DIM = 50
"""Parameters up to which it is looked elsewhere."""
ALLOWED = 1.15
"""Of the budget, all in all: looking may exceed it by so much."""
STEPS, MOST = 300, 12
"""Steps that it takes at least, and stretches at most, of which the first third is the way there."""
STILL = 3.0
"""Standard errors between two halves up to which chains are at rest; where they are not, the later half is taken."""
APART, UNMET, SHARE = 4.0, 2.0, 0.02
"""Standard errors, fewer where chains have not met each other, and share of the estimate, by which energies have to
differ."""


def beside(key: Key, plan: Plan, options: Options, result: Result) -> Result:
    """The result, not converged where chains from the prior stay at another energy that may have posterior mass."""
    steps = int((ALLOWED * options.max_gradients - plan.spent) / plan.per_step(options))
    if plan.target.prior.draw is None or plan.target.num_params > DIM or steps < STEPS:
        return result
    energies, spent = _energies(key, plan, options, steps)
    energies = energies - result.diagnostics["noise_correction"]
    result = result._replace(diagnostics=result.diagnostics | {"datum_gradients": float(plan.spent + spent)})
    level = result.estimates["llc"]
    energies = energies[np.isfinite(energies).all(1)]
    energies = energies[energies.mean(1) - level.value < _volume(plan)]
    energies = _arrived(energies) if len(energies) > 1 else energies[:0]
    if not energies.size:
        return result
    there = _level(energies)
    result = result._replace(
        diagnostics=result.diagnostics | {"elsewhere": there.value, "elsewhere_error": there.mcse}
    )
    each = [_level(np.stack(np.split(e, 2))) for e in energies]
    unmet = rhat(binned(energies)) > RHAT and _apart(there, level, UNMET)
    if not (unmet or any(_apart(one, level, APART) for one in (there, *each))):
        return result
    found = ", ".join(f"{value:.3g}" for value in energies.mean(1))
    reason = (
        f"Chains from draws of the prior stay at energies of {found}, those from w* at {level}: the posterior has "
        "parts between which they hardly move. Raise the localisation, which leaves the part around w*, or use "
        "sampler='tempering'."
    )
    return result._replace(verdict=Verdict("not converged", (reason, *result.verdict.reasons)))


def _energies(key: Key, plan: Plan, options: Options, steps: int) -> tuple[np.ndarray, int]:
    """n beta times the excess losses after the way there, dims (chain, step), and the gradients spent.

    As cold as what they are compared with: at low friction minibatches heat ten times as much.
    """
    assert plan.target.prior.draw is not None
    length = min(pilot_steps(plan, options), steps // 3) // 2 * 2
    number = min(steps // length, MOST)
    draw_key, *keys = jax.random.split(key, number + 1)
    positions = jax.vmap(plan.target.prior.draw)(jax.random.split(draw_key, options.num_chains))
    losses, spent = [], 0
    for one in keys:
        loss, positions, cost = pilot(one, plan, options, positions, length, plan.decay)
        losses.append(np.asarray(loss, np.float64))
        spent += cost
    return plan.target.nbeta * np.concatenate(losses[number // 3 :], 1), spent


def _volume(plan: Plan) -> float:
    """Nats by which a part of posterior mass may be higher: the volume of the prior over that around w*, at most.

    That is (1 + kappa)^(d/2) for the largest curvature.
    """
    return 0.5 * plan.target.num_params * math.log(max(plan.curvature / max(plan.target.precision, 1e-300), math.e))


def _arrived(energies: np.ndarray) -> np.ndarray:
    """Energies from where on they move no further: all, the later half, or none."""
    length = energies.shape[1] // 8 * 8
    for kept in (energies[:, :length], energies[:, length // 2 : length]):
        moved = difference(*(mean(part) for part in np.split(kept, 2, axis=1)))
        if abs(moved.value) <= STILL * moved.mcse:
            return kept
    return energies[:, :0]


def _level(energies: np.ndarray) -> Estimate:
    """Mean energy, with the uncertainty of its error."""
    found = mean(energies)
    return found._replace(mcse=found.mcse * (1 + 1 / math.sqrt(2 * found.dof)))


def _apart(one: Estimate, level: Estimate, errors: float) -> bool:
    return abs(one.value - level.value) > max(errors * math.hypot(one.mcse, level.mcse), SHARE * abs(level.value))
