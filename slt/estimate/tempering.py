"""The low-dimensional way to an estimate: tempered SMC, independent replicates, errors between them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from slt._types import Estimate, Key
from slt.draws import Draws, Options, Result, Verdict, effective, rhat
from slt.estimate.verdict import same_everywhere
from slt.samplers.around import Law, around, mixture, smallest_radius
from slt.samplers.tempering import Tempered, Tempering, tempered_smc
from slt.stats.learning_coefficient import two_temperature
from slt.stats.replicates import MAX_SPREAD, log_mean, replicate_mean, weighted_mean
from slt.targets.target import Target, noted

Energies = Float[np.ndarray, "replicate sweep particle"]
BLOCK = 25
"""Sweeps between two looks at the standard error."""
LOOK = 5
"""Sweeps between two looks at the particles."""
MAX_BLOCKS = 10
MEMORY, EVEN = 0.6, 0.3
"""Replicates count by the mass they found where the halves of a run correlate by more, or log Z spreads by less [nats].

In the one case it has to be, in the other it costs nothing and takes away most of the bias of few particles."""
APART = 4.0
"""Standard errors between the two kinds of replicates, in mean or evidence, from which on they found other things."""
ALIKE = 0.1
"""Spread of log Z up to which the replicates of a kind count in full [nats].

