"""When a rerun says the same: the rule of `book.drift`, each side of every bound."""

import copy
import os
import subprocess
import sys

import nbformat
import pytest

from book import drift
from book.run import ROOT

SPEC = {
    "mark": "line",
    "width": 400,
    "datasets": {"named_0": [{"x": 1, "y": 100.0, "who": "a"}, {"x": 2, "y": 0.001, "who": "a"}]},
    "layer": [{"data": {"values": [{"v": 2.0}]}}],
}


def changed(change):
    spec = copy.deepcopy(SPEC)
    change(spec)
    return spec


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["datasets"]["named_0"][0].update(y=100.4),
        lambda s: s["datasets"]["named_0"][1].update(y=-0.2),  # small beside the largest of its column
        lambda s: s["layer"][0]["data"]["values"][0].update(v=2.009),
    ],
)
def test_a_chart_may_differ_within_the_tolerance(change):
    assert drift.same_chart(changed(change), SPEC)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["datasets"]["named_0"][0].update(y=101.0),
        lambda s: s["datasets"]["named_0"][1].update(y=1.0),
        lambda s: s["datasets"]["named_0"][0].update(x=2),  # a count, not a measured number
        lambda s: s["datasets"]["named_0"][0].update(who="b"),
        lambda s: s["datasets"]["named_0"][0].update(y=None),
        lambda s: s["datasets"]["named_0"].pop(),
        lambda s: s["layer"][0]["data"]["values"][0].update(v=2.02),
        lambda s: s.update(mark="bar"),
        lambda s: s.update(title="new"),
        lambda s: s.update(width=401),
    ],
)
def test_a_chart_that_says_something_else(change):
    assert not drift.same_chart(changed(change), SPEC)
    assert not drift.same_chart(SPEC, changed(change))


@pytest.mark.parametrize(("small", "same"), [(0.0010049, True), (0.0011, False)])
def test_on_a_logarithmic_axis_small_numbers_count_as_large_ones(small, same):
    logarithmic = changed(lambda s: s.update(encoding={"y": {"field": "y", "scale": {"type": "log"}}}))
    fresh = copy.deepcopy(logarithmic)
    fresh["datasets"]["named_0"][1]["y"] = small
    assert drift.same_chart(fresh, logarithmic) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("F = 12.34 of 5", "F = 12.35 of 5", True),
        ("F = 12.34", "F = 12.36", False),
        ("a  9.99", "a 10.00", True),  # the column moves with its width
        ("5 networks", "6 networks", False),
        ("1.2e-05", "1.3e-05", True),
        ("1.2e-05", "1.2e-04", False),
        ("F 1.0", "F 1.05", True),
        ("-0.01 ok", "0.00 ok", True),
        ("holds 0.5", "falls 0.5", False),
        ("version 1.2.3", "version 1.2.4", False),
        ("nan 1.0", "1.0 nan", False),
    ],
)
def test_printed_numbers(one, other, same):
    assert drift.same_text(one, other) is same
    assert drift.same_text(other, one) is same


def notebook(text, source="print(1)", spec=SPEC, picture="old"):
    data = {drift.VEGALITE_MIME: spec, "image/png": picture, "text/plain": "a chart"}
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=text), nbformat.v4.new_output("display_data", data)]
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=outputs)
    made = nbformat.v4.new_notebook(cells=[cell])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def test_what_says_the_same_is_left_as_it_was():
    fresh = notebook("F 1.01", spec=changed(lambda s: s["datasets"]["named_0"][0].update(y=100.01)), picture="new")
    drift.merge(fresh, notebook("F 1.00"))
    assert fresh.cells[0].outputs == notebook("F 1.00").cells[0].outputs


@pytest.mark.parametrize("old", [notebook("F 1.50"), notebook("F 1.00", source="print(2)")], ids=["number", "source"])
def test_what_says_something_else_is_new(old):
    fresh = notebook("F 1.01", picture="new")
    drift.merge(fresh, old)
    assert fresh.cells[0].outputs == notebook("F 1.01", picture="new").cells[0].outputs


@pytest.mark.parametrize(("number", "status"), [(100.05, 0), (102.5, 1)], ids=["within", "beyond"])
def test_nbval_compares_charts_by_the_same_rule(tmp_path, number, status):
    spec = changed(lambda s: s["datasets"]["named_0"][0].update(y=number))
    source = (
        f"from IPython.display import display\nprint('F 1.00')\n"
        f"display({{{drift.VEGALITE_MIME!r}: {SPEC!r}, 'image/png': 'new', 'text/plain': 'a chart'}}, raw=True)"
    )
    stored = notebook("F 1.01\n", source=source, spec=spec)
    stored.cells[0].metadata["tags"] = ["nbval-ignore-output"]
    nbformat.write(stored, tmp_path / "a.ipynb")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "book.drift", "--nbval", "a.ipynb"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([*words, "-W", "ignore"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == status, result.stdout[-3000:]


PICTURE = "data:image/png;base64,iVBO+Rw0/"


def test_pictures_in_a_table_are_not_compared_where_rows_are_of_here():
    for name, same in (("fig-own-here", True), ("fig-own", False)):
        fresh, committed = (of_here(1.0, who=f"{PICTURE}{end}", name=name) for end in ("AAAA==", "BB"))
        drift.merge(fresh, committed)
        assert (fresh.cells[0].outputs == committed.cells[0].outputs) is same


def of_here(y, title="F is 3.5 times as large", name="fig-toy-here", who="a"):
    """A cell that draws a figure, and its outputs."""
    spec = {"mark": "line", "title": title, "description": title, "datasets": {"t": [{"x": 1, "y": y, "who": who}]}}
    data = {drift.VEGALITE_MIME: spec, "text/plain": title, "image/png": "…"}
    output = nbformat.v4.new_output("display_data", data=data)
    cell = nbformat.v4.new_code_cell("draw()", outputs=[output], metadata={"mystnb": {"figure": {"name": name}}})
    return nbformat.v4.new_notebook(cells=[cell])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"y": 0.85}, True),
        ({"y": 0.85, "title": "F is 0.9 times as large"}, True),
        ({"y": 0.7}, False),
        ({"y": 1.0, "title": "F is 3.5 times as small"}, False),
        ({"y": 1.0, "who": "b"}, False),
        ({"y": 1.0, "who": f"{PICTURE}AAAA=="}, False),
    ],
)
def test_a_figure_of_rows_from_here_may_move_by_more_but_says_the_same_words(change, same):
    fresh, committed = of_here(**change), of_here(1.0)
    drift.merge(fresh, committed)
    assert (fresh.cells[0].outputs == committed.cells[0].outputs) is same


def test_other_figures_may_not():
    fresh, committed = (of_here(y, name="fig-toy-truth") for y in (0.85, 1.0))
    drift.merge(fresh, committed)
    assert fresh.cells[0].outputs != committed.cells[0].outputs
