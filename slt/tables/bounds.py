"""Tables of certificates: every posterior, every family, the stopping times, and three measures of each network."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from slt._types import Estimate
from slt.pac_bayes.report import BoundReport
from slt.tables.base import add_row, fixed, new_table, number, plus_minus, verdict


def bound_report_table(report: BoundReport) -> RenderableType:
    """Everything of `slt bound`, one table under the other."""
    parts = [_certificates(report), _families(report), _curve(report)]
    return Group(*parts, *([_measures(report)] if report.measures else []))


def _certificates(report: BoundReport) -> RenderableType:
    confidence = report.certificates[0].confidence
    table = _columns(
        f"Upper bounds on the true error, each with probability {confidence:.0%}",
        "posterior", "bound", "test error", "error used", "KL [nats]", "n", "s",
    )  # fmt: skip
    for row in report.certificates:
        style = "bold red" if row.bound >= 1 else "yellow" if row.bound >= 0.5 else "green"
        add_row(
            table, row.posterior, Text(fixed(row.bound, 4), style=style), fixed(row.test_error, 4),
            fixed(row.train_error, 4), number(row.kl), str(row.num_data), fixed(row.seconds, 0),
        )  # fmt: skip
    return Group(table, *(Text(f"• {row.posterior}: {row.family}; {row.note}.") for row in report.certificates))


def _families(report: BoundReport) -> RenderableType:
    table = _columns("All bounds on the Gaussian posterior", "family", "chosen beforehand", "paid for")
    best = min(row.paid for row in report.families)
    for row in sorted(report.families, key=lambda row: row.paid):
        add_row(table, row.family, fixed(row.alone, 4), Text(fixed(row.paid, 4), style="bold" * (row.paid == best)))
    events = len({row.event for row in report.families})
    return Group(
        table, Text(f"Paid for: delta split over the {events} events behind them; the least is a certificate.")
    )


def _curve(report: BoundReport) -> RenderableType:
    table = _columns(
        "Pushforward of the initialisation, stopped", "steps", "loss", "train error", "test error", "log dQ/dP [nats]",
        "bound",
    )  # fmt: skip
    best = min((stop.bound for stop in report.curve if math.isfinite(stop.bound)), default=math.nan)
    for stop in report.curve:
        bound = Text(fixed(stop.bound, 4), style="bold" * (stop.bound == best))
        cells = [str(stop.steps), fixed(stop.loss, 3), fixed(stop.train_error, 3), fixed(stop.test_error, 3)]
        add_row(table, *cells, number(stop.log_ratio), bound)
    broken = [stop.steps for stop in report.curve if not math.isfinite(stop.bound)]
    if not broken:
        return table
    return Group(table, Text(f"No bound from step {broken[0]} on: a step before it was not one to one, or diverged."))


def _measures(report: BoundReport) -> RenderableType:
    table = _columns(
        "Three measures, one minimum", "network", "d", "loss", "test error", "KL", "bound", "bits", "λ̂ ± error",
        "free energy",
    )  # fmt: skip
    table.add_column("λ̂ is", no_wrap=True)
    for row in report.measures:
        llc, energy = Estimate(row.llc, row.llc_error), Estimate(row.free_energy, row.free_energy_error)
        add_row(
            table, row.network, str(row.num_params), fixed(row.train_loss, 3), fixed(row.test_error, 3),
            fixed(row.kl, 0), fixed(row.bound, 3), fixed(row.volume_bits, 0), plus_minus(llc), plus_minus(energy),
            verdict(row.verdict),
        )  # fmt: skip
    return Group(
        table,
        Text(
            "KL [nats] and bound: optimised Gaussian posterior. Bits: -log2 of the prior mass of the quadratic basin "
            "of height 1/(nβ). Free energy [nats]: n L(w*) + λ̂ log n, as WBIC has it."
        ),
    )


def _columns(title: str, first: str, *rest: str) -> Table:
    table = new_table(title)
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right")
    return table
