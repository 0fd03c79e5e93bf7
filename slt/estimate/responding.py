"""What both kinds of linear response share: a run that looks at rows and columns, its table, and its verdict."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from slt._types import Params
from slt.draws import Options, Result, Verdict
from slt.estimate import observing
from slt.estimate.llc import sample_posterior
from slt.estimate.observing import Observed
from slt.estimate.verdict import with_objection
from slt.geometry.harmonic import LARGEST, Harmonic, harmonic, second_order, shifts
from slt.samplers.seeds import derived_seed
from slt.stats.agreement import AGREEMENT, agreement_bound, runs_agreement
from slt.stats.covariances import Covariances, Sums, stacked, summed
from slt.stats.response import Response
from slt.targets.target import Target, in_precision

RHAT, ESS = 1.1, 8
"""Of the worst row or column: above and below which a table is refused."""
NAMED = 6
"""Columns that are named in a reason."""
ENTRIES = 1_000_000
"""Of a table: chains and batches hold some 64 such tables."""
SHARE, LEAST = 0.3, 5
"""What looks may cost [share of the steps]; steps between two, sooner than which chains have hardly moved."""
GAUSSIANS, EACH, FEW = 8, 128, 32
"""Groups of draws of the Gaussian posterior, and draws of each; of each where there are many parameters."""


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


def gaussian(target: Target, seeds: Callable) -> tuple[Harmonic | None, str]:
    """The Gaussian posterior, made for the gradients of a function where it is large, or why there is none."""
    try:
        with in_precision(target):
            return harmonic(target, seeds), ""
    except ValueError as error:
        return None, str(error)


def gaussian_sums(
    law: Harmonic, rows: Callable, columns: Callable, minimum: Params, *, seed: int, chosen: np.ndarray | None = None
) -> Sums:
    """Sums of draws of a Gaussian, of chosen coordinates alone where given, as of GAUSSIANS chains of two batches."""
    each = EACH if len(law.vectors) <= LARGEST else FEW
    groups = []
    for group in range(GAUSSIANS):
        drawn = shifts(law, each, seed=derived_seed(seed, group), chosen=chosen)
        groups.append([second_order(part, minimum, drawn) for part in (rows, columns)])
    values = [np.stack(parts) for parts in zip(*groups, strict=True)]
    halves = [[part[:, start : start + each // 2] for part in values] for start in (0, each // 2)]
    return stacked([summed(*half) for half in halves])


def shortfalls(rhat: np.ndarray, ess: np.ndarray, names: tuple[str, ...], name: str = "") -> tuple[str, ...]:
    """Why the draws of a run are too few or too far apart for covariances, with what would help."""
    start, reasons = f"{name}: " if name else "", []
    if rhat.max() > RHAT:
        worst = names[int(rhat.argmax())]
        reasons.append(f"{start}R-hat of {worst} is {rhat.max():.2f}: the chains have not met; raise max_gradients.")
    if ess.min() < ESS:
        worst = names[int(ess.argmin())]
        reasons.append(f"{start}Only {ess.min():.0f} effective draws of {worst}; raise max_gradients.")
    return tuple(reasons)


def disagreement(
    agreement: np.ndarray, columns: tuple[str, ...], num_rows: int, options: Options, result: Result
) -> tuple[str, ...]:
    """Which columns two runs like this one would rank otherwise, by name, and what would help the median of them."""
    short = np.flatnonzero(agreement_bound(agreement, num_rows) < AGREEMENT)
    if not len(short):
        return ()
    found = runs_agreement(agreement)
    worst = short[np.argsort(found[short], kind="stable")]
    spent = result.diagnostics.get("datum_gradients", options.max_gradients)
    typical = max(float(np.median(found[short])), 0.01)
    more = max(AGREEMENT * (1 - typical) / (typical * (1 - AGREEMENT)), 1.5)
    named = ", ".join(f"{columns[j]} {found[j]:.2f}" for j in worst[:NAMED]) + ", …" * (len(worst) > NAMED)
    held = len(columns) - len(worst)
    return (
        f"{len(worst)} of {len(columns)} columns are not reproducible: two such runs would rank the rows alike by less "
        f"than {AGREEMENT} (Spearman, from the halves of the chains, within its error): {named}. "
        + ("`Response.reproducible()` has the others. " if held else "")
        + f"Take tolerance {options.tolerance / more**0.5:.2g} and max_gradients {max(spent, 1) * more:.1g}, or "
        "columns that differ more between rows.",
    )


def judged(runs: Mapping[str, Run], reasons: tuple[str, ...]) -> Verdict:
    """The worst verdict of the runs, and not converged where a table says so."""
    worst, said = "converged", list(reasons)
    for name, run in runs.items():
        verdict = run.result.verdict
        if verdict.status != "converged":
            worst = verdict.status if worst in ("converged", "not converged") else worst
            said += [f"{name}: {reason}" if name else reason for reason in verdict.reasons]
    return Verdict("not converged" if reasons and worst == "converged" else worst, tuple(said))


def diagnostics(runs: Mapping[str, Run], found: Covariances, law: Harmonic | None) -> dict[str, float]:
    """Learning coefficients of the runs, and how far the table is to be trusted; the first run is the whole."""
    whole = next(iter(runs.values()))
    llc = {f"llc {name}".strip(): run.result.estimates["llc"].value for name, run in runs.items()}
    errors = {f"llc_error {name}".strip(): run.result.estimates["llc"].mcse for name, run in runs.items()}
    llc |= {"doubt": law.doubt} if law is not None and law.doubt else {}
    size = np.linalg.norm(found.value[:, : found.between.shape[1]] + found.between)
    return llc | errors | {
        "rhat": float(found.rhat.max()),
        "ess": float(found.ess.min()),
        "agreement": float(np.median(runs_agreement(found.agreement))),
        "least_agreement": float(np.min(runs_agreement(found.agreement))),
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
