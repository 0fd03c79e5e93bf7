"""Bad and odd inputs to every public function and command: a right number, or a ValueError that names a remedy.

Inputs are generated as kinds times functions, in `fuzz/`. Samplers are stood in for by an exception: a bad input that
reaches one was not refused. `python tests/test_fuzz.py` writes the table of kinds, fuzz_kinds.md.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.case import Case
from fuzz.commands import command_cases
from fuzz.data import column_cases, label_cases
from fuzz.models import model_cases, weight_cases
from fuzz.options import array_cases, option_cases, polynomial_cases, potential_cases, store_cases

TABLE = Path(__file__).with_name("fuzz_kinds.md")
LEAST = 300
"""Inputs in all, at least."""
REMEDY = re.compile(
    r"\b(give|must|needs?|needed|choose|remove|scale|rescale|pad|raise|takes?|use|is used in python|read|encode|write|"
    r"writes one|reshape|subtract|make|at least|lower|leave|rename|join|transpose|did you mean|allowed|add|try|set|"
    r"end the path|known here|the leaves are|replace|compute|bind|save it|correct it|relative to the file|lists all|"
    r"look for|name those|do params fit)\b",
    re.IGNORECASE,
)
"""What a remedy reads like."""


class ReachedError(Exception):
    """A sampler was reached: nothing refused the input."""


GENERATORS = (
    column_cases, label_cases, model_cases, weight_cases, option_cases, potential_cases, array_cases,
    polynomial_cases, store_cases, command_cases,
)  # fmt: skip
CASES = [case for generate in GENERATORS for case in generate()]
KINDS = sorted({case.kind for case in CASES})


def fault(case: Case, folder: Path) -> str:
    """What is wrong with the answer to a case; nothing where it is right."""
    try:
        value = case.call(folder)
    except ValueError as error:
        text = " ".join(str(error).split())
        if case.right is not None:
            return f"refused, where {case.right:.6g} is right: {text}"
        if not REMEDY.search(text) or len(text.split()) < 6:
            return f"no remedy: {text}"
        if case.word and case.word not in text:
            return f"does not name {case.word!r}: {text}"
        return ""
    except FileNotFoundError as error:
        return "" if "no " in str(error) and case.right is None else f"{error!r}"
    except BaseException as error:  # a traceback is what this looks for
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if case.right is None:
        return f"accepted: {str(value)[:80]!r}"
    return "" if np.isclose(value, case.right, rtol=1e-5) else f"{value} where {case.right} is right"


def reached(*args: Any, **options: Any) -> Any:
    raise ReachedError


@pytest.fixture
def no_sampling(monkeypatch):
    """Samplers and training are out of reach."""
    for place in ("llc.tempered_result", "llc.chained_result", "free_energy.tempered_smc", "volume.splitting"):
        monkeypatch.setattr(f"slt.estimate.{place}", reached)
    monkeypatch.setattr("slt.app.experiment.certify", reached)


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_is_answered_or_refused_with_a_remedy(kind, tmp_path, monkeypatch, no_sampling):
    monkeypatch.setattr(pytest, "scratch", tmp_path, raising=False)
    monkeypatch.chdir(tmp_path)
    faults = []
    for i, case in enumerate(case for case in CASES if case.kind == kind):
        folder = tmp_path / str(i)
        folder.mkdir()
        found = fault(case, folder)
        faults += [f"{case.name}: {found}"] if found else []
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


def test_the_table_of_kinds_is_that_of_the_cases():
    assert len(CASES) >= LEAST
    assert TABLE.read_text(encoding="utf-8") == table()


def table() -> str:
    """Kinds of input, how many of each are to be refused, and how many have a right number."""
    refused = Counter(case.kind for case in CASES if case.right is None)
    answered = Counter(case.kind for case in CASES if case.right is not None)
    rows = [f"| {kind} | {refused[kind]} | {answered[kind]} |" for kind in KINDS]
    total = f"| **all {len(CASES)}** | {refused.total()} | {answered.total()} |"
    return "\n".join(["| kind of input | refused | answered |", "|---|---|---|", *rows, total, ""])


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
