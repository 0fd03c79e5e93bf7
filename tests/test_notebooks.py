"""Every notebook runs as a script, quickly, and writes every figure that it names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def run_notebook(path, figures):
    """Run it from the root of the repository; raise where it fails or leaves out a figure; names of the figures."""
    env = os.environ | {"SLT_QUICK": "1", "SLT_FIGURES": str(figures), "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(path)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{path.name} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    named = set(re.findall(r"[\w-]+\.png", path.read_text()))
    missing = {name for name in named if not (figures / name).is_file()}
    assert not missing, f"{path.name} names figures that it did not write: {sorted(missing)}"
    return named


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS or [None], ids=lambda path: path.stem if path else "none yet")
def test_notebook_runs_and_writes_its_figures(path, tmp_path):
    if path is not None:
        assert path.read_text().startswith("# %%"), f"{path.name} is not in the percent format"
        assert run_notebook(path, tmp_path), f"{path.name} names no figure"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise SystemExit(3)", "ended with 3"),
        ("name = 'absent.png'", "did not write: \\['absent.png'\\]"),
        ("import os; assert not os.environ['SLT_QUICK']", "AssertionError"),
    ],
)
def test_a_notebook_that_fails_or_forgets_a_figure_is_noticed(source, message, tmp_path):
    (tmp_path / "broken.py").write_text(f"# %%\n{source}\n")
    with pytest.raises(AssertionError, match=message):
        run_notebook(tmp_path / "broken.py", tmp_path)
