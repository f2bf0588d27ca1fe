"""What a chapter answers: the box at its top, the front page and the page of verdicts say it in the same words.

An answer is a function of committed rows, as a claim is, so that no number in it is typed. How sure it is follows from the
statements of the chapter (`superpos.findings.statements`): whether every SAE says the same, and what the count says.
"""

import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from superpos import address
from superpos.claims import Estimate
from superpos.readings import WORDS
from superpos.sweep import Rows

__all__ = [
    "COLUMNS",
    "Answer",
    "Box",
    "Maker",
    "box",
    "hours",
    "join",
    "listed",
    "number",
    "said",
    "side",
    "sure",
    "table",
    "within",
]

COLUMNS = ("chapter", "question", "answer", "sure", "rests_on", "hours", "minutes", "files")
COUNT = "count"
TERMS = {  # what the words of a box mean, for those who begin with it; by what they look like in it
    r"\bF\b": "F: how many features a layer holds, by their shares of its activation",
    "ψ": "ψ = F / N for N neurons: above 1 features overlap",
    "recipe|protocol|TopK": "the paper's recipe, this book's protocol, TopK: three ways to fit a sparse autoencoder (SAE)",
    r"\b[Tt]he count\b": "the count: this book's own way, which gives an interval or refuses",
}
SAES = {name: words for name, words in WORDS.items() if name != COUNT}


@dataclass(frozen=True)
class Answer:
    """What a chapter comes to.

    chapter: its file without an ending; question: what it asks, in plain words; sentence: the answer, in one plain sentence
    with its interval; rests_on: how many networks or other units, of what kind, and how the interval was made; files: the
    results files behind it. sure: how sure it is, in a sentence, where no statement by readings is about the chapter.
    """

    chapter: str
    question: str
    sentence: str
    rests_on: str
    files: tuple[str, ...]
    sure: str = ""


Maker = Callable[[Rows], Answer]


def number(value: float, digits: int = 3) -> str:
    """A number in so many significant digits, without an exponent up to a million; NaN is a dash.

    >>> number(0.97412), number(12.0), number(-1234.5)
    ('0.974', '12', '−1,230')
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value).replace("-", "−").replace("inf", "∞")
    places = 0 if value == 0 else digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    text = f"{rounded:,.{max(places, 0)}f}" if rounded != int(rounded) else f"{rounded:,.0f}"
    return text.rstrip("0" if "." in text else "").replace("-", "−")


def within(value: float, low: float, high: float) -> str:
    """A value and its interval, which a number that has no error of its own lacks, or one of too few: 0.5 [0.4 to 0.6]."""
    if low == high or not math.isfinite(low + high):
        return number(value)
    return f"{number(value)} [{number(low)} to {number(high)}]"


def said(ours: Estimate) -> str:
    """An estimate in words: its value and its interval."""
    return within(ours.value, ours.low, ours.high)


def side(ours: Estimate, than: float, above: str, below: str, neither: str) -> str:
    """The words for where an interval lies: above a value, below it, or on both sides of it (or nowhere, where it is NaN)."""
    return above if ours.low > than else below if ours.high < than else neither


def join(words: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return f" {last} ".join([part for part in (", ".join(words[:-1]), words[-1]) if part]) if words else ""


def sure(chapter: str, statements: pd.DataFrame) -> str:
    """How sure a chapter's answer is: whether the three SAEs agree on its statements, and the count; then a line a statement.

    statements: the table of `superpos.findings.statements.cells`. "" where no statement is about the chapter.
    """
    mine = statements[statements.chapter == chapter]
    if mine.empty:
        return ""
    lines, heads = [], []
    for words, part in mine.groupby("words", sort=False):
        by = dict(zip(part.reading, part.verdict, strict=True))
        lines.append(f"“{words}” {_by_reading(by)}")
        heads.append({by[name] for name in SAES if by[name] != "not run"})
    turns = any({"holds", "fails"} <= one for one in heads)
    firm = all(len(one) == 1 and "undecided" not in one for one in heads)
    head = "All SAEs agree" if firm else "It depends on the SAE" if turns else "Not every SAE decides"
    count = mine[mine.reading == COUNT].verdict
    refused = int((count == "not identified").sum())
    of = "" if refused == len(count) else f" to {refused} of the {len(count)} statements"
    tail = f" The count gives no answer{of}." if refused else ""
    return "\n".join([f"{head}.{tail}", *(f"{one}." for one in lines)])


def _by_reading(by: dict[str, str]) -> str:
    """What each reading says, those that say the same together: holds by this book's protocol, fails by the other two."""
    told: dict[str, list[str]] = {}
    for reading, name in WORDS.items():
        if by.get(reading) not in ("not identified", None):
            told.setdefault(by[reading], []).append(name)
    for names in told.values():
        if names[: len(SAES)] == list(SAES.values()):
            names[: len(SAES)] = ["all three SAEs"]
    verbs = {"undecided": "is undecided", "not run": "was not run"}
    return ", ".join(f"{verbs.get(word, word)} by {join(names)}" for word, names in told.items())


