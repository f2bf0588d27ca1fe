"""The built site in a real browser with the network blocked, and what the builder refuses."""

import html
import importlib
import json
import re
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from book import site
from book.run import ROOT, chapter_names
from tests.visits import Visit, charts_in

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
"""


def test_a_slider_moves_the_shares(browser, address):
    """All six codes alike: F = 6."""
    visit = Visit(browser, f"{address}/notebooks/01_measure_your_own.html")
    chart = visit.page.locator(".superpos-chart").nth(1)
    assert "F = 6.00" not in chart.inner_text()
    for slider in chart.locator("input[type=range]").all():
        slider.fill("60")
    visit.page.wait_for_timeout(300)
    assert "F = 6.00" in chart.locator("svg.marks").inner_html()
    visit.page.close()


def test_a_slider_changes_the_matrix(browser, address):
    visit = Visit(browser, f"{address}/notebooks/02_toy_models.html")
    chart = visit.page.locator(".superpos-chart").nth(1)
    before = chart.locator("svg.marks").inner_html()
    chart.locator("input[type=range]").fill("8")
    visit.page.wait_for_timeout(300)
    assert chart.locator("svg.marks").inner_html() != before
    visit.page.close()


def test_the_front_page_shows_statements_by_readings(browser, address):
    visit = Visit(browser, f"{address}/book/index.html")
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(address)] == []
    table = visit.page.locator("figure.claims-by-readings table")
    statements = pd.read_csv(ROOT / "book/results/statements.csv")
    assert table.locator("tbody tr").count() == statements.statement.nunique()
    assert (
        table.locator("tbody td").all_inner_texts() == statements.verdict.replace("not identified", "refused").tolist()
    )
    said = visit.page.locator("main").inner_text()
    lines = (ROOT / "book/results/statements.txt").read_text().splitlines()
    assert len(lines) == 3
    assert all(line in said for line in lines)
    links = table.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert len(links) == statements.statement.nunique()
    assert all(visit.page.request.get(href).ok for href in set(links))
    visit.page.close()


def test_the_page_of_verdicts_shows_every_claim(browser, address):
    visit = Visit(browser, f"{address}/book/verdicts.html")
    assert visit.complaints == []
    claims = pd.read_csv(ROOT / "book/results/verdicts.csv", keep_default_na=False)
    tables = visit.page.locator("table.verdicts")
    counts = [tables.nth(i).locator("tbody tr").count() for i in range(tables.count())]
    assert counts == [int((claims.table == name).sum()) for name in ("paper", "check", "elsewhere")]
    visit.page.close()


@pytest.mark.parametrize("name", chapter_names())
def test_a_page_is_light(built, name):
    """At most 600 kB of its own; the chart library is apart, and shared by all pages. No script of icons or formulas."""
    text = (built / "notebooks" / f"{name}.html").read_text()
    assert len(text.encode()) <= 600_000
    places = [text.index(f"/{script}") for script in ("vega.js", "charts.js")]
    assert "defer" in text[places[0] - 80 : places[0]]
    assert places == sorted(places)
    assert "tex-chtml" not in text
    assert "fontawesome.js" not in text


def test_contents_without_a_chapter_that_cannot_be_published():
    whole, some = (yaml.safe_load(site._contents_without(out)) for out in ([], ["20_what_it_costs", "04_dropout"]))
    names = [[Path(one["file"]).name for one in part["chapters"]] for part in whole["parts"]]
    assert whole == yaml.safe_load((ROOT / "_toc.yml").read_text())
    left = [[Path(one["file"]).name for one in part["chapters"]] for part in some["parts"]]
    assert left == [names[0], [name for name in names[1] if name != "04_dropout"], names[3]]


def test_launch_buttons_open_the_source_notebook(built):
    page = (built / "notebooks" / "01_measure_your_own.html").read_text()
    assert "colab.research.google.com/github/superpos/superpos/blob/main/notebooks/01_measure_your_own.ipynb" in page
    assert (built / "_sources" / "notebooks" / "01_measure_your_own.ipynb").exists()


def test_figures_are_numbered_and_captioned(built):
    page = (built / "notebooks" / "02_toy_models.html").read_text()
    assert page.count('class="caption-number">Fig.') == charts_in("02_toy_models")


def extension(name):
    """A part of the book's Sphinx extension."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        return importlib.import_module(f"superpos_book.{name}")
    finally:
        sys.path.pop(0)


