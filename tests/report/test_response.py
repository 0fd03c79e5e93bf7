"""The table, the figures and the command of linear responses; the estimates stand in for themselves elsewhere."""

import numpy as np
import pytest
from app.test_cli import DATA, run
from report.test_tables import render
from store.test_store import make_result

import slt
from slt import store
from slt.app import experiment
from slt.app.config import parse_config
from slt.draws import Verdict
from slt.report import tables, views
from slt.report.page import page
from slt.report.plots import plot_components
from slt.stats.response import Response


def made(rows=30, columns=12, status="converged", **changes):
    rng = np.random.default_rng(0)
    value = rng.normal(size=(rows, columns)) * np.arange(1, columns + 1)
    value[3:4] = 9.0 * np.arange(1, columns + 1)
    error = np.full((rows, columns), 0.5)
    found = Response(
        "influence", [f"row {i}" for i in range(rows)], [f"loss {j}" for j in range(columns)], value, error,
        0.5 * value, error, 0.9 * value, 0.1 * error, 40.0, np.full(rows, rows**-0.5), np.full(columns, 0.93),
        Verdict(status, () if status == "converged" else ("R-hat of row 2 is 1.4: raise max_gradients.",)),
        {"share": 0.4, "rhat": 1.01, "agreement": 0.96}, {"nbeta": 100.0, "seed": 0},
    )  # fmt: skip
    return found._replace(**changes)


def test_the_table_has_the_largest_answers_and_what_may_be_said_of_all():
    text = " ".join(render(tables.response_table(made())).split())
    for expected in ("loss 0: the 5 largest of 30, Spearman between halves of the chains 0.93", "row 3 9.00 ± 0.50",
                     "4.50 ± 0.50", "8.100 ± 0.050", "4 more columns", "differ from 0", "40%"):  # fmt: skip
        assert expected in text
    refused = made(status="not converged", harmonic=np.full((30, 12), np.nan), settings={"baseline": "Too large."})
    text = " ".join(render(tables.response_table(refused)).split())
    assert "R-hat of row 2" in text
    assert "No Gaussian baseline: Too large." in text


def test_figures_are_drawn_of_any_shape():
    for found in (made(), made(4, 2), made(3, 1), made(1, 1)):
        section = views.shown("response", found)
        assert "response.png" in section.figures
        for draw in section.figures.values():
            assert draw().axes
    with pytest.raises(ValueError, match="at least 3 rows and 2 columns"):
        plot_components(made(2, 2))
    assert "<table>" in page("a", [views.shown("response", made(), "a")])


def test_a_response_is_stored_and_reported(tmp_path):
    path = store.save_response(made(), tmp_path / "a.zarr")
    assert "row 3" in render(views.stored(path).content)
    with pytest.raises(FileExistsError):
        store.save_response(made(), path)
    with pytest.raises(ValueError, match="holds no linear response"):
        store.load_response(store.save(make_result(), tmp_path / "b.nc"))


def test_the_command_prints_stores_and_draws(capsys, tmp_path, monkeypatch):
    asked = []

    def run_influence(config, *, progress):
        asked.append(config.influence)
        return made()

    monkeypatch.setattr(experiment, "run_influence", run_influence)
    path, output = tmp_path / "run.toml", tmp_path / "o.nc"
    path.write_text(
        f'[model]\ncheckpoint = "{DATA / "digits_mlp.safetensors"}"\n[influence]\nrows = 20\nobservable = "rows"\n'
        '[influence.components]\nfirst = ["layer_0/*"]\n'
    )
    code, out, _ = run(capsys, "influence", path, "--output", output, "--figures", tmp_path / "f")
    assert code == 0
    assert f"Stored in {output}." in out
    assert (tmp_path / "f" / "response.png").exists()
    assert asked[0].components == {"first": ("layer_0/*",)}
    assert asked[0].rows == 20
    assert "row 3" in run(capsys, "report", output)[1]
    assert "influence.rows" in run(capsys, "influence", "--help")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[model]\nbuiltin = "x2y2"\n', "needs a model with data"),
        ('[model]\nfunction = "report.test_response:without_test"\n[influence]\nobservable = "test"\n', "set aside"),
    ],
)
def test_what_has_no_rows_to_ask_of_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        experiment.run_influence(parse_config(text))


def without_test():
    """A target without held-out rows."""
    return slt.loss_target(lambda w, x: 0.5 * (x - w) ** 2, np.float32(0.0), np.linspace(-1, 1, 9, dtype=np.float32))
