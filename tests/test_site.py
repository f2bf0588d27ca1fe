"""The built site in a real browser with the network blocked, and what the builder refuses."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from book import site
from book.run import BUILD, NOTEBOOKS, ROOT, chapter_names

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
"""
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: browser tests skipped")
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
]  # fmt: skip


@pytest.fixture(scope="module")
def built():
    """The site, built once with warnings as errors."""
    result = subprocess.run([os.sys.executable, "-m", "book.site"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return BUILD / "html"


@pytest.fixture(scope="module")
def address(built):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(built))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page with all that it asked for and complained about."""

    def __init__(self, browser, url, viewport=WIDE, dark=False):
        self.page = browser.new_page(viewport=viewport)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(url)
        if dark:
            self.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        self.page.wait_for_function(
            "[...document.querySelectorAll('.superpos-chart')].every(c => c.dataset.drawn === 'yes')", timeout=30_000
        )
        if self.page.locator(".math").count():
            self.page.wait_for_selector("mjx-container", timeout=30_000)


def charts_in(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    return sum("application/vnd.vegalite.v6+json" in o.get("data", {}) for o in outputs)


@needs_browser
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", chapter_names())
def test_every_chart_is_drawn_without_a_network(browser, address, name, viewport, dark):
    visit = Visit(browser, f"{address}/notebooks/{name}.html", viewport, dark)
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(address)] == []
    sizes = visit.page.eval_on_selector_all(
        ".superpos-chart svg.marks", "svgs => svgs.map(s => s.querySelectorAll('path, text').length)"
    )
    assert len(sizes) == charts_in(name) > 0
    assert min(sizes) > 10
    labels = visit.page.eval_on_selector_all(".superpos-chart", "cs => cs.map(c => c.getAttribute('aria-label'))")
    assert all(len(label) > 20 for label in labels)
    overflow = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 1, "the page scrolls sideways"
    visit.page.close()


@needs_browser
def test_a_slider_moves_the_shares(browser, address):
    """All six codes alike: F = 6."""
    visit = Visit(browser, f"{address}/notebooks/01_measure_your_own.html")
    chart = visit.page.locator(".superpos-chart").first
    assert "F = 6.00" not in chart.inner_text()
    for slider in chart.locator("input[type=range]").all():
        slider.fill("60")
    visit.page.wait_for_timeout(300)
    assert "F = 6.00" in chart.locator("svg.marks").inner_html()
    visit.page.close()


@needs_browser
def test_a_slider_changes_the_matrix(browser, address):
    visit = Visit(browser, f"{address}/notebooks/02_toy_models.html")
    chart = visit.page.locator(".superpos-chart").first
    before = chart.locator("svg.marks").inner_html()
    chart.locator("input[type=range]").fill("8")
    visit.page.wait_for_timeout(300)
    assert chart.locator("svg.marks").inner_html() != before
    visit.page.close()


@needs_browser
def test_the_front_page_shows_statements_by_readings(browser, address):
    visit = Visit(browser, f"{address}/book/index.html")
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(address)] == []
    table = visit.page.locator("table.statements")
    statements = pd.read_csv(ROOT / "book/results/statements.csv")
    assert table.locator("tbody tr").count() == statements.statement.nunique()
    shown = [cell.split("\n")[0] for cell in table.locator("tbody td:not(:first-child)").all_inner_texts()]
    assert shown == statements.verdict.tolist()
    for line in (ROOT / "book/results/statements.txt").read_text().splitlines():
        assert visit.page.get_by_text(line).count() == 1
    links = table.locator("a").evaluate_all("links => links.map(link => link.href)")
    for href in links:
        rows = href.rpartition("/main/")[2]
        assert visit.page.request.get(href).ok if href.startswith(address) else (ROOT / rows).exists(), href
    assert len(links) == 2 * statements.statement.nunique()
    visit.page.close()


@needs_browser
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
    """At most 600 kB of its own; the chart library is apart, and shared by all pages. Charts come before maths and icons."""
    text = (built / "notebooks" / f"{name}.html").read_text()
    assert len(text.encode()) <= 600_000
    places = [text.index(f"/{script}") for script in ("vega.js", "charts.js", "tex-chtml-full.js", "fontawesome.js?")]
    assert "defer" in text[places[0] - 80 : places[0]]
    assert places == sorted(places)


def test_contents_without_a_chapter_that_cannot_be_published():
    whole, some = (yaml.safe_load(site._contents_without(out)) for out in ([], ["20_what_it_costs", "04_dropout"]))
    names = [[Path(one["file"]).name for one in part["chapters"]] for part in whole["parts"]]
    assert whole == yaml.safe_load((ROOT / "_toc.yml").read_text())
    left = [[Path(one["file"]).name for one in part["chapters"]] for part in some["parts"]]
    assert left == [names[0], [name for name in names[1] if name != "04_dropout"]]


def test_launch_buttons_open_the_source_notebook(built):
    page = (built / "notebooks" / "01_measure_your_own.html").read_text()
    assert "colab.research.google.com/github/superpos/superpos/blob/main/notebooks/01_measure_your_own.ipynb" in page
    assert (built / "_sources" / "notebooks" / "01_measure_your_own.ipynb").exists()


def test_figures_are_numbered_and_captioned(built):
    page = (built / "notebooks" / "02_toy_models.html").read_text()
    assert page.count('class="caption-number"') == charts_in("02_toy_models")


def test_a_spec_cannot_leave_its_script_block():
    from importlib.util import module_from_spec, spec_from_file_location

    found = spec_from_file_location("superpos_book", ROOT / "book/_ext/superpos_book.py")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    evil = "</script><script>alert(1)</script>"
    spec = {"description": 'a "b" <c>', "title": evil, "datasets": {"named_0": f"x\n{evil}\n"}}
    there = set()
    block = module._chart_block(spec, there)
    assert block.count("</script>") == 2
    table, inside = (part.split("</script>")[0].partition(">")[2] for part in block.split("<script ")[1:])
    assert json.loads(table) == f"x\n{evil}\n"
    assert json.loads(inside)["title"] == evil
    again = module._chart_block(spec, there)
    assert again.count("</script>") == 1, "a table stands in a page once"


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
