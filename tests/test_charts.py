"""Charts: valid specs that carry their description, a bundle with live spec, picture and text."""

import base64
import io

import altair as alt
import pandas as pd
import pytest
import vl_convert
from PIL import Image

from superpos import charts
from superpos.charts import Axis
from superpos.findings.algorithms.explorer import streams_explorer
from superpos.findings.grokking.explorer import training_explorer
from superpos.findings.planted.explorer import diversity_explorer
from superpos.findings.toy.explorer import heatmap_slider

TABLE = pd.DataFrame(
    {
        "x": [1.0, 2, 3, 1, 2, 3],
        "y": [1.0, 2, 4, 2, 3, 5],
        "low": [0.5, 1, 3, 1, 2, 4],
        "high": [1.5, 3, 5, 3, 4, 6],
        "who": list("aaabbb"),
        "frame": [0, 0, 0, 1, 1, 1],
    }
)
STREAMS = pd.DataFrame(
    {
        "n": [2, 2, 3, 3, None, None],
        "panel": ["stream"] * 4 + ["whole"] * 2,
        "position": ["a", "b"] * 3,
        "coordinate": ["1", "2"] * 3,
        "value": [0.1, -1, 0.3, 1, 0.5, 0.7],
    }
)
ANSWERS = pd.DataFrame({"n": [2, 3], "words": ["wrong", "right"]})
TRAINING = pd.DataFrame(
    {
        "step": [0, 50, 100] * 2,
        "panel": ["accuracy"] * 3 + ["F"] * 3,
        "line": ["test"] * 3 + ["F"] * 3,
        "value": range(6),
    }
)
BARS = pd.DataFrame(
    {"step": [0, 0, 50, 50, 100, 100], "panel": "codes", "place": [1, 2] * 3, "kind": list("ababab"), "value": 0.5}
)
MOMENTS = pd.DataFrame({"step": [0, 50, 100], "words": ["at the start", "on the way", "at the end"]})
PLAIN = TABLE.drop(columns=["low", "high"])
BUILT = {
    "points": lambda: charts.points(TABLE, "x", "y", color="who", diagonal=True),
    "lines": lambda: charts.lines(TABLE, "x", "y", color=Axis("who", "the who"), rule=1),
    "lines of a menu": lambda: charts.lines(TABLE, "x", "y", color="who", choose="frame", rule={"a bound": 3}),
    "lines of two menus": lambda: charts.lines(PLAIN, "x", "y", color="who", dash="frame", choose=["frame", "who"]),
    "lines with crosses": lambda: charts.lines(
        TABLE.assign(failed=[True, False, False] * 2), "x", "y", color="who", cross="failed"
    ),
    "streams": lambda: streams_explorer(STREAMS, ANSWERS, choose="n", values_title="v", limit=1, start=2),
    "training": lambda: training_explorer(TRAINING, BARS, MOMENTS, start=50),
    "plain lines": lambda: charts.lines(PLAIN, Axis("x", scale="log"), "y"),
    "intervals": lambda: charts.intervals(TABLE, "y", "who", color="frame", rule=1),
    "heatmap": lambda: heatmap_slider(TABLE, "x", "who", Axis("y", "v"), Axis("frame", "s"), limit=5),
    "explorer": lambda: diversity_explorer([50, 50, 0]),
}


@pytest.fixture
def theme():
    charts.use()
    yield
    alt.theme.enable("default")
    alt.renderers.enable("default")


@pytest.mark.parametrize("name", BUILT)
def test_specs_are_valid_and_draw(theme, name):
    chart = BUILT[name]().properties(title="T", description="What it shows.")
    spec = chart.to_dict(validate=True)
    bundle = charts._bundle(spec)
    assert set(bundle) == {charts.VEGALITE_MIME, "image/png", "text/plain"}
    assert bundle["text/plain"] == "What it shows."
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert picture.size[0] > 200
    assert len(picture.getcolors(10_000)) > 5  # something was drawn
    assert len(bundle["image/png"]) < 80_000


