"""What may not be called converged, whichever way an estimate was made: each threshold and its sentence, once.

An estimate that is precise may still be of something else. Energies that do not differ, rounding that is large on the
scale of the posterior, and a w* that is no minimum are seen from the result and the target alone.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Estimate, Params
from slt.draws import Options, Result, Verdict
from slt.estimate.causes import BELOW, causes
from slt.geometry.operators import cast
from slt.jit import shared_jit
from slt.targets.minimise import deficit
from slt.targets.target import Target, in_precision

ROUNDING = 0.5
"""Square of the rounding of an energy [nats^2], about the bias it makes, over the standard error asked."""
ROWS = 512
"""Rows on which the rounding of a loss is measured."""
CHANCE = 4
"""Standard errors of the mean rounding of ROWS rows, from which on it is that of all rows."""
DIRECTIONS = 4
"""In which it is measured, where the energy is about a nat above that of w*."""
REACH = 0.02
"""Energy below that of w* that its gradient allows, relative to the estimate, from which on it is looked for."""
PASSES, SEARCH = 3, 100
"""Gradients over all data that a step of L-BFGS takes, about, and steps at most."""
OVER = 1.2
"""Of the budget, all in all, what looking for a lower energy may take a run to."""


def same_everywhere(energies: Float[np.ndarray, "..."], estimate: Estimate) -> tuple[str, ...]:
    """A sentence where the draws do not differ: there is no error to be had from them."""
    if energies.max() > energies.min() and estimate.mcse > 0:
        return ()
    return (
        f"All draws have the same energy, {energies.flat[0]:.3g} nats above that of w*: the loss is constant where it "
        "was sampled, or its differences are lost in rounding. Does it depend on every sampled parameter?",
    )


def objection(target: Target, result: Result, options: Options) -> tuple[Verdict | None, dict[str, float]]:
    """The verdict on rounding and minimum, which no sampler sees, or None, and the diagnostics behind it."""
    found = result.diagnostics
    with in_precision(target):
        error = rounding(target)
        verdict, spent = judge_rounding(target, result, options, error), 0
        if verdict is None:
            verdict = judge_minimum(target, result, options, error)
            spent = PASSES * target.num_data * search_steps(target, result, options)
    known = {} if math.isnan(error) else {"rounding": error}
    if "datum_gradients" in found:
        known["datum_gradients"] = found["datum_gradients"] + spent
    return verdict, known


def with_objection(target: Target, result: Result, options: Options) -> Result:
    """The result with that verdict, where there is one, and those diagnostics."""
    verdict, found = objection(target, result, options)
    return result._replace(verdict=verdict or result.verdict, diagnostics=result.diagnostics | found)


def judge_rounding(target: Target, result: Result, options: Options, error: float) -> Verdict | None:
    """Refuse where rounding changes energies by so much that the estimate is off by the error asked."""
    estimate = result.estimates["llc"]
    known = math.isfinite(estimate.value)
    asked = options.asked(estimate) if known else options.tolerance * 0.25
    if not error**2 > ROUNDING * asked:
        return None
    wide = _is_wide(target)
    remedy = (
        "Subtract the constant from K, or take parameters whose unit is the posterior's width."
        if wide
        else "Switch float64 on (jax.config.update('jax_enable_x64', True)) and give parameters and data in it, or "
        "rescale targets and parameters to about 1."
    )
    reason = (
        f"Rounding in float{64 if wide else 32} changes the energy by {error:.2g} nats on the scale of the posterior: "
        f"the loss at w* is {target.loss_at_minimum:.3g}, n beta {target.nbeta:.3g}. {remedy}"
    )
    return Verdict("not converged", (reason, *result.verdict.reasons))


def rounding(target: Target) -> float:
    """Root mean square error of the energy by rounding of losses and of positions, on the posterior's scale [nats].

    In random directions from w*, where the energy is about a nat above that of w*, losses are compared with those in
    float64 at the same position, and energies with those at positions off by half of their last digit. What is in
    float64 already is compared with the last digit of K(w*). NaN for a loss that cannot be computed in float64.
    """
    wide = _is_wide(target)
    digit = float(np.finfo(np.float64 if wide else np.float32).eps)
    try:
        with jax.enable_x64(True):
            positions, lattice = _probes(target, digit)
            if wide:
                return float(np.hypot(lattice, digit * target.nbeta * abs(target.loss_at_minimum)))
            exact = _excess_losses(target, positions, np.float64)
        errors = np.asarray(_excess_losses(target, positions, np.float32), np.float64) - np.asarray(exact)
    except (TypeError, ValueError):
        return math.nan
    return float(np.hypot(lattice, target.nbeta * _of_mean(errors, target.num_data)))


def _of_mean(errors: Float[np.ndarray, "position row"], number: int) -> float:
    """Root mean square error of the mean loss of `number` rows, of which some have these: the same in all of them,
    where their mean is beyond chance, and independent otherwise.
    """
    rows = errors.shape[1]
    if rows >= number:
        return float(np.sqrt(np.mean(errors.mean(1) ** 2)))
    own, common = errors.var(1), errors.mean(1) ** 2
    return float(np.sqrt(np.mean(own / number + np.where(common > CHANCE**2 * own / rows, common, 0.0))))


@shared_jit
def _called(function: Callable, w: Params, rows: Any) -> Array:
    """Compiled once for all targets whose losses differ in numbers alone."""
    return function(w, rows)


def _is_wide(target: Target) -> bool:
    return all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(target.minimum))


def _probes(target: Target, digit: float) -> tuple[list[Params], float]:
    """Positions about a nat above w*, and the root mean square change of energy by half of their last digit."""
    few = jax.tree.map(lambda leaf: leaf[:ROWS], target.data)
    rows, minimum = cast(few, np.float64), cast(target.minimum, np.float64)
    flat, unravel = ravel_pytree(minimum)

    def energy(x: Any) -> float:
        return target.nbeta * float(_called(target.loss, unravel(x), rows))

    floor, rng = energy(flat), np.random.default_rng(0)
    widest = max(float(jnp.sqrt(jnp.mean(flat**2))), target.precision**-0.5 if target.precision > 0 else 1.0)
    positions, changes = [], []
    for _ in range(DIRECTIONS):
        ray = rng.normal(size=flat.size)
        low, high = -160.0, math.log2(widest)
        for _ in range(12):
            middle = 0.5 * (low + high)
            rise = abs(energy(flat + 2.0**middle * ray) - floor)
            low, high = (low, middle) if not rise <= 1 else (middle, high)
        here = flat + 2.0**low * ray
        here = here if digit < 1e-9 else here.astype(np.float32).astype(np.float64)
        off = here * (1 + 0.5 * digit * rng.choice([-1.0, 1.0], size=flat.size))
        changes.append(energy(off) - energy(here))
        positions.append(unravel(here))
    return positions, float(np.sqrt(np.mean(np.square(changes))))


def _excess_losses(target: Target, positions: list[Params], dtype: type) -> np.ndarray:
    """Loss of each row less that at w*, dims (position, row)."""
    log_likelihood = target.log_likelihood
    if log_likelihood is None:
        return np.zeros((len(positions), 1))
    rows = cast(jax.tree.map(lambda leaf: leaf[:ROWS], target.data), dtype)
    losses = [-_called(log_likelihood, cast(w, dtype), rows) for w in (target.minimum, *positions)]
    return np.stack([np.asarray(loss) - np.asarray(losses[0]) for loss in losses[1:]])


def judge_minimum(target: Target, result: Result, options: Options, error: float = 0.0) -> Verdict | None:
    """Refuse where an energy well below that of w* is within reach: the estimate would be too low, or negative.

    Where the gradient allows one, L-BFGS looks for the lower energy itself, over all data, as long as the budget
    lasts. What is lower by no more than a few times the rounding `error` of an energy is not lower.
    """
    if target.flaw:
        return Verdict("not a minimum", (target.flaw, *result.verdict.reasons))
    estimate = result.estimates["llc"]
    if not math.isfinite(estimate.value):
        return None
    size, steps = max(estimate.value, 0.25), search_steps(target, result, options)
    gap = deficit(target, num_steps=steps) if steps else 0.0
    worst = max(gap, -result.diagnostics.get("lowest_energy", 0.0))
    negative = estimate.value < -3 * estimate.mcse
    least = max(BELOW * size, 3 * estimate.mcse, 0.0 if math.isnan(error) else 5 * error)
    if worst > least or (negative and worst > 0):
        reason = (
            f"w* is not a minimum: an energy {worst:.3g} nats below that of w* was found (gradient norm "
            f"{target.gradient_norm:.2g}), and the estimate {estimate.value:.3g} is too low by up to as much. "
        )
    elif negative:
        reason = (
            f"The estimate {estimate.value:.3g} is negative, the mean energy below that of w*: w* is not a minimum of "
            "what the chains saw. "
        )
    else:
        return None
    return Verdict("not a minimum", (reason + _way_out(target, options.seed), *result.verdict.reasons))


def search_steps(target: Target, result: Result, options: Options) -> int:
    """Of L-BFGS: none where w* has no gradient to speak of, else what the run has left of its budget and a fifth.

    The reach of a gradient g against a prior of curvature c is at most (n beta g)^2/(2c) on a convex loss. Tempering
    has no budget: it is allowed that of chains.
    """
    estimate = result.estimates["llc"]
    reach = (target.nbeta * target.gradient_norm) ** 2 / (2 * max(target.precision, 1e-12))
    if target.flaw or not math.isfinite(estimate.value) or not reach > REACH * max(estimate.value, 0.25):
        return 0
    left = OVER * options.max_gradients - result.diagnostics.get("datum_gradients", 0.0)
    return min(max(int(left / (PASSES * target.num_data)), 0), SEARCH)


def _way_out(target: Target, seed: int) -> str:
    """The likeliest cause and its remedy."""
    if target.log_likelihood is None or target.prior.gaussian is None:
        return "`polish` w*, train on, or give the weight decay that was trained with."
    return f"Most likely {causes(target, seed)}"
