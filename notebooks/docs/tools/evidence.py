"""The page of all figures that are quoted: claim, script, result, date; and which page quotes which.

A figure is a number, written in digits, in the prose of a page. Every one has its row in `quoted.csv`; `ASIDE` says
what is no prose, and what is a number and no figure. Articles are not read: they quote what their notebook prints.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
QUOTED = Path(__file__).parents[1] / "quoted.csv"
NUMBER = re.compile(r"(?<![\w.])\.?\d+(?:[.,]\d+)*")
ASIDE = [
    ("code", r"^(`{3,}).*?^\1|`[^`]+`"),
    ("mathematics", r"\$[^$]+\$"),
    ("targets of links", r"\]\([^)]*\)|https?://\S+"),
    ("directives", r"^:{3,}.*$|^:[\w-]+:.*$"),
    ("numbers of a list", r"^\s*\d+\.\s"),
    ("units in a table of symbols", r"\| 1 \|$"),
    ("versions and licences", r"\d+\.x\b|(?:Python|devinterp|Attribution|CC BY) \d+(?:\.\d+)*"),
    ("years and sources", r"\b(?:19|20)\d\d\b|arXiv:[\d.]+|doi:\S+"),
    ("settings, such as γ = 1", r"(?:γ|κ|β|\bn) = \d+(?:\.\d+)?"),
    ("numbers in a formula, such as d/2", r"(?:[^\W\d]|\))[/+]\d+|\d+ ?[/+·] ?[^\W\d]|\d+/\("),
]
"""What is no figure, by name, as regular expressions."""


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


def pages() -> list[str]:
    """The pages of prose, from the root: README, CONTRIBUTING, data, and those of this site that are no articles."""
    own = sorted(path.relative_to(ROOT).as_posix() for path in QUOTED.parent.glob("*.md"))
    return ["README.md", "CONTRIBUTING.md", "data/README.md", *own]


def figures(text: str) -> list[re.Match]:
    """The numbers of a page that are figures, where they stand in it."""
    for _, aside in ASIDE:
        text = re.sub(aside, lambda found: " " * len(found[0]), text, flags=re.M | re.S)
    return list(NUMBER.finditer(text))


def spans(text: str, words: str) -> list[tuple[int, int]]:
    """Where those words stand in a page, whatever its line breaks."""
    return [found.span() for found in re.finditer(r"\s+".join(map(re.escape, words.split())), text)]


def missing() -> list[str]:
    """Each in a sentence: a figure without a row, a row whose words are not on its page, whose script does not exist
    or that has no date.
    """  # fmt: skip
    found, rows = [], quotes()
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        covered = [span for quote in rows if quote.page == page for span in spans(text, quote.words)]
        for number in figures(text):
            if not any(start <= number.start() and number.end() <= end for start, end in covered):
                around = " ".join(text[max(number.start() - 30, 0) : number.end() + 30].split())
                found.append(f"{page} has {number[0]!r} in {around!r}, which no row quotes")
    for quote in rows:
        page = ROOT / quote.page
        if not page.is_file() or not spans(page.read_text(encoding="utf-8"), quote.words):
            found.append(f"{quote.page} does not say {quote.words!r}")
        if not (ROOT / quote.script).is_file():
            found.append(f"{quote.words!r} names the script {quote.script}, which does not exist")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", quote.date):
            found.append(f"{quote.words!r} has the date {quote.date!r}; write it as 2026-11-30")
    return found


def page() -> str:
    """The page: quoted figures, the table of benchmarks, the claims of the notebooks.

    Raises:
        ValueError: a figure without its row, or a row without its page, script or date.
    """
    if wrong := missing():
        raise ValueError("; ".join(wrong) + ": correct notebooks/docs/quoted.csv, or the page.")
    benchmarks = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    claims = (ROOT / "notebooks" / "claims.md").read_text(encoding="utf-8")
    parts = [
        "# The evidence",
        "Every figure that README, this site and the notebooks quote, with the script that gives it and the date on "
        "which it did. Three tables: figures quoted on pages, benchmarks, and the 29 claims of the notebooks.",
        *_quoted(),
        _under(benchmarks),
        _under(_links(claims)),
    ]
    return "\n\n".join(parts) + "\n"


def _quoted() -> list[str]:
    """The section of figures quoted on pages."""
    numbers = sum(len(figures((ROOT / page).read_text(encoding="utf-8"))) for page in pages())
    cells = [[q.words.replace("|", "\\|"), q.claim, f"`{q.page}`", f"`{q.script}`", q.date] for q in quotes()]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return [
        "## Figures quoted on pages",
        f"All {numbers} numbers in the prose of {len(pages())} pages stand in the words of one of {len(rows)} rows, "
        f"which a test sees to. Not counted as figures: {'; '.join(name for name, _ in ASIDE)}. Articles are not in "
        "this table: their text quotes what the notebook prints on its full setting, between the text stands what it "
        "printed on the small one, and a test fails where an article was not made from the notebook of today.",
        "| figure | what it says | page | script or file | date |\n|---|---|---|---|---|\n" + "\n".join(rows),
    ]


def _under(text: str) -> str:
    """A page as a section of another."""
    return re.sub(r"^# ", "## ", text.strip(), flags=re.M)


def _links(text: str) -> str:
    text = re.sub(r"\]\(([\w-]+)\.py\)", r"](../articles/\1.md)", text)
    return text.replace("[`tests/benchmarks/`](../tests/benchmarks)", "`tests/benchmarks/`")
