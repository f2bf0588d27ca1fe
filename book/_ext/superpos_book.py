"""The book's Sphinx extension: Vega-Lite charts and maths without a network, and tables of verdicts.

- charts: outputs of Vega-Lite's type become a block with the spec as JSON; one script per page draws them. A table that
  several charts of a page draw stands in it once.
- maths: MathJax is served from the package that carries its files.
- ``{verdicts}``: one of the three tables of book/results/verdicts.csv; ``{statements}``: statements × readings and sentences
  about them, from book/results/statements.csv; ``{corrections}``: the log of words that changed. Nothing in them is typed.
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
VERDICT_FILE, STATEMENT_FILE = (HERE.parent / "results" / f"{name}.csv" for name in ("verdicts", "statements"))
ROWS_URL = "https://github.com/superpos/superpos/blob/main/book/results"
SENTENCE_FILE, CORRECTION_FILE = HERE.parent / "results" / "statements.txt", HERE.parent / "corrections.csv"


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


def _rows_of(path, directive):
    """The rows of a CSV file, on which the page depends."""
    directive.env.note_dependency(str(path))
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Verdicts(SphinxDirective):
    """Claims of verdicts.csv, in its order: those of the table named (paper, check or elsewhere)."""

    required_arguments = 1

    def run(self):
        rows = [row for row in _rows_of(VERDICT_FILE, self) if row["table"] == self.arguments[0]]
        if not rows:
            raise self.error(f"{VERDICT_FILE} holds no claim in the table {self.arguments[0]!r}")
        heads = {"paper": ("paper says", "verdict", "differs if"), "check": (None, "verdict", "fails if")}
        paper, verdict, differs = heads.get(self.arguments[0], ("paper says", None, None))
        lines = [
            (r["claim"], r["paper"] or "–", _interval(r), _count(r), _Word(r["verdict"], r["protocol"]), r["differs"])
            for r in rows
        ]
        names, widths = ("claim", paper, "ours, and its interval", "n", verdict, differs), (44, 9, 22, 14, 12, 20)
        kept = [i for i, name in enumerate(names) if name]
        return [
            _table([names[i] for i in kept], [[line[i] for i in kept] for line in lines], [widths[i] for i in kept])
        ]


class Corrections(SphinxDirective):
    """The words that changed: date, claim, from, to and why."""

    def run(self):
        rows = _rows_of(CORRECTION_FILE, self)
        lines = [
            (
                r["date"],
                _Word(r["id"], r["former_id"] and f"was {r['former_id']}"),
                _Word(r["was"]),
                _Word(r["became"]),
                r["why"],
            )
            for r in rows
        ]
        return [_table(("date", "claim", "was", "became", "why"), lines, (10, 28, 10, 12, 40))]


class Statements(SphinxDirective):
    """The table of statements by readings, whose lines link to their chapters, after sentences that say what it comes to."""

    def run(self):
        rows = _rows_of(STATEMENT_FILE, self)
        readings, lines = list(dict.fromkeys(row["reading"] for row in rows)), {}
        for row in rows:
            lines.setdefault((row["words"], row["chapter"], row["source"]), {})[row["reading"]] = row
        table = _table(
            ("statement", *readings),
            [[_Link(*about), *(_cell(of[one]) for one in readings)] for about, of in lines.items()],
            (40, *(15,) * len(readings)),
        )
        table["classes"].append("statements")
        self.env.note_dependency(str(SENTENCE_FILE))
        said = [nodes.paragraph(text=line) for line in SENTENCE_FILE.read_text().splitlines()]
        return [*said, table]


class _Word(str):
    """A verdict, and what is other than the paper's protocol."""

    def __new__(cls, word, note=""):
        made = super().__new__(cls, word)
        made.note = note
        return made


class _Link(str):
    """Words that lead to a chapter, and below them the name of the rows, which leads to these."""

    def __new__(cls, words, chapter, rows):
        made = super().__new__(cls, words)
        made.chapter, made.rows = chapter, rows
        return made


def _cell(row):
    n = f"{row['identified']} of {row['n']}" if row["verdict"] != "not run" else ""
    value = f"{float(row['value']):.2f} [{float(row['low']):.2f}, {float(row['high']):.2f}]" if row["value"] else ""
    return _Word(row["verdict"], ", n = ".join(part for part in (value, n) if part) if value else n)


def _table(heads, lines, widths):
    table = nodes.table(classes=["verdicts"])
    group = nodes.tgroup(cols=len(heads))
    table += group
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", _row(heads))
    group += nodes.tbody("", *(_row(line) for line in lines))
    return table


def _interval(row):
    return f"{row['ours']} ({row['low']} to {row['high']}; {row['interval']})" if row["low"] else row["ours"]


def _count(row):
    return f"{row['n']} ({row['unit']})"


def _row(texts):
    row = nodes.row()
    for text in texts:
        row += nodes.entry("", *_paragraphs(text))
    return row


def _paragraphs(text):
    if isinstance(text, _Link):
        link = nodes.reference("", text, internal=True, refuri=f"../notebooks/{text.chapter}.html")
        rows = nodes.reference("", text.rows, refuri=f"{ROWS_URL}/{text.rows}")
        return [nodes.paragraph("", "", link), nodes.paragraph("", "", rows, classes=["verdict-note"])]
    if not isinstance(text, _Word):
        return [nodes.paragraph(text=text)]
    style = re.sub(r"\W+", "-", text)
    found = [nodes.paragraph(text=text, classes=[f"verdict-{style}"] if text else [])]
    return found + ([nodes.paragraph(text=text.note, classes=["verdict-note"])] if text.note else [])


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
    for name, directive in {"verdicts": Verdicts, "statements": Statements, "corrections": Corrections}.items():
        app.add_directive(name, directive)
    app.add_css_file("superpos.css")
    app.connect("html-page-context", _page, priority=900)
    app.connect("build-finished", _finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
