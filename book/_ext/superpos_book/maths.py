"""Formulas as MathML, which browsers draw by themselves: readable without a script, and no page loads MathJax and its fonts."""

import html
import xml.etree.ElementTree as ET

from docutils import nodes
from latex2mathml.converter import convert

SPACE = "http://www.w3.org/1998/Math/MathML"
BARS, PRIMES = "|‖", "′″"
ET.register_namespace("", SPACE)


def mathml(tex, display):
    """A formula of TeX as MathML, with the TeX as its text. ValueError that names a formula that cannot be read."""
    try:
        made = convert(tex, display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"cannot be written as MathML: {tex!r}") from error
    if "\\" in made:
        raise ValueError(f"MathML knows no {made[made.index(chr(92)) :].split('<')[0]} of the formula {tex!r}")
    root = ET.fromstring(made)
    mended(root)
    return ET.tostring(root, encoding="unicode").replace("<math ", f'<math alttext="{html.escape(tex)}" ', 1)


def mended(node):
    """What the converter leaves to the browser, in place: bars that neither grow nor keep a distance, primes beside their letter
    (they are raised already), and a thin space around the name of a function."""
    for child in node:
        mended(child)
    if node.tag == _tag("mo") and node.text in [*BARS]:
        node.attrib |= {"stretchy": "false", "lspace": "0", "rspace": "0"}
    whole = node.tag in (_tag("mrow"), _tag("mstyle"), _tag("math"))
    for i, child in reversed(list(enumerate(node))):
        if child.tag in (_tag("msup"), _tag("msubsup")) and child[-1].text in [*PRIMES]:
            prime = ET.Element(_tag("mo"), {"lspace": "0", "rspace": "0"})
            prime.text = child[-1].text
            child.remove(child[-1])
            beside = ET.Element(_tag("mrow"))
            child.tag = _tag("msub" if len(child) == 2 else "mrow")
            beside.extend([child, prime])
            node[i] = beside
        name = child[0] if child.tag in (_tag("msub"), _tag("msup")) else child
        if whole and name.tag == _tag("mi") and len(name.text or "") > 1 and name.text.isalpha():
            for place in (i + 1, i):
                beside = node[i + 1] if place > i and i + 1 < len(node) else node[i - 1] if place == i and i else None
                if beside is not None and beside.tag != _tag("mo"):
                    node.insert(place, ET.Element(_tag("mspace"), {"width": "0.17em"}))


def _tag(name):
    return f"{{{SPACE}}}{name}"


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
