"""The page of all figures that are quoted: claim, script, result, date; and which page quotes which."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
QUOTED = Path(__file__).parents[1] / "quoted.csv"


class Quote(NamedTuple):
    """A figure as a page quotes it: its words, the page, what it says, the script that gives it, and when it did."""

    words: str
    page: str
    claim: str
    script: str
    date: str


def quotes() -> list[Quote]:
    """The rows of `quoted.csv`."""
    with open(QUOTED, newline="", encoding="utf-8") as file:
        return [Quote(**row) for row in csv.DictReader(file)]


def missing() -> list[str]:
    """Quotes whose page does not have the words, or whose script does not exist: each in a sentence."""
    found = []
    for quote in quotes():
        page = ROOT / quote.page
        if not page.is_file() or quote.words not in " ".join(page.read_text(encoding="utf-8").split()):
            found.append(f"{quote.page} does not say {quote.words!r}")
        if not (ROOT / quote.script).exists():
            found.append(f"{quote.words!r} names the script {quote.script}, which does not exist")
    return found


def page() -> str:
    """The page: quoted figures, the table of benchmarks, the claims of the notebooks.

    Raises:
        ValueError: a quote without its page or script.
    """
    if wrong := missing():
        raise ValueError("; ".join(wrong) + ": correct notebooks/docs/quoted.csv, or the page.")
    benchmarks = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    claims = (ROOT / "notebooks" / "claims.md").read_text(encoding="utf-8")
    rows = [f"| {q.words} | {q.claim} | `{q.page}` | `{q.script}` | {q.date} |" for q in quotes()]
    return "\n\n".join(
        [
            "# The evidence",
            "Every figure that README, this site and the notebooks quote, with the script that gives it. Three tables: "
            "figures quoted on pages, benchmarks, and the 29 claims of the notebooks.",
            "## Figures quoted on pages",
            "| figure | what it says | page | script or file | date |\n|---|---|---|---|---|\n" + "\n".join(rows),
            _under(benchmarks),
            _under(_links(claims)),
        ]
    ) + "\n"


def _under(text: str) -> str:
    """A page as a section of another."""
    return re.sub(r"^# ", "## ", text.strip(), flags=re.M)


def _links(text: str) -> str:
    text = re.sub(r"\]\(([\w-]+)\.py\)", r"](../articles/\1.md)", text)
    return text.replace("[`tests/benchmarks/`](../tests/benchmarks)", "`tests/benchmarks/`")
