"""Directives that draw committed tables. Nothing in them is typed: words and numbers are those of book/results.

``{claims-by-readings}``  the statements of the paper by readings, a coloured cell each, and three sentences about them
``{answers}``             what each chapter comes to
``{verdicts} TABLE``      the claims of a table (paper, check, elsewhere): our interval, the paper's number, and what decides
``{corrections}``         the words that changed
``{networks} TABLE``      the networks that were trained (cards), and on what (data)
"""

import csv
import html
from functools import cache
from pathlib import Path

import pandas as pd
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from superpos import address
from superpos.answers import listed, number, within
from superpos.findings import cards, chapter_of
from superpos.readings import WORDS
from superpos.sweep import Rows
from superpos_book.strips import strip

BOOK = Path(__file__).parents[2]
RESULTS = BOOK / "results"
READINGS = {name: words.removeprefix("a ") for name, words in WORDS.items()}


class FromRows(SphinxDirective):
    """A directive that depends on committed files."""

    def read(self, path):
        """The lines of a CSV file, as text."""
        self.env.note_dependency(str(path))
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def link(self, chapter):
        """The title of a chapter, which leads to it."""
        return f'<a href="{self.up}notebooks/{chapter}.html">{html.escape(_title_of(chapter))}</a>'

    @property
    def up(self):
        """The way from this page to the root of the site."""
        return "../" * self.env.docname.count("/")


