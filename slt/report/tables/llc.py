"""Tables of learning coefficients: one result, a profile, a series of checkpoints, a calibration."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from slt.draws import Result
from slt.report.tables.base import (
    COLOURS,
    Column,
    colour,
    fixed,
    interval,
    number,
    plus_minus,
    reason_lines,
    table,
    verdict,
)
from slt.stats.learning_coefficient import plateau
from slt.stats.stage import stages

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
    "kappa": "localisation κ = nβ λ_max/γ'",
    "virial": "virial E[grad U · (w − w*)]/d (1 is right)",
    "noise_correction": "heat of minibatches, subtracted",
    "gradient_norm": "‖∇L(w*)‖ [nats/datum/unit of w]",
    "seconds": "time [s]",
    "forecast_gradients": "forecast: gradients of one datum",
    "forecast_seconds": "forecast: time of the rounds [s]",
    "forecast_error": "forecast: standard error",
    "forecast_asked": "standard error asked",
}
SETTINGS = {
    "localization": "localisation γ",
    "nbeta": "inverse temperature nβ",
    "num_params": "parameters d",
    "sampler": "sampler",
    "step_size": "step size ε",
    "seed": "seed",
}
SYMBOLS = {"localization": "γ", "nbeta": "nβ", "step_size": "ε"}
HEADS = {"singular_fluctuation": "ν ± error", "volume": "log V [nats]"}


def answer(results: Sequence[Result]) -> str:
    """The learning coefficients in words: between what they lie along which coordinate, and how many converged."""
    first, last = results[0], results[-1]
    if len(results) == 1:
        return f"λ̂ = {plus_minus(first.estimates['llc'])}{_at(first)}: {first.verdict.status}."
    name = "checkpoint" if "checkpoint" in first.settings else "localization"
    ends = [plus_minus(result.estimates["llc"]) + _at(result, name) for result in (first, last)]
    good = sum(result.verdict.status == "converged" for result in results)
    share = f"all {good}" if good == len(results) else f"{good} of {len(results)}"
    return f"λ̂ runs from {ends[0]} to {ends[1]}; {share} points converged."


def _at(result: Result, *names: str) -> str:
    """At which settings, those that there are; γ and nβ unless named."""
    known = [name for name in names or ("localization", "nbeta") if name in result.settings]
    parts = [f"{SYMBOLS.get(name, name)} = {number(result.settings[name])}" for name in known]
    return f" at {', '.join(parts)}" if parts else ""


def result_table(result: Result) -> RenderableType:
    """Every estimate with its 90 % interval, then diagnostics, settings, and the verdict with its reasons."""
    names = {name: f"E excess loss, {name} [nats/datum]" for name in _observed_names(result)} | ESTIMATES
    rows: list[tuple | None] = [
        (names.get(name, name), x, f"90 %: {interval(x)}") for name, x in result.estimates.items()
    ]
    if "num_params" in result.settings:
        rows.append(("regular model, d/2", float(result.settings["num_params"]) / 2, ""))
    for labels, values in ((NUMBERS, result.diagnostics), (SETTINGS, result.settings)):
        found = [*(n for n in labels if n in values), *(n for n in values if n not in labels)]
        rows += [None, *((labels.get(name, name), values[name], "") for name in found)]
    draws = result.draws
    rows += [None, ("gradient evaluations", f"{draws.num_gradients:,}", "")]
    rows += [("kept draws", " × ".join(map(str, draws.loss.shape)), "chains × draws")]
    rows += [None, ("verdict", verdict(result.verdict.status), "")]
    columns = [Column("", side="whole"), Column(""), Column("", side="text")]
    shown = table("Local learning coefficient", columns, rows, show_header=False)
    return Group(shown, *reason_lines(result.verdict, result.refused))


def _observed_names(result: Result) -> list[str]:
    """What was observed beside the training loss."""
    known = str(result.settings.get("observed", "")).split(", ")
    return [name for name in result.estimates if name in known]


def profile_table(results: Sequence[Result], *, coordinate: str = "localization") -> RenderableType:
    """One row for each point of a profile, and under it what is known of the model and every reason for a verdict.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("profile_table: there are no results; give at least one.")
    symbol = SYMBOLS.get(coordinate, coordinate)
    columns = [Column(symbol, lambda r: r.settings[coordinate]), Column("λ̂ ± error", lambda r: r.estimates["llc"])]
    columns.append(Column("90 % interval", lambda r: interval(r.estimates["llc"])))
    if any("harmonic" in result.diagnostics for result in results):
        columns.append(Column("harmonic", lambda r: r.diagnostics.get("harmonic", math.nan)))
    columns += [KAPPA, _diagnostic("R̂", "rhat", 3), _diagnostic("ESS", "ess", 0)]
    shown = table(f"Local learning coefficient λ̂({symbol})", [*columns, VERDICT], results)
    lines = _common_lines(results[0]) + [_plateau_line(results, coordinate, symbol)] * (len(results) > 1)
    for result in results:
        lines += reason_lines(result.verdict, result.refused, f"{symbol} = {number(result.settings[coordinate])}: ")
    return Group(shown, *lines)


