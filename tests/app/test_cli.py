import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from report.test_tables import make_row
from store.test_store import make_result

import slt
from slt import store
from slt.app.cli import main
from slt.estimate import validation

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def experiment(monkeypatch):
    """Stands in for slt.app.experiment and records how it is called."""
    fake = SimpleNamespace(calls=[])

    def run_config(config, *, progress, checkpoint):
        assert checkpoint.parent.is_dir()  # where a killed run is resumed from
        fake.calls.append((config, progress))
        gammas = config.posterior.localization or (1.0,)
        results = [make_result(localization=g, seed=config.run.seed + i) for i, g in enumerate(gammas)]
        return [r._replace(settings=r.settings | {"nbeta": 200.0}) for r in results]

    def validate(cases, *, suite, seeds, progress):
        fake.calls.append((cases, suite, list(seeds), progress))
        return [make_row(case, seed=seed) for case in cases or [suite] for seed in seeds]

    fake.run_config = run_config
    monkeypatch.setattr(slt.app, "experiment", fake, raising=False)
    monkeypatch.setattr(validation, "validate", validate)
    return fake


def test_sigterm_is_not_silent():
    script = (
        "import time; from slt.app import cli\n"
        "cli.cli.command('wait')(lambda: (print('ready', flush=True), time.sleep(60)))\n"
        "cli.main(['wait'])"
    )
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "ready\n"
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=30)
    assert job.returncode == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM" in said


def run(capsys, *args):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stopped:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return stopped.value.code or 0, out, err


def test_estimate_runs_the_demo_stores_it_and_draws(capsys, experiment, tmp_path):
    output = tmp_path / "digits.zarr"
    code, out, _ = run(capsys, "estimate", DATA / "digits.toml", "--output", output, "--figures", tmp_path / "figures")
    assert code == 0
    assert "λ̂(γ)" in out
    assert f"Stored in {output}" in out
    assert len(store.load(output)) == 4
    tree = store.open_datatree(output)
    assert tree.attrs["config"] == (DATA / "digits.toml").read_text()
    assert len(tree.attrs["target_hash"]) == 64
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "profile.png", "trace_0.png", "trace_1.png", "trace_2.png", "trace_3.png",
    }  # fmt: skip


def test_estimate_takes_a_checkpoint_and_puts_the_result_in_results(capsys, experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "estimate", DATA / "digits_mlp.safetensors", "--seed", 5, "--quiet")
    assert code == 0
    assert out == f"Stored in {Path('results/digits_mlp.zarr')}.\n"
    config, progress = experiment.calls[0]
    assert (config.run.seed, progress) == (5, False)
    assert "run.seed = 5" in store.open_datatree("results/digits_mlp.zarr").attrs["config"]


def test_estimate_refuses_to_overwrite_before_it_computes(capsys, experiment, tmp_path):
    args = ("estimate", DATA / "digits.toml", "--output", tmp_path / "a.nc")
    assert run(capsys, *args)[0] == 0
    code, _, err = run(capsys, *args)
    assert code == 2
    assert "exists already" in err
    assert len(experiment.calls) == 1
    assert run(capsys, *args, "--overwrite")[0] == 0


def test_report_prints_the_same_table_again(capsys, experiment, tmp_path):
    output = tmp_path / "a.nc"
    _, first, _ = run(capsys, "estimate", DATA / "digits.toml", "--output", output)
    code, again, _ = run(capsys, "report", output)
    assert code == 0
    assert again == first.replace(f"Stored in {output}.\n", "")


def test_validate_passes_its_options_on_and_its_rows_can_be_reported(capsys, experiment, tmp_path):
    rows = tmp_path / "deep" / "rows.csv"
    code, out, _ = run(capsys, "validate", "--suite", "full", "--seeds", 2, "--cases", "a, b", "--output", rows)
    assert code == 0
    assert experiment.calls == [(["a", "b"], "full", [0, 1], True)]
    assert "4 of 4" in out
    assert run(capsys, "report", rows, "--figures", tmp_path)[1].startswith(out)
    assert (tmp_path / "validation.png").exists()
    run(capsys, "validate", "--quiet")
    assert experiment.calls[1] == (None, "quick", [0], False)


def test_potentials_lists_the_catalogue(capsys):
    code, out, _ = run(capsys, "potentials")
    assert code == 0
    assert "5/12" in out


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("(x + y**2)**2 + z**2",), ("λ 1 ", "exact", "{x**2, z**2}", "x, y, z")),
        (("x*y", "z"), ("λ 1 ", "m 2 ", "exact")),
        (("(x*y - 1/2)**2", "--at", "x=1,y=1/2"), ("1/2 = 0.5", "exact")),
        (("x^2*y^2", "--weight", "x=1"), ("1/2 = 0.5", "m 1 ")),
        (("(x*y - z**2)**2 + z**6",), ("≤ ", "upper bound", "degenerate")),
    ],
)
def test_exact_prints_rlct_multiplicity_and_why(capsys, args, shown):
    code, out, _ = run(capsys, "exact", *args)
    assert code == 0
    out = " ".join(out.split()) + " "
    assert all(text in out for text in shown)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("exact", "sin(x)"), "not part of a polynomial"),
        (("exact", "x**2", "--at", "x:1"), "write name=value pairs"),
        (("exact",), "Missing argument"),
        (("estimate", "nowhere.toml"), "There is no file nowhere.toml"),
        (("report", "nowhere.zarr"), "There is no result at nowhere.zarr"),
        (("report", "nowhere.csv"), "There is no file nowhere.csv"),
        (("report", "a.png"), "end the path in .zarr or .nc"),
        (("estimate", DATA / "digits.toml", "--output", "a.png"), "end the path in .zarr or .nc"),
        (("validate", "--suite", "medium"), "'medium' is not one of 'quick', 'full'"),
        (("validate", "--seeds", "0"), "0 is not in the range x>=1"),
        (("estimat",), "No such command 'estimat'"),
    ],
)
def test_wrong_input_is_one_paragraph_and_exit_code_2(capsys, experiment, args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *args)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not experiment.calls


def test_a_wrong_configuration_never_shows_a_traceback(tmp_path):
    (tmp_path / "run.toml").write_text('[model]\nbuiltin = "x2y2"\n[run]\nchain = 4\n')
    command = [sys.executable, "-c", "from slt.app.cli import main; main()", "estimate", str(tmp_path / "run.toml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(slt.__file__).parents[1])
    assert done.returncode == 2
    assert "Unknown key `run.chain`; did you mean `chains`?" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
