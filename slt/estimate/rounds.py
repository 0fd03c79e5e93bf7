"""What rounds of chains say: an estimate with its error, whether the chains have arrived, and the verdict.

The last two rounds are the estimate, and their agreement shows that it stands still on the scale of the logarithm of
time. Under exp(-U) the virial E[grad U . (w - w*)] is d exactly (integrate by parts), plus what minibatch noise adds to
the temperature of all directions: a run that has not filled its soft directions does not have it.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from slt._types import Estimate
from slt.draws import Draws, Options, Verdict, effective, rhat
from slt.estimate.tuning import SLOW, UNKNOWN, Plan
from slt.samplers.run import Record
from slt.stats.learning_coefficient import llc

RHAT, TREND, VIRIAL = 1.2, 0.02, 0.03
"""From which on chains have not met, of means over stretches; a change from round to round counts [share of the
estimate]; and the virial less 1."""
FALSE = 0.001
"""Chance with which each of the gates on change, virial and gap refuses a run that is right."""
ARRIVAL = 0.3
"""Share of the virial's distance from 1 by which an estimate may be off: twice what was seen on trained nets."""
COARSE = 10
"""Times the error asked from which on an estimate is not called converged."""
PERIOD, STRETCHES = 8, 200
"""Steps in which the energy of the fastest direction, h omega = .6, swings once and more; and stretches at most."""
TWICE = 2
"""Times its variance that the square of a difference has to be before it counts: one that is nothing adds a quarter."""


class Round(NamedTuple):
    """What was measured in a round.

    records: of both groups, observed (chain, draw, (loss, virial)). heat: at the larger step, with its error [nats].
    temperature: what noise adds to that of all directions together, at the larger step [1].
    """

    records: list[Record]
    heat: Estimate
    temperature: float


def is_finite(rounds: list[Round]) -> bool:
    """Whether no chain has diverged."""
    return all(bool(np.isfinite(np.asarray(record.loss)).all()) for part in rounds for record in part.records)


class Reading(NamedTuple):
    """What the last two rounds say. energies: n beta times excess losses, heat taken away, dims (chain, step).

    spread: error of the estimate without what gap, change and virial add, which they may by chance. effective:
    independent draws that would have the error of the mean energy, which is from stretches. change: from the last
    round but one to the last. gap: between both steps. virial: E[grad U . (w - w*)]/d.
    """

    estimate: Estimate
    spread: float
    effective: float
    energies: Float[np.ndarray, "chain step"]
    change: Estimate
    gap: Estimate
    virial: Estimate
    heat: float


def last_two(rounds: list[Round]) -> list[Round]:
    """Those that are the estimate; of no more than two, the first has all of the warm-up and is left out."""
    return rounds[-2:] if len(rounds) > 2 else rounds[-1:]


def read(plan: Plan, options: Options, rounds: list[Round], alive: np.ndarray) -> Reading:
    r"""Mean of all chains less the heat, in which a share UNKNOWN may be wrong.

    The standard error of the mean is itself an estimate, known to a share $1/\sqrt{2\nu}$ at $\nu$ degrees of freedom.
    It is the small ones that come with estimates far off, as energies that are low by chance spread little, and that
    meet what is asked. So it counts with that share added. What half of the gap between both steps and half of the
    change from round to round have beyond TWICE their own variance joins it. So does a share ARRIVAL of the virial's
    distance from 1 and of its error, as far as they are more than those of the estimate: a virial of .85 ± .14 is no
    sign that soft directions have filled, and in a run that has, its error is about that of the estimate.
    """
    half, nbeta = options.num_chains // 2, plan.target.nbeta
    kept = last_two(rounds)
    parts = [(nbeta * observed(part, 0) - part.heat.value)[alive] for part in rounds]
    energies = np.concatenate(parts[-len(kept) :], 1)
    pooled = mean(energies)
    groups = np.repeat([0, 1], half)[alive]
    large, small = (_group_mean(energies[groups == g]) for g in (0, 1))
    gap = difference(large, small)
    heat, change = kept[-1].heat, _change(parts)
    virials = [observed(part, 1)[alive] - part.temperature for part in kept]
    virial = mean(np.concatenate(virials, 1) / plan.target.num_params)
    bias = 0.25 * (_beyond(gap) + _beyond(change))
    if plan.target.prior.sides is None and math.isfinite(virial.mcse):
        distance = pooled.value**2 * ((virial.value - 1) ** 2 + virial.mcse**2)
        bias += ARRIVAL**2 * max(0.0, distance - TWICE * pooled.mcse**2)
    uncertain = pooled.mcse * (1 + 1 / math.sqrt(2 * pooled.dof))
    spread = math.sqrt(uncertain**2 + heat.mcse**2 + (UNKNOWN * heat.value) ** 2)
    estimate = pooled._replace(mcse=math.hypot(spread, math.sqrt(bias)))
    return Reading(estimate, spread, effective(energies, pooled.mcse), energies, change, gap, virial, heat.value)


