"""Every page of the site as people meet it: at once readable, within its weight, reachable, and described to others."""

import csv
import importlib
import inspect
import json
import re
import xml.etree.ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe

from book.run import ROOT, chapter_names
from superpos import address as setting
from tests.visits import DRAWN, NARROW, Visit, charts_in

CHAPTERS = [f"notebooks/{name}" for name in chapter_names()]
PAGES = [*CHAPTERS, *sorted(
    str(path.relative_to(ROOT).with_suffix("")) for path in (ROOT / "book").rglob("*.md")
)]  # fmt: skip
MOST_WORDS = 48  # of a chart, ticks included
TABLE_OF_WORDS = "fig-statements"  # thirteen statements by four readings: a table, whose cells are words
MARKS = [  # what is drawn of data, whose colours and shapes axe-core has no rule for, but takes long to look through
    [f".superpos-chart .mark-{kind}"] for kind in ("symbol", "rect", "line", "area", "rule", "image", "trail", "arc")
]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """() => [...document.querySelectorAll('.superpos-chart svg.marks')].flatMap((svg) => {
  const room = svg.getBoundingClientRect();
  const kinds = ['title-text', 'legend-label', 'legend-title', 'axis-title'];
  const texts = [...svg.querySelectorAll(kinds.map((kind) => `.role-${kind} text`).join())];
  return texts.filter((text) => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < room.left - 2 || box.right > room.right + 2 || box.top < room.top - 2);
  }).map((text) => text.textContent);
})"""
TOO_WIDE = """() => [...document.querySelectorAll('.superpos-chart')]
  .filter((chart) => chart.scrollWidth > chart.clientWidth + 8)
  .map((chart) => [chart.closest('figure')?.id, chart.scrollWidth, chart.clientWidth])"""
UNREACHED = """() => [...document.querySelectorAll('div.math')].filter((formula) => {
  const left = formula.getBoundingClientRect().left;
  return [...formula.querySelectorAll('math *')].some((one) => one.getBoundingClientRect().left < left - 2);
}).map((formula) => formula.textContent)"""
CHARTS = """() => [...document.querySelectorAll('.superpos-chart')].map((chart) => ({
  label: chart.getAttribute('aria-label'), figure: chart.closest('figure')?.id ?? '',
  marks: chart.querySelectorAll('svg.marks path, svg.marks text').length,
  words: [...chart.querySelectorAll('svg.marks text')].filter((text) => text.textContent.trim()).length }))"""
TOP = "(one) => document.querySelector(one).getBoundingClientRect().top + scrollY"


