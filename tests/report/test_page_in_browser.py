"""The page of `slt report --html` as headless Chromium shows it, on a desk and on a phone."""

import math
import shutil

import pytest
from click.testing import CliRunner
from report.browser import Browser
from report.test_bound_report import make_report
from report.test_tables import make_row
from store.test_store import make_result

from slt import store
from slt.app.cli import cli

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the page in; on Debian: apt-get install chromium"
)
OVERFLOW = "document.documentElement.scrollWidth - {}"
BLANK = "[...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length"
COLUMN = "[...document.querySelectorAll('section:last-of-type tbody tr')].map(row => row.cells[{}].textContent)"
SORTED = "document.querySelectorAll('section:last-of-type th')[{}].getAttribute('aria-sort')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of a profile, a stored bound and validation rows, written by the command."""
    folder = tmp_path_factory.mktemp("page")
    points = [make_result(localization=gamma, seed=i) for i, gamma in enumerate((1.0, 10.0, 100.0))]
    points = [point._replace(settings=point.settings | {"nbeta": 200.0}) for point in points]
    store.save(points, folder / "profile.nc", config='[model]\nbuiltin = "x2y2"\n' + "# a long comment" * 20)
    store.save_tables(make_report()._asdict(), folder / "bound.nc", kind="bound")
    values = {"b2": 9.5, "none": math.nan, "b10": 10.25, "a": 0.75}
    store.save_rows([make_row(case, value, exact=value) for case, value in values.items()], folder / "rows.csv")
    html, parts = folder / "page.html", ("profile.nc", "bound.nc", "rows.csv")
    done = CliRunner().invoke(cli, ["report", *(str(folder / part) for part in parts), "--html", str(html)])
    assert done.exit_code == 0, done.output
    return html


def faults(browser, path, *, width=390):
    """Everything a reader without a network, or on a phone, would miss."""
    browser.open(path, width=width, mobile=width < 600)
    found = [f"asks for {url}" for url in browser.requests() if url != path.as_uri()]
    found += [f"complains: {text}" for text in browser.complaints()]
    found += [f"{count} figures are blank"] if (count := browser.run(BLANK)) else []
    return found + ([f"{pixels} pixels too wide"] if (pixels := browser.run(OVERFLOW.format(width))) > 0 else [])


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_everything_without_a_network(browser, page, width):
    assert faults(browser, page, width=width) == []
    assert browser.run("document.images.length") == 4 + 2 + 1  # traces and profile; certificates and stopping; rows
    assert browser.run("innerWidth") == width


IMAGE = ("</h1>", "</h1><img src='http://slt.invalid/a.png'>")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ([IMAGE, ("img-src data:", "img-src *")], "asks for http://slt.invalid/a.png"),
        ([IMAGE], "violates the following Content Security Policy"),
        ([("base64,iVBORw0KGgo", "base64,iVBORw0KGgp")], "1 figures are blank"),
        ([("<script>", "<script>missing();")], "missing is not defined"),
        ([(".wide { overflow-x: auto; }", "")], "pixels too wide"),
    ],
)
def test_a_broken_page_is_noticed(browser, page, tmp_path, changes, fault):
    text = page.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "broken.html").write_text(text, encoding="utf-8")
    assert fault in "\n".join(faults(browser, tmp_path / "broken.html"))


def test_a_click_on_a_header_sorts_by_value_and_another_turns_it_round(browser, page):
    browser.open(page, width=1280)
    titles = browser.run("[...document.querySelectorAll('section:last-of-type th')].map(head => head.textContent)")
    case, exact = titles.index("case"), titles.index("exact at nβ")
    assert browser.run(COLUMN.format(case)) == ["b2", "none", "b10", "a"]
    for index, order, direction in (
        (exact, ["a", "b2", "b10", "none"], "ascending"),
        (exact, ["b10", "b2", "a", "none"], "descending"),
        (case, ["a", "b2", "b10", "none"], "ascending"),
    ):
        browser.click("section:last-of-type th", index)
        assert browser.run(COLUMN.format(case)) == order
        assert browser.run(SORTED.format(index)) == direction


def test_a_table_goes_to_a_spreadsheet_with_values_errors_and_interval_ends_apart(browser, page):
    browser.open(page, width=1280)
    lines = browser.run("tsv(document.querySelector('table'))").split("\n")
    cells = [line.split("\t") for line in lines]
    assert cells[0][:5] == ["γ", "λ̂", "error", "90 % interval low", "90 % interval high"]
    assert len(cells) == 4
    assert all(float(cell) >= 0 for row in cells[1:] for cell in row[:5])
    assert len({len(row) for row in cells}) == 1


def test_a_trace_is_small_until_it_is_clicked(browser, page):
    browser.open(page, width=1280)
    width = "document.querySelector('.small img').clientWidth"
    small = browser.run(width)
    browser.click(".small figure")
    assert browser.run(width) > 1.8 * small
