"""Tables of a calibration and of a series of checkpoints."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from slt._types import Estimate
from slt.draws import Result
from slt.estimators.stages import stages
from slt.tables.base import COLOURS, add_row, fixed, new_table, number, plus_minus, verdict

HEADS = {"singular_fluctuation": "ν ± error", "volume": "log V [nats]"}


def calibration_table(calibration: Any) -> RenderableType:
    """One row per (n beta, gamma): the steps that are trusted, the estimate there, and what ends the plateau."""
    table = new_table("Calibration of λ̂: the step is in units of the automatic one")
    for head in ("nβ", "γ", "λ̂ at the automatic step", "trusted steps", "λ̂ over them"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("elsewhere")
    cells: dict[tuple[float, float], list] = {}
    for point in calibration.points:
        cells.setdefault((point.nbeta, point.localization), []).append(point)
    for (nbeta, gamma), points in sorted(cells.items()):
        own = np.isclose(nbeta, calibration.nbeta) and np.isclose(gamma, calibration.localization)
        at_one = min(points, key=lambda p: abs(math.log(p.step_factor)))
        good = [p for p in points if p.trusted]
        span = f"{good[0].step_factor:g} – {good[-1].step_factor:g}" if good else "none"
        values = [p.estimate.value for p in good]
        spread = f"{min(values):.4g} – {max(values):.4g}" if good else "–"
        rest = "; ".join(f"{p.step_factor:g}: {p.reason}" for p in points if not p.trusted)
        add_row(table, number(nbeta), number(gamma) + " *" * bool(own), plus_minus(at_one.estimate), span, spread, rest)
    return Group(table, Text("* the target's own nβ and γ. Errors are of short runs: `estimate_llc` runs on."))


def series_table(results: Sequence[Result]) -> RenderableType:
    """One row per checkpoint; under it the stages of the series, and why measures were refused."""
    if not results:
        raise ValueError("series_table: there are no results; give at least one.")
    further = [name for name in results[0].estimates if not name.startswith("llc")]
    losses = [name for name in ("train_loss", "test_loss") if name in results[0].diagnostics]
    table = new_table("Local learning coefficient along the series")
    heads = [HEADS.get(name, name) for name in further] + [name.replace("_", " ") for name in losses]
    for head in ("checkpoint", "λ̂ ± error", *heads, "R̂"):
        table.add_column(Text(head), justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for result in results:
        cells = [number(result.settings["checkpoint"]), plus_minus(result.estimates["llc"])]
        cells += [_measure(result, name) for name in further]
        cells += [number(result.diagnostics[name]) for name in losses]
        add_row(table, *cells, fixed(result.diagnostics.get("rhat", math.nan), 3), verdict(result.verdict.status))
    return Group(table, *_stage_lines(results), *_refusals(results))


def _measure(result: Result, name: str) -> str | Text:
    estimate: Estimate = result.estimates[name]
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
        steps = ", ".join(number(result.settings["checkpoint"]) for result in of)
        reasons = " ".join((of[0].refused or {})[name].reasons)
        first = f" At {number(of[0].settings['checkpoint'])}:" if len(of) > 1 else ""
        text = f"• {name} is refused at {steps} ({status}).{first} {reasons}"
        lines.append(Text(text, style=COLOURS.get(status, "magenta")))
    return lines


def _stage_lines(results: Sequence[Result]) -> list[Text]:
    estimates = [result.estimates["llc"] for result in results]
    if len(estimates) < 3 or not all(math.isfinite(estimate.value) for estimate in estimates):
        return []
    step = [number(result.settings["checkpoint"]) for result in results]
    parts = [f"{stage.trend} from {step[stage.first]} to {step[stage.last]}" for stage in stages(estimates)]
    return [Text(f"Stages: λ̂ {', '.join(parts)}.")]