def test_the_explorer_computes_f(theme):
    """Drawn by Vega itself: fifty-fifty of two codes must read F = 2.00."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(BUILT["explorer"]().to_dict())
    assert "F = 2.00" in svg
    assert "ever active: 2" in svg


def test_data_is_in_the_spec_and_nothing_is_loaded(theme):
    text = str(BUILT["lines"]().to_dict())
    assert "http" not in text.replace("https://vega.github.io/schema", "")


def test_an_axis_has_its_title_its_scale_and_its_ends(theme):
    chart = charts.lines(PLAIN, Axis("x", "log x", scale="log"), Axis("y", domain=(0, 9)), color=Axis("who", "Who?"))
    encoding = chart.to_dict()["layer"][-1]["encoding"]
    assert (encoding["x"]["title"], encoding["x"]["scale"]["type"]) == ("log x", "log")
    assert (encoding["y"]["title"], encoding["y"]["scale"]["domain"]) == ("y", [0, 9])
    assert (encoding["color"]["field"], encoding["color"]["title"]) == ("who", "Who?")


def test_a_band_and_a_count_are_drawn_where_the_table_has_them(theme):
    def layers(table):
        return charts.lines(table, "x", "y").to_dict()["layer"]

    def tips(table):
        return [tip["field"] for tip in layers(table)[-1]["encoding"]["tooltip"]]

    assert [layer["mark"]["type"] for layer in layers(TABLE)] == ["area", "line"]
    assert [layer["mark"]["type"] for layer in layers(PLAIN)] == ["line"]
    assert tips(TABLE.assign(count=3)) == ["x", "y", "low", "high", "count"]
    assert tips(PLAIN) == ["x", "y"]


def test_a_menu_shows_one_value_at_a_time_and_rules_carry_their_labels(theme):
    spec = BUILT["lines of a menu"]().to_dict()
    (menu,) = [p for p in spec["params"] if p["name"] == "shown"]
    assert (menu["value"], menu["bind"]["options"]) == (0, [0, 1])
    filters = [t["filter"] for layer in spec["layer"] for t in layer.get("transform", [])]
    assert filters.count("datum['frame'] == shown") == 2
    labels = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    assert all(label["data"]["values"] == [{"v": 3, "label": "a bound"}] for label in labels)
    assert labels[-1] is spec["layer"][-1]  # over the lines


def test_two_menus_hold_for_every_layer(theme):
    spec = BUILT["lines of two menus"]().to_dict()
    menus = {p["name"]: p["bind"]["options"] for p in spec["params"] if p["name"].startswith("shown")}
    assert menus == {"shown": [0, 1], "shown1": ["a", "b"]}
    filters = [{t["filter"] for t in layer["transform"]} for layer in spec["layer"]]
    assert filters == [{"datum['frame'] == shown", "datum['who'] == shown1"}] * len(spec["layer"])
    assert spec["layer"][-1]["encoding"]["strokeDash"]["field"] == "frame"


def test_streams_show_what_the_menu_picks_and_what_belongs_to_all(theme):
    spec = BUILT["streams"]().to_dict(validate=True)
    words, stream, whole = spec["vconcat"]
    assert spec["params"][0]["value"] == 2
    assert spec["params"][0]["bind"]["options"] == [2, 3]
    assert all("shown" in part["transform"][0]["filter"] for part in (words, stream, whole))
    held = {row["n"] for row in spec["datasets"][whole["data"]["name"]]}
    assert held == {None}


def test_a_training_shows_the_moment_of_its_slider(theme):
    """Drawn by Vega itself: the words of the moment, and of no other."""
    import vl_convert

    spec = BUILT["training"]().to_dict(validate=True)
    (slider,) = spec["params"]
    assert {name: slider["bind"][name] for name in ("min", "max", "step")} == {"min": 0, "max": 100, "step": 50}
    assert [len(spec["vconcat"]), slider["value"]] == [4, 50]
    svg = vl_convert.vegalite_to_svg(spec)
    assert "on the way" in svg
    assert "at the end" not in svg


def stored(**changes):
    table = TABLE.assign(y=1.23456789, unused=5, width=1.0, kept=1).assign(**changes)
    chart = alt.Chart(table).mark_point().encode(x="x:Q", y="y:Q", color="who:N").transform_filter("datum['kept'] > 0")
    return charts.compact(chart.properties(width=300).interactive().to_dict())


def test_a_stored_table_is_csv_of_what_is_drawn_to_six_digits():
    spec = stored()
    assert list(spec["datasets"]) == ["named_0"]
    header, first, *_ = spec["datasets"]["named_0"].splitlines()
    assert header.split(",") == ["kept", "who", "x", "y"]  # a key of the spec, as width, draws no column
    assert first == "1,a,1.0,1.23457"
    assert spec["data"]["format"] == {
        "type": "csv",
        "parse": {"kept": "number", "who": "string", "x": "number", "y": "number"},
    }


def test_digits_that_nobody_sees_change_nothing():
    assert stored(y=1.234568) == stored()
    assert stored(y=1.2346) != stored()


@pytest.mark.parametrize("who", ["", [1]], ids=["an empty word", "a list"])
def test_a_table_that_csv_cannot_hold_stays_as_it_is(who):
    (rows,) = stored(who=[who] * 6)["datasets"].values()
    assert rows[0] == {"kept": 1, "who": who, "x": 1.0, "y": 1.23457}


def test_empty_cells_and_booleans_are_kept():
    table = pd.DataFrame({"a": [1.0, None], "c": [True, False]})
    spec = charts.compact(alt.Chart(table).mark_point().encode(x="a:Q", color="c:N").to_dict())
    assert spec["datasets"]["named_0"] == "a,c\n1.0,true\n,false\n"


@pytest.mark.parametrize("name", ["a b", "ours / theirs", "ψ", "a.b", "d[0]", "it's"])
def test_a_stored_chart_is_drawn_as_the_given_one(name):
    """By Vega itself; a name that Vega would read as a path must not lose its column."""
    table = pd.DataFrame({name: [1.0, 5.0, None], "who": ["a", "b", "a"], "yes": [True, False, True]})
    field = name.replace(".", r"\.").replace("[", r"\[").replace("]", r"\]").replace("'", r"\'")
    x = alt.X(field, type="quantitative", title="x")
    given = alt.Chart(table).mark_point().encode(x=x, y="who:N", color="yes:N").to_dict()
    assert vl_convert.vegalite_to_svg(charts.compact(given)) == vl_convert.vegalite_to_svg(given)


def test_cells_have_a_colour_for_every_word():
    table = pd.DataFrame({"who": ["a", "a", "b", "b"], "what": ["x", "y"] * 2, "word": ["yes", "no", "no", "yes"]})
    spec = charts.cells(table, "who", "what", "word", {"yes": "#0f0", "no": "#f00"}).to_dict()
    assert spec["layer"][0]["encoding"]["color"]["scale"] == {"domain": ["yes", "no"], "range": ["#0f0", "#f00"]}
    assert spec["layer"][1]["mark"]["type"] == "text"
    with pytest.raises(ValueError, match="no colour for 'no'; colors has yes"):
        charts.cells(table, "who", "what", "word", {"yes": "#0f0"})


@pytest.mark.parametrize("shift", range(8))
def test_tables_are_numbered_as_they_are_drawn(shift):
    """Not by their hashes, which other last digits change."""
    tables = [pd.DataFrame({name: [1.0, 2.0 + 1e-9 * shift]}) for name in ("a", "b")]
    parts = [alt.Chart(table).mark_point().encode(x=f"{table.columns[0]}:Q") for table in tables]
    spec = charts.compact(alt.vconcat(*parts).to_dict())
    assert [part["data"]["name"] for part in spec["vconcat"]] == ["named_0", "named_1"]
    assert spec["datasets"]["named_0"].startswith("a\n")


def test_a_chart_stands_under_its_sentence_and_has_it_as_text():
    chart = alt.Chart(pd.DataFrame({"a": [1.0]})).mark_point().encode(x="a:Q")
    spec = charts.titled(chart, "One is one", "A dot.", width=200).to_dict()
    assert (spec["title"], spec["description"], spec["width"]) == ("One is one", "One is one. A dot.", 200)
    long = charts.titled(chart, "word " * 30 + "end?", "A dot.", per_line=40).to_dict()
    assert all(len(line) <= 40 for line in long["title"])
    assert long["description"].endswith("end? A dot.")


def test_a_legend_does_not_take_the_opacity_of_a_band():
    table = pd.DataFrame({"x": [1, 2] * 2, "y": [1.0, 2] * 2, "low": 0.5, "high": 2.5, "who": ["a", "a", "b", "b"]})
    layers = charts.lines(table, "x", "y", color="who").to_dict()["layer"]
    colored = [layer["encoding"]["color"] for layer in layers if "color" in layer["encoding"]]
    assert colored
    assert all(one["legend"]["symbolOpacity"] == 1 for one in colored)
