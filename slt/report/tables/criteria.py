"""Tables of criteria and of free energies: what was estimated, in which unit, with which error."""

import math

from rich.console import Group, RenderableType
from rich.text import Text

from slt.draws import Result
from slt.report.tables.base import Column, colour, interval, number, reason_lines, table, verdict
from slt.stats.free_energy import FreeEnergy

ROWS = {
    "bayes_training": "Bayes training loss [nats/datum]",
    "gibbs_training": "Gibbs training loss [nats/datum]",
    "bayes_generalization": "Bayes generalisation loss, test data",
    "gibbs_generalization": "Gibbs generalisation loss, test data",
    "waic": "WAIC [nats/datum]",
    "importance_loo": "leave-one-out, importance sampling",
    "psis_loo": "leave-one-out, Pareto-smoothed",
    "wbic": "WBIC, total [nats]",
    "functional_variance": "functional variance V [nats²]",
    "singular_fluctuation": "singular fluctuation ν(β) = βV/2",
}
DATA_ERRORS = {
    "bayes_generalization": "generalization_data_error",
    "waic": "waic_data_error",
    "importance_loo": "importance_loo_data_error",
}
NUMBERS = {"largest_pareto_k": "largest Pareto k (good below 0.7)", "rhat": "R̂ (1 is best)", "ess": "ESS"}

FREE_ENERGIES = {
    "free_energy": "-log Z, evidence of tempering [nats]",
    "thermodynamic": "-log Z, integral over β [nats]",
    "rlct": "learning coefficient λ, from the growth",
}
COLUMNS = [Column("", side="whole"), Column("value ± MC error"), Column("90 % interval")]
LIKELY = 0.005
"""Probability of a multiplicity from which it is shown."""


def criteria_table(result: Result) -> RenderableType:
    """Every criterion with its Monte Carlo error, and its standard error over the data where it is a mean over them.

    Raises:
        ValueError: a result without criteria.
    """
    if "waic" not in result.estimates:
        raise ValueError(
            "This result has no criteria, only a learning coefficient; `slt criteria CONFIG` or `estimate_criteria` "
            "makes one that has."
        )
    beta, n, gamma = (float(result.settings[name]) for name in ("inverse_temperature", "num_data", "localization"))
    title = f"Criteria at β = {number(beta)}, γ = {number(gamma)}, n = {n:.0f}, d = {result.settings['num_params']}"
    rows: list[tuple | None] = [
        (label, result.estimates[name], interval(result.estimates[name]), _over_data(result, name))
        for name, label in ROWS.items()
        if name in result.estimates
    ]
    found = [(label, result.diagnostics[name]) for name, label in NUMBERS.items() if name in result.diagnostics]
    rows += [None, *((*row, "", "") for row in [*found, ("verdict", verdict(result.verdict.status))])]
    columns = [*COLUMNS, Column("error over data")]
    return Group(table(title, columns, rows), *_notes(result, beta))


def free_energy_table(found: FreeEnergy) -> RenderableType:
    """-log Z by both ways and lambda with their errors, the probability of each multiplicity, and the verdict."""
    settings = found.settings
    title = f"Free energy at nβ = {number(float(settings['nbeta']))}, d = {settings['num_params']}, γ = "
    title += f"{number(settings['localization'])}; ladder to nβ = {number(float(found.nbeta[-1]))}"
    rows: list[tuple] = []
    for name in (name for name in FREE_ENERGIES if name in found.estimates):
        estimate, refusal = found.estimates[name], found.refused.get(name)
        shown = estimate if refusal is None else Text("refused", style=colour(refusal.status))
        rows.append((FREE_ENERGIES[name], shown, interval(estimate)))
    likely = [(m, p) for m, p in found.fit.probabilities.items() if p >= LIKELY]
    rows += [(f"probability of multiplicity m = {m}", f"{p:.3f}", "") for m, p in likely]
    rows.append(("verdict", verdict(found.verdict.status), ""))
    return Group(table(title, COLUMNS, rows), *reason_lines(found.verdict))


def _over_data(result: Result, name: str) -> float:
    return result.diagnostics.get(DATA_ERRORS.get(name, ""), math.nan)


def _notes(result: Result, beta: float) -> list[Text]:
    notes = reason_lines(result.verdict, result.refused)
    if "wbic" not in result.estimates and beta != 1:
        notes.append(Text("• WAIC and ν are those of this β; WAIC in the usual sense has β = 1."))
    return notes
