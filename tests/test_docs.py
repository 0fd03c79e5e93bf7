"""The site says what is so: its tabs end in a number, its links and figures are there."""

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
"""`make docs` runs them."""
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


def test_every_figure_of_a_page_has_a_row_with_words_script_and_date(tools, monkeypatch):
    evidence = tools("evidence")
    assert evidence.missing() == []
    rows = evidence.quotes()
    monkeypatch.setattr(evidence, "quotes", lambda: [row for row in rows if "91 potentials" not in row.words])
    assert [said for said in evidence.missing() if said.startswith("README.md has '91'")] == evidence.missing()
    wrong = evidence.Quote("no such words", "README.md", "", "no.py", "today")
    monkeypatch.setattr(evidence, "quotes", lambda: [*rows, wrong])
    assert len(evidence.missing()) == 3


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("λ̂ is 62 at γ = 1, 29 at 10 and .81 at 1,000", "62 29 10 .81 1,000"),
        ("a net 64-32-10 of 8 × 8 pixels, w⁴, λ = 1/4, 10 %", "64 32 10 8 8 1 4 10"),
        ("1. of $x^2$, `y2`, [one](a2.md)\n2. in arXiv:2308.12108 of 2023\n:gutter: 2\n::::{grid} 1 2", ""),
        ("β = 1/log n, (γ/2) κ/(1 + κ)/2, devinterp 1.3 and 2.x, Python 3.12", ""),
        ("```{python}\nx = 3\n```\nby 5", "5"),
    ],
)
def test_what_is_a_figure_and_what_is_not(tools, text, numbers):
    assert [found[0] for found in tools("evidence").figures(text)] == numbers.split()


def test_figures_that_can_be_counted_are_those_of_the_code(tools):
    import numpy as np
    from safetensors.numpy import load_file

    import slt
    from slt._types import Estimate
    from slt.estimate.llc import TEMPERING_DIM
    from slt.stats.learning_coefficient import plateau

    known = sum(entry.exact is not None for entry in slt.catalogue.potentials().values())
    claims = re.findall(r"^\| C\d+ \|", (ROOT / "notebooks" / "claims.md").read_text(encoding="utf-8"), re.M)
    weights = load_file(ROOT / "data" / "digits_mlp.safetensors")
    size = sum(leaf.size for leaf in weights.values())
    (inner, middle), (_, outer) = (weights[f"layer_{i}/weight"].shape for i in range(2))
    digits = np.load(ROOT / "data" / "digits.npz")["inputs"]
    rows, pixels = digits.shape
    entry = slt.potential("x2y2")
    assert entry.exact is not None
    mean = entry.exact(1e4, localization=1.0).mean
    counted = {
        "README.md": [
            f"{known} potentials with exact λ", f"{len(claims)} public claims", f"at most {TEMPERING_DIM} parameters",
            f"classifier of {size} parameters", f"λ = d/2 = {size // 2}", f"below d/2 = {size // 2}",
        ],
        "CONTRIBUTING.md": [f"has {len(tools('faces').face('slt'))} names"],
        "data/README.md": [
            f"{rows} images", f"{digits.min()} to {digits.max()} (`inputs`, {digits.dtype}, {rows} × {pixels})",
            f"{inner}-{middle}-{outer} tanh classifier ({size} parameters)",
        ],
        "notebooks/docs/articles.md": [f"{len(claims)} public claims"],
        "notebooks/docs/conventions.md": [f"{mean:.4f}, while λ = {entry.rlct}"],
        "notebooks/docs/index.md": [f"of {size} parameters", f"d/2 = {size // 2}"],
    }  # fmt: skip
    quoted = {(page, words) for words, page, *_ in tools("evidence").quotes()}
    for page, words in counted.items():
        for figure in words:
            assert any(figure in found for where, found in quoted if where == page), (page, figure)
    near, apart = ([Estimate(1.0, 0.1), Estimate(value, 0.1)] for value in (1.09, 1.11))  # 10 %
    assert plateau([1, 10], near) == (1, 10)
    assert plateau([1, 10], apart) is None


def test_every_claim_names_a_script_that_exists_and_a_date():
    claims = ROOT / "notebooks" / "claims.md"
    lines = re.findall(r"^\| (C\d+ \|.*) \|$", claims.read_text(encoding="utf-8"), re.M)
    rows = [line.split(" | ") for line in lines]
    assert [row[0] for row in rows] == [f"C{i}" for i in range(1, 30)]
    for name, *_, where, date in rows:
        scripts = re.findall(r"\w+\.(?:py|md)(?=`)", where)
        notebooks = re.findall(r"\b[a-z_]+\b(?!\.)", re.sub(r"`[^`]*`|\]\([^)]*\)", "", where))
        assert scripts or notebooks, name
        paths = [ROOT / "tests" / "benchmarks" / script for script in scripts]
        paths += [claims.with_name(f"{notebook}.py") for notebook in notebooks]
        assert not [path for path in paths if not path.is_file()], name
        assert re.fullmatch(r"2026-\d\d-\d\d", date), name


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
