"""Tables of learning coefficients: one result, a profile, the validation suite, the catalogue of potentials."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from slt.draws import Result, ValidationRow
from slt.estimators.llc import plateau
from slt.tables.base import COLOURS, add_row, fixed, fraction, interval, new_table, number, plus_minus, verdict
from slt.targets.potentials import Row

ESTIMATES = {
    "llc": "learning coefficient λ̂",
    "llc_variance": "λ̂ from the variance",
    "llc_two_temperature": "λ̂ from two temperatures",
    "singular_fluctuation": "singular fluctuation ν(β)",
    "volume": "log volume of the Hessian basin [nats]",
}
NUMBERS = {
    "harmonic": "harmonic prediction of λ̂",
    "train_loss": "train loss [nats/datum]",
    "test_loss": "test loss [nats/datum]",
    "train_accuracy": "train accuracy",
    "test_accuracy": "test accuracy",
    "rhat": "R̂ (1 is best)",
    "ess": "effective sample size",
    "divergences": "diverging draws",
    "gradient_norm": "‖∇L(w*)‖ [nats/datum/unit of w]",
    "seconds": "time [s]",
}
SETTINGS = {
    "localization": "localisation γ",
    "nbeta": "inverse temperature nβ",
    "num_params": "parameters d",
    "sampler": "sampler",
    "step_size": "step size ε",
    "seed": "seed",
}


def result_table(result: Result) -> RenderableType:
    """Every estimate with its 90 % interval, then diagnostics, settings, and the verdict with its reasons."""
    table = new_table("Local learning coefficient", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    for name, estimate in result.estimates.items():
        add_row(table, ESTIMATES.get(name, name), plus_minus(estimate), f"90 %: {interval(estimate)}")
    if "num_params" in result.settings:
        add_row(table, "regular model, d/2", number(float(result.settings["num_params"]) / 2), "")
    table.add_section()
    for names, values in ((NUMBERS, result.diagnostics), (SETTINGS, result.settings)):
        for name in [*(n for n in names if n in values), *(n for n in values if n not in names)]:
            add_row(table, names.get(name, name), number(values[name]), "")
        table.add_section()
    add_row(table, "gradient evaluations", f"{result.draws.num_gradients:,}", "")
    add_row(table, "kept draws", " × ".join(map(str, result.draws.loss.shape)), "chains × draws")
    table.add_section()
    add_row(table, "verdict", verdict(result.verdict.status), "")
    return Group(table, *_reasons([("", result)]))


def profile_table(results: Sequence[Result], *, coordinate: str = "localization") -> RenderableType:
    """One row for each point of a profile, and under it what is known of the model and every reason for a verdict.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("profile_table: there are no results; give at least one.")
    symbol = {"localization": "γ", "nbeta": "nβ", "step_size": "ε"}.get(coordinate, coordinate)
    harmonic = any("harmonic" in result.diagnostics for result in results)
    heads = [symbol, "λ̂ ± error", "90 % interval", *(["harmonic"] if harmonic else []), "R̂", "ESS", "diverging"]
    table = new_table(f"Local learning coefficient λ̂({symbol})")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for result in results:
        estimate, found = result.estimates["llc"], result.diagnostics
        cells = [number(result.settings[coordinate]), plus_minus(estimate), interval(estimate)]
        cells += [number(found.get("harmonic", math.nan))] if harmonic else []
        cells += [fixed(found.get("rhat", math.nan), 3), fixed(found.get("ess", math.nan), 0)]
        cells += [fixed(found.get("divergences", math.nan), 0)]
        add_row(table, *cells, verdict(result.verdict.status))
    lines = _common_lines(results[0]) + [_plateau_line(results, coordinate, symbol)] * (len(results) > 1)
    named = [(f"{symbol} = {number(result.settings[coordinate])}: ", result) for result in results]
    return Group(table, *lines, *_reasons(named))


def _plateau_line(results: Sequence[Result], coordinate: str, symbol: str) -> Text:
    ordered = sorted(results, key=lambda result: result.settings[coordinate])
    values = [float(result.settings[coordinate]) for result in ordered]
    found = plateau(values, [result.estimates["llc"] for result in ordered])
    if found is None:
        return Text(
            f"No plateau: λ̂ stays within 10 % over no decade of {symbol}; compare models only at equal γ and nβ."
        )
    return Text(f"Plateau: λ̂ stays within 10 % for {symbol} from {number(found[0])} to {number(found[1])}.")


