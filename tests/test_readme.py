"""README's examples are those of the site's start page, which tests/test_docs.py runs; the rest is checked here."""

import re
from pathlib import Path

from click.testing import CliRunner

import slt
from slt.app.cli import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = " ".join(TEXT.split())


def test_its_examples_are_those_that_are_run():
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    files = [ROOT / "notebooks" / "docs" / "start" / f"own_{name}.py" for name in ("pytorch", "jax")]
    assert blocks == [file.read_text(encoding="utf-8").split('"""\n\n', 1)[1] for file in files]


def test_its_calls_are_there_and_its_polynomial_is_exact():
    for name in set(re.findall(r"slt\.([a-z_]+)", TEXT)):
        assert hasattr(slt, name), name
    text, value = re.search(r"`slt\.exact_rlct\(\"(.*?)\"\)\.rlct` is (\d+)", WORDS).groups()
    assert slt.exact_rlct(text).rlct == int(value)


def test_its_commands_are_all_there_are():
    shown = set(CliRunner().invoke(cli, ["--help"]).output.partition("Commands:")[2].split())
    listed = WORDS.partition("`slt --help` has the rest: ")[2].partition(". ")[0]
    commands = set(re.findall(r"`([a-z-]+)`", listed)) | {"estimate"}
    assert commands <= shown
    assert commands == set(cli.commands)


def test_it_is_two_screens_and_its_extras_exist():
    assert len(TEXT.splitlines()) <= 120
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("optional-dependencies]")[2]
    named = re.search(r"further extras: ([a-z, ]+)\n", TEXT)[1].split(", ")
    assert all(f"\n{name} = [" in extras for name in [*named, "plots"])
    assert "not on an index yet" in WORDS  # until it is
