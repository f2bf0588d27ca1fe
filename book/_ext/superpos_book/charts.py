"""Vega-Lite outputs as blocks with the spec as JSON; one script per page draws them.

A table that several charts of a page draw stands in it once. Where no script runs, and before one has, a picture is shown.
"""

import base64
import hashlib
import html
import json
from functools import cache
from pathlib import Path

from docutils import nodes
from myst_nb.core import render

VEGALITE_MIME = "application/vnd.vegalite.v6+json"
PICTURES = "_images"


class Charts(render.MimeRenderPlugin):
    """Render a Vega-Lite output as a block that `charts.js` draws; other builders take the picture."""

    mime_priority_overrides = (("html", VEGALITE_MIME, 1),)

    @staticmethod
    def handle_mime(renderer, data, inline):
        if data.mime_type != VEGALITE_MIME:
            return None
        spec = data.content if isinstance(data.content, dict) else json.loads(data.string)
        document, env = renderer.renderer.document, renderer.renderer.sphinx_env
        document.superpos_tables = getattr(document, "superpos_tables", set())
        picture = _picture(_stored(env.doc2path(env.docname))[as_json(spec)], env)
        return [nodes.raw(text=chart_block(spec, document.superpos_tables, picture), format="html")]


@cache
def _stored(path):
    """The pictures that a notebook holds beside its charts, by spec."""
    outputs = [
        output
        for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    both = [one["data"] for one in outputs if {VEGALITE_MIME, "image/png"} <= set(one.get("data", {}))]
    return {as_json(one[VEGALITE_MIME]): one["image/png"] for one in both}


def _picture(data, env):
    """Write a picture beside the site's other images. → its address from the page"""
    content = base64.b64decode(data)
    name = f"chart-{hashlib.sha256(content).hexdigest()[:12]}.png"
    folder = Path(env.app.outdir) / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return f"{'../' * env.docname.count('/')}{PICTURES}/{name}"


def chart_block(spec, there, picture):
    """A chart's HTML, after those of its tables that are not in the page yet; `there` holds the names of those that are."""
    blocks, names = [], {}
    for name, rows in spec.get("datasets", {}).items():
        text = as_json(rows)
        names[name] = hashlib.sha256(text.encode()).hexdigest()[:12]
        if names[name] not in there:
            blocks.append(f'<script type="application/json" id="table-{names[name]}">{text}</script>')
            there.add(names[name])
    label = html.escape(spec.get("description", "chart"))
    blocks.append(
        f'<div class="superpos-chart" role="group" aria-label="{label}">'
        f'<script type="application/json">{as_json({**spec, "datasets": names})}</script>'
        f'<img class="superpos-picture" src="{html.escape(picture)}" alt="{label}" loading="lazy"></div>'
    )
    return "".join(blocks)


def as_json(value):
    """JSON that cannot end the script block it stands in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def setup(app):
    """Add `Charts` to myst-nb's plugins, which it otherwise takes from installed packages only."""
    installed = render.load_mime_renders
    render.load_mime_renders = lambda: [*installed(), Charts]
