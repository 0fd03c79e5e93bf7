"""A model of one's own on the command line: package.module:function, a Target or (model, loss, data)."""

import numpy as np
import pytest
from app.test_cli import run

from slt import store
from slt.app.config import parse_config
from slt.app.problem import problem
from slt.report import views

MODULE = """
import numpy as np
import slt

x = np.linspace(-1, 1, 40, dtype=np.float32)
y = 0.5 * x + 0.1 * np.cos(7 * x).astype(np.float32)
w = np.array([(x @ y) / (x @ x)], np.float32)


def loss(w, rows):
    return 0.5 * (rows[1] - w[0] * rows[0]) ** 2


def line():
    return slt.loss_target(loss, w, (x, y), localization=1.0)


def triple():
    return (lambda p, v: v @ p["w"], {"w": w[:, None]}), "squared_error", (x[:, None], y[:, None])


def number():
    return 3.0
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_line.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_line"


def test_a_function_is_estimated_stored_and_shown_again(capsys, module, tmp_path):
    code, _, err = run(capsys, "estimate", f"{module}:line", "--quiet", "--output", tmp_path / "own.zarr")
    assert code == 0, err
    (found,) = store.load(tmp_path / "own.zarr")
    x = np.linspace(-1, 1, 40)
    curvature = np.mean(x**2)
    nbeta = 40 / np.log(40)
    exact = 0.5 * nbeta * curvature / (nbeta * curvature + 1)  # of a Gaussian posterior
    estimate = found.estimates["llc"]
    assert estimate.value == pytest.approx(exact, abs=5 * estimate.mcse)
    assert estimate.mcse < 0.02
    assert views.stored(tmp_path / "own.zarr").figures.keys() == {"trace_0.png"}


@pytest.mark.parametrize("name", ["line", "triple"])
def test_gamma_of_the_configuration_is_that_of_the_target(module, name):
    config = parse_config(f'[model]\nfunction = "{module}:{name}"\n[posterior]\nlocalization = [3.0, 7.0]\n')
    asked = problem(config)
    assert asked.first == 3.0
    assert [asked.build(gamma).localization for gamma in asked.localization] == [3.0, 7.0]
    assert asked.build(7.0).num_data == 40


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("own_line:nothing", "has no function 'nothing'"),
        ("nowhere:line", "no module 'nowhere'"),
        ("own_line:number", "returned a float"),
        ("own line:number", "no file"),
    ],
)
def test_what_is_no_model_is_explained(capsys, module, source, match):
    code, _, err = run(capsys, "estimate", source, "--quiet")
    assert code == 2
    assert match in err


def test_volume_and_exact_are_stored_and_reported(capsys, module, tmp_path):
    for command in (["volume", f"{module}:line"], ["exact", "x**2*y**4"]):
        path = tmp_path / f"{command[0]}.nc"
        code, shown, err = run(capsys, *command, "--output", path)
        assert code == 0, err
        code, again, _ = run(capsys, "report", path)
        assert code == 0
        assert again.strip() in shown


def test_help_of_every_command_is_whole_and_ends_with_an_example(capsys):
    _, listing, _ = run(capsys, "--help")
    assert "..." not in listing.partition("Commands:")[2]
    names = [line.split()[0] for line in listing.partition("Commands:")[2].splitlines() if line.strip()]
    for name in names:
        _, text, _ = run(capsys, name, "--help")
        assert f"slt {name}" in text.partition("Example:")[2]
