"""What a reader sees of each kind of result: its tables, and its figures by file name, drawn when asked for."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slt import store
from slt.draws import Result
from slt.estimate.calibration import Calibration, Point
from slt.estimate.comparison.certified import ROWS, Certificates
from slt.estimate.comparison.rows import COMPARISON_ROWS, Comparison
from slt.estimate.validation import ValidationRow
from slt.exact.rlct import ExactRlct
from slt.geometry.volume import VolumeRow
from slt.report import plots, tables
from slt.report.page import Section
from slt.stats.response import Response

Figures = Mapping[str, Callable[[], Any]]


class Kind(NamedTuple):
    """How one kind of result is shown, and how it is stored where that is as tables of rows.

    table: of what was found. figures: of the same, those that there is something to draw for. answer: it in words.
    rows: the NamedTuple of each stored table. pack, unpack: what was found to and from its tables.
    load: path -> what was found, where a file of its own holds it.
    """

    table: Callable[[Any], Any]
    figures: Callable[[Any], Figures] = lambda found: {}
    rows: Mapping[str, type] | None = None
    unpack: Callable[[dict[str, list[Any]]], Any] = dict
    pack: Callable[[Any], dict[str, Any]] = lambda found: found._asdict()
    answer: Callable[[Any], str] = lambda found: ""
    load: Callable[[Path], Any] | None = None


def shown(kind: str, found: Any, title: str = "", provenance: Mapping[str, Any] | None = None) -> Section:
    """What was found, as a section of a report; raises as its table does.

    Args:
        kind: a name in KINDS.
    """
    of = KINDS[kind]
    return Section(title, of.table(found), of.figures(found), provenance or {}, of.answer(found))


def keep(kind: str, found: Any, path: Path, *, config: str, overwrite: bool = False) -> Path:
    """Store what was found as the tables of its kind; raises as `store.save_tables`."""
    return store.save_tables(KINDS[kind].pack(found), path, kind=kind, config=config, overwrite=overwrite)


def stored(path: str | os.PathLike) -> Section:
    """Of a file that any command of `slt` wrote, with its provenance.

    Raises:
        FileNotFoundError, ValueError: as `store.load`.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return shown("validation", store.load_rows(path, ValidationRow), path.name)
    kind = store.stored_kind(path)
    known = KINDS.get(kind, Kind(_results_table))
    if known.rows is not None:
        found: Any = known.unpack(store.load_tables(path, known.rows, kind=kind))
    elif known.load is not None:
        found = known.load(path)
    else:
        found = store.load(path)
        if "waic" in found[0].estimates:
            kind, found = "criteria", found[0]
    return shown(kind, found, path.name, store.provenance(path))


def _results_table(results: Sequence[Result]) -> Any:
    if len(results) == 1:
        return tables.result_table(results[0])
    return (tables.series_table if _is_series(results) else tables.profile_table)(results)


def _results_figures(results: Sequence[Result]) -> Figures:
    if _is_series(results):
        return {"series.png": lambda: plots.plot_series(results)}
    traces = {f"trace_{i}.png": lambda r=r: plots.plot_trace(r) for i, r in enumerate(results)}
    return ({"profile.png": lambda: plots.plot_profile(results)} if len(results) > 1 else {}) | traces


def _is_series(results: Sequence[Result]) -> bool:
    return len(results) > 1 and "checkpoint" in results[0].settings


def _bound_figures(found: Certificates) -> Figures:
    stopping = {"stopping.png": lambda: plots.plot_stopping(found)} if found.curve else {}
    return {"certificates.png": lambda: plots.plot_certificates(found)} | stopping


def _comparison_figures(found: Comparison) -> Figures:
    some = {"comparison.png": lambda: plots.plot_comparison(found)} if any(m.known for m in found.measures) else {}
    known = any(math.isfinite(row.value) for row in found.correlations)
    return some | ({"correlations.png": lambda: plots.plot_correlations(found)} if known else {})


def _response_figures(found: Response) -> Figures:
    several = len(found.rows) > 2 and len(found.columns) > 1
    drawn: dict[str, Callable[[], Any]] = {"response.png": lambda: plots.plot_response(found)}
    return drawn | ({"response_components.png": lambda: plots.plot_components(found)} if several else {})


class Own(NamedTuple):
    """The posterior that a calibration is around."""

    localization: float
    nbeta: float


KINDS: dict[str, Kind] = {
    "estimate": Kind(_results_table, _results_figures, answer=tables.answer),
    "criteria": Kind(tables.criteria_table),
    "free energy": Kind(
        tables.free_energy_table,
        lambda f: {"free_energy.png": lambda: plots.plot_free_energy(f.nbeta, f.log_evidence, f.fit)},
        load=store.load_free_energy,
    ),
    "response": Kind(tables.response_table, _response_figures, load=store.load_response),
    "validation": Kind(tables.validation_table, lambda rows: {"validation.png": lambda: plots.plot_validation(rows)}),
    "bound": Kind(tables.bound_report_table, _bound_figures, ROWS, lambda t: Certificates(**t)),
    "comparison": Kind(tables.comparison_table, _comparison_figures, COMPARISON_ROWS, lambda t: Comparison(**t)),
    "calibration": Kind(
        tables.calibration_table,
        lambda found: {"calibration.png": lambda: plots.plot_calibration(found)},
        {"points": Point, "own": Own},
        lambda t: Calibration(t["points"], *t["own"][0]),
        lambda found: {"points": found.points, "own": [Own(found.localization, found.nbeta)]},
    ),
    "volume": Kind(
        tables.volume_table, rows={"volumes": VolumeRow}, unpack=lambda t: t["volumes"], pack=lambda v: {"volumes": v}
    ),
    "exact": Kind(
        tables.exact_table, rows={"exact": ExactRlct}, unpack=lambda t: t["exact"][0], pack=lambda e: {"exact": [e]}
    ),
}
"""By kind: estimates (one, a profile or a series), and what each command of `slt` finds."""
