"""The site says what is so: its examples run, its tabs end in a number, its links and figures are there."""

import doctest
import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "notebooks" / "docs"
TABS = sorted(DOCS.glob("start/own_*.py"))
TORCH = re.compile(r"^(?:import|from) (?:torch|transformers)", re.M)
"""A tab that needs it is run by tests/pytorch."""
EXAMPLES = sorted(DOCS.glob("examples/*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "notebooks" / "claims.md", *sorted(DOCS.glob("*.md"))]
PAGES += sorted(DOCS.glob("articles/*.md"))


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "tools"))
    return importlib.import_module


@pytest.mark.parametrize(
    "path", [path for path in TABS if not TORCH.search(path.read_text(encoding="utf-8"))], ids=lambda path: path.stem
)
def test_a_tab_of_the_start_page_ends_in_a_number_and_a_verdict(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(r"[\d.]+ ± [\d.]+ converged\n$", capsys.readouterr().out)


def test_every_tab_is_on_the_start_page_and_every_tab_there_exists():
    text = (DOCS / "start.md").read_text(encoding="utf-8")
    assert set(re.findall(r"literalinclude\} start/(\w+)\.py", text)) == {path.stem for path in TABS}
    assert len(TABS) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_of_the_api_runs(path):
    done = doctest.testfile(str(path), module_relative=False)
    assert done.attempted > 1
    assert done.failed == 0


def test_every_function_at_the_top_has_an_example(tools):
    faces = tools("faces")
    functions = {name for name in faces.face("slt") if name[0].islower()}
    assert functions <= {path.stem for path in EXAMPLES}


def test_every_public_name_is_on_its_page_with_a_docstring(tools):
    faces = tools("faces")
    for namespace in faces.namespaces():
        page = faces.page(namespace)
        for name in faces.face(namespace):
            section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0].strip()
            assert len(section.splitlines()) > 2 or name in faces.face("slt") or "FAMILIES" in name, (namespace, name)


def test_a_signature_is_that_of_the_source(tools):
    faces = tools("faces")
    module = sys.modules["slt"]
    assert faces.signature(module.load) == "load(path: str | os.PathLike) -> list[Result]"
    assert faces.signature(module.Verdict).startswith("class Verdict(NamedTuple):\n    status: str\n    reasons: ")


def test_markup_of_a_docstring_survives(tools):
    text = "Of w* and |w - w*|^2.\n\nArgs:\n    first, second: both, of `w*`;\n        more.\n\nSource: Nobody 1999."
    assert tools("faces").markdown(text) == (
        "Of w\\* and |w - w\\*|^2.\n\n*Args:*\n\n- `first`, `second`: both, of `w*`; more.\n\n*Source:* Nobody 1999."
    )


def test_refusals_are_read_from_the_code(tools, tmp_path, monkeypatch):
    module = tools("refusals")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    source = 'def f(x):\n    said = f"f: x is {x}; "\n    raise ValueError(said + "give another.")\n'
    (tmp_path / "a.py").write_text(source)
    found = module.refusals(tmp_path / "a.py")
    assert found == [("f: x is ‹x›; give another.", "ValueError", "f", "a.py")]


def test_no_refusal_of_the_code_is_missing(tools):
    """Of the ValueErrors in the code, those without a text are the ones raised again from a text made elsewhere."""
    import ast

    raised = [
        node
        for path in (ROOT / "slt").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ValueError"
    ]
    shown = tools("refusals").page().count("**ValueError** in")
    assert shown > 0.97 * len(raised)


def test_every_quoted_figure_is_on_its_page_with_a_script(tools, monkeypatch):
    evidence = tools("evidence")
    assert evidence.missing() == []
    monkeypatch.setattr(evidence, "quotes", lambda: [evidence.Quote("no such words", "README.md", "", "no.py", "")])
    assert len(evidence.missing()) == 2


def test_the_catalogue_is_as_large_as_the_page_says():
    import slt

    known = [entry for entry in slt.catalogue.potentials().values() if entry.exact is not None]
    assert f"{len(known)} potentials with exact λ" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_article_is_of_the_notebook_of_today(tools):
    articles = tools("articles")
    assert [path.stem for path in articles.stale()] == []
    for path in articles.NOTEBOOKS.glob("*.py"):
        figures = set(re.findall(r"[\w-]+\.png", path.read_text(encoding="utf-8")))
        text = (articles.ARTICLES / f"{path.stem}.md").read_text(encoding="utf-8")
        assert figures <= set(re.findall(r"\]\(([\w-]+\.png)\)", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_relative_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s#]+)(?:#[\w-]+)?\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        if "://" not in link and not link.startswith("generated/"):
            assert (page.parent / link).exists(), link
