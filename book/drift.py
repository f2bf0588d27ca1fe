"""When a chapter that was run again says what it said before: one rule for `make book`, which then leaves the file as it is,
and for the tests, which then pass.

Another processor, or another number of threads, adds numbers in another order, so the last digits of whatever was trained
differ. Two outputs are the same if their words are, and

- numbers in a chart differ by at most `TOLERANCE`, relative to the largest of their column or, where the chart has a
  logarithmic axis, on which small numbers are seen as well as large ones, relative to themselves;
- printed numbers with a decimal point differ by at most one unit of the last digit that is printed, whole numbers not at all;
- pictures are not compared: they are drawn from the charts.

A figure that is drawn from rows computed just now (its name ends in -here) holds numbers of small networks that were trained on
the machine itself. Those move by more: on another processor F of two barely trained networks moved by 4%. Such a figure says the
same if its marks, columns and words are the same, and its numbers differ by at most `LOOSE` of the largest of their column;
numbers in its title are not compared, nor are pictures in its table: of two images that move a code alike, the last digits decide
which is shown.

As a plugin of pytest (`pytest --nbval -p book.drift`) it has nbval compare by this rule, charts included.
"""

import contextlib
import csv
import functools
import io
import json
import re
from collections import defaultdict

VEGALITE_MIME = "application/vnd.vegalite.v6+json"
TOLERANCE = 5e-3  # two pixels of an axis of 400; on another processor intervals over three SAEs moved by 2.4e-3
LOOSE = 0.25
PICTURE = re.compile(r"data:image/[a-z+]+;base64,[\w+/=]+")
ANY_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:e[-+]?\d+)?(?![\w.])")


def merge(fresh, committed):
    """Put the committed outputs back into each cell of a fresh notebook that says the same."""
    for new, old in zip(fresh.cells, committed.cells, strict=False):
        same_cell = new.cell_type == old.cell_type == "code" and new.source == old.source
        if same_cell and same_outputs(new.outputs, old.outputs, is_here(new)):
            new.outputs = old.outputs


def is_here(cell):
    """True if a cell draws a figure from rows that were computed just now."""
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "").endswith("-here")


def same_outputs(fresh, committed, here=False):
    """True if two lists of a cell's outputs say the same; `here`: if they are of a figure from rows computed just now."""
    same = _same_here if here else _same_output
    return len(fresh) == len(committed) and all(map(same, fresh, committed))


def _same_here(fresh, committed):
    """A figure from rows computed just now: its words without numbers, its numbers loosely."""
    one, other = fresh.get("data", {}), committed.get("data", {})
    if VEGALITE_MIME not in one or VEGALITE_MIME not in other:
        return _same_output(fresh, committed)
    if one.keys() != other.keys() or _without_numbers(one["text/plain"]) != _without_numbers(other["text/plain"]):
        return False
    return same_chart(*(_without_title(spec[VEGALITE_MIME]) for spec in (one, other)), tolerance=LOOSE)


def _without_title(spec):
    """A spec without its title and text, and with one word for every picture in its tables."""
    rest = {key: value for key, value in spec.items() if key not in ("title", "description")}
    return json.loads(PICTURE.sub("picture", json.dumps(rest)))


def _without_numbers(text):
    """A text without its numbers."""
    return ANY_NUMBER.sub("#", text).split()


def _same_output(fresh, committed):
    if fresh.output_type != committed.output_type:
        return False
    if fresh.output_type == "stream":
        return fresh.name == committed.name and same_text(fresh.text, committed.text)
    if fresh.output_type == "error":
        return False
    one, other = fresh.data, committed.data
    return one.keys() == other.keys() and all(_same_data(kind, one[kind], other[kind]) for kind in one)


def _same_data(kind, fresh, committed):
    if kind == VEGALITE_MIME:
        return same_chart(fresh, committed)
    return kind.startswith("image/") or same_text(fresh, committed)


def same_text(fresh, committed):
    """True if two texts hold the same words, and numbers that differ by at most one unit of their last digit."""
    if NUMBER.sub("#", fresh).split() != NUMBER.sub("#", committed).split():
        return False
    return all(map(_close, NUMBER.findall(fresh), NUMBER.findall(committed)))


def _close(one, other):
    units = [10.0 ** (_exponent(text) - len(re.search(r"\.(\d+)", text)[1])) for text in (one, other)]
    return abs(float(one) - float(other)) <= 1.001 * max(units)


def _exponent(text):
    return int(text.partition("e")[2] or 0)


def same_chart(fresh, committed, tolerance=TOLERANCE):
    """True if two specs are equal but for numbers within the tolerance."""
    tables, others = fresh.get("datasets", {}), committed.get("datasets", {})
    if tables.keys() != others.keys() or not _same_part(
        {**fresh, "datasets": 0}, {**committed, "datasets": 0}, 0, tolerance
    ):
        return False
    linear = not _has_log(committed)
    return all(_same_table(_rows(tables[name]), _rows(others[name]), linear, tolerance) for name in tables)


def _has_log(part):
    """True if a spec has a logarithmic scale."""
    if isinstance(part, dict):
        return part.get("type") == "log" or any(map(_has_log, part.values()))
    return isinstance(part, list) and any(map(_has_log, part))


def _rows(table):
    """A table of a spec, which may be CSV, as rows of numbers and words."""
    if not isinstance(table, str):
        return table
    return [{name: _number(cell) for name, cell in row.items()} for row in csv.DictReader(io.StringIO(table))]


def _number(cell):
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell


def _same_table(fresh, committed, linear, tolerance):
    largest = defaultdict(float)
    for row in committed if linear else ():
        for name, value in row.items():
            if isinstance(value, float):
                largest[name] = max(largest[name], abs(value))
    return len(fresh) == len(committed) and all(
        one.keys() == other.keys() and all(_same_part(one[name], other[name], largest[name], tolerance) for name in one)
        for one, other in zip(fresh, committed, strict=True)
    )


def _same_part(one, other, largest, tolerance):
    """Two parts of a spec; `largest` is the number beside which a difference is small, 0 for the numbers themselves."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same_part(one[name], other[name], largest, tolerance) for name in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _same_part(a, b, largest, tolerance) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance * max(largest, abs(other))
    return type(one) is type(other) and one == other


def pytest_collection_modifyitems(items):
    """nbval's cells compare by `same_outputs`, and by nbval's own rule, which says what differs, only where that fails."""
    for item in items:
        if hasattr(item, "cell"):
            item.compare_outputs = functools.partial(_compared, item, item.compare_outputs)
            if any(VEGALITE_MIME in output.get("data", {}) for output in item.cell.outputs):
                item.options["check"] = True


def _compared(item, theirs, fresh, committed, skip_compare=None):
    if same_outputs(fresh, committed, is_here(item.cell)):
        return True
    if theirs(fresh, committed, skip_compare):
        item.comparison_traceback.append("a number in a chart or text differs by more than book/drift.py allows")
    return False