Z_r and Z_r times the mean of a replicate are unbiased, its mean is off by -Cov(Z_r, mean_r)/Z: by that spread times the
spread of the means, or a third of the standard error of eight.
"""
TAILS = 0.002, 0.01, 0.05, 0.2, 0.5
"""Shares of the particles of a kind by which it is looked whether the other has been there too."""
MISSING = 0.5
"""Change of the estimate by what may be missing, over the standard error asked."""


def tempered_result(target: Target, options: Options) -> Result:
    """Estimate by tempered SMC from the prior, and sweeps at the posterior as many as the tolerance asks for.

    Raises:
        ValueError: the prior is improper.
    """
    target.prior.check_drawn("estimate_llc by tempering")
    leapfrogs = 4 if target.num_params <= 5 else 8
    run_key, pilot_key, key, start_key = jax.random.split(jax.random.key(options.seed), 4)
    smc = _smc(target, leapfrogs, start_key)
    flat, unravel = ravel_pytree(target.minimum)
    center = np.asarray(flat, np.float64)
    current, warm = _pilot(pilot_key, smc, smc.run(run_key), center, options)
    blocks, rates = [], []
    for block_key in jax.random.split(key, warm.shape[1] // BLOCK):
        for sweep_key, sweeps in _looks(block_key, options):
            current, energies, rate = smc.sweep(sweep_key, current, sweeps)
            blocks.append(np.asarray(energies, np.float64))
            rates.append(np.asarray(rate))
            if options.watch is not None:
                options.watch(0, jax.vmap(jax.vmap(unravel))(current.states.position))
    energies, rate = np.concatenate(blocks, 1), np.concatenate(rates, 1)
    found = _of_one_mind(current, energies, center)
    current, energies, rate, warm = found.smc, found.energies, rate[found.counted], warm[found.counted]
    draws = _draws(target, current, warm, energies, rate, leapfrogs)
    settings: dict[str, str | float | int] = {"sampler": "tempering", **noted(target)}
    broken = float((~np.isfinite(energies)).sum())
    if broken:
        reason = f"{broken:.0f} of {energies.size} energies were not finite; check the loss away from w*."
        verdict = Verdict("not converged", (reason,))
        return Result({"llc": Estimate(np.nan, np.inf, 1)}, verdict, draws, {"divergences": broken}, settings)
    diagnostics = _diagnostics(current, energies, rate) | _whole_energy(target, current)
    estimates = _estimates(found)
    broken = same_everywhere(energies, estimates["llc"]) + _two_phases(found, estimates["llc"], options)
    verdict = _judge(diagnostics, estimates["llc"], options, broken)
    return Result(estimates, verdict, draws, diagnostics, settings)


def _looks(key: Key, options: Options) -> list[tuple[Key, int]]:
    """Keys and lengths of the stretches of a block: one, or several where somebody looks at the particles between."""
    if options.watch is None:
        return [(key, BLOCK)]
    return [(part, LOOK) for part in jax.random.split(key, BLOCK // LOOK)]


def _pilot(
    key: Key, smc: Tempering, current: Tempered, center: Float[np.ndarray, " dim"], options: Options
) -> tuple[Tempered, Energies]:
    """Blocks of sweeps until the error meets the tolerance and the two kinds agree; as many again are then kept.

    A run that ends when its own error looks small enough ends too often on an error that is too small. So the sweeps
    that decide the length are warm-up, and the estimate and its error come from others.
    """
    blocks = []
    for block_key in jax.random.split(key, MAX_BLOCKS):
        current, energies, _ = smc.sweep(block_key, current, BLOCK)
        blocks.append(np.asarray(energies, np.float64))
        if not np.isfinite(blocks[-1]).all():
            break
        found = _of_one_mind(current, np.concatenate(blocks, 1), center)
        estimate = _mean(found, lambda e: e.mean((1, 2)))
        hopeless = estimate.value < -10 * estimate.mcse
        asked = options.asked(estimate)
        settled = estimate.mcse <= asked and found.missing <= MISSING * asked
        if len(blocks) > 1 and (hopeless or settled):
            break
    return current, np.concatenate(blocks, 1)


def _smc(target: Target, leapfrogs: int, key: Key) -> Tempering:
    def energy(w: Any) -> Array:
        return target.nbeta * target.loss(w, target.data)

    assert target.prior.draw is not None
    start, constant = _start(key, target, energy)
    return tempered_smc(
        energy,
        lambda w: target.prior.log_density(w) - constant,
        target.prior.draw,
        log_weight=target.prior.log_weight,
        fold=target.prior.fold,
        num_particles=int(np.clip(1024 * 200 // target.num_data, 128, 1024)),
        num_integration_steps=leapfrogs,
        start=start,
    )


def _start(key: Key, target: Target, energy: Any) -> tuple[Callable | None, float]:
    """Share around w* -> the law of the first particles, and the log mass of the prior, where that is known."""
    prior = target.prior
    if prior.log_mass is None or prior.draw is None:
        return None, 0.0
    draw, mass = prior.draw, prior.log_mass
    center, unravel = ravel_pytree(jax.tree.map(jnp.asarray, target.minimum))
    own = Law(
        lambda key: ravel_pytree(draw(key))[0],
        lambda x: prior.log_density(unravel(x)) - prior.log_weight(unravel(x)) - mass,
    )
    if prior.sides is None:
        width, sides = jnp.full(center.shape, prior.precision**-0.5, center.dtype), None
    else:
        low, high = (ravel_pytree(jax.tree.map(jnp.asarray, side))[0] for side in prior.sides)
        width, sides = high - low, (low, high)
    smallest = smallest_radius(key, lambda x: energy(unravel(x)), center, width)
    return partial(mixture, own, around(center, width, smallest, sides)), mass


class Found(NamedTuple):
    """The replicates that count: all, or of those from the prior alone and those also from around w* the better kind.

    log_weights: by which they count, before the mass that each found. missing: what the other kind would change if it
    had found another part of the posterior [1].
    """

    smc: Tempered
    energies: Energies
    counted: np.ndarray
    log_weights: np.ndarray
    missing: float


def _of_one_mind(smc: Tempered, energies: Energies, center: Float[np.ndarray, " dim"]) -> Found:
    """Compare the two kinds of replicates; where they disagree, one has missed a part of the posterior or is uneven.

    Where they agree, both count, each by the precision of its log Z; if the precise one has not been wherever the other
    has, the other alone. Where they disagree, and the precise one has been there, the other only has its particles in
    wrong proportions. Otherwise the evidence says which has found more: the mean energy of replicates that have found
    two parts of masses Z and z is off by z/(Z + z) of the difference if only the heavier part is counted.
    """
    logs, means = np.asarray(smc.log_evidence, np.float64), energies.mean((1, 2))
    everyone, weights = np.ones(len(logs), bool), np.zeros(len(logs))
    if not (np.isfinite(means).all() and np.isfinite(logs).all()):
        return Found(smc, energies, everyone, weights, 0.0)
    kinds = np.arange(len(logs)) % 2 == 0, np.arange(len(logs)) % 2 == 1
    (prior, around), (less, more) = (
        [f(x[kind]) for kind in kinds] for f, x in ((replicate_mean, means), (log_mean, logs))
    )
    spreads = [max(float(logs[kind].std(ddof=1)), ALIKE) for kind in kinds]
    apart = _apart(prior, around) or _apart(less, more)
    precise, other = kinds if spreads[0] <= spreads[1] else kinds[::-1]
    been, missing = _has_been(smc, energies, precise, other, center), 0.0
    if been and not apart:
        for kind, spread in zip(kinds, spreads, strict=True):
            weights[kind] = -2 * np.log(spread)
        return Found(smc, energies, everyone, weights, 0.0)
    lighter, heavier = kinds if less.value <= more.value else kinds[::-1]
    if been and not (precise is lighter and _apart(less, more)):
        counted = precise
    elif not apart:
        counted = other
    else:
        counted, share = heavier, 1 / (1 + np.exp(abs(less.value - more.value)))
        missing = float(share * abs(prior.value - around.value))
    kept = jax.tree.map(lambda a: a[counted], smc)
    return Found(kept, energies[counted], counted, weights[counted], missing)


def _has_been(
    smc: Tempered, energies: Energies, one: np.ndarray, other: np.ndarray, center: Float[np.ndarray, " dim"]
) -> bool:
    """Whether one kind has a tenth of the other's share of particles nearest to w*, farthest, lowest and highest."""
    position = np.asarray(smc.states.position, np.float64)
    distance = np.linalg.norm((position - center) / np.maximum(position.std((0, 1)), 1e-300), axis=-1)
    for values in (distance, -distance, energies[:, -1], -energies[:, -1]):
        marks = np.quantile(values[other], TAILS, method="higher")
        if any((values[one] <= mark).mean() < tail / 10 for mark, tail in zip(marks, TAILS, strict=True)):
            return False
    return True


