"""The page of the house and the table of benchmarks name only what exists, and all of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_path_of_the_page_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:slt|tests)/[^`]*)`", text)
    assert len(named) > 30
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_folder_has_its_row():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (ROOT / "slt").glob("*/__init__.py")]
    assert folders
    assert not [name for name in folders if f"| `slt/{name}/` |" not in text]


BENCHMARKS = ROOT / "tests" / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


def test_the_table_of_benchmarks_has_every_script_and_every_result():
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+\.(?:py|json|md|png))`", text))
    assert not [name for name in named if not (BENCHMARKS / name).exists()]
    there = {path.name for kind in ("py", "json", "png", "md") for path in BENCHMARKS.glob(f"*.{kind}")}
    assert there - {"README.md"} == named


def test_every_row_of_that_table_has_a_date():
    rows = re.findall(r"^\| (?!\*\*|claim).*\|$", (BENCHMARKS / "README.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) > 40
    assert not [row for row in rows if not re.search(r"\| 20\d\d-\d\d-\d\d \|$", row)]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_answers_help(script):
    if "import torch" in script.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "exact")))
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