@cache
def _title_of(chapter):
    """The title of a chapter, from its source: Sphinx may not have read it yet."""
    for line in (BOOK.parent / "notebooks" / f"{chapter}.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("# # "):
            return line[4:]
    raise ValueError(f"{chapter}: it has no title")


def raw(text):
    return [nodes.raw(text=text, format="html")]


def table(heads, lines, classes, caption):
    """A table of HTML: the first cell of a line is its heading; each cell knows its column's head, for narrow windows."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = []
    for attributes, (first, *others) in lines:
        cells = "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in zip(heads[1:], others, strict=True))
        body.append(f'<tr{attributes}><th scope="row">{first}</th>{cells}</tr>')
    return (
        f'<div class="superpos-scroll"><table class="superpos-table {classes}"><caption>{caption}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def word(text, note=""):
    """A word of judgement in its colour, and below it a note."""
    style = text.replace(" ", "-")
    below = f'<span class="sp-note">{html.escape(note)}</span>' if note else ""
    return (f'<span class="sp-word sp-word-{style}">{html.escape(text)}</span>' if text else "") + below


class ClaimsByReadings(FromRows):
    """The figure of the front page."""

    def run(self):
        lines = {}
        for row in self.read(RESULTS / "statements.csv"):
            lines.setdefault((row["words"], row["chapter"]), {})[row["reading"]] = row
        body = []
        for (words, chapter), by in lines.items():
            claim = f'<a href="{self.up}notebooks/{chapter}.html">{html.escape(words)}</a>'
            body.append(("", [claim, *(self.cell(by[reading]) for reading in READINGS)]))
        caption = "What the paper says, and whether it holds by each way of reading the same networks"
        return raw(
            f'<figure class="claims-by-readings">{table(("The paper says", *READINGS.values()), body, "grid", caption)}</figure>'
        )

    @staticmethod
    def cell(row):
        """A cell: its word, and for those who point at it its number."""
        value = within(*_numbers(row, "value", "low", "high")) if row["value"] else ""
        of = f"{row['identified']} of {row['n']} units ({row['unit']})" if row["n"] != "0" else ""
        word = row["verdict"].replace("not identified", "refused")
        style = word.replace(" ", "-")
        more = html.escape(", ".join(filter(None, (value, of))))
        return f'<span class="sp-cell sp-cell-{style}" title="{more}">{word}</span>'


class Sentences(FromRows):
    """What the statements come to: what holds, what fails, what cannot be said."""

    def run(self):
        self.env.note_dependency(str(RESULTS / "statements.txt"))
        lines = (RESULTS / "statements.txt").read_text(encoding="utf-8").splitlines()
        return [
            nodes.paragraph("", "", nodes.strong(text=head + ":"), nodes.Text(rest))
            for head, _, rest in (x.partition(":") for x in lines)
        ]


class Answers(FromRows):
    """One answer a chapter."""

    def run(self):
        items = []
        for row in self.read(RESULTS / "answers.csv"):
            items.append(
                f'<li><p class="of">{self.link(row["chapter"])}</p><p>{html.escape(row["answer"])}</p>'
                f'<div class="sp-note">{listed(row["sure"])}</div></li>'
            )
        return raw(f'<ul class="superpos-answers">{"".join(items)}</ul>')


class Verdicts(FromRows):
    """Claims of one table, by chapter: ours beside the paper's, the rule, and what the word is."""

    required_arguments = 1

    def run(self):
        rows = [row for row in self.read(RESULTS / "verdicts.csv") if row["table"] == self.arguments[0]]
        if not rows:
            raise self.error(f"verdicts.csv holds no claim in the table {self.arguments[0]!r}")
        rows.sort(key=lambda row: chapter_of(row["id"]))
        decided = self.arguments[0] != "elsewhere"
        heads = ("claim", "ours, its interval and kind", "the paper says", *(("verdict",) if decided else ()))
        lines = [self.line(row, decided) for row in rows]
        about = {"paper": "What the paper claims", "check": "Our checks and controls", "elsewhere": "Found elsewhere"}
        return raw(table(heads, lines, "verdicts", about[self.arguments[0]]))

    def line(self, row, decided):
        chapter, protocol = chapter_of(row["id"]), row["protocol"]
        data = f' data-word="{row["verdict"] or "none"}" data-chapter="{chapter}" id="{row["id"].replace(".", "-").lower()}"'
        first = f'{html.escape(row["claim"])}<span class="sp-note">{self.link(chapter)}</span>'
        paper = (
            f"{number(float(row['paper']))}{' ± ' + number(float(row['error'])) if row['error'] else ''}"
            if row["paper"]
            else "–"
        )
        words = ("passes", "fails") if row["table"] == "check" else ("agrees", "differs")
        note = f"{words[0]} if {row['agrees']}; {words[1]} if {row['differs']}" if row["differs"] else protocol
        return data, [first, strip(row) + _ours(row), paper, *([word(row["verdict"], note)] if decided else [])]


def _numbers(row, *names):
    """Cells of a line as numbers, NaN where they are empty."""
    return [float(row[name] or "nan") for name in names]


def _ours(row):
    shown = within(*_numbers(row, "ours", "low", "high"))
    about = f"{row['interval']}; {row['n']} × {row['unit']}"
    rows = f'<a href="{address.rows(row["source"])}">rows</a>'
    return f'<div>{shown}</div><span class="sp-note">{html.escape(about)} · {rows}</span>'


class Corrections(FromRows):
    """The words that changed: the claim in words, where it still stands, and by its id, the date, from, to and why."""

    def run(self):
        words = {row["id"]: row["claim"] for row in self.read(RESULTS / "verdicts.csv")}
        lines = []
        for row in self.read(BOOK / "corrections.csv"):
            former = f", was {row['former_id']}" if row["former_id"] else ""
            name = html.escape(row["id"] + former).replace("_", "_<wbr>").replace(".", ".<wbr>")
            claim = f'{html.escape(words.get(row["id"], ""))}<span class="sp-note">{name}</span>'
            lines.append(("", [claim, row["date"], word(row["was"]), word(row["became"]), html.escape(row["why"])]))
        return raw(table(("claim", "date", "was", "became", "why"), lines, "corrections", "Words that changed"))


class Networks(FromRows):
    """The networks that were trained, a line a kind (cards), or the data that they learn from (data)."""

    required_arguments = 1

    def run(self):
        make = {"cards": cards.cards, "data": cards.data}[self.arguments[0]]
        found: pd.DataFrame = make(Rows(RESULTS))
        lines = [("", [self.cell(*pair) for pair in one.items()]) for one in found.to_dict("records")]
        about = {"cards": "Every kind of network in the committed rows", "data": "The data"}[self.arguments[0]]
        return raw(table(tuple(found.columns), lines, "networks", about))

    def cell(self, name, value):
        """A cell of the table: chapters and results files are led to."""
        if name == "chapter":
            return self.link(value)
        if name == "results":
            return f'<a href="{address.rows(value)}">{value.replace("_", "_<wbr>")}</a>'
        return html.escape(str(value))


def setup(app):
    named = {
        "claims-by-readings": ClaimsByReadings, "sentences": Sentences, "answers": Answers, "verdicts": Verdicts,
        "corrections": Corrections, "networks": Networks,
    }  # fmt: skip
    for name, directive in named.items():
        app.add_directive(name, directive)