def validation_table(rows: Sequence[ValidationRow]) -> RenderableType:
    """Estimates beside exact values, and under them how many agree, how many are covered, and which mislead."""
    seeds = len({row.seed for row in rows}) > 1
    table = new_table("Estimates against exact values")
    table.add_column("case", overflow="fold")
    for head in ("λ", "m", "nβ", "exact at nβ", "estimate ± error", "z", *(["seed"] if seeds else [])):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for row in rows:
        cells = [row.case, fraction(row.rlct), str(row.multiplicity), number(row.nbeta), f"{row.exact:.4f}"]
        z = Text(fixed(row.z, 1), style="bold red" if abs(row.z) > 3 else "")
        cells += [plus_minus(row.estimate), z, *([str(row.seed)] if seeds else [])]
        add_row(table, *cells, verdict(row.status), f"{row.seconds:.1f}")
    return Group(table, *_summary(rows))


def potentials_table(rows: Sequence[Row]) -> RenderableType:
    """The catalogue of analytic potentials; sources are listed once each, by number, under it."""
    sources = list(dict.fromkeys(row.source for row in rows))
    table = new_table("Analytic potentials")
    table.add_column("name", overflow="fold")
    table.add_column("K(w)", overflow="fold")
    for head in ("d", "λ", "m"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("finite n", no_wrap=True)
    table.add_column("source", justify="right", no_wrap=True)
    for row in rows:
        known, source = "exact" if row.exact else "–", f"[{sources.index(row.source) + 1}]"
        add_row(table, row.name, row.formula, str(row.dim), str(row.rlct), str(row.multiplicity), known, source)
    lines = [Text(f"[{i}] {source}") for i, source in enumerate(sources, start=1)]
    return Group(table, Text(f"{len(rows)} potentials."), *lines)


def agrees(row: ValidationRow) -> bool:
    """|estimate - exact| <= max(3 mcse, 0.01)."""
    return abs(row.estimate.value - row.exact) <= max(3 * row.estimate.mcse, 0.01)


def covers(row: ValidationRow) -> bool:
    """The 90 % interval holds the exact value."""
    low, high = row.estimate.interval(0.9)
    return low <= row.exact <= high


def _common_lines(result: Result) -> list[Text]:
    """What is the same at every point of a profile: how it was sampled, d/2, and how good the model is."""
    found, lines = result.diagnostics, []
    shared = [name for name in ("nbeta", "sampler", "seed") if name in result.settings]
    if shared:
        lines.append(Text(", ".join(f"{SETTINGS[name]} {number(result.settings[name])}" for name in shared) + "."))
    if "num_params" in result.settings:
        half = float(result.settings["num_params"]) / 2
        lines.append(Text(f"A regular model of as many parameters would have λ = d/2 = {number(half)}."))
    for what, unit in (("loss", " nats/datum"), ("accuracy", "")):
        known = [part for part in ("train", "test") if f"{part}_{what}" in found]
        parts = [f"{part} {number(found[f'{part}_{what}'])}{unit}" for part in known]
        if parts:
            lines.append(Text(f"{what.capitalize()}: {', '.join(parts)}."))
    return lines


def _reasons(named: Iterable[tuple[str, Result]]) -> list[Text]:
    lines = []
    for name, result in named:
        for reason in result.verdict.reasons:
            line = Text(f"• {name}{reason}", style=COLOURS.get(result.verdict.status, "magenta"))
            lines.append(line)
        for what, refusal in (result.refused or {}).items():
            text = f"• {name}{what} is refused ({refusal.status}). {' '.join(refusal.reasons)}"
            lines.append(Text(text, style=COLOURS.get(refusal.status, "magenta")))
    return lines


def _summary(rows: Sequence[ValidationRow]) -> list[Text]:
    converged = [row for row in rows if row.status == "converged"]
    misleading = [row for row in converged if not agrees(row)]
    lines = [
        _share("Within max(3 errors, 0.01) of the exact value", agrees, rows),
        _share("The same, of those called converged", agrees, converged),
        _share("90 % interval covers the exact value, of those called converged", covers, converged),
        Text(f"Time: {sum(row.seconds for row in rows):.0f} s."),
    ]
    if misleading:
        names = ", ".join(f"{row.case} (seed {row.seed}, z = {fixed(row.z, 1)})" for row in misleading)
        lines.append(Text(f"Called converged on a wrong value: {names}.", style="bold red"))
    return lines


def _share(what: str, holds, rows: Sequence[ValidationRow]) -> Text:
    count = int(np.sum([holds(row) for row in rows]))
    percent = f" ({100 * count / len(rows):.0f} %)" if rows else ""
    return Text(f"{what}: {count} of {len(rows)}{percent}.")