def _apart(one: Estimate, other: Estimate) -> bool:
    return abs(one.value - other.value) > APART * float(np.hypot(one.mcse, other.mcse))


def _two_phases(found: Found, estimate: Estimate, options: Options) -> tuple[str, ...]:
    if found.missing <= MISSING * options.asked(estimate) and (found.counted.all() or options.watch is None):
        return ()
    return (
        "Particles from the prior and particles from around w* disagree: the posterior has parts between which none "
        f"moves, and the one not counted may change the estimate by {found.missing:.2g}. Raise the localisation, which "
        "leaves the part around w*.",
    )


def _mean(found: Found, statistic: Callable[[Energies], np.ndarray]) -> Estimate:
    """Mean over replicates of a statistic of each, by the mass that each found where they have not mixed since.

    If one of the two kinds is off, the mean is drawn along by as much of the difference as that kind has weight. It is
    the one of less weight, so that this is the least error: half of the difference, where both count alike, is a
    standard error too if there is none.
    """
    values, logs = statistic(found.energies), np.asarray(found.smc.log_evidence, np.float64)
    by_mass = np.isfinite(logs).all() and (_memory(found.energies) > MEMORY or logs.std() < EVEN)
    estimate = weighted_mean(values, found.log_weights + logs if by_mass else found.log_weights)
    if not found.counted.all():
        return estimate
    weights = np.exp(found.log_weights)
    share = min(weights[::2].sum(), weights[1::2].sum()) / weights.sum()
    drawn = float(share * abs(values[::2].mean() - values[1::2].mean()))
    return estimate._replace(mcse=max(estimate.mcse, drawn))


def _memory(energies: Energies) -> float:
    """Correlation over replicates of their means in the two halves of the run: 1 where none leaves what it found."""
    trace = energies.mean(2)
    half = trace.shape[1] // 2
    first, second = trace[:, :half].mean(1), trace[:, half:].mean(1)
    spread = first.std() * second.std()
    return float(np.mean((first - first.mean()) * (second - second.mean())) / spread) if spread > 0 else 0.0


