"""One self-contained HTML page of tables one can sort, figures and provenance; it needs no network."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .3rem 0 .4rem; }
tr > :first-child { position: sticky; left: 0; z-index: 1; background: Canvas; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
.right { text-align: right; font-variant-numeric: tabular-nums; } .right, .whole, th { white-space: nowrap; }
th[aria-sort] { cursor: pointer; } th[aria-sort]::after { content: " ↕"; opacity: .4; }
th[aria-sort=ascending]::after { content: " ↑"; opacity: 1; }
th[aria-sort=descending]::after { content: " ↓"; opacity: 1; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; background: white; } p { margin: .4rem 0; }
figcaption { font-size: .85rem; opacity: .7; }
.answer { font-size: 1.15rem; margin: .8rem 0; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: .8rem; }
.small figure { margin: 0; } .small img { cursor: zoom-in; width: 100%; } .small .large { grid-column: 1 / -1; }
.green { color: light-dark(#070, #6d6); } .yellow { color: light-dark(#850, #eb5); }
.red { color: light-dark(#b11, #f88); } .magenta { color: light-dark(#909, #f8f); }
button { font: inherit; font-size: .8rem; margin-bottom: .8rem; opacity: .7; cursor: pointer; }
@media (prefers-color-scheme: dark) { img { filter: invert(.9) hue-rotate(180deg); } }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; font-size: .8rem; } dt { font-weight: 600; }
dd { margin: 0 0 .4rem 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { tr > .whole:first-child { white-space: normal; } }
"""
SCRIPT = """
function key(row, i) {
  const text = row.cells[i].textContent.trim().replace(/^[\\[<>≤≥≈]+ */, '');
  const f = text.match(/^(-?[0-9.]+)[/]([0-9.]+)$/);
  const value = f ? f[1] / f[2] : parseFloat(text.replace(/,/g, '').replace(/^(-?)inf$/, '$1Infinity'));
  return row.cells[i].className.includes('right') ? value : text;
}
function compare(x, y, up) {
  if (typeof x === 'string') return (up ? 1 : -1) * x.localeCompare(y, 'en', {numeric: true});
  if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
  return x === y ? 0 : (x < y) === up ? -1 : 1;
}
function tsv(table) {  // value ± error and [low, high] become two cells each, as a spreadsheet wants numbers
  const head = [...table.querySelectorAll('th')].map(cell => cell.textContent.trim());
  const columns = [...Array(table.rows[0].cells.length).keys()];
  const split = columns.map(i => {
    const texts = [...table.tBodies[0].rows].map(row => row.cells[i].textContent.trim());
    return texts.some(t => / ± /.test(t)) ? '±' : texts.some(t => /^\\[.*, .*\\]$/.test(t)) ? '[' : '';
  });
  const parts = (text, i) => split[i] === '±' ? [...text.split(' ± '), ''].slice(0, 2)
    : split[i] === '[' ? [...text.replace(/[\\[\\]]/g, '').split(', '), ''].slice(0, 2) : [text];
  const named = (text, i) => split[i] === '±' ? [text.replace(/ ± .*/, ''), 'error']
    : split[i] === '[' ? [text + ' low', text + ' high'] : [text];
  const line = (texts, cut) => texts.flatMap(cut).join('\\t');
  const rows = [...table.tBodies[0].rows].map(row => line([...row.cells].map(cell => cell.textContent.trim()), parts));
  return (head.length ? [line(head, named)] : []).concat(rows).join('\\n');
}
document.querySelectorAll('.copy').forEach(button => button.addEventListener('click', () => {
  navigator.clipboard.writeText(tsv(button.previousElementSibling.querySelector('table')))
    .then(() => button.textContent = 'copied', () => button.textContent = 'not allowed here');
}));
document.querySelectorAll('.small figure').forEach(f => f.addEventListener('click', () => f.classList.toggle('large')));
document.querySelectorAll('th[aria-sort]').forEach(head => {
  const sort = () => {
    const body = head.closest('table').tBodies[0], up = head.getAttribute('aria-sort') !== 'ascending';
    head.parentNode.querySelectorAll('th').forEach(other => other.setAttribute('aria-sort', 'none'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    [...body.rows].sort((a, b) => compare(key(a, head.cellIndex), key(b, head.cellIndex), up))
      .forEach(row => body.append(row));
  };
  head.addEventListener('click', sort);
  head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(); });
});
"""


