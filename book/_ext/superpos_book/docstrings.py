"""Docstrings are plain sentences, with names in `backticks` and indented or aligned lines as they are: here they become reST."""

import re


def as_rest(lines):
    """Lines of a docstring as reST: code in backticks stays code, tables and formulas keep their form, nothing else is markup."""
    made, block = [], []
    for line in [*lines, ""]:
        if line.strip() and (
            line.startswith(" ") or "   " in line.strip() or line.startswith(">>>") or (block and line.startswith("('"))
        ):
            block.append(line)
            continue
        if block:
            made += ["", "::", "", *(f"    {one}" for one in block), ""]
            block = []
        made.append(_escaped(line))
    return made[:-1] if not made[-1] else made


def _escaped(line):
    parts = re.split(r"(`[^`]+`)", line)
    made = [f"``{one.strip('`')}``" if one.startswith("`") else re.sub(r"([\\*|_`])", r"\\\1", one) for one in parts]
    return re.sub(r"(``[^`]+``)(?=\w)", r"\1\\ ", "".join(made))


def _process(app, what, name, obj, options, lines):
    lines[:] = as_rest(list(lines))


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
