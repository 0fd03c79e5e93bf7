import io

import numpy as np
import pytest
from rich.console import Console
from store.test_store import make_result

from slt._types import Estimate
from slt.catalogue.registry import Row
from slt.draws import Verdict
from slt.estimate.validation import ValidationRow
from slt.report import tables
from slt.report.plots import plot_series


def render(table, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def make_row(case="x2y2", value=0.41, mcse=0.004, status="converged", seed=0, exact=0.4123):
    estimate = Estimate(value, mcse, 30.0)
    return ValidationRow(case, 0.5, 2, 200.0, exact, estimate, (value - exact) / mcse, status, 2.5, seed)


@pytest.mark.parametrize(
    ("estimate", "text", "bounds"),
    [
        (Estimate(62.123, 1.234), "62.1 ± 1.2", "[60.1, 64.2]"),
        (Estimate(0.41234, 0.0012), "0.4123 ± 0.0012", "[0.4104, 0.4143]"),
        (Estimate(1234.5, 45.0), "1234 ± 45", "[1160, 1309]"),
        (Estimate(-0.5, 0.1, 3.0), "-0.50 ± 0.10", "[-0.74, -0.26]"),
        (Estimate(2.0, np.nan), "2 ± nan", "–"),
        (Estimate(np.nan, np.inf), "–", "–"),
        (Estimate(0.5, 0.0), "0.5 ± 0", "[0.5000, 0.5000]"),
    ],
)
def test_an_estimate_shows_two_digits_of_its_error(estimate, text, bounds):
    assert tables.plus_minus(estimate) == text
    assert tables.interval(estimate) == bounds


def test_numbers_and_fractions():
    assert [tables.number(x) for x in (3, 2410.0, 1e-5, 0.03217, np.nan, np.inf, "sgld", 2**60)] == [
        "3", "2410", "1e-05", "0.03217", "–", "inf", "sgld", str(2**60),
    ]  # fmt: skip
    assert [tables.fraction(x) for x in (5 / 6, 1 / 3, 2.0, 0.4123456, np.nan)] == ["5/6", "1/3", "2", "0.4123", "–"]


def test_the_result_table_says_everything_and_explains_the_verdict():
    result = make_result(status="not converged")
    result = result._replace(settings=result.settings | {"num_params": 2410})
    text = render(tables.result_table(result))
    for expected in ("λ̂", "0.100 ± 0.010", "[0.083, 0.117]", "d/2", "1205", "12,345", "4 × 20", "not converged",
                     "• R-hat is 1.2; run longer.", "a_first"):  # fmt: skip
        assert expected in text


def test_brackets_are_text_and_not_markup():
    result = make_result()
    result = result._replace(
        verdict=Verdict("biased", ("See [red]this[/red].",)),
        settings={"sampler": "[bold]x[/bold]"},
        diagnostics={"train_loss": 1.0},
    )
    text = render(tables.result_table(result))
    for expected in ("See [red]this[/red].", "[bold]x[/bold]", "[nats/datum]"):
        assert expected in text


def test_the_profile_table_has_a_row_for_each_localization():
    extra = {"harmonic": 48.1, "train_loss": 0.0322, "test_loss": 0.0791, "test_accuracy": 0.9806}
    results = [make_result(localization=g, seed=i) for i, g in enumerate((1.0, 10.0, 1000.0))]
    results = [r._replace(diagnostics=r.diagnostics | extra, verdict=Verdict("converged")) for r in results]
    results[1] = results[1]._replace(verdict=Verdict("biased", ("The step is too large; halve it.",)))
    text = render(tables.profile_table(results))
    assert [line.split()[0] for line in text.splitlines() if "±" in line] == ["γ", "1", "10", "1000"]
    for expected in ("harmonic", "48.1", "• γ = 10: The step is too large; halve it.", "d/2 = 1.5",
                     "Loss: train 0.0322 nats/datum, test 0.0791 nats/datum.", "Accuracy: test 0.9806."):  # fmt: skip
        assert expected in text
    assert "harmonic" not in render(tables.profile_table([make_result()]))
    with pytest.raises(ValueError, match="give at least one"):
        tables.profile_table([])


@pytest.mark.filterwarnings("error")
def test_the_borders_of_a_series_stand_in_its_table_and_its_figure():
    """λ̂ jumps by 400 errors between steps 50 and 60."""
    results = [make_result()._replace(estimates={"llc": Estimate(5.0 + 4 * (i > 4), 0.01)}) for i in range(10)]
    results = [r._replace(settings=r.settings | {"checkpoint": 10 * i, "nbeta": 1.0}) for i, r in enumerate(results, 1)]
    text = " ".join(render(tables.series_table(results)).split())
    assert "Stages: λ̂ stays from 10 to 50, stays from 60 to 100." in text
    assert "Borders, 90 % intervals given their number: λ̂ stays from between 50 and 60 on." in text
    (band,) = [p for p in plot_series(results).axes[0].patches if p.get_label().startswith("border")]
    assert (band.get_x(), band.get_width()) == (50, 10)


def test_the_validation_table_counts_agreement_coverage_and_confident_errors():
    rows = [
        make_row(),
        make_row("off_by_little", value=0.4123 + 0.009, mcse=0.001),  # many errors off, but below 0.01
        make_row("misleading", value=0.5, mcse=0.005),
        make_row("refused", value=np.nan, mcse=np.inf, status="not converged"),
    ]
    text = render(tables.validation_table(rows))
    for expected in ("1/2", "0.4123", "0.4100 ± 0.0040", "exact value: 2 of 4 (50 %)", "called converged: 2 of 3",
                     "converged: 1 of 3 (33 %)", "wrong value: misleading (seed 0, z = 17.5)", "10 s"):  # fmt: skip
        assert expected in " ".join(text.split())
    assert "seed" not in render(tables.validation_table(rows[:1]))
    assert "seed" in render(tables.validation_table([make_row(), make_row(seed=1)]))
    assert "0 of 0" in render(tables.validation_table([]))


def test_the_potentials_table_numbers_its_sources():
    rows = [Row("a", "w^2", 1, 0.5, 1, True, "elementary"), Row("b", "w^4", 1, 0.25, 1, False, "elementary")]
    text = render(tables.potentials_table(rows))
    assert "2 potentials." in text
    assert text.count("elementary") == 1
    assert text.count("[1]") == 3


def test_an_answer_in_words_of_one_result_and_of_a_profile():
    def point(gamma, value, status):
        settings = {"localization": gamma, "nbeta": 200.0}
        found = make_result()._replace(estimates={"llc": Estimate(value, 0.1)}, settings=settings)
        return found._replace(verdict=Verdict(status))

    points = [point(1.0, 4.0, "converged"), point(10.0, 2.0, "biased")]
    assert tables.answer(points[:1]) == "λ̂ = 4.00 ± 0.10 at γ = 1, nβ = 200: converged."
    said = "λ̂ runs from 4.00 ± 0.10 at γ = 1 to 2.00 ± 0.10 at γ = 10; 1 of 2 points converged."
    assert tables.answer(points) == said
