"""The head of every page, and its HTML once more when it is written.

- description, card and canonical address, from the answers of the chapters and the one setting `superpos.address`
- scripts: none that asks another host; those of charts only where there is a chart
- icons: drawn into the page from the theme's own script, so that 1.5 MB of icons are not loaded for a dozen
- headings of tables that pandas leaves empty are cells, not headings
"""

import csv
import html
import re
import shutil
from functools import cache
from pathlib import Path

import vl_convert
from docutils import nodes

from superpos import address
from superpos_book.card import card
from superpos_book.tables import RESULTS

HERE = Path(__file__).parent / "static"
PREFERRED = '(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")'
ABOUT = (
    "How many features does a layer of a neural network represent, and do they overlap? Findings about superposition, rerun and "
    "doubted: every number with its interval, seeds and provenance."
)


@cache
def _answers():
    with open(RESULTS / "answers.csv", newline="", encoding="utf-8") as file:
        return {f"notebooks/{row['chapter']}": row["answer"] for row in csv.DictReader(file)}


def described(name):
    """What search engines and cards say of a page."""
    return _answers().get(name, ABOUT)


def _head(app, name, context):
    """The tags that describe a page to others."""
    title = re.sub("<[^>]*>", "", context.get("title") or app.config.html_title)
    named = {
        "og:title": title, "og:description": described(name), "og:type": "article", "og:site_name": app.config.html_title,
        "og:url": f"{address.SITE}{name}.html", "og:image": f"{address.SITE}_static/card.png",
        "og:image:alt": "Claims of the paper by readings: which hold, which fall, which cannot be told",
    }  # fmt: skip
    tags = [
        f'<meta name="description" content="{html.escape(described(name))}">',
        '<meta name="twitter:card" content="summary_large_image">',
    ]
    tags += [f'<meta property="{key}" content="{html.escape(value)}">' for key, value in named.items()]
    return "\n".join(tags)


def _page(app, name, template, context, doctree):
    if app.builder.format != "html":
        return
    context["metatags"] = context.get("metatags", "") + _head(app, name, context)
    charts = doctree is not None and any("superpos-chart" in n.astext() for n in doctree.findall(nodes.raw))
    for script in ("vega.js", "charts.js") if charts else ():
        app.add_js_file(script, loading_method="defer")
    app.add_js_file("site.js", loading_method="defer")
    scripts = context["script_files"]  # Sphinx's own list: to be changed in place
    unwanted = ("thebe", "design-tabs")
    scripts[:] = [
        s for s in scripts if not any(one in f"{s.filename}{s.attributes.get('body', '')}".lower() for one in unwanted)
    ]


def _icons(script):
    """{name: (width, height, path)} of the icons in the theme's script."""
    found = re.findall(r'["\']?([a-z0-9-]+)["\']?:\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]+","([^"]+)"\]', script)
    return {name: (width, height, path) for name, width, height, path in found}


def with_icons(text, icons):
    """A page with its icons drawn into it. ValueError for one that the theme does not have."""

    def drawn(match):
        name = next((word[3:] for word in match[1].split() if word[3:] in icons), None)
        if name is None:
            raise ValueError(f"the theme has no icon {match[1]!r}")
        width, height, path = icons[name]
        return (
            f'<svg class="svg-inline--fa {match[1]}" aria-hidden="true" viewBox="0 0 {width} {height}"><path fill="currentColor" '
            f'd="{path}"></path></svg>'
        )

    return re.sub(r'<i class="((?:fa[srb]?|fa-solid|fa-brands) [^"]*)"[^>]*></i>', drawn, text)


def mended(text, icons):
    """A page's HTML as it is published."""
    text = re.sub(r'<script defer src="[^"]*fontawesome\.js[^"]*"></script>', "", text)
    text = with_icons(text, icons)
    text = re.sub(r"<th>\s*</th>", "<td></td>", text)  # pandas' corner of a table is no heading
    text = text.replace('<table border="1" class="dataframe">', '<table class="dataframe">')
    text = text.replace("<h1></h1>", "").replace('<th class="head"><p></p></th>', "<td></td>")
    text = re.sub(r' role="(?:doc-biblioentry|doc-backlink|list)"', "", text)  # roles that these elements may not have
    text = text.replace(
        '<div id="pst-primary-sidebar" ', '<div id="pst-primary-sidebar" role="navigation" aria-label="The book" '
    )
    text = text.replace('localStorage.getItem("theme") || "auto"', f'localStorage.getItem("theme") || {PREFERRED}')
    return text.replace('data-theme="auto"', 'data-theme="light"')


def _finish(app, error):
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    # an ES module that sets window.vegaEmbed; wrapped, it also loads from a file:// page
    (static / "vega.js").write_text(f"(function () {{{vl_convert.javascript_bundle()}}})();")
    for path in HERE.iterdir():
        shutil.copy(path, static)
    (static / "card.png").write_bytes(card(RESULTS))
    icons = _icons((static / "scripts" / "fontawesome.js").read_text())
    for page in Path(app.outdir).rglob("*.html"):
        page.write_text(mended(page.read_text(), icons))
    for leftover in ("fontawesome.js", "fontawesome.js.map", "bootstrap.js.map", "pydata-sphinx-theme.js.map"):
        (static / "scripts" / leftover).unlink(missing_ok=True)


def setup(app):
    app.add_css_file("superpos.css")
    app.connect("html-page-context", _page, priority=900)
    app.connect("build-finished", _finish)
