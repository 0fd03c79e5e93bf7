"""Tables of criteria and of free energies: what was estimated, in which unit, with which error."""

import math

from rich.console import Group, RenderableType
from rich.text import Text

from slt.draws import Result
from slt.estimators.free_energy import FreeEnergy
from slt.tables.base import add_row, interval, new_table, number, plus_minus, verdict

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
    table = new_table(title)
    for head in ("", "value ± MC error", "90 % interval", "error over data"):
        table.add_column(head, justify="left" if not head else "right", no_wrap=True)
    for name, label in ROWS.items():
        if name in result.estimates:
            estimate = result.estimates[name]
            spread = result.diagnostics.get(DATA_ERRORS.get(name, ""), math.nan)
            add_row(table, label, plus_minus(estimate), interval(estimate), number(spread))
    table.add_section()
    for name, label in NUMBERS.items():
        if name in result.diagnostics:
            add_row(table, label, number(result.diagnostics[name]), "", "")
    add_row(table, "verdict", verdict(result.verdict.status), "", "")
    return Group(table, *_notes(result, beta))


def free_energy_table(found: FreeEnergy) -> RenderableType:
    """-log Z by both ways and lambda with their errors, the probability of each multiplicity, and the verdict."""
    settings = found.settings
    title = f"Free energy at nβ = {number(float(settings['nbeta']))}, d = {settings['num_params']}, γ = "
    table = new_table(f"{title}{number(settings['localization'])}; ladder to nβ = {number(float(found.nbeta[-1]))}")
    for head in ("", "value ± MC error", "90 % interval"):
        table.add_column(head, justify="left" if not head else "right", no_wrap=True)
    for name, label in FREE_ENERGIES.items():
        if name in found.estimates:
            add_row(table, label, plus_minus(found.estimates[name]), interval(found.estimates[name]))
    for m, probability in (found.fit.probabilities if found.fit else {}).items():
        if probability >= LIKELY:
            add_row(table, f"probability of multiplicity m = {m}", f"{probability:.3f}", "")
    add_row(table, "verdict", verdict(found.verdict.status), "")
    return Group(table, *(Text(f"• {reason}") for reason in found.verdict.reasons))


def _notes(result: Result, beta: float) -> list[Text]:
    notes = [Text(f"• {reason}") for reason in result.verdict.reasons]
    if "wbic" not in result.estimates and beta != 1:
        notes.append(Text("• WAIC and ν are those of this β; WAIC in the usual sense has β = 1."))
    return notes
