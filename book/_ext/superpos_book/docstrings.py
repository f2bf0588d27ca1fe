"""Docstrings are plain sentences, with names in `backticks` and indented or aligned lines as they are: here they become reST."""

import re
import textwrap

from sphinx.transforms import SphinxTransform

from superpos_book import elsewhere, signatures

PIECES = re.compile(
    r"(``[^`]+``|`[^`]+`"  # code
    r"|(?<![\w*])\*\w+\*(?![\w*])"  # a word that is *stressed*
    r"|[\w.{}/-]*\w(?:://|@)(?:[\w./:{}-]*[\w}])?)"  # NAME@2, tcp://host: docutils would make links of them
)
PAIR = re.compile(r"(\S.*?)(\s{3,})(?=\S)")  # of a table of two columns: a name, and what it is
NUMBER = re.compile(r"(\d+)\. +")
BEGINS_A_LIST = re.compile(r"(\(?(?:\d+|[A-Za-z#])[.)]|[-+•])(?=\s)")


def as_rest(lines):
    """Lines of a docstring as reST: code stays code, tables, lists and formulas keep their form, nothing else is markup."""
    made = []
    for render, block in _blocks(list(lines)):
        made += [*render(block), ""]
    return made[:-1]


def _blocks(lines):
    """Lines cut into what stands together, each with the function that renders it."""
    place, blocks = 0, []
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        render, end = _form(lines, place)
        blocks.append((render, lines[place:end]))
        place = end
    return blocks


def _form(lines, start):
    """What begins at a line that is not blank, and where it ends."""
    if lines[start].startswith(">>>"):
        return _example, _while(lines, start, lambda line: line.strip())
    if lines[start].startswith(" "):
        end = _while(lines, start, lambda line: not line.strip() or line.startswith(" "))
        while not lines[end - 1].strip():
            end -= 1
        return _verbatim, end
    if pair := PAIR.match(lines[start]):
        column = pair.end()
        return _pairs, _while(lines, start, lambda line: line.startswith(" ") or _term(line, column)[0])
    if _number(lines[start]) == 1:
        return _numbered, _while(lines, start, lambda line: line.startswith(" ") or _number(line))
    return _prose, _while(lines, start, _is_prose)


def _while(lines, start, belongs):
    end = start + 1
    while end < len(lines) and belongs(lines[end]):
        end += 1
    return end


def _is_prose(line):
    return line.strip() and not (line.startswith((" ", ">>>")) or PAIR.match(line) or _number(line) == 1)


def _number(line):
    found = NUMBER.match(line)
    return int(found[1]) if found else 0


def _term(line, column):
    """A line of a table whose second column begins at `column`, or where a wider gap says so: its name, and the rest."""
    if line[:1].strip() and line[column - 2 : column] == "  " and line[column : column + 1].strip():
        return line[:column].strip(), line[column:]
    pair = PAIR.match(line)
    return (pair[1], line[pair.end() :]) if pair else ("", line.strip())


def _prose(block):
    text = _escaped("\n".join(block))
    if text.endswith("::"):  # the box that follows has a mark of its own
        text = text[:-1] if text != "::" else ""
    return BEGINS_A_LIST.sub(r"\\\1", text, count=1).split("\n") if BEGINS_A_LIST.match(text) else text.split("\n")


def _verbatim(block):
    plain = [re.sub(r"`+([^`]+)`+", r"\1", line) for line in block]
    return _box(textwrap.dedent("\n".join(plain)).split("\n"))


def _example(block):
    return _box(block)


def _box(lines):
    return ["::", "", *(f"    {line}".rstrip() for line in lines)]


def _pairs(block):
    """A table of two columns as a list of names, each with what it is."""
    column, items = PAIR.match(block[0]).end(), []
    for line in block:
        name, rest = _term(line, column)
        if name:
            items.append((name, [rest]))
        else:
            items[-1][1].append(rest)
    made = []
    for name, rest in items:
        made += [_escaped(name), *(f"    {line}" for line in _escaped("\n".join(rest)).split("\n"))]
    return made


def _numbered(block):
    items = []
    for line in block:
        if _number(line):
            items.append([NUMBER.sub("", line, count=1)])
        else:
            items[-1].append(line.strip())
    made = []
    for number, item in enumerate(items, 1):
        made.append(textwrap.indent(_escaped("\n".join(item)), "   " if number < 10 else "    ").lstrip())
        made[-1] = f"{number}. {made[-1]}"
    return "\n".join(made).split("\n")


def _escaped(text):
    """Prose whose code, stressed words and addresses are marked up, and of which nothing else is."""
    made = ""
    for place, part in enumerate(PIECES.split(text)):
        if not place % 2:
            after = made and part and not re.match(r"[\s'\")\]}>/:.,;!?-]", part)
            made += ("\\ " if after else "") + re.sub(r"([\\*|_`])", r"\\\1", part)
            continue
        before = "\\ " if made and not re.search(r"[\s'\"(\[{</:-]$", made) else ""
        stressed = part.startswith("*")
        made += before + (part if stressed else "``" + " ".join(part.strip("`").split()) + "``")
    return made


class PlainQuotes(SphinxTransform):
    """Quotes of the reference are those of its code: docutils would make “” of an empty text."""

    default_priority = 740  # Sphinx makes quotes typographic at 750

    def apply(self, **kwargs):
        self.document.settings.smart_quotes = not self.env.docname.startswith("book/api/")


def _process(app, what, name, obj, options, lines):
    lines[:] = as_rest(lines)
    if what == "module":
        lines += elsewhere.told(name)


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.add_transform(PlainQuotes)
    app.connect("autodoc-process-docstring", _process)
    elsewhere.setup(app)
    signatures.setup(app)
