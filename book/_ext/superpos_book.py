"""The book's Sphinx extension: Vega-Lite charts and maths without a network, and the table of verdicts.

- charts: outputs of Vega-Lite's type become a block with the spec as JSON; one script per page draws them. A table that
  several charts of a page draw stands in it once.
- maths: MathJax is served from the package that carries its files.
- ``{verdicts}``: a table made from book/results/verdicts.csv; nothing in it is typed.
- scripts: none that asks another host.
"""

import csv
import hashlib
import importlib.metadata
import json
import re
import shutil
from pathlib import Path

import vl_convert
from docutils import nodes
from myst_nb.core import render
from sphinx.util.docutils import SphinxDirective
from sphinx.util.fileutil import copy_asset

VEGALITE_MIME = "application/vnd.vegalite.v6+json"
HERE = Path(__file__).parent
VERDICT_FILE = HERE.parent / "results" / "verdicts.csv"


class Charts(render.MimeRenderPlugin):
    """Render a Vega-Lite output as a block that `charts.js` draws; other builders take the picture."""

    mime_priority_overrides = (("html", VEGALITE_MIME, 1),)

    @staticmethod
    def handle_mime(renderer, data, inline):
        if data.mime_type != VEGALITE_MIME:
            return None
        spec = data.content if isinstance(data.content, dict) else json.loads(data.string)
        document = renderer.renderer.document
        document.superpos_tables = getattr(document, "superpos_tables", set())
        return [nodes.raw(text=_chart_block(spec, document.superpos_tables), format="html")]


def _chart_block(spec, there):
    """A chart's HTML, after those of its tables that are not in the page yet; `there` holds the names of those that are."""
    blocks, names = [], {}
    for name, rows in spec.get("datasets", {}).items():
        text = _json(rows)
        names[name] = hashlib.sha256(text.encode()).hexdigest()[:12]
        if names[name] not in there:
            blocks.append(f'<script type="application/json" id="table-{names[name]}">{text}</script>')
            there.add(names[name])
    label = nodes.Text(spec.get("description", "chart")).astext().replace("&", "&amp;").replace('"', "&quot;")
    blocks.append(
        f'<div class="superpos-chart" role="figure" aria-label="{label}">'
        f'<script type="application/json">{_json({**spec, "datasets": names})}</script><noscript>{label}</noscript></div>'
    )
    return "".join(blocks)


def _json(value):
    """JSON that cannot end the script block it stands in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


class Verdicts(SphinxDirective):
    """Table of the claims in verdicts.csv, in its order; with an argument, of the ids that begin with it."""

    optional_arguments = 1

    def run(self):
        self.env.note_dependency(str(VERDICT_FILE))
        prefix = self.arguments[0] if self.arguments else ""
        with open(VERDICT_FILE, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["id"].startswith(prefix)]
        if not rows:
            raise self.error(f"{VERDICT_FILE} holds no verdict whose id begins with {prefix!r}")
        return [_table(rows)]


HEADINGS = ("claim", "paper", "ours (95% interval)", "n", "verdict")


def _table(rows):
    cells = [[r["claim"], r["paper"] or "–", _interval(r), r["n"], r["verdict"]] for r in rows]
    table = nodes.table(classes=["verdicts"])
    group = nodes.tgroup(cols=len(HEADINGS))
    table += group
    group += [nodes.colspec(colwidth=width) for width in (52, 10, 22, 6, 10)]
    group += nodes.thead("", _row(HEADINGS))
    group += nodes.tbody("", *(_row(line) for line in cells))
    return table


def _interval(row):
    return f"{row['ours']} ({row['low']} to {row['high']})" if row["low"] else row["ours"]


def _row(texts):
    row = nodes.row()
    for text in texts:
        style = [f"verdict-{text}"] if text in ("agrees", "differs", "open") else []
        row += nodes.entry("", nodes.paragraph(text=text, classes=style))
    return row


def _mathjax_folder():
    files = importlib.metadata.files("sphinx-mathjax-offline")
    return Path(next(f for f in files if f.name == "tex-chtml-full.js").locate()).parent


def _page(app, name, template, context, doctree):
    """Load the chart scripts where there is a chart, and drop thebe, which would fetch its kernel from a CDN."""
    if doctree is not None and any("superpos-chart" in n.astext() for n in doctree.findall(nodes.raw)):
        for script in ("vega.js", "charts.js"):
            app.add_js_file(script, loading_method="defer")
    scripts = context["script_files"]  # Sphinx's own list: to be changed in place
    kept = [s for s in scripts if "thebe" not in f"{s.filename}{s.attributes.get('body', '')}".lower()]
    first = [s for s in kept if Path(s.filename or "").name in ("vega.js", "charts.js")]  # before maths is typeset
    scripts[:] = [*first, *(s for s in kept if s not in first)]


def _finish(app, error):
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    # an ES module that sets window.vegaEmbed; wrapped, it also loads from a file:// page
    (static / "vega.js").write_text(f"(function () {{{vl_convert.javascript_bundle()}}})();")
    for name in ("charts.js", "superpos.css"):
        copy_asset(HERE / name, static)
    for page in Path(app.outdir).rglob("*.html"):
        _icons_last(page)
    folder = _mathjax_folder()
    (static / "mathjax").mkdir(exist_ok=True)
    shutil.copy(folder / "tex-chtml-full.js", static / "mathjax")
    shutil.copytree(folder / "output", static / "mathjax" / "output", dirs_exist_ok=True)


def _icons_last(page):
    """Move the theme's script of icons, 1.5 MB, behind all others: a chart is drawn before the icons are."""
    text = page.read_text()
    found = re.search(r'<script defer src="[^"]*fontawesome\.js[^"]*"></script>', text)
    if found and "</body>" in text:
        page.write_text(text.replace(found[0], "").replace("</body>", f"{found[0]}</body>"))


def _install_charts():
    """Add `Charts` to myst-nb's plugins, which it otherwise takes from installed packages only."""
    installed = render.load_mime_renders

    def with_charts():
        return [*installed(), Charts]

    render.load_mime_renders = with_charts


def setup(app):
    _install_charts()
    app.add_directive("verdicts", Verdicts)
    app.add_css_file("superpos.css")
    app.connect("html-page-context", _page, priority=900)
    app.connect("build-finished", _finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