def test_a_spec_cannot_leave_its_script_block():
    evil = "</script><script>alert(1)</script>"
    spec = {"description": 'a "b" <c>', "title": evil, "datasets": {"named_0": f"x\n{evil}\n"}}
    there, charts = set(), extension("charts")
    block = charts.chart_block(spec, there, "a.png")
    assert block.count("</script>") == 2
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in block
    table, inside = (part.split("</script>")[0].partition(">")[2] for part in block.split("<script ")[1:])
    assert json.loads(table) == f"x\n{evil}\n"
    assert json.loads(inside)["title"] == evil
    again = charts.chart_block(spec, there, "a.png")
    assert again.count("</script>") == 1, "a table stands in a page once"


def test_a_formula_is_whole_or_refused():
    maths = extension("maths")
    made = maths.mathml(r"\psi = F / N", False)
    assert "\\" not in made.replace(r'alttext="\psi = F / N"', "")
    assert "ψ" in html.unescape(made)
    marked = maths.mathml(r"\lVert x' \rVert^2 + \beta \ln w", False)
    assert marked.count('<mo stretchy="false" lspace="0" rspace="0">‖</mo>') == 2, "bars of one height"
    assert '<mi>x</mi></mrow><mo lspace="0" rspace="0">′</mo>' in marked, "a prime beside its letter"
    assert '<mi>β</mi><mspace width="0.17em" /><mi>ln</mi><mspace width="0.17em" /><mi>w</mi>' in marked
    with pytest.raises(ValueError, match=r"MathML knows no \\arg of the formula"):
        maths.mathml(r"\arg\max U", True)


def test_an_interval_is_drawn_beside_the_papers_number():
    """On the scale of a picture ours lies where it should beside the paper's band; NaN gives no picture."""
    strip = extension("strips").strip
    row = {"ours": "0.5", "low": "0.25", "high": "0.75", "paper": "0.9", "error": "0.1"}
    drawn = strip(row)
    dot = float(re.search(r'cx="([\d.]+)"', drawn)[1])
    left, width = (
        float(re.search(rf'<rect class="paper"[^>]* ?{name}="([\d.]+)"', drawn)[1]) for name in ("x", "width")
    )
    bar = [float(one) for one in re.search(r'class="ours" x1="([\d.]+)" x2="([\d.]+)"', drawn).groups()]
    assert bar[0] < dot < bar[1] < left < left + width
    assert (bar[0] + bar[1]) / 2 == pytest.approx(dot, abs=0.2)
    assert "ours 0.5 [0.25 to 0.75]; the paper" in drawn
    assert strip(dict.fromkeys(row, "")) == ""


def test_docstrings_become_rest():
    as_rest = extension("docstrings").as_rest
    given = ["Means of x* and `low|`s.", "", "    a  b", "    c  d", "", "End_."]
    made = as_rest(given)
    assert made[0] == r"Means of x\* and ``low|``\ s."
    assert [line.strip() for line in made if line.startswith(" ")][-2:] == ["a  b", "c  d"], "one box, two lines"
    assert made[-1] == r"End\_."


def test_icons_are_drawn_into_the_page_and_an_unknown_one_is_an_error():
    pages = extension("pages")
    icons = pages._icons('var x={"angle-left":[320,512,[8249],"f104","M41 1z"],github:[496,512,[],"f09b","M165 2z"]}')
    drawn = pages.with_icons(
        '<i class="fa-solid fa-angle-left"></i><i class="fab fa-github" aria-hidden="true"></i>', icons
    )
    assert drawn.count("<svg") == 2
    assert 'd="M41 1z"' in drawn
    assert "<i " not in drawn
    with pytest.raises(ValueError, match="no icon 'fas fa-nothing'"):
        pages.with_icons('<i class="fas fa-nothing"></i>', icons)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda cell: cell.update(execution_count=None), "never executed"),
        (lambda cell: cell.update(source="1 + 2"), "differ"),
        (
            lambda cell: cell.outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])),
            "an error",
        ),
        (
            lambda cell: cell.outputs.append(nbformat.v4.new_output("stream", text=f"{ROOT}/x")),
            "a path of this machine",
        ),
    ],
)
def test_a_notebook_that_must_not_be_published(tmp_path, change, fault):
    source = HEADER + "1 + 1\n"
    (tmp_path / "01_a.py").write_text(source)
    cell = nbformat.v4.new_code_cell("1 + 1", execution_count=1, id="cell-0")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "01_a.ipynb")
    assert site.check_notebook(Path(tmp_path / "01_a.py")) == []
    change(cell)
    nbformat.write(notebook, tmp_path / "01_a.ipynb")
    assert any(fault in line for line in site.check_notebook(Path(tmp_path / "01_a.py")))