class Section(NamedTuple):
    """A result as it is shown: its name, rich tables and lines, figures by file name, and where it came from.

    figures: name -> function that draws it with matplotlib; those named trace... are laid out small, at the end.
    answer: what was found, in a sentence or two; its figures then stand before the tables.
    """

    title: str
    content: RenderableType
    figures: Mapping[str, Callable[[], Any]] = {}
    provenance: Mapping[str, Any] = {}
    answer: str = ""


def page(title: str, sections: Sequence[Section]) -> str:
    """The page as text.

    Raises:
        ValueError: no sections.
    """
    if not sections:
        raise ValueError("page: there are no results to report; give at least one.")
    body = "\n".join(_section(section, titled=section.title != title) for section in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(section: Section, *, titled: bool) -> str:
    """Title, answer, tables, figures, provenance; where there is an answer, figures come before tables."""
    large = "".join(_figure(name, draw) for name, draw in section.figures.items() if not _is_trace(name))
    small = "".join(_figure(name, draw, dpi=75) for name, draw in section.figures.items() if _is_trace(name))
    parts = [f"<h2>{html.escape(section.title)}</h2>"] if titled else []
    parts += [f'<p class="answer">{html.escape(section.answer)}</p>'] if section.answer else []
    content = _content(section.content)
    parts += [large, content] if section.answer else [content, large]
    parts += [f'<h3>Traces</h3><div class="small">{small}</div>'] if small else []
    if section.provenance:
        parts.append(f"<details><summary>Provenance</summary><dl>{_definitions(section.provenance)}</dl></details>")
    return f"<section>\n{''.join(parts)}\n</section>"


def _is_trace(name: str) -> bool:
    return name.startswith("trace")


def _figure(name: str, draw: Callable[[], Any], *, dpi: int = 110) -> str:
    """With its name as a caption, but for traces, whose titles say which they are."""
    text = html.escape(name.removesuffix(".png").replace("_", " "))
    caption = "" if _is_trace(name) else f"<figcaption>{text}</figcaption>"
    return f'<figure><img alt="{text}" src="{_png(draw(), dpi)}">{caption}</figure>'


def _content(content: RenderableType) -> str:
    """HTML of the rich objects that `tables` makes: groups, tables and lines of text."""
    if isinstance(content, Group):
        return "".join(_content(part) for part in content.renderables)
    if isinstance(content, Table):
        return _table(content)
    text = content if isinstance(content, Text) else Text(str(content))
    return f'<p class="{_colour(text)}">{html.escape(text.plain)}</p>'


def _table(table: Table) -> str:
    columns = [(column, list(column.cells)) for column in table.columns]
    sides = [_side(column) for column, _ in columns]
    head = "".join(
        f'<th class="{side}" aria-sort="none" tabindex="0">{html.escape(str(column.header))}</th>'
        for side, (column, _) in zip(sides, columns, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(_cell(cells[i], side) for side, (_, cells) in zip(sides, columns, strict=True)) + "</tr>"
        for i in range(table.row_count)
    )
    title = f"<h3>{html.escape(str(table.title))}</h3>" if table.title else ""
    header = f"<thead><tr>{head}</tr></thead>" if table.show_header else ""
    copy = '<button class="copy" title="as text with tabs, for a spreadsheet">copy</button>'
    return f'{title}<div class="wide"><table>{header}<tbody>{rows}</tbody></table></div>{copy}'


def _side(column: Column) -> str:
    """Numbers to the right; text that the terminal does not wrap is whole here, too."""
    return "right" if column.justify == "right" else "whole" if column.no_wrap else "left"


def _cell(cell: Any, side: str) -> str:
    text = cell if isinstance(cell, Text) else Text(str(cell))
    return f'<td class="{side} {_colour(text)}">{html.escape(text.plain)}</td>'


def _colour(text: Text) -> str:
    words = str(text.style).split()
    return next((word for word in words if word in ("green", "yellow", "red", "magenta")), "")


def _png(figure: Any, dpi: int) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _definitions(provenance: Mapping[str, Any]) -> str:
    def value(x: Any) -> str:
        text = html.escape(str(x))
        return f"<pre>{text}</pre>" if "\n" in text.strip() else text

    return "".join(f"<dt>{html.escape(str(name))}</dt><dd>{value(x)}</dd>" for name, x in provenance.items())