def _estimates(found: Found) -> dict[str, Estimate]:
    """All of one run. N particles may miss 1/N of the posterior, at the energy of w*: the error is no smaller."""
    mean = _mean(found, lambda e: e.mean((1, 2)))
    mean = mean._replace(mcse=max(mean.mcse, abs(mean.value) / found.energies[:, 0].size))
    logs = np.asarray(found.smc.log_evidence, np.float64)
    ratio = 1 + 0.5 / np.sqrt(np.clip(mean.value, 1.0, 1e20))
    return {
        "llc": mean,
        "llc_variance": _mean(found, lambda e: ((e - mean.value) ** 2).mean((1, 2))),
        "llc_two_temperature": _mean(
            found, lambda e: np.array([two_temperature(one, nbeta=1.0, ratio=ratio) for one in e])
        ),
        "log_evidence": log_mean(logs) if np.isfinite(logs).all() else Estimate(np.nan, np.inf, 1),
    }


def _diagnostics(smc: Tempered, energies: Energies, rate: Float[np.ndarray, "replicate sweep"]) -> dict[str, float]:
    """R-hat is of single particles; the effective draws are as many as would have the error between replicates."""
    trace = energies.mean(2)
    half = trace.shape[1] // 2
    drift = replicate_mean(trace[:, half:].mean(1) - trace[:, :half].mean(1))
    mcse = replicate_mean(trace.mean(1)).mcse
    return {
        "memory": _memory(energies),
        "rhat": rhat(energies[:, ::5, :200].reshape(len(trace), -1)),
        "ess": effective(energies, mcse),
        "drift": drift.value / drift.mcse if drift.mcse > 0 else 0.0,
        "drift_size": abs(drift.value),
        "acceptance_rate": float(rate.mean()),
        "evidence_spread": float(np.std(np.asarray(smc.log_evidence, np.float64), ddof=1)),
        "temperatures": float(np.mean(smc.num_temperatures)),
        "divergences": 0.0,
        "finished": float(np.asarray(smc.finished).all()),
    }


def _whole_energy(target: Target, smc: Tempered) -> dict[str, float]:
    r"""What the last particles say of the energy U, prior included, whose minimum w* has to be.

    lowest_energy: the least U(w) - U(w*) [nats]. virial: $\mathbb{E}[\nabla U \cdot (w - w^*)]/d$, by parts 1 under
    exp(-U) where U has no steps; left out in a box, whose walls add to it.
    """
    states, (center, unravel) = smc.states, ravel_pytree(target.minimum)
    lowest = unravel(states.position.reshape(-1, center.size)[jnp.argmax(states.logdensity)])
    found = {"lowest_energy": float(target.energy(lowest, target.data) - target.energy(target.minimum, target.data))}
    if target.prior.sides is None:
        work = -(states.logdensity_grad * (states.position - center)).sum(-1)
        found["virial"] = float(work.mean()) / center.size
    return found


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


def _judge(
    diagnostics: dict[str, float], estimate: Estimate, options: Options, broken: tuple[str, ...]
) -> Verdict:  # fmt: skip
    reasons = list(broken)
    if not diagnostics["finished"]:
        reasons.append("The posterior was not reached from the prior in 500 temperatures; lower nbeta or use chains.")
    if diagnostics["acceptance_rate"] < 0.05:
        reasons.append(
            f"Only {diagnostics['acceptance_rate']:.1%} of the moves were accepted; the particles stand still."
        )
    if not diagnostics["evidence_spread"] <= MAX_SPREAD:
        reasons.append(f"log Z spreads by {diagnostics['evidence_spread']:.1f} nats between replicates; use chains.")
    if abs(diagnostics["drift"]) > 4 and diagnostics["drift_size"] > 0.01 * max(abs(estimate.value), 0.25):
        reasons.append(f"The estimate still drifts, by {diagnostics['drift']:.1f} standard errors from half to half.")
    if reasons:
        return Verdict("not converged", tuple(reasons))
    return Verdict("converged", options.unmet(estimate))