def series_table(results: Sequence[Result]) -> RenderableType:
    """One row per checkpoint; under it the stages of the series, and why measures were refused."""
    if not results:
        raise ValueError("series_table: there are no results; give at least one.")
    columns = [Column("checkpoint", _checkpoint), Column("λ̂ ± error", lambda r: r.estimates["llc"])]
    if any("harmonic" in result.diagnostics for result in results):
        columns.append(Column("harmonic", lambda r: r.diagnostics.get("harmonic", math.nan)))
    columns.append(KAPPA)
    for name in results[0].estimates:
        if not name.startswith("llc"):
            columns.append(Column(HEADS.get(name, name), lambda r, name=name: _measure(r, name)))
    for name in ("train_loss", "test_loss"):
        if name in results[0].diagnostics:
            columns.append(Column(name.replace("_", " "), lambda r, name=name: r.diagnostics[name]))
    shown = table(
        "Local learning coefficient along the series", [*columns, _diagnostic("R̂", "rhat", 3), VERDICT], results
    )
    return Group(shown, *_stage_lines(results), *_refusals(results))


def calibration_table(calibration: Any) -> RenderableType:
    """One row per (n beta, gamma): the steps that are trusted, the estimate there, and what ends the plateau."""
    cells: dict[tuple[float, float], list] = {}
    for point in calibration.points:
        cells.setdefault((point.nbeta, point.localization), []).append(point)
    rows = []
    for (nbeta, gamma), points in sorted(cells.items()):
        own = np.isclose(nbeta, calibration.nbeta) and np.isclose(gamma, calibration.localization)
        at_one = min(points, key=lambda p: abs(math.log(p.step_factor)))
        good = [p for p in points if p.trusted]
        span = f"{good[0].step_factor:g} – {good[-1].step_factor:g}" if good else "none"
        values = [p.estimate.value for p in good]
        spread = f"{min(values):.4g} – {max(values):.4g}" if good else "–"
        rest = "; ".join(f"{p.step_factor:g}: {p.reason}" for p in points if not p.trusted)
        rows.append((nbeta, number(gamma) + " *" * bool(own), at_one.estimate, span, spread, rest))
    heads = ("nβ", "γ", "λ̂ at the automatic step", "trusted steps", "λ̂ over them")
    columns = [*map(Column, heads), Column("elsewhere", side="text")]
    shown = table("Calibration of λ̂: the step is in units of the automatic one", columns, rows)
    return Group(shown, Text("* the target's own nβ and γ. Errors are of short runs: `estimate_llc` runs on."))


def _diagnostic(head: str, name: str, decimals: int) -> Column:
    return Column(head, lambda result: fixed(result.diagnostics.get(name, math.nan), decimals))


KAPPA = Column("κ", lambda result: number(result.diagnostics.get("kappa", math.nan)))
"""n beta lambda_max/gamma', the dimensionless localisation."""
VERDICT = Column("verdict", lambda result: verdict(result.verdict.status), "whole")


def _checkpoint(result: Result) -> Any:
    return result.settings["checkpoint"]


def _plateau_line(results: Sequence[Result], coordinate: str, symbol: str) -> Text:
    ordered = sorted(results, key=lambda result: result.settings[coordinate])
    values = [float(result.settings[coordinate]) for result in ordered]
    found = plateau(values, [result.estimates["llc"] for result in ordered])
    if found is None:
        return Text(
            f"No plateau: λ̂ stays within 10 % over no decade of {symbol}; compare models only at equal γ and nβ."
        )
    return Text(f"Plateau: λ̂ stays within 10 % for {symbol} from {number(found[0])} to {number(found[1])}.")


def _common_lines(result: Result) -> list[Text]:
    """What is the same at every point of a profile: how it was sampled, d/2, and how good the model is."""
    found, lines = result.diagnostics, []
    shared = [name for name in ("nbeta", "sampler") if name in result.settings]
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


def _measure(result: Result, name: str) -> str | Text:
    estimate = result.estimates[name]
    if name in (result.refused or {}):
        return Text("refused", style=COLOURS["not converged"])
    return number(estimate.value) if estimate.mcse == 0 else plus_minus(estimate)


def _refusals(results: Sequence[Result]) -> list[Text]:
    """A line for every measure and kind of refusal: at which checkpoints, and the reasons at the first."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        for name, refusal in (result.refused or {}).items():
            found.setdefault((name, refusal.status), []).append(result)
    lines = []
    for (name, status), of in found.items():
        steps = ", ".join(number(_checkpoint(result)) for result in of)
        reasons = " ".join((of[0].refused or {})[name].reasons)
        first = f" At {number(_checkpoint(of[0]))}:" if len(of) > 1 else ""
        text = f"• {name} is refused at {steps} ({status}).{first} {reasons}"
        lines.append(Text(text, style=colour(status)))
    return lines


def _stage_lines(results: Sequence[Result]) -> list[Text]:
    estimates = [result.estimates["llc"] for result in results]
    if len(estimates) < 3 or not all(math.isfinite(estimate.value) for estimate in estimates):
        return []
    step = [number(_checkpoint(result)) for result in results]
    found = stages(estimates)
    parts = [f"{stage.trend} from {step[stage.first]} to {step[stage.last]}" for stage in found]
    lines = [Text(f"Stages: λ̂ {', '.join(parts)}.")]
    if borders := [f"{s.trend} from between {step[s.earliest - 1]} and {step[s.latest]} on" for s in found[1:]]:
        lines.append(Text(f"Borders, 90 % intervals given their number: λ̂ {'; '.join(borders)}."))
    return lines
