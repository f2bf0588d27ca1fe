"""Formulas as MathML, which browsers draw by themselves: readable without a script, and no page loads MathJax and its fonts."""

import html

from docutils import nodes
from latex2mathml.converter import convert


def mathml(tex, display):
    """A formula of TeX as MathML, with the TeX as its text. ValueError that names a formula that cannot be read."""
    try:
        made = convert(tex, display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"cannot be written as MathML: {tex!r}") from error
    if "\\" in made:
        raise ValueError(f"MathML knows no {made[made.index(chr(92)) :].split('<')[0]} of the formula {tex!r}")
    return made.replace("<math ", f'<math alttext="{html.escape(tex)}" ', 1)


def visit_inline(self, node):
    self.body.append(f'<span class="math">{mathml(node.astext(), False)}</span>')
    raise nodes.SkipNode


def visit_display(self, node):
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    ids = "".join(f' id="{name}"' for name in node.get("ids", [])[:1])
    self.body.append(f'<div class="math"{ids} tabindex="0">{number}{mathml(node.astext(), True)}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
