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
    made, after_code = "", False
    for part in re.split(r"(`[^`]+`)", line):
        if part.startswith("`"):
            made, after_code = made + f"``{part.strip('`')}``", True
        elif part:
            apart = "\\ " if after_code and part[0].isalnum() else ""
            made, after_code = made + apart + re.sub(r"([\\*|_`])", r"\\\1", part), False
    return made


def _process(app, what, name, obj, options, lines):
    lines[:] = as_rest(list(lines))


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
