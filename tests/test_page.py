"""The page as a reader without a network gets it: every cell and figure inside, nothing fetched, tables that sort."""

import base64
import html
import re
from html.parser import HTMLParser

import pytest
from rich.console import Group
from rich.text import Text

from slt.page import Section, page
from slt.plotting.base import new_figure
from slt.tables.base import add_row, new_table


@pytest.fixture
def made():
    table = new_table("Rows <first>")
    table.add_column("name")
    table.add_column("value", justify="right")
    add_row(table, "a & b", "10")
    add_row(table, Text("late", style="red"), "9")
    figure, ax = new_figure()
    ax.plot([0, 1], [0, 1])
    content = Group(table, Text("A line with <brackets>.", style="yellow"))
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