def _beyond(difference: Estimate) -> float:
    """Its square beyond TWICE its variance; none where that is not known."""
    return max(0.0, difference.value**2 - TWICE * difference.mcse**2) if math.isfinite(difference.mcse) else 0.0


def observed(part: Round, index: int) -> Float[np.ndarray, "chain step"]:
    """Excess losses (0) or virials (1) of all chains in a round."""
    return np.concatenate([np.asarray(record.loss, np.float64)[..., index] for record in part.records])


def _change(parts: list[np.ndarray]) -> Estimate:
    """From the last round but one to the last, with the error of the difference."""
    if len(parts) < 3 or parts[-2].shape[1] < 4:
        return Estimate(0.0, math.inf)
    before, after = (mean(part) for part in parts[-2:])
    return difference(after, before)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Of two independent estimates, with the degrees of freedom of its error (Welch 1947, Biometrika 34:28)."""
    squares = one.mcse**2, other.mcse**2
    parts = sum(square**2 / found.dof for square, found in zip(squares, (one, other), strict=True))
    dof = sum(squares) ** 2 / parts if 0 < parts < math.inf else min(one.dof, other.dof)
    return Estimate(one.value - other.value, math.sqrt(sum(squares)), dof)


def is_beyond(found: Estimate, by: float = 0.0) -> bool:
    """Whether what should be 0 is further from it than `by`, but for a chance of FALSE (Student's t)."""
    return bool(abs(found.value) > stats.t.isf(FALSE / 2, found.dof) * found.mcse + by)


def mean(values: Float[np.ndarray, "chain step"]) -> Estimate:
    """Mean of all steps, with its error from stretches of PERIOD steps or more.

    Kinetic Langevin is not reversible: at low friction autocorrelations of the energy swing with the fastest
    directions, and the sum over pairs of lags, which has to fall (Geyer 1992), is cut at the first dip. Means over
    stretches do not swing. Of fewer than 4 steps the error is infinite.
    """
    if values.shape[1] < 4:
        return Estimate(float(values.mean()), math.inf, 1.0)
    number = min(max(values.shape[1] // PERIOD, 4), STRETCHES)
    return llc(binned(values, number), nbeta=1.0)._replace(value=float(values.mean()))


def _group_mean(values: Float[np.ndarray, "chain step"]) -> Estimate:
    """Mean of a group; a single chain counts as two halves, so that its error can be had."""
    if len(values) == 1:
        length = values.shape[1] // 2
        values = np.stack([values[0, :length], values[0, -length:]])
    return mean(values)


def finite_chains(rounds: list[Round]) -> np.ndarray:
    """Which chains have not diverged."""
    return np.all([np.isfinite(observed(part, 0)).all(1) for part in rounds], axis=0)


def is_enough(plan: Plan, options: Options, rounds: list[Round]) -> bool:
    """Whether the tolerance is met, or never will be as w* is no minimum."""
    alive = finite_chains(rounds)
    if not alive.all():
        return False
    reading = read(plan, options, rounds, alive)
    estimate = reading.estimate
    if estimate.value < -3 * estimate.mcse:
        return True
    if min(reading.effective, reading.energies.size / SLOW) < options.effective:
        return False
    return estimate.mcse <= options.asked(estimate) and not shortfalls(plan, options, rounds, reading)


def binned(values: Float[np.ndarray, "chain step"], number: int = 50) -> Float[np.ndarray, "chain bin"]:
    """Means of up to 50 stretches of a chain: the noise of single minibatches would hide a chain that stays away."""
    size = max(1, values.shape[1] // number)
    return values[:, : values.shape[1] // size * size].reshape(len(values), -1, size).mean(2)


def shortfalls(plan: Plan, options: Options, rounds: list[Round], reading: Reading) -> tuple[str, ...]:
    """Why the chains have not arrived, with what would help."""
    mixing = rhat(binned(reading.energies))
    change, virial, value = reading.change, reading.virial, reading.estimate.value
    remedy, reasons, asked = _remedy(plan, rounds), [], options.asked(reading.estimate)
    if reading.spread > COARSE * asked:
        reasons.append(
            f"The budget ended at a standard error of {reading.spread:.2g}, more than {COARSE} times the "
            f"{asked:.2g} asked: raise max_gradients, or the tolerance where so coarse a number serves."
        )
    if not math.isfinite(change.mcse):
        reasons.append(f"The run ended after {len(rounds)} rounds, before two could be compared; {remedy}.")
    if mixing > RHAT:
        reasons.append(f"R-hat is {mixing:.2f}: the chains have not met; {remedy}.")
    if reading.effective < 20:
        reasons.append(f"Only {reading.effective:.0f} effective draws; {remedy}.")
    if is_beyond(change) and abs(change.value) > TREND * abs(value):
        reasons.append(
            f"The energy changed by {change.value:.3g} ± {change.mcse:.2g} from the last round but one to the last: "
            f"the chains are leaving w* or have not filled the posterior; {remedy}."
        )
    if plan.target.prior.sides is None and is_beyond(virial._replace(value=virial.value - 1), VIRIAL):
        reasons.append(
            f"E[grad U · (w − w*)]/d is {virial.value:.3f} ± {virial.mcse:.2g}, and 1 under the posterior: soft "
            f"directions have not filled, or the step is too large; {remedy}."
        )
    return tuple(reasons)


def _remedy(plan: Plan, rounds: list[Round]) -> str:
    """The budget in which what the prior confines relaxes three times over, and the localisation at which it does now.

    At low friction that takes alpha/(h gamma') steps.
    """
    measured = sum(part.records[0].loss.shape[1] for part in rounds)
    mixed = measured * sum(plan.parts) / plan.parts[-1]
    wanted = 3 * plan.mix / (plan.step_size**2 * max(plan.target.precision, 1e-30))
    if wanted <= mixed:
        return "raise max_gradients"
    larger = plan.target.localization + plan.target.precision * (wanted / mixed - 1)
    return f"raise max_gradients to some {plan.spent * wanted / mixed:.1g}, or the localisation to {larger:.2g}"


def judge(reading: Reading, options: Options, reasons: tuple[str, ...]) -> Verdict:
    """The verdict, given why the chains may not have arrived."""
    if reasons:
        return Verdict("not converged", reasons)
    gap, estimate = reading.gap, reading.estimate
    if is_beyond(gap) and abs(gap.value) > 0.05 * abs(estimate.value):
        reason = (
            f"The two step sizes disagree by {gap.value:.3g} ± {gap.mcse:.2g}: the step is too large for this "
            "posterior. Raise the localisation, or with few parameters use sampler='tempering'."
        )
        return Verdict("biased", (reason,))
    return Verdict("converged", options.unmet(estimate))


def divergence_reasons(draws: Draws) -> tuple[str, ...]:
    """A sentence for every chain that has diverged."""
    return tuple(
        f"Chain {chain} diverged at draw {draw} and is left out; a larger gamma, and with it a smaller step, may help."
        for chain, draw in enumerate(draws.first_divergence)
        if draw >= 0
    )
