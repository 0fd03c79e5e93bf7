"""Sphinx: every page is markdown; what can be generated from the code, is, when a build begins."""

import re
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "tools")]

from importlib import metadata

import articles
import generate
from docutils import nodes
from latex2mathml.converter import convert

project = "slt"
author = "the slt-toolkit developers"
copyright = author
release = metadata.version("slt-toolkit")
extensions = ["myst_parser", "sphinx_design", "sphinx_copybutton"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["tools", "start", "examples"]
nitpicky = True
html_theme = "pydata_sphinx_theme"
html_title = "slt"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
MADE = [f"generated/{name}" for name in ("errors", "evidence", "changelog")]
html_sidebars = {name: [] for name in [*(path.stem for path in HERE.glob("*.md")), *MADE, "search", "genindex"]}
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

generate.everything(HERE / "generated")
if stale := [path.stem for path in articles.stale()]:
    raise RuntimeError(f"{', '.join(stale)}: the article was not made from this notebook; `make docs` renews it.")


def setup(app):
    """Formulas as MathML, which browsers draw without a script; links out of this folder as the path they lead to.

    Such links serve readers on a code host.
    """

    def formula(display):
        def visit(self, node):
            self.body.append(convert(node.astext(), display=display))
            raise nodes.SkipNode

        return visit, None

    def read(app, name, source):
        here = Path(app.env.doc2path(name)).parent
        named = partial(outward, here=here)
        source[0] = re.sub(r"(?<!!)\[([^]]*)\]\((\.\./[^)#]+)\)", named, source[0])

    def outward(found, here):
        path = (here / found[2]).resolve()
        if path.is_relative_to(HERE):
            return found[0]
        text, where = found[1], path.relative_to(HERE.parents[1])
        return f"`{where}`" if text.startswith("`") else f"{text} (`{where}`)"

    app.connect("source-read", read)
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
