import io
import math

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from slt import store
from slt.app.cli import cli
from slt.estimate.comparison import run
from slt.estimate.comparison.rows import COMPARISON_ROWS, Compared, Comparison, Correlated, Measure
from slt.report import plots, tables, views
from slt.report.page import page

NAN = math.nan
SINGULAR = "H is singular: 2 of 2 directions are flat."


def make_comparison(num=2, correlations=True):
    heads = [Compared(f"net {i}", 17, 400 * (i % 2), 66.7, 1.5, 1.5, 0.015, 12.34) for i in range(num)]
    rows = []
    for i in range(num):
        name = f"net {i}"
        rows += [
            Measure(name, "λ̂", "dimension", 3.25 + i, 0.12, "converged", 8.0),
            Measure(name, "ν", "dimension", NAN, NAN, "biased", 9.0, "Refused as biased (it read 9 ± 1). [bracketed]"),
            Measure(name, "d / 2", "dimension", 8.5, 0.0, "exact", 0.5),
            Measure(name, "−log V, as it is", "nats", NAN, NAN, "not available", 0.7, SINGULAR),
            Measure(name, "−log V, splitting", "nats", 4.5, 0.25, "converged", 0.7),
            Measure(name, "test loss", "loss", 0.4, 0.02, "exact", 0.1),
        ]
    rho = [
        Correlated("λ̂", "test loss", 0.8, 0.5, 0.9, num, "positive"),
        Correlated("d / 2", "test loss", NAN, NAN, NAN, num, "the measure is the same in every group"),
    ]
    return Comparison(heads, rows, rho if correlations else [])


def printed(found):
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(tables.comparison_table(found))
    return console.file.getvalue()


def test_the_table_shows_numbers_refusals_and_reasons_at_100_columns():
    text = printed(make_comparison(5))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("Measures") == 3  # two minima beside each other, and one
    for part in ("3.25 ± 0.12", "7.25 ± 0.12", "refused [1]", "– [2]", "8.5", "12.3", "0.80"):
        assert part in text
    assert "[1] Refused as biased (it read 9 ± 1). [bracketed]" in text
    assert f"[2] {SINGULAR}" in text
    lines = [line for line in text.splitlines() if "ν" in line]
    assert not any("9 ± 1" in line for line in lines if "refused" in line)  # the refused number is in no cell


def test_the_figure_draws_every_usable_number_with_its_90_per_cent_interval_and_no_other():
    figure = plots.plot_comparison(make_comparison(correlations=False))
    dimension, nats, loss = figure.axes
    first, second = dimension.containers
    np.testing.assert_allclose(first.lines[0].get_xdata().astype(float), [3.25, 8.5])
    np.testing.assert_allclose(second.lines[0].get_xdata().astype(float), [4.25, 8.5])
    (segments,) = (bars.get_segments() for bars in first.lines[2])
    assert np.ptp(segments[0][:, 0]) == pytest.approx(2 * 1.6449 * 0.12, rel=1e-3)
    assert [tick.get_text() for tick in dimension.get_yticklabels()] == ["d / 2", "λ̂"]
    assert [tick.get_text() for tick in nats.get_yticklabels()] == ["−log V, splitting"]
    assert loss.get_xlabel() == "nats/datum"


def test_the_figure_of_correlations_leaves_out_what_is_unknown():
    (ax,) = plots.plot_correlations(make_comparison()).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["λ̂"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.5, 0.9])
    assert ax.lines[1].get_xdata()[0] == 0.8
    with pytest.raises(ValueError, match="no correlation"):
        plots.plot_correlations(make_comparison(correlations=False))
    empty = make_comparison()._replace(measures=[])
    with pytest.raises(ValueError, match="no number"):
        plots.plot_comparison(empty)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("correlations", [True, False])
def test_a_comparison_comes_back_as_it_was_stored(tmp_path, suffix, correlations):
    found, path = make_comparison(correlations=correlations), tmp_path / f"c{suffix}"
    store.save_tables(found._asdict(), path, kind="comparison", config="[model]")
    again = Comparison(**store.load_tables(path, COMPARISON_ROWS, kind="comparison"))
    assert repr(again) == repr(found)  # NaN included
    section = views.stored(path)
    assert section.provenance["config"] == "[model]"
    assert sorted(section.figures) == ["comparison.png", *(["correlations.png"] if correlations else [])]
    text = page("comparison", [section])
    assert "refused [1]" in text
    assert "data:image/png" in text


def test_the_command_compares_stores_and_is_reopened(tmp_path, monkeypatch):
    asked = {}

    def fake(subjects, *, measures, seed, say):
        asked.update(subjects=list(subjects), measures=measures, seed=seed, target=subjects["x2y2"].target)
        return make_comparison()

    monkeypatch.setattr(run, "compare", fake)
    out, figures = tmp_path / "c.zarr", tmp_path / "figures"
    sources = ["x2y2", "data/digits.toml"]
    args = ["compare", *sources, "--measures", "llc, losses", "--seed", "3", "--output", out, "--figures", figures]
    done = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output
    assert asked["subjects"] == ["x2y2", "digits"]
    assert (asked["measures"], asked["seed"]) == (["llc", "losses"], 3)
    assert asked["target"].nbeta == 1e4
    assert sorted(path.name for path in figures.iterdir()) == ["comparison.png", "correlations.png"]
    assert "builtin" in store.provenance(out)["config"]
    assert "checkpoint" in store.provenance(out)["config"]
    html = tmp_path / "page.html"
    again = CliRunner().invoke(cli, ["report", str(out), "--html", str(html)])
    assert again.exit_code == 0, again.output
    assert "λ̂" in html.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sources", "match"),
    [(["x2y3z"], "there is no 'x2y3z'"), (["x2y2", "x2y2"], "given twice"), (["nothing.toml"], "no file")],
)
def test_a_wrong_source_is_explained(sources, match, tmp_path):
    done = CliRunner().invoke(cli, ["compare", *sources, "--output", str(tmp_path / "c.zarr")])
    assert done.exit_code != 0
    assert match in str(done.exception)


def test_a_configuration_gives_all_that_is_known_of_its_network(tmp_path):
    from slt.app.experiment import subjects_of

    (subject,) = subjects_of(["data/digits.toml"])[0].values()
    assert subject.target.localization == 1.0  # its first
    assert subject.target.num_data == 1437
    assert len(subject.test_data["targets"]) == 360
    assert subject.network is not None
    errors = np.asarray(subject.errors(subject.target.minimum, subject.test_data))
    assert 0 < errors.mean() < 0.1
