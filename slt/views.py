"""What a reader sees of each kind of result: its tables, and its figures by file name, drawn when asked for."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slt import plotting, store, tables
from slt.draws import COMPARISON_ROWS, Comparison, Result, ValidationRow
from slt.estimators.free_energy import FreeEnergy
from slt.pac_bayes.report import ROWS, BoundReport
from slt.page import Section


def of_results(results: Sequence[Result], title: str = "", provenance: dict[str, Any] | None = None) -> Section:
    """One estimate, a profile, or a series of checkpoints."""
    along, several = "checkpoint" in results[0].settings, len(results) > 1
    profile = tables.series_table if along else tables.profile_table
    content = profile(results) if several else tables.result_table(results[0])
    if along and several:
        return Section(title, content, {"series.png": lambda: plotting.plot_series(results)}, provenance or {})
    figures: dict[str, Callable[[], Any]] = {
        f"trace_{i}.png": lambda r=r: plotting.plot_trace(r) for i, r in enumerate(results)
    }
    if several:
        figures["profile.png"] = lambda: plotting.plot_profile(results)
    return Section(title, content, figures, provenance or {})


def of_criteria(result: Result, title: str = "", provenance: dict[str, Any] | None = None) -> Section:
    """What `slt criteria` estimates; raises as `tables.criteria_table`."""
    return Section(title, tables.criteria_table(result), {}, provenance or {})


def of_free_energy(found: FreeEnergy, title: str = "", provenance: dict[str, Any] | None = None) -> Section:
    """What `slt free-energy` estimates."""
    figures = {"free_energy.png": lambda: plotting.plot_free_energy(found.nbeta, found.log_evidence, found.fit)}
    return Section(title, tables.free_energy_table(found), figures, provenance or {})


def of_bounds(report: BoundReport, title: str = "", provenance: dict[str, Any] | None = None) -> Section:
    """Certificates, the stopping curve and the measures of `slt bound`."""
    figures: dict[str, Callable[[], Any]] = {
        "certificates.png": lambda: plotting.plot_certificates(report),
        "stopping.png": lambda: plotting.plot_stopping(report),
    }
    if report.measures:
        figures["measures.png"] = lambda: plotting.plot_measures(report)
    return Section(title, tables.bound_report_table(report), figures, provenance or {})


def of_comparison(found: Comparison, title: str = "", provenance: dict[str, Any] | None = None) -> Section:
    """Every measure of every minimum of `slt compare`."""
    figures: dict[str, Callable[[], Any]] = {}
    if any(row.known for row in found.measures):
        figures["comparison.png"] = lambda: plotting.plot_comparison(found)
    if any(math.isfinite(row.value) for row in found.correlations):
        figures["correlations.png"] = lambda: plotting.plot_correlations(found)
    return Section(title, tables.comparison_table(found), figures, provenance or {})


def of_rows(rows: Sequence[ValidationRow], title: str = "") -> Section:
    """The rows of `slt validate`."""
    return Section(title, tables.validation_table(rows), {"validation.png": lambda: plotting.plot_validation(rows)})


def stored(path: str | os.PathLike) -> Section:
    """Of a file that any command of `slt` wrote, with its provenance.

    Raises:
        FileNotFoundError, ValueError: as `store.load`.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return of_rows(store.load_rows(path), path.name)
    if store.stored_kind(path) == "free energy":
        return of_free_energy(store.load_free_energy(path), path.name, store.provenance(path))
    if store.stored_kind(path) == "bound":
        report = BoundReport(**store.load_tables(path, ROWS, kind="bound"))
        return of_bounds(report, path.name, store.provenance(path))
    if store.stored_kind(path) == "comparison":
        found = Comparison(**store.load_tables(path, COMPARISON_ROWS, kind="comparison"))
        return of_comparison(found, path.name, store.provenance(path))
    results = store.load(path)
    if "waic" in results[0].estimates:
        return of_criteria(results[0], path.name, store.provenance(path))
    return of_results(results, path.name, store.provenance(path))
