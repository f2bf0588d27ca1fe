"""The book's Sphinx extension. Each file is one thing that the site does beyond jupyter-book:

charts    outputs of Vega-Lite's type become a block that `charts.js` draws, with the picture for those without scripts
maths     formulas become MathML when the site is built, so that no page loads a script or a font for them
tables    directives that draw committed tables: claims by readings, answers, verdicts, corrections, networks
docstrings  plain sentences as reST
autolink  code that is linked to the reference
pages     the head of every page (description, card, scripts) and its HTML once more (icons, headings of tables)

Nothing in a page asks another host.
"""

from superpos_book import autolink, charts, docstrings, maths, pages, tables


def setup(app):
    for part in (autolink, charts, docstrings, maths, tables, pages):
        part.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