def whole(visit, where, rules=None):
    """Nothing that axe-core finds, all or some of its rules; nothing cut; nothing that scrolls sideways."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    complaints = list(visit.complaints)
    found = Axe().run(visit.page, context={"exclude": MARKS}, options=options).response["violations"]
    visit.complaints[:] = (
        complaints  # axe-core looks for the sheets that sheets import beside the page, and misses them
    )
    told = [(one["id"], one["help"], one["nodes"][0]["html"][:200], len(one["nodes"])) for one in found]
    assert told == [], where
    assert visit.page.evaluate(CUT) == [], f"{where}: words of a chart are cut"
    assert visit.page.evaluate(TOO_WIDE) == [], f"{where}: a chart is wider than its column"
    assert visit.page.evaluate(UNREACHED) == [], f"{where}: a formula begins left of where one can scroll to"
    assert visit.page.evaluate(OVERFLOW) <= 1, f"{where}: the page scrolls sideways"


def answers_first(visit, name):
    """The answer and its picture come first; every chart is drawn, has a text, and no more words than one reads."""
    assert visit.page.evaluate(TOP, ".superpos-answer") < 400
    assert visit.page.evaluate(TOP, ".superpos-chart svg.marks") <= 1_300
    found = visit.page.evaluate(CHARTS)
    assert len(found) == charts_in(name.rpartition("/")[2]) >= 4
    assert all(one["marks"] > 10 and len(one["label"]) > 40 for one in found), found
    crowded = [one for one in found if one["words"] > MOST_WORDS and one["figure"] != TABLE_OF_WORDS]
    assert crowded == [], "about forty marks of text are as many as one reads"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_stands_in_anybodys_way(browser, address, name):
    """Wide and narrow, light and dark, without a network. Themes differ in colours alone: the dark is asked for contrast."""
    visit = Visit(browser, f"{address}/{name}.html")
    whole(visit, "wide, light")
    if name in CHAPTERS:
        answers_first(visit, name)
    visit.turn("dark")
    whole(visit, "wide, dark", ["color-contrast"])
    visit.resize(NARROW)
    visit.turn("light")
    whole(visit, "narrow, light")
    visit.turn("dark")
    whole(visit, "narrow, dark", ["color-contrast"])
    for width in (360, 768, 1920) if name in CHAPTERS else ():
        visit.resize((width, 900))
        assert visit.page.evaluate(CUT) == [], f"{width} px: words of a chart are cut"
        assert visit.page.evaluate(TOO_WIDE) == [], f"{width} px: a chart is wider than its column"
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith((address, "data:"))] == []
    visit.page.close()


def test_the_front_page_is_a_screen_and_a_half(browser, address):
    page = Visit(browser, f"{address}/book/index.html").page
    assert page.evaluate("document.querySelector('main').getBoundingClientRect().height") <= 2_200
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_weighs_little_before_its_charts(built, name):
    """All that it loads but the library of charts, and without the tables that these draw: at most 1.5 MB, all from this site."""
    text = (built / f"{name}.html").read_text()
    tables = sum(
        len(one.encode()) for one in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    )
    loads = re.findall(r'<script[^>]* src="([^"]+)"', text) + re.findall(
        r'<link[^>]*rel="(?:stylesheet|icon)"[^>]*>', text
    )
    loads = [re.search(r'href="([^"]+)"', one)[1] if one.startswith("<link") else one for one in loads]
    files = {((built / name).parent / one.split("?")[0]).resolve() for one in loads if "vega.js" not in one}
    assert all(file.is_file() and file.is_relative_to(built) for file in files), files
    assert {"superpos.css", "theme.css", "pydata-sphinx-theme.js"} <= {file.name for file in files}
    pictures = [one for one in re.findall(r'<img[^>]* src="([^"]+)"', text) if "/_images/chart-" not in one]
    files |= {((built / name).parent / one).resolve() for one in pictures if not one.startswith("data:")}
    assert len(text.encode()) - tables + sum(file.stat().st_size for file in files) <= 1_500_000


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_can_be_read_without_scripts(browser, address, name):
    """Charts as pictures with a text, formulas as MathML, the answer, and whole."""
    page = Visit(browser, f"{address}/{name}.html", java_script_enabled=False).page
    pictures = page.locator(".superpos-chart img")
    assert pictures.count() >= 4
    for picture in pictures.all():
        assert picture.is_visible()
        assert len(picture.get_attribute("alt")) > 40
        assert (page.request.get(f"{address}/notebooks/{picture.get_attribute('src')}")).ok
    assert page.locator("math").count() > 0
    assert page.locator(".superpos-answer").is_visible()
    assert "\\\\" not in page.locator("math").first.text_content()
    page.close()


def test_a_reader_who_prefers_the_dark_gets_it_and_charts_are_drawn_once(browser, address):
    count = "window.times = 0; new MutationObserver((seen) => { for (const one of seen) if (one.target.dataset.drawn) times++; })"
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.add_init_script(
        f"addEventListener('DOMContentLoaded', () => {{ {count}.observe(document.body, "
        "{attributeFilter: ['data-drawn'], subtree: true}); })"
    )
    page.goto(f"{address}/notebooks/02_toy_models.html")
    page.wait_for_function(DRAWN, timeout=60_000)
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert 0 < page.evaluate("times") <= page.locator(".superpos-chart").count()
    context.close()


def test_a_legend_answers_to_the_keyboard(browser, address):
    page = Visit(browser, f"{address}/notebooks/02_toy_models.html").page
    chart = page.locator(".superpos-chart", has=page.locator(".role-legend-label")).first
    dots = "chart => [...chart.querySelectorAll('.role-mark path')].map(dot => getComputedStyle(dot).opacity).join()"
    before = chart.evaluate(dots)
    label = chart.locator(".role-legend-label text").first
    label.focus()
    assert label.get_attribute("role") == "button"
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert chart.evaluate(dots) != before
    page.close()


def test_claims_can_be_filtered(browser, address):
    page = Visit(browser, f"{address}/book/verdicts.html").page
    with open(ROOT / "book/results/verdicts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = page.locator("table.verdicts tbody tr:visible")
    assert shown.count() == len(rows)
    page.get_by_label("Verdict").select_option("agrees")
    assert shown.count() == sum(row["verdict"] == "agrees" for row in rows) > 0
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Text").fill("dropout")
    assert 0 < shown.count() < len(rows)
    assert page.locator("table.verdicts svg.sp-strip").count() == sum(bool(row["ours"]) for row in rows)
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_it_is_to_others(built, name):
    text = (built / f"{name}.html").read_text()
    tags = dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', text))
    assert len(tags["description"]) > 40
    assert tags["og:description"] == tags["description"]
    assert tags["og:url"] == f"{setting.SITE}{name}.html"
    assert f'<link rel="canonical" href="{setting.SITE}{name}.html"' in text
    assert (built / tags["og:image"].removeprefix(setting.SITE)).stat().st_size > 10_000
    assert 'rel="icon"' in text


def test_robots_and_the_lost_find_their_way(built):
    tree = xml.etree.ElementTree.parse(built / "sitemap.xml")
    known = {one.text for one in tree.iter() if one.tag.endswith("loc")}
    assert {f"{setting.SITE}{name}.html" for name in PAGES} <= known
    lost = (built / "404.html").read_text()
    assert "No such page" in lost
    assert 'href="/superpos/' in lost, "a page that may stand anywhere has addresses from the root"


def test_every_public_name_has_a_place_in_the_reference(built):
    from superpos import findings

    pages = "".join(path.read_text() for path in (built / "book" / "api").glob("*.html"))
    for path in sorted((ROOT / "superpos").glob("*.py")):
        module = "superpos" if path.stem == "__init__" else f"superpos.{path.stem}"
        names = importlib.import_module(module).__all__
        held = importlib.import_module(module)
        kinds = {name: getattr(held, name) for name in names}  # constants and aliases stand in the text
        made = [name for name, one in kinds.items() if isinstance(one, type) or inspect.isroutine(one)]
        missing = [name for name in made if f'id="{module}.{name}"' not in pages]
        if module != "superpos":  # what it names stands under its own modules
            assert missing == [], module
    for wing in findings.names():
        assert f"superpos.findings.{wing}.task" in pages


def test_code_of_chapters_leads_to_the_reference(built):
    for name in CHAPTERS:
        text = (built / f"{name}.html").read_text()
        assert re.search(
            r'class="sphinx-codeautolink-a"[^>]* href="\.\./book/api/|href="\.\./book/api/[^"]*"[^>]*sphinx-codeautolink-a',
            text,
        ), name


def test_the_card_is_the_size_that_others_show(built):
    from PIL import Image

    with Image.open(built / "_static" / "card.png") as card:
        width, height = card.size
    assert 1.5 < width / height < 2.2
    assert width >= 1_000


def test_terms_lead_to_the_glossary(built):
    for name in CHAPTERS:
        assert "book/glossary.html#term-" in (built / f"{name}.html").read_text(), name


def test_specs_hold_no_foreign_address(built):
    for name in CHAPTERS:
        for block in re.findall(
            r'<script type="application/json">(.*?)</script>', (built / f"{name}.html").read_text(), re.S
        ):
            links = set(re.findall(r'https?://[^"\\]+', json.dumps(json.loads(block))))
            assert all(link.startswith("https://vega.github.io/schema/") for link in links), name
