"""`slt series` and `slt calibrate`: what they read, print and draw; the estimates stand in for themselves elsewhere."""

import numpy as np
import pytest
from app.test_cli import DATA, run
from store.test_store import make_result

from slt._types import Estimate
from slt.app import experiment
from slt.app.config import read_series
from slt.estimate.calibration import Calibration, Point
from slt.estimate.series import Series
from slt.targets.networks import load_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints of the shipped network, whose steps are in their names."""
    params, metadata = load_checkpoint(DATA / "digits_mlp.safetensors")
    metadata |= {"data": str(DATA / "digits.npz")}
    path = tmp_path / "steps"
    path.mkdir()
    for step in (100, 20, 3):
        save_checkpoint(path / f"step_{step}.safetensors", params, metadata)
    return path


@pytest.fixture
def fake(monkeypatch):
    def run_series(configs, folder, *, measures, progress):
        asked.append(measures)
        results = [make_result(localization=10.0) for _ in configs]
        extra = [{"checkpoint": step, "nbeta": 198.0} for step in configs]
        results = [r._replace(settings=r.settings | more) for r, more in zip(results, extra, strict=True)]
        return Series(results, 1)

    asked = []
    monkeypatch.setattr(experiment, "run_series", run_series)
    return asked


def test_a_folder_of_checkpoints_is_a_series_in_the_order_of_their_steps(folder):
    configs, _, text = read_series(folder)
    assert list(configs) == [3, 20, 100]
    assert "[series]" in text
    assert configs[3].model.checkpoint == folder / "step_3.safetensors"


def test_a_configuration_names_the_checkpoints_and_what_is_estimated(folder):
    path = folder.parent / "run.toml"
    path.write_text('[series]\ncheckpoints = "steps/step_?0*.safetensors"\n[posterior]\nlocalization = 10.0\n')
    configs, _, _ = read_series(path)
    assert list(configs) == [20, 100]
    assert configs[20].posterior.localization == (10.0,)


def test_series_prints_stores_and_draws(capsys, folder, fake, tmp_path):
    output = tmp_path / "out.nc"
    code, out, _ = run(capsys, "series", folder, "--output", output, "--figures", tmp_path / "figures")
    assert code == 0
    assert "along the series" in out
    assert f"Stored in {output}; 1 of 3 points were done before." in out
    assert (tmp_path / "figures" / "series.png").exists()
    assert "along the series" in run(capsys, "report", output)[1]


def test_measures_of_the_configuration_and_of_the_command_line_are_joined(capsys, folder, fake, tmp_path):
    path = folder.parent / "run.toml"
    path.write_text('[series]\ncheckpoints = "steps/*"\nmeasures = ["volume"]\n')
    output = tmp_path / "out.nc"
    given = ("--measure", "singular_fluctuation", "--measure", "volume")
    assert run(capsys, "series", path, *given, "--output", output)[0] == 0
    assert run(capsys, "series", path, "--output", output, "--overwrite")[0] == 0
    assert run(capsys, "series", folder, "--output", tmp_path / "b.nc")[0] == 0
    assert fake == [["volume", "singular_fluctuation"], ["volume"], []]


@pytest.mark.parametrize("how", ["option", "file"])
def test_an_unknown_measure_is_one_paragraph_that_names_the_known(capsys, folder, tmp_path, how):
    path = folder.parent / "run.toml"
    path.write_text('[series]\ncheckpoints = "steps/*"\n' + 'measures = ["nu"]\n' * (how == "file"))
    given = ["--measure", "nu"] * (how == "option")
    code, _, err = run(capsys, "series", path, *given, "--output", tmp_path / "out.nc")
    assert code == 2
    assert "no measure 'nu'; known by name are singular_fluctuation and volume" in " ".join(err.split())
    assert not (tmp_path / "out.nc").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[series]\ncheckpoint = "*"\n', "did you mean `checkpoints`"),
        ('[series]\ncheckpoints = "*.nothing"\n', "no checkpoint matches '*.nothing'"),
        ('[series]\ncheckpoints = "steps/*"\n[posterior]\nlocalisation = 1.0\n', "did you mean `localization`"),
    ],
)
def test_a_wrong_series_is_one_paragraph(capsys, folder, text, message):
    path = folder.parent / "run.toml"
    path.write_text(text)
    code, _, err = run(capsys, "series", path)
    assert code == 2
    assert message in " ".join(err.split())


def test_two_checkpoints_of_one_step_are_refused(folder):
    params, metadata = load_checkpoint(folder / "step_3.safetensors")
    save_checkpoint(folder / "again.safetensors", params, metadata | {"step": 3})
    with pytest.raises(ValueError, match="both have the step 3"):
        read_series(folder)


def test_calibrate_prints_and_draws(capsys, tmp_path, monkeypatch):
    points = [Point(f, 0.1 * f, 1.0, 198.0, Estimate(5.0, 0.1), 1.0, 0.0, True, "") for f in (0.5, 1.0)]
    points.append(Point(2.0, 0.2, 1.0, 198.0, Estimate(np.nan, np.inf, 1.0), np.nan, np.nan, False, "diverged"))
    monkeypatch.setattr(experiment, "calibrate_config", lambda config: Calibration(points, 1.0, 198.0))
    code, out, _ = run(
        capsys, "calibrate", DATA / "digits_mlp.safetensors", "--figures", tmp_path, "--output", tmp_path / "c.nc"
    )
    assert code == 0
    assert "2: diverged" in out
    assert (tmp_path / "calibration.png").exists()