def hours(files: Iterable[str], rows: Rows) -> float:
    """Hours of computing behind some results files: the seconds of all their runs."""
    tables = [rows[file.removesuffix(".csv")] for file in files]
    return sum(float(one.seconds[one.row.astype(str).str.startswith("1/")].sum()) for one in tables) / 3600


def table(made: Iterable[Answer], statements: pd.DataFrame, rows: Rows, minutes: dict[str, float]) -> pd.DataFrame:
    """Answers as a table of COLUMNS, a row a chapter; `minutes` are those of a rerun at quick scale."""
    lines = [
        (one.chapter, one.question, one.sentence, one.sure or sure(one.chapter, statements), one.rests_on,
         hours(one.files, rows), minutes.get(one.chapter, math.nan), " ".join(one.files))
        for one in made
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=COLUMNS)


@dataclass(frozen=True)
class Box:
    """A line of `table` as a notebook shows it: HTML where it can, else text."""

    line: dict[str, object]

    def _repr_html_(self) -> str:
        one = {name: html.escape(str(value), quote=False) for name, value in self.line.items()}
        parts = [
            ("How sure", listed(str(self.line["sure"]))),
            ("Rests on", one["rests_on"]),
            ("Words", _terms(" ".join(str(self.line[name]) for name in ("question", "answer", "sure", "rests_on")))),
            ("Run it", f"{_cost(self.line)} {_links(self.line)}"),
        ]
        about = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in parts)
        return (
            '<section class="superpos-answer" aria-label="The answer in short">'
            f'<p class="superpos-question">{one["question"]}</p>'
            f"<p><strong>{one['answer']}</strong></p><dl>{about}</dl></section>"
        )

    def __repr__(self) -> str:
        return "\n".join(str(self.line[name]) for name in ("question", "answer", "sure", "rests_on"))


def box(make: Maker, folder: str | Path) -> Box:
    """The box of a chapter, computed from the committed rows in a folder, where statements.csv and ../minutes.csv stand too."""
    folder = Path(folder)
    statements = pd.read_csv(folder / "statements.csv", keep_default_na=False)
    quick = pd.read_csv(folder.parent / "minutes.csv").set_index("chapter").minutes.to_dict()
    rows = Rows(folder)
    return Box(table([make(rows)], statements, rows, quick).iloc[0].to_dict())


def listed(text: str) -> str:
    """A text of several lines as HTML: the first is what it comes to, the others are a list."""
    head, *rest = (html.escape(line, quote=False) for line in text.split("\n"))
    return head + (f"<ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>" if rest else "")


def _terms(text: str) -> str:
    """What those of TERMS mean that a text uses, and where the others are explained, as HTML."""
    told = [meaning for pattern, meaning in TERMS.items() if re.search(pattern, text)]
    return (
        html.escape("; ".join([*told, ""]), quote=False) + f'<a href="{address.SITE}book/glossary.html">all words</a>'
    )


def _cost(line: dict[str, object]) -> str:
    quick, full = float(str(line["minutes"])), float(str(line["hours"]))
    quickly = (
        "" if math.isnan(quick) else f"{math.ceil(quick)} minute{'s' if quick > 1 else ''} at quick scale on one core; "
    )
    return f"{quickly}the committed rows took {number(full, 2)} hours of computing."


def _links(line: dict[str, object]) -> str:
    chapter = str(line["chapter"])
    named = {"Open in Colab": address.colab(chapter), "download the notebook": address.download(chapter)}
    named |= {file: address.rows(file) for file in str(line["files"]).split()}
    return " · ".join(f'<a href="{where}">{html.escape(name)}</a>' for name, where in named.items())
