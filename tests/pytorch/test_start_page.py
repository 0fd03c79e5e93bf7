"""The tabs of the site's start page that need PyTorch; the first is README's example, too."""

import re
import runpy
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "notebooks" / "docs" / "start"
TABS = [path for path in sorted(START.glob("own_*.py")) if "torch" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", TABS, ids=lambda path: path.stem)
def test_a_tab_ends_in_a_number_and_a_verdict(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(r"[\d.]+ ± [\d.]+ converged\n$", capsys.readouterr().out)
