import numpy as np
import pytest
from rich.console import Console

from slt._types import Estimate
from slt.pac_bayes.kl import KL
from slt.plotting import plot_codimension, plot_function_prior, plot_kl_curve
from slt.tables import codimension_table, kl_table

ROW = {
    "name": "w⁴", "parameters": 1, "codimension": 0.94, "error": 0.05, "window": [1e-3, 1e-1], "status": "plateau",
    "hessian_rank": 0.0, "twice_llc": 0.5, "twice_llc_error": 0.0, "scales": [1e-3, 1e-2, 1e-1],
    "local": [0.9, 0.95, 1],
}  # fmt: skip


def text(table):
    console = Console(width=110, record=True)
    console.print(table)
    return console.export_text()


def test_the_divergence_is_drawn_against_time():
    curve = [KL(Estimate(v, 0.1, 9), "exact", "gradient descent") for v in (0.0, 1.0, 3.0)]
    figure = plot_kl_curve((0, 10, 100), curve, (2.0, 1.0, 0.5))
    top, bottom = figure.axes
    np.testing.assert_allclose(top.lines[-1].get_ydata(), [0, 1, 3])
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), [2, 1, 0.5])
    with pytest.raises(ValueError, match="2 times, 3 divergences"):
        plot_kl_curve((0, 1), curve, (1.0, 1.0, 1.0))


def test_every_minimum_has_its_panel():
    rows = [ROW, ROW | {"name": "XOR", "twice_llc": None}] * 2
    figure = plot_codimension(rows)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == ["w⁴", "XOR", "w⁴", "XOR"]
    np.testing.assert_allclose(panels[0].lines[0].get_ydata(), ROW["local"])
    assert len(panels[0].lines) == len(panels[1].lines) + 1
    with pytest.raises(ValueError, match="no rows"):
        plot_codimension([])


def test_functions_are_drawn_by_rank():
    ax = plot_function_prior({"net": [6, 3, 1]}).axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.6, 0.3, 0.1])
    with pytest.raises(ValueError, match="no laws"):
        plot_function_prior({})


def test_tables_say_what_a_number_may_be_used_for():
    shown = text(kl_table([KL(Estimate(12.3, 0.4), "lower", "leave-one-out"), KL(Estimate(14.0, 0.4), "upper", "in")]))
    assert "lower" in shown
    assert "leave-one-out" in shown
    assert "14.00 ± 0.40" in shown
    shown = text(codimension_table([ROW, ROW | {"twice_llc": None}]))
    assert "0.940 ± 0.050" in shown
    assert "0.001–0.1" in shown
    assert "–" in shown
