"""Tables of certificates: every posterior, every family, the stopping times, and measures of the same minimum."""

import math

from rich.console import Group, RenderableType
from rich.text import Text

from slt.estimate.comparison.certified import Certificates, Certified
from slt.estimate.comparison.rows import Comparison
from slt.report.tables.base import Column, fixed, table
from slt.report.tables.comparison import comparison_table


def bound_report_table(report: Certificates) -> RenderableType:
    """Everything of `slt bound`, one table under the other."""
    parts = [_certificates(report)]
    parts += [_families(report)] if report.families else []
    parts += [_curve(report)] if report.curve else []
    if report.measures:
        parts.append(comparison_table(Comparison(report.subjects, report.measures, [])))
    return Group(*parts)


def _certificates(report: Certificates) -> RenderableType:
    confidence = report.certificates[0].confidence
    columns = [
        Column("posterior", "posterior", "whole"),
        Column("bound", _bound),
        Column("test error", lambda r: fixed(r.test_error, 4)),
        Column("error used", lambda r: fixed(r.train_error, 4)),
        Column("KL [nats]", "kl"),
        Column("n", "num_data"),
        Column("s", lambda r: fixed(r.seconds, 0)),
    ]
    title = f"Upper bounds on the true error, each with probability {confidence:.0%}"
    lines = (Text(f"• {row.posterior}: {_how(row)}") for row in report.certificates)
    return Group(table(title, columns, report.certificates), *lines)


def _bound(row: Certified) -> Text:
    style = "bold red" if row.bound >= 1 else "yellow" if row.bound >= 0.5 else "green"
    return Text(fixed(row.bound, 4), style=style)


def _how(row: Certified) -> str:
    return f"{row.family}; {row.note}." if math.isfinite(row.bound) else f"no certificate. {row.note}"


def _families(report: Certificates) -> RenderableType:
    rows = sorted(report.families, key=lambda row: row.paid)
    columns = [
        Column("family", "family", "whole"),
        Column("chosen beforehand", lambda r: fixed(r.alone, 4)),
        Column("paid for", lambda r: Text(fixed(r.paid, 4), style="bold" if r.paid == rows[0].paid else "")),
    ]
    events = len({row.event for row in rows})
    text = f"Paid for: delta split over the {events} events behind them; the least is a certificate."
    return Group(table("All bounds on the Gaussian posterior", columns, rows), Text(text))


def _curve(report: Certificates) -> RenderableType:
    best = min((stop.bound for stop in report.curve if math.isfinite(stop.bound)), default=math.nan)
    columns = [
        Column("steps", "steps", "whole"),
        Column("loss", lambda s: fixed(s.loss, 3)),
        Column("train error", lambda s: fixed(s.train_error, 3)),
        Column("test error", lambda s: fixed(s.test_error, 3)),
        Column("log dQ/dP [nats]", "log_ratio"),
        Column("bound", lambda s: Text(fixed(s.bound, 4), style="bold" if s.bound == best else "")),
    ]
    shown = table("Pushforward of the initialisation, stopped", columns, report.curve)
    broken = [stop.steps for stop in report.curve if not math.isfinite(stop.bound)]
    if not broken:
        return shown
    return Group(shown, Text(f"No bound from step {broken[0]} on: a step before it was not one to one, or diverged."))
