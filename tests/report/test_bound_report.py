import io
import math

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from slt import store
from slt.app import experiment
from slt.app.cli import cli
from slt.app.config import read_config
from slt.app.problem import problem, source_hash
from slt.estimate.comparison.certified import ROWS, Certificates, Certified, Stopped
from slt.estimate.comparison.rows import Compared, Measure
from slt.pac_bayes.certificate import Row
from slt.report import plots, tables


def make_report(measures=True):
    nan = float("nan")
    curve = [Stopped(0, 0.7, 0.5, 0.51, 0.0, 0.55), Stopped(40, 0.6, 0.3, 0.31, 21.2, 0.407)]
    head = Compared("w*", 136, 1437, 197.6, 1.0, 2.0, 0.005, 3.0)
    row = Measure("w*", "λ̂", "dimension", 9.95, 0.6, "converged", 2.0)
    return Certificates(
        certificates=[
            Certified("Gaussian", 0.36, 0.95, "kl", 0.15, 0.12, 140.7, 1437, 12.5, "grid"),
            Certified("w* itself", 1.0, 0.95, "test set", 0.05, 0.06, nan, 360, 1.0, "held out"),
            Certified("refused", nan, 0.95, "none", nan, nan, nan, 0, 1.0, "It diverged."),
        ],
        curve=[*curve, Stopped(80, 0.5, 0.2, 0.2, nan, nan)],
        families=[Row("kl", "kl", 0.36, 0.365), Row("Catoni, grid", "Catoni, grid", 0.37, 0.375)],
        subjects=[head] if measures else [],
        measures=[row] if measures else [],
    )


def same(a, b):
    return all(
        type(x) is type(y) and (x == y or (isinstance(x, float) and math.isnan(x) and math.isnan(y)))
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("measures", [True, False])
def test_a_report_comes_back_as_it_was_stored(tmp_path, suffix, measures):
    report, path = make_report(measures), tmp_path / f"bound{suffix}"
    store.save_tables(report._asdict(), path, kind="bound", config="[data]")
    assert store.stored_kind(path) == "bound"
    found = store.load_tables(path, ROWS, kind="bound")
    for name, rows in report._asdict().items():
        assert len(found[name]) == len(rows)
        assert all(same(a, b) and type(a) is type(b) for a, b in zip(found[name], rows, strict=True))
    with pytest.raises(FileExistsError):
        store.save_tables(report._asdict(), path, kind="bound")
    with pytest.raises(ValueError, match="no tables of `rashomon`"):
        store.load_tables(path, ROWS, kind="rashomon")
    with pytest.raises(ValueError, match="no stored result"):
        store.load(path)


def test_the_tables_read_well_at_100_columns():
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(tables.bound_report_table(make_report()))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "95%",
        "0.3600",
        "140.7",
        "0.3650",
        "0.4070",
        "from step 80 on",
        "9.95 ± 0.60",
        "refused: no certificate. It diverged.",
    ):
        assert part in text


def test_the_figures_show_what_was_certified():
    report = make_report()
    (ax,) = plots.plot_certificates(report).axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.36, 1.0, math.nan], nan_ok=True)
    upper, lower = plots.plot_stopping(report).axes
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), [0.0, 21.2, np.nan])
    np.testing.assert_array_equal(upper.lines[2].get_ydata(), [0.55, 0.407, np.nan])


def test_the_command_stores_shows_and_reopens(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_bounds", lambda config, measures, say: make_report(measures == ["llc"]))
    out, figures = tmp_path / "b.zarr", tmp_path / "figures"
    done = CliRunner().invoke(
        cli, ["bound", "data/bound.toml", "--measures", "llc", "--output", str(out), "--figures", str(figures)]
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in figures.iterdir()) == ["certificates.png", "stopping.png"]
    again = CliRunner().invoke(cli, ["report", str(out)])
    assert again.exit_code == 0
    assert again.output.strip() in done.output


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("delta = 0.05", "delta = 1.5", "certificate.delta"),
        ("delta = 0.05", "detla = 0.05", "did you mean `delta`"),
        ("num_test = 360", "num_test = -1", "data.num_test"),
        ("[data]", "[dta]", "did you mean `data`"),
        ("hidden = [4]", "hidden = [0]", "model.hidden"),
        ("hidden = [4]", 'initial = "a.safetensors"', "give exactly one of"),
        ("positive = [5, 6, 7, 8, 9]", "label_noise = 0.5", "for two classes"),
        ("digits.npz", "nothing.npz", "there is no file"),
    ],
)
def test_a_wrong_configuration_is_explained(tmp_path, old, new, match):
    with open("data/bound.toml", encoding="utf-8") as file:
        text = file.read()
    assert old in text
    path = tmp_path / "bound.toml"
    path.write_text(text.replace(old, new))
    (tmp_path / "digits.npz").touch()
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        read_config(path)


def test_the_shipped_configuration_is_read():
    config, text = read_config("data/bound.toml")
    assert config.data.file.is_file()
    assert config.certificate.delta == 0.05
    assert "[certificate]" in text


def test_the_network_of_a_configuration_is_trained_on_its_two_classes(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    np.savez(tmp_path / "d.npz", inputs=rng.normal(size=(120, 2)) + np.eye(3)[labels][:, :2] * 4, targets=labels)
    text = (
        '[model]\nhidden = [3]\n[data]\nfile = "d.npz"\nnum_test = 20\npositive = [0]\n[certificate]\ntrain_steps = 200'
    )
    (tmp_path / "net.toml").write_text(text)
    config, _ = read_config(tmp_path / "net.toml")
    asked = problem(config)
    subject = asked.subject(1.0)
    assert subject.target.num_params == 2 * 3 + 3 + 3 * 2 + 2
    assert subject.target.num_data == 100
    assert set(np.asarray(subject.test_data["targets"])) == {0, 1}
    assert asked.facts["train_accuracy"] > 0.9
    assert subject.target.gradient_norm < 1e-3
    assert subject.initial is not None
    other = config.model_copy(update={"run": config.run.model_copy(update={"seed": 1})})
    assert source_hash(other) != source_hash(config)
