"""What both kinds of linear response share: a run that looks at rows and columns, its table, and its verdict."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from slt._types import Params
from slt.draws import Options, Result, Verdict
from slt.estimate import observing
from slt.estimate.llc import sample_posterior
from slt.estimate.observing import Observed
from slt.estimate.verdict import with_objection
from slt.geometry.harmonic import Harmonic, harmonic, second_order
from slt.stats.covariances import Covariances, Sums, stacked, summed
from slt.stats.response import Response
from slt.targets.target import Target, in_precision

RHAT, ESS = 1.1, 8
"""Of the worst row or column: above and below which a table is refused."""
AGREEMENT = 0.8
"""Spearman correlation of two runs like this one, by Spearman and Brown from its halves, below which it is refused."""
ENTRIES = 1_000_000
"""Of a table: chains and batches hold some 64 such tables."""
SHARE, LEAST = 0.3, 5
"""What looks may cost [share of the steps]; steps between two, sooner than which chains have hardly moved."""
GAUSSIANS, EACH = 8, 128
"""Groups of draws of the Gaussian posterior, and draws of each."""


class Run(NamedTuple):
    """result: of the sampler, with its verdict on the minimum. sums: what was seen. heat: of minibatches in it."""

    result: Result
    sums: Sums
    heat: float


def asked(
    seed: int, tolerance: float, max_gradients: int, max_seconds: float | None, num_chains: int, batch_size: int,
    progress: bool,
) -> Options:  # fmt: skip
    """Options of a run; as many effective draws as give correlations the tolerance."""
    return Options(
        seed, tolerance, max_gradients, num_chains, batch_size, progress, max_seconds=max_seconds,
        effective=tolerance**-2,
    )  # fmt: skip


def sampled(target: Target, rows: Observed, columns: Observed, options: Options, sampler: str) -> Run:
    """A run of the chains of `estimate_llc` that looks at rows and columns."""
    looking = observing.seen(rows, columns)
    every = observing.spacing(
        target, rows.num_rows + columns.num_rows, options.batch_size, share=SHARE, least=LEAST
    )
    options = options._replace(watch=looking.look, spacing=every)
    result = with_objection(target, sample_posterior(target, options, sampler=sampler), options)
    return Run(result, looking.collect(result), observing.heat_share(result))


def gaussian(target: Target) -> tuple[Harmonic | None, str]:
    """The Gaussian posterior, or why there is none."""
    try:
        with in_precision(target):
            return harmonic(target), ""
    except ValueError as error:
        return None, str(error)


def gaussian_sums(rows: Callable, columns: Callable, minimum: Params, drawn: np.ndarray) -> Sums:
    """Sums of draws of a Gaussian, as of GAUSSIANS chains of two batches."""
    values = [second_order(part, minimum, drawn).reshape(GAUSSIANS, EACH, -1) for part in (rows, columns)]
    halves = [[part[:, start : start + EACH // 2] for part in values] for start in (0, EACH // 2)]
    return stacked([summed(*half) for half in halves])


def shortfalls(
    rhat: np.ndarray, ess: np.ndarray, names: tuple[str, ...], agreement: np.ndarray, run: Run, options: Options,
    name: str = "",
) -> tuple[str, ...]:  # fmt: skip
    """Why a table of these covariances is not to be trusted, with what would help."""
    start, reasons = f"{name}: " if name else "", []
    spent = run.result.diagnostics.get("datum_gradients", options.max_gradients)
    if rhat.max() > RHAT:
        worst = names[int(rhat.argmax())]
        reasons.append(f"{start}R-hat of {worst} is {rhat.max():.2f}: the chains have not met; raise max_gradients.")
    if ess.min() < ESS:
        worst = names[int(ess.argmin())]
        reasons.append(f"{start}Only {ess.min():.0f} effective draws of {worst}; raise max_gradients.")
    known = agreement[np.isfinite(agreement)]
    of_runs = _of_runs(known)
    if len(known) and not of_runs >= AGREEMENT:
        more = AGREEMENT * (1 - of_runs) / (max(of_runs, 0.01) * (1 - AGREEMENT))
        reasons.append(
            f"{start}The halves of the chains rank the rows alike by {np.median(known):.2f} alone (Spearman), so that "
            f"two such runs would by {of_runs:.2f}, below {AGREEMENT}: take tolerance "
            f"{options.tolerance / more**0.5:.2g} and max_gradients {max(spent, 1) * more:.1g}, or observables that "
            "differ more between rows."
        )
    return tuple(reasons)


def _of_runs(agreement: np.ndarray) -> float:
    """Spearman correlation between two runs as long as this one, from that between its halves (Spearman & Brown)."""
    half = float(np.median(agreement)) if len(agreement) else math.nan
    return 2 * half / (1 + half) if half > -0.5 else -1.0 if half <= -0.5 else math.nan


def judged(runs: Mapping[str, Run], reasons: tuple[str, ...]) -> Verdict:
    """The worst verdict of the runs, and not converged where a table says so."""
    worst, said = "converged", list(reasons)
    for name, run in runs.items():
        verdict = run.result.verdict
        if verdict.status != "converged":
            worst = verdict.status if worst in ("converged", "not converged") else worst
            said += [f"{name}: {reason}" if name else reason for reason in verdict.reasons]
    return Verdict("not converged" if reasons and worst == "converged" else worst, tuple(said))


def diagnostics(runs: Mapping[str, Run], found: Covariances) -> dict[str, float]:
    """Learning coefficients of the runs, and how far the table is to be trusted; the first run is the whole."""
    whole = next(iter(runs.values()))
    llc = {f"llc {name}".strip(): run.result.estimates["llc"].value for name, run in runs.items()}
    errors = {f"llc_error {name}".strip(): run.result.estimates["llc"].mcse for name, run in runs.items()}
    size = np.linalg.norm(found.value[:, : found.between.shape[1]] + found.between)
    return llc | errors | {
        "rhat": float(found.rhat.max()),
        "ess": float(found.ess.min()),
        "agreement": _of_runs(found.agreement[np.isfinite(found.agreement)]),
        "between": float(np.linalg.norm(found.between) / size) if size > 0 else 0.0,
        "share": found.share,
        "heat": whole.heat,
        "draws": float(whole.sums.count.sum()),
        "datum_gradients": sum(run.result.diagnostics.get("datum_gradients", 0.0) for run in runs.values()),
        "seconds": sum(run.result.diagnostics["seconds"] for run in runs.values()),
    }  # fmt: skip


def settings(target: Target, options: Options, run: Run, why: str) -> dict[str, str | float | int]:
    """The posterior and how it was sampled; why there is no Gaussian baseline, where there is none."""
    known = {name: run.result.settings[name] for name in ("sampler", "nbeta", "localization", "num_params", "num_data")}
    more = {"inverse_temperature": target.inverse_temperature, "seed": options.seed, "tolerance": options.tolerance}
    return known | more | ({"baseline": why} if why else {})


def response(
    kind: str, rows: Observed, columns: tuple[str, ...], found: Covariances, scale: float, baseline: Covariances | None,
    verdict: Verdict, diagnostics: dict[str, float], settings: dict[str, str | float | int], heat: Any,
) -> Response:  # fmt: skip
    """The table; energies are heated by minibatches, and covariances of energies by twice as much at most."""
    nothing = np.full(found.value.shape, np.nan)
    return Response(
        kind, list(rows.names), list(columns),
        scale * found.value, np.hypot(abs(scale) * found.error, 2 * heat * scale * found.value),
        scale * found.given_mode, np.hypot(abs(scale) * found.given_mode_error, 2 * heat * scale * found.given_mode),
        nothing if baseline is None else scale * baseline.value,
        nothing if baseline is None else abs(scale) * baseline.error,
        found.dof, found.mode, found.agreement, verdict, diagnostics, settings,
    )  # fmt: skip


def check_target(where: str, target: Any) -> None:
    """Raises ValueError where it is none, or has no rows."""
    if not isinstance(target, Target):
        raise ValueError(
            f"{where}: the target is a {type(target).__name__}; give a Target, of `loss_target`, `model_target` or "
            "`numpyro_target`."
        )
    if target.log_likelihood is None:
        raise ValueError(f"{where}: the target is a potential without data, so it has no losses of rows to observe.")


def check_size(rows: Observed, columns: tuple[str, ...]) -> None:
    """Raises ValueError where the table would be too large."""
    if len(rows.names) * len(columns) > ENTRIES:
        raise ValueError(
            f"The table would have {len(rows.names)} rows and {len(columns)} columns, more than {ENTRIES:,} entries; "
            "observe fewer rows, or give observables, {name: rows}, whose mean losses they are."
        )
