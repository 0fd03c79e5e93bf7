"""Notebooks as articles: markdown with their printed output and figures, which a code host and the site both show.

`python notebooks/docs/tools/articles.py` runs, on its small setting, every notebook whose source is not the one that
its article was made from; `--check` only says which these are.
"""

import argparse
import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOTEBOOKS = ROOT / "notebooks"
ARTICLES = NOTEBOOKS / "docs" / "articles"
LONG = 14
"""Lines of code from which on a cell is folded."""
STAMP = "<!-- made by `make docs` from notebooks/{name}.py, sha256 {digest}; edit that file -->"
NOTE = (
    "*Run on the small setting of the tests, so numbers and figures are coarser than those the text quotes; "
    "[`{name}.py`](../../{name}.py) without `SLT_QUICK` gives the full ones.*"
)


def stamp(path: Path) -> str:
    """First line of the article of a notebook: what it was made from."""
    return STAMP.format(name=path.stem, digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def is_current(path: Path) -> bool:
    """Whether the article is there and was made from this source."""
    article = ARTICLES / f"{path.stem}.md"
    return article.is_file() and article.read_text(encoding="utf-8").split("\n", 1)[0] == stamp(path)


def stale() -> list[Path]:
    """Notebooks whose article was not made from their source of today."""
    return [path for path in sorted(NOTEBOOKS.glob("*.py")) if not is_current(path)]


def cells(source: str) -> list[tuple[str, str]]:
    """The cells of a notebook in the percent format: ("markdown" or "code", text)."""
    found = []
    for cell in re.split(r"^# %%", source, flags=re.M)[1:]:
        head, _, body = cell.partition("\n")
        text = re.sub(r"^# ?", "", body, flags=re.M) if "[markdown]" in head else body
        found.append(("markdown" if "[markdown]" in head else "code", text.strip("\n")))
    return found


def render(path: Path) -> str:
    """Run a notebook cell by cell in this process, and return its article."""
    shown: set[str] = set()
    namespace: dict = {"__name__": "__main__", "__file__": str(path)}
    parts = [stamp(path)]
    for i, (kind, text) in enumerate(cells(path.read_text(encoding="utf-8"))):
        if kind == "markdown":
            title, _, rest = text.partition("\n")
            parts += [title, NOTE.format(name=path.stem), _links(rest)] if i == 0 else [_links(text)]
        elif text.strip():
            parts += [_code(text), *_run(text, namespace, path, shown)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _links(text: str) -> str:
    """Links of a notebook are relative to its folder; to another notebook they lead to its article."""
    text = re.sub(r"\]\(([\w-]+)\.py\)", r"](\1.md)", text)
    return re.sub(r"\]\((?!https?:|#|[\w-]+\.md\))([^)]+)\)", r"](../../\1)", text)


def _code(text: str) -> str:
    block = f"```python\n{text.strip()}\n```"
    if text.count("\n") + 1 < LONG:
        return block
    return f"<details>\n<summary>Code ({text.count(chr(10)) + 1} lines)</summary>\n\n{block}\n\n</details>"


def _run(text: str, namespace: dict, path: Path, shown: set[str]) -> list[str]:
    """What a cell printed, and the figures that it wrote."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, str(path), "exec"), namespace)
    output = printed.getvalue().rstrip()
    parts = [f"```text\n{output}\n```"] if output else []
    for name in dict.fromkeys(re.findall(r"[\w-]+\.png", text)):
        if name not in shown and (ARTICLES / name).is_file():
            shown.add(name)
            parts.append(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})")
    return parts


def main(argv: list[str] | None = None) -> int:
    """Renew what is stale, each notebook in a process of its own; with --check, name it and fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="run nothing; fail if an article is not current")
    parser.add_argument("--one", type=Path, help="render this notebook in this process")
    asked = parser.parse_args(argv)
    if asked.one:
        (ARTICLES / f"{asked.one.stem}.md").write_text(render(asked.one), encoding="utf-8")
        return 0
    due = stale()
    if asked.check:
        print("\n".join(f"{path.stem}: its article is not current; `make docs` renews it" for path in due))
        return bool(due)
    env = os.environ | {"SLT_QUICK": "1", "SLT_FIGURES": str(ARTICLES), "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    for path in due:
        print(f"rendering {path.name}", flush=True)
        subprocess.run([sys.executable, __file__, "--one", str(path)], check=True, cwd=ROOT, env=env)
    return 0


if __name__ == "__main__":
    sys.exit(main())
