"""The page as a reader without a network gets it: every cell and figure inside, nothing fetched, tables that sort."""

import base64
import html
import re
from html.parser import HTMLParser

import pytest
from rich.console import Group
from rich.text import Text

from slt.report.page import Section, page
from slt.report.plots.base import new_figure
from slt.report.tables.base import Column, table


@pytest.fixture
def made():
    rows = [("a & b", 10), (Text("late", style="red"), "9")]
    shown = table("Rows <first>", [Column("name", side="text"), Column("value")], rows)
    figure, ax = new_figure()
    ax.plot([0, 1], [0, 1])
    content = Group(shown, Text("A line with <brackets>.", style="yellow"))
    provenance = {"config": "x = 1\ny = 2\n", "seed": 3}
    return page("A report", [Section("One", content, {"a_figure.png": lambda: figure}, provenance)])


class Reader(HTMLParser):
    """Open tags, closed in order, and every address."""

    def __init__(self):
        super().__init__()
        self.stack, self.addresses, self.cells = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.stack.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "td":
            self.cells.append(data)


def test_the_page_is_whole_and_fetches_nothing(made):
    reader = Reader()
    reader.feed(made)
    assert reader.stack == []
    assert reader.cells == ["a & b", "10", "late", "9"]
    assert len(reader.addresses) == 1
    assert reader.addresses[0].startswith("data:image/png;base64,")
    assert base64.b64decode(reader.addresses[0].split(",")[1])[:8] == b"\x89PNG\r\n\x1a\n"
    assert "default-src 'none'" in html.unescape(made)
    assert 'name="viewport"' in made


def test_text_is_escaped_coloured_and_sortable(made):
    assert "Rows &lt;first&gt;" in made
    assert '<p class="yellow">A line with &lt;brackets&gt;.</p>' in made
    assert '<td class="left red">late</td>' in made
    assert len(re.findall(r'aria-sort="none"', made)) == 2
    assert "<pre>x = 1\ny = 2\n</pre>" in made


def test_a_page_needs_a_result():
    with pytest.raises(ValueError, match="at least one"):
        page("nothing", [])


def test_an_answer_comes_first_then_its_figure_then_tables_and_small_traces():
    def draw():
        return new_figure()[0]

    content = table("Rows", [Column("name", side="text")], [("a",)])
    figures = {"trace_0.png": draw, "profile.png": draw}
    text = page("one", [Section("one", content, figures, answer="λ̂ < 2.")])
    body = text[text.index("<body>") :]
    order = ['class="answer">λ̂ &lt; 2.', 'alt="profile"', "<h3>Rows</h3>", 'class="small"', 'alt="trace 0"']
    places = [body.index(part) for part in order]
    assert places == sorted(places)
    assert "<h2>" not in body  # the only section has the title of the page
