"""`estimate_llc`: a target in, a number with an error bar and a verdict out, no hyperparameters asked for."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from slt.chained import chained_result
from slt.draws import Options, Result, Verdict, Watch
from slt.geometry.curvature import DENSE_DIM, harmonic_llc, hessian_eigenvalues
from slt.targets.numpyro_models import as_target
from slt.targets.polish import deficit
from slt.targets.target import Target
from slt.tempered import tempered_result

TEMPERING_DIM = 50
"""Largest dimension at which tempered SMC is the default."""
TEMPERING_DATA = 500
"""Largest data set at which it is the default: every particle sees all data at every step."""
FEW = 5
"""Parameters up to which four times as many data are tempered: chains end coarse there, and a move is short."""
SPACING = 10
"""Draws from one look of a `watch` to the next: sooner, a chain has hardly moved."""


def estimate_llc(
    target: Target | Callable,
    *data: Any,
    seed: int = 0,
    sampler: str = "auto",
    tolerance: float = 0.01,
    max_gradients: int = 30_000_000,
    num_chains: int = 4,
    batch_size: int = 500,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    mesh: Mesh | None = None,
    warm_start: Result | None = None,
    watch: Watch | None = None,
    **named_data: Any,
) -> Result:
    r"""Local learning coefficient $n\beta(\mathbb{E}[L_n(w)] - L_n(w^*))$ under the target's posterior.

    Two ways. Where the whole energy is cheap (d at most 50 and n at most 500, or 5 and 2000): tempered SMC from prior
    to posterior, which needs no tuning and finds thin valleys. Elsewhere: kinetic Langevin chains, tuned on the typical
    set, at two steps.

    Args:
        target: a Target, or a NumPyro model.
        data, named_data: arguments of a NumPyro model, and options of `numpyro_target`, such as localization.
        sampler: "auto", "tempering" or "chains".
        tolerance: standard error to reach, relative to max(estimate, 1/4); the run ends there or with the budget.
        max_gradients: budget of the chains [gradients of one datum, tuning included].
        num_chains: even, at least 2.
        batch_size: rows of a minibatch at first, grown where gradient noise asks for it; up to four times as many data
            are used whole.
        checkpoint: file stem; a killed run resumes from it and gives the same bits.
        mesh: devices for the chains way, as of `sample`; an axis "chain" may have up to num_chains/2 devices.
        warm_start: the result of a similar target, e.g. the checkpoint before: tuning starts at its step and batch.
        watch: is shown the positions every few steps; a run that resumes from a checkpoint does not show them again.

    Returns:
        Result with estimates "llc" and, where losses are exact, "llc_variance" and "llc_two_temperature"; a verdict
        "converged", "not converged", "biased" or "not a minimum" with reasons.

    Raises:
        ValueError: an unknown sampler, an odd or too small number of chains, an improper prior for tempering, data
            beside a Target, a NumPyro model that `numpyro_target` refuses.
    """
    target = as_target(target, data, named_data)
    path = None if checkpoint is None else Path(checkpoint)
    options = Options(
        seed, tolerance, max_gradients, num_chains, batch_size, progress, path, watch, mesh, _tuned(warm_start),
        spacing=SPACING,
    )  # fmt: skip
    result = sample_posterior(target, options, sampler=sampler)
    return result._replace(verdict=_judge_minimum(target, result, options) or result.verdict)


def sample_posterior(target: Target, options: Options, *, sampler: str = "auto") -> Result:
    """The run behind `estimate_llc`, whose arguments and errors it shares, and behind every other driver."""
    ways = {"auto": _choose(target), "tempering": tempered_result, "chains": chained_result}
    if sampler not in ways:
        raise ValueError(f"sampler is {sampler!r}; it must be one of {', '.join(ways)}.")
    if options.num_chains < 2 or options.num_chains % 2:
        raise ValueError(
            f"num_chains is {options.num_chains}; give an even number, at least 2: half run at each of two steps."
        )
    if not options.tolerance > 0 or options.max_gradients < 1 or options.batch_size < 1:
        given = ", ".join(f"{name} {getattr(options, name)}" for name in ("tolerance", "max_gradients", "batch_size"))
        raise ValueError(f"{given}; all must be positive.")
    started = time.perf_counter()
    result = ways[sampler](target, options)
    diagnostics = result.diagnostics | {"gradient_norm": target.gradient_norm, "seconds": time.perf_counter() - started}
    return result._replace(diagnostics=diagnostics, settings=result.settings | _settings(target, options))


def llc_profile(
    build: Callable[[float], Target], values: Sequence[float], *, checkpoint: Path | None = None, **options: Any
) -> list[Result]:
    r"""$\hat\lambda$ over localisations or temperatures, with the harmonic prediction (up to 5000 parameters).

    A single gamma and n beta are a modelling choice; only a plateau is a property of the minimum alone.

    Args:
        build: gamma, or beta, -> Target with the same loss, data and w*.
        values: of gamma or beta. checkpoint, options: as for `estimate_llc`.
    """
    eigenvalues, results = None, []
    for value in values:
        target = build(value)
        path = checkpoint and checkpoint.with_name(f"{checkpoint.name}-{value!r}")
        result = estimate_llc(target, checkpoint=path, **options)
        if target.num_params <= DENSE_DIM:
            eigenvalues = hessian_eigenvalues(target) if eigenvalues is None else eigenvalues
            prediction = harmonic_llc(eigenvalues, nbeta=target.nbeta, precision=target.precision)
            result = result._replace(diagnostics=result.diagnostics | {"harmonic": prediction})
        results.append(result)
    return results


def _tuned(result: Result | None) -> tuple[float, int] | None:
    """Step size and batch that a chained run ended its tuning with."""
    if result is None or not {"step_size", "batch_size"} <= result.settings.keys():
        return None
    return float(result.settings["step_size"]), int(result.settings["batch_size"])


def _choose(target: Target) -> Callable[[Target, Options], Result]:
    most = TEMPERING_DATA * (4 if target.num_params <= FEW else 1)
    cheap = target.num_params <= TEMPERING_DIM and target.num_data <= most
    return tempered_result if cheap and target.draw_prior is not None else chained_result


def _judge_minimum(target: Target, result: Result, options: Options) -> Verdict | None:
    """Refuse where an energy well below that of w* is within reach: the estimate would be too low, or negative.

    The reach of a gradient g against a prior of curvature c is at most (n beta g)^2/(2c) on a convex loss; where that
    is not negligible, L-BFGS looks for the lower energy itself, over all data, for about as many gradients as the run
    was allowed.
    """
    estimate = result.estimates["llc"]
    if not math.isfinite(estimate.value):
        return None
    size = max(estimate.value, 0.25)
    reach = (target.nbeta * target.gradient_norm) ** 2 / (2 * max(target.precision, 1e-12))
    steps = min(max(options.max_gradients // (3 * target.num_data), 10), 100)
    gap = deficit(target, num_steps=steps) if reach > 0.02 * size else 0.0
    worst = max(gap, -result.diagnostics.get("lowest_energy", 0.0))
    if estimate.value >= -3 * estimate.mcse and worst <= max(0.1 * size, 3 * estimate.mcse):
        return None
    reason = (
        f"w* is not a minimum: an energy {worst:.3g} nats below that of w* was found (gradient norm "
        f"{target.gradient_norm:.2g}), and the estimate {estimate.value:.3g} is too low by up to as much. `polish` w*, "
        "train on, or give the weight decay that was trained with."
    )
    return Verdict("not a minimum", (reason, *result.verdict.reasons))


def _settings(target: Target, options: Options) -> dict[str, str | float | int]:
    return {
        "seed": options.seed,
        "nbeta": target.nbeta,
        "localization": target.localization,
        "num_params": target.num_params,
        "num_data": target.num_data,
        "tolerance": options.tolerance,
        "max_gradients": options.max_gradients,
    }
