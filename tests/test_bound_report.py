import io
import math

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from slt import certify, plotting, store, tables
from slt.cli import cli
from slt.config import read_bound_config
from slt.pac_bayes.report import ROWS, BoundReport, Certified, FamilyRow, Measured, Stopped


def make_report(measures=True):
    nan = float("nan")
    curve = [Stopped(0, 0.7, 0.5, 0.51, 0.0, 0.55), Stopped(40, 0.6, 0.3, 0.31, 21.2, 0.407)]
    net = Measured("2 hidden units", 136, 0.26, 0.08, 261.0, 0.48, 88.0, 9.95, 0.6, 446.4, 4.4, "converged")
    return BoundReport(
        certificates=[
            Certified("Gaussian", 0.36, 0.95, "kl", 0.15, 0.12, 140.7, 1437, 12.5, "grid"),
            Certified("trained network", 1.0, 0.95, "test set", 0.05, 0.06, nan, 360, 1.0, "held out"),
        ],
        curve=[*curve, Stopped(80, 0.5, 0.2, 0.2, nan, nan)],
        families=[FamilyRow("kl", "kl", 0.36, 0.365), FamilyRow("Catoni, grid", "Catoni, grid", 0.37, 0.375)],
        measures=[net] if measures else [],
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
    for part in ("95%", "0.3600", "140.7", "0.3650", "0.4070", "from step 80 on", "9.95 ± 0.60", "446.4 ± 4.4"):
        assert part in text


def test_the_figures_show_what_was_certified():
    report = make_report()
    (ax,) = plotting.plot_certificates(report).axes
    assert [bar.get_width() for bar in ax.patches] == [0.36, 1.0]
    upper, lower = plotting.plot_stopping(report).axes
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), [0.0, 21.2, np.nan])
    np.testing.assert_array_equal(upper.lines[2].get_ydata(), [0.55, 0.407, np.nan])
    (ax,) = plotting.plot_measures(report).axes
    assert ax.lines[1].get_ydata()[0] == pytest.approx(88 * math.log(2))


def test_the_command_stores_shows_and_reopens(tmp_path, monkeypatch):
    monkeypatch.setattr(certify, "run_bounds", lambda config, say: make_report())
    out, figures = tmp_path / "b.zarr", tmp_path / "figures"
    done = CliRunner().invoke(cli, ["bound", "data/bound.toml", "--output", str(out), "--figures", str(figures)])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in figures.iterdir()) == ["certificates.png", "measures.png", "stopping.png"]
    again = CliRunner().invoke(cli, ["report", str(out)])
    assert again.exit_code == 0
    assert again.output.strip() in done.output


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("delta = 0.05", "delta = 1.5", "certificate.delta"),
        ("delta = 0.05", "detla = 0.05", "did you mean `delta`"),
        ("num_test = 360", "num_test = 1", "data.num_test"),
        ("[data]", "[dta]", "did you mean `data`"),
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
        read_bound_config(path)


def test_the_shipped_configuration_is_read():
    config, text = read_bound_config("data/bound.toml")
    assert config.data.file.is_file()
    assert config.certificate.delta == 0.05
    assert "[certificate]" in text
