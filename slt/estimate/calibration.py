"""Where an estimate may be trusted: the coefficient over step size, localisation and temperature.

All points share one compilation and have the same number of draws, which is what makes a calibration cheap and its
errors larger than those of `estimate_llc`, whose own choice of step is marked.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from slt._options import checked
from slt._rows import Glance, as_html, as_text, to_dataframe
from slt._types import Energy, Estimate, Key
from slt.draws import mcse, rhat
from slt.estimate.tuning import STEP
from slt.geometry.landscape import largest_curvature
from slt.samplers.langevin import sghmc
from slt.samplers.run import runner
from slt.stats.learning_coefficient import llc
from slt.targets.target import Target, posterior_energy


class Point(NamedTuple):
    """One cell of a calibration.

    step_factor: step over the automatic one. step_size [unit of w]; localization; nbeta: of the cell.
    estimate: of the second half of its draws, NaN where it diverged. rhat, drift: as of `estimate_llc`.
    trusted: it moved neither with the step nor with time; reason: what else.
    """

    step_factor: float
    step_size: float
    localization: float
    nbeta: float
    estimate: Estimate
    rhat: float
    drift: float
    trusted: bool
    reason: str


class Calibration(NamedTuple):
    """points: every cell; localization, nbeta: of the target, the choice that is marked, at step factor 1."""

    points: list[Point]
    localization: float
    nbeta: float

    def glance(self) -> Glance:
        """What `repr` shows: the estimate in every cell and whether it is trusted."""
        lines = [(p.nbeta, p.localization, p.step_factor, p.estimate, p.trusted or p.reason) for p in self.points]
        return Glance("Calibration: nβ, γ, step factor, λ̂, trusted", lines)

    def to_dataframe(self) -> Any:
        """The cells as a `pandas.DataFrame`, a row each."""
        return to_dataframe(self.points)

    __repr__ = as_text
    _repr_html_ = as_html


@checked
def calibrate(
    target: Target,
    *,
    step_factors: Sequence[float] = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.6),
    localizations: Sequence[float] | None = None,
    nbetas: Sequence[float] | None = None,
    num_chains: int = 4,
    num_draws: int = 400,
    thinning: int = 5,
    batch_size: int | None = 500,
    seed: int = 0,
) -> Calibration:
    r"""$\hat\lambda$ on a grid of steps, localisations and temperatures around the automatic choice.

    A cell is trusted where it did not diverge, R-hat is below 1.1, its halves agree, and its estimate is that of the
    smallest step at the same $(\gamma, n\beta)$, all within 3 errors or 5 %.

    Args:
        target: of `loss_target`; its gamma and n beta are the middle of the default grid, a factor 10 and 3 either way.
        step_factors: steps over the automatic one, 0.6/sqrt(largest curvature of that cell at w*).
        num_draws, thinning: draws a chain, and steps a draw; the first half is warm-up.
        batch_size: rows of a minibatch, None for all data.

    Raises:
        ValueError: a grid with values that are not positive, or a target on a box.
    """
    gamma, nbeta = target.localization, target.nbeta
    if not gamma > 0:
        raise ValueError("calibrate: the target has no Gaussian localisation; build it with localization > 0, no box.")
    gammas = sorted(localizations or [gamma * f for f in (0.1, 1.0, 10.0)])
    nbetas = sorted(nbetas or [nbeta * f for f in (1 / 3, 1.0, 3.0)])
    for name, values in (("step_factors", step_factors), ("localizations", gammas), ("nbetas", nbetas)):
        if not all(value > 0 and np.isfinite(value) for value in values):
            raise ValueError(f"calibrate: {name} is {tuple(values)}; every value must be positive and finite.")
    starts = jax.tree.map(lambda a: jnp.repeat(a[None], num_chains, 0), target.minimum)
    key, points = jax.random.key(seed), []
    for i, g in enumerate(gammas):
        for j, b in enumerate(nbetas):
            tune_key, run_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, i), j))
            energy, longest = _at(target, g, b, tune_key)
            cell = []
            for factor in sorted(step_factors):
                h = factor * longest
                run = runner(sghmc(energy, step_size=h, friction=0.05 / h), target.loss, batch_size=batch_size,
                             thinning=thinning)  # fmt: skip
                record = run.advance(run.init(run_key, starts, target.data), target.data, num_draws)[1]
                cell.append(_point(factor, g, b, h, record.loss))
            points += _judge(cell)
    return Calibration(points, gamma, nbeta)


def _at(target: Target, gamma: float, nbeta: float, key: Key) -> tuple[Energy, float]:
    """The target's energy, prior and all, at another localisation and temperature, and the automatic step there."""
    prior = target.prior.at(nbeta / target.num_data, gamma)
    energy = Partial(posterior_energy, target.loss, prior.log_density, jnp.asarray(nbeta))
    rows = jax.tree.map(lambda a: a[:: max(1, a.shape[0] // 512)], target.data)
    return energy, STEP / float(largest_curvature(key, energy, target.minimum, rows)) ** 0.5


def _point(factor: float, gamma: float, nbeta: float, step: float, loss: Array) -> Point:
    energies = nbeta * np.asarray(loss, np.float64)
    kept = energies[:, energies.shape[1] // 2 :]
    make = functools.partial(Point, factor, step, gamma, nbeta)
    if not np.isfinite(energies).all():
        return make(Estimate(np.nan, np.inf, 1.0), np.nan, np.nan, False, "diverged")
    estimate, mixing, drift = llc(kept, nbeta=1.0), rhat(kept), half_drift(kept)
    reason = f"R-hat {mixing:.2f}" if mixing > 1.1 else f"drifts by {drift:.1f} errors" if abs(drift) > 3 else ""
    return make(estimate, mixing, drift, not reason, reason)


def _judge(cells: list[Point]) -> list[Point]:
    """Cells of one (gamma, n beta), ascending in step: those that the smallest step does not confirm lose trust."""
    smallest = next((cell.estimate for cell in cells if cell.trusted), None)
    if smallest is None:
        return cells
    judged = []
    for cell in cells:
        gap = abs(cell.estimate.value - smallest.value)
        allowed = max(3 * float(np.hypot(cell.estimate.mcse, smallest.mcse)), 0.05 * abs(smallest.value))
        moved = cell.trusted and gap > allowed
        judged.append(cell._replace(trusted=False, reason="moves with the step") if moved else cell)
    return judged


def half_drift(energies: Float[np.ndarray, "chain draw"]) -> float:
    """(mean of the second half - mean of the first) / its standard error by arviz-stats."""
    half = energies.shape[1] // 2
    first, second = energies[:, :half], energies[:, -half:]
    error = float(np.hypot(mcse(first), mcse(second)))
    return float((second.mean() - first.mean()) / error) if error > 0 else 0.0
