import io
import sys

import numpy as np
import pytest
from report.test_tables import make_row
from store.test_store import make_result

from slt._types import Estimate
from slt.catalogue.superposition import polygon
from slt.report import plots


def with_nbeta(result, **settings):
    return result._replace(settings=result.settings | {"nbeta": 200.0} | settings)


def draw(figure):
    """Render it: layout and fonts fail here if anywhere; a missing glyph is a warning, hence an error."""
    buffer = io.BytesIO()
    figure.savefig(buffer)
    assert buffer.tell() > 5000
    return figure.axes


def labels(figure):
    _, names = figure.axes[0].get_legend_handles_labels()
    return names


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_warmup", [0, 5])
def test_the_trace_shows_every_chain_and_averages_the_sound_ones(num_warmup):
    result = with_nbeta(make_result(num_warmup=num_warmup))  # chain 1 diverged
    figure = plots.plot_trace(result)
    (ax,) = draw(figure)
    *chains, mean, level = ax.lines
    assert len(chains) == 4
    for line, before, after in zip(chains, result.draws.warmup_loss, result.draws.loss, strict=True):
        np.testing.assert_allclose(line.get_ydata(), 200 * np.concatenate([before, after]))
        assert line.get_xdata()[0] == -num_warmup
    np.testing.assert_allclose(mean.get_ydata()[-1], 200 * result.draws.loss[[0, 2, 3]].mean(), rtol=1e-5)
    assert set(level.get_ydata()) == {result.estimates["llc"].value}
    assert ("warm-up, never averaged" in labels(figure)) == (num_warmup > 0)
    assert "[nats]" in ax.get_ylabel()
    assert "γ = 1" in ax.get_title()


def test_a_long_trace_is_thinned_and_one_with_no_sound_chain_still_drawn():
    result = with_nbeta(make_result(num_draws=10_001, num_warmup=0))
    assert len(plots.plot_trace(result).axes[0].lines[0].get_xdata()) < 2 * plots.MAX_POINTS
    result = result._replace(draws=result.draws._replace(first_divergence=np.zeros(4, int)))
    draw(plots.plot_trace(result))


@pytest.mark.filterwarnings("error")
def test_the_profile_marks_what_did_not_converge():
    results = [make_result(localization=g, seed=i) for i, g in enumerate((100.0, 1.0, 10.0))]
    results = [r._replace(diagnostics={"harmonic": 1.0}) for r in results]
    results[0] = results[0]._replace(verdict=results[0].verdict._replace(status="not converged"))
    figure = plots.plot_profile(results)
    (ax,) = draw(figure)
    assert set(labels(figure)) == {"λ̂, 90 % interval", "not converged", "harmonic prediction", "d/2 = 1.5"}
    by_label = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(by_label["λ̂, 90 % interval"].get_xdata(), [1, 10])
    np.testing.assert_array_equal(by_label["not converged"].get_xdata(), [100])
    assert by_label["not converged"].get_markerfacecolor() == "white"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in ax.texts] == ["1.1 ± 0.01", "2.1 ± 0.01", "0.1 ± 0.01"]
    (bars,) = ax.collections
    low, high = bars.get_segments()[0][:, 1]
    np.testing.assert_allclose((low, high), results[1].estimates["llc"].interval(0.9))


@pytest.mark.filterwarnings("error")
def test_a_profile_may_hold_zero_negative_and_missing_numbers():
    results = [make_result(localization=g) for g in (0.0, 1.0, 10.0)]
    results[1] = results[1]._replace(estimates={"llc": Estimate(-3.0, 0.1)})
    results[2] = results[2]._replace(estimates={"llc": Estimate(np.nan, np.inf)})
    (ax,) = draw(plots.plot_profile(results))
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "symlog")
    with pytest.raises(ValueError, match="give at least one"):
        plots.plot_profile([])


@pytest.mark.filterwarnings("error")
def test_the_validation_figure_names_what_is_beyond_three_errors():
    rows = [make_row(), make_row("far", value=0.5)]
    refused = make_row("refused", value=np.nan, mcse=np.inf, status="not converged")
    figure = plots.plot_validation([*rows, refused, make_row("hollow", status="biased", exact=3.0, value=3.0)])
    top, bottom = draw(figure)
    assert [text.get_text() for text in bottom.texts] == ["far"]
    np.testing.assert_allclose(bottom.lines[1].get_ydata(), [rows[0].z, rows[1].z])
    assert "not converged" in labels(figure)
    assert "[standard errors]" in bottom.get_ylabel()
    assert "exact" in bottom.get_xlabel()
    assert top.get_yscale() == "log"
    draw(plots.plot_validation([]))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install matplotlib"):
        plots.plot_validation([make_row()])


@pytest.mark.filterwarnings("error")
def test_polygons_are_drawn_with_their_vectors():
    figure = plots.plot_polygons([polygon(6, 4), polygon(6, 5), polygon(6, 6)])
    axes = draw(figure)
    assert [len(ax.lines[0].get_xdata()) for ax in axes] == [5, 6, 7]  # closed
    assert "λ = 8.5" in axes[2].get_title()


@pytest.mark.filterwarnings("error")
def test_phases_are_drawn_against_the_number_of_data():
    masses = {"5-gon": [Estimate(0.7, 0.1, 15), Estimate(0.2, 0.1, 15)]}
    odds = [Estimate(-1.0, 0.2, 15), Estimate(2.0, 0.2, 15)]
    line = (np.array([100.0, 300.0]), np.array([-1.0, 1.0]))
    figure = plots.plot_phases([100, 300], masses, odds, {"all constants": line})
    top, bottom = draw(figure)
    assert top.get_legend_handles_labels()[1] == ["5-gon"]
    np.testing.assert_allclose(bottom.lines[-1].get_ydata(), line[1])
