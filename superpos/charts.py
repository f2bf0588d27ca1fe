"""The Altair theme, a renderer that needs no network, and a few builders: a tidy table in, a chart out.

Charts compute nothing: means and intervals arrive as columns, the ends of an interval as `low` and `high`. A builder names
the columns that it draws, each as a str or, with a title, a scale or a domain, as an `Axis`. The chart's own title, its
description (the text that screen readers speak and that stands under the picture where no script runs) and its size are
set with Altair's `chart.properties(title=…, description=…, width=…, height=…)`.
Call `use()` once in a notebook; it is what makes charts show as pictures on GitHub and as live charts in the book.
"""

import base64
import io
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import altair as alt
import pandas as pd
import vl_convert
from jaxtyping import Float
from PIL import Image
from torch import Tensor

__all__ = [
    "COLORS",
    "Axis",
    "Column",
    "as_axis",
    "cells",
    "compact",
    "gallery",
    "intervals",
    "lines",
    "points",
    "rule_marks",
    "titled",
    "use",
]

HASHED = r"\b(?:data-|view_|param_)[0-9a-f]{16,}"  # how Altair calls tables, views and parameters
VEGALITE_MIME = "application/vnd.vegalite.v6+json"
COLORS = ["#4269d0", "#d1495b", "#2a9d8f", "#b07d0a", "#8e5bb5", "#6b7280", "#1b9dd9", "#c2571a"]


@alt.theme.register("superpos", enable=False)
def _theme() -> alt.theme.ThemeConfig:
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
    quiet = {
        "labelColor": "#444",
        "titleColor": "#222",
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titleFontWeight": 500,
    }
    config = {
        "font": font,
        "view": {"continuousWidth": 520, "continuousHeight": 320, "stroke": None},
        "axis": {**quiet, "gridColor": "#e6e6e6", "domainColor": "#888", "tickColor": "#888", "labelFlush": False}
        | {"labelSeparation": 6},
        "legend": {**quiet, "symbolSize": 90},
        "header": quiet,
        "title": {
            "fontSize": 14,
            "fontWeight": 600,
            "anchor": "start",
            "subtitleColor": "#555",
            "subtitleFontSize": 12,
        },
        "range": {"category": COLORS},
    }
    return alt.theme.ThemeConfig(config=config)


def use() -> None:
    """Turn the theme on, and the renderer that writes each chart as live spec and as picture (in Colab: Altair's)."""
    alt.theme.enable("superpos")
    alt.data_transformers.disable_max_rows()
    if "google.colab" in sys.modules:
        alt.renderers.enable("colab")
        return
    alt.renderers.register("superpos", _bundle)
    alt.renderers.enable("superpos")


def _bundle(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A chart's outputs by type: the spec as `compact` leaves it, a small PNG of that, and its description as text."""
    spec = compact(spec)
    png = vl_convert.vegalite_to_png(spec, scale=1.5)
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(64)
    small = io.BytesIO()
    picture.save(small, format="PNG", optimize=True)
    text = spec.get("description", "chart")
    return {VEGALITE_MIME: spec, "image/png": base64.b64encode(small.getvalue()).decode(), "text/plain": text}


def compact(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as it is stored: tables as CSV without columns that nothing draws, six significant digits, names that repeat.

    Altair calls tables, views and parameters by a hash of what they hold, all digits of it; here they are numbered in the
    order in which they come, tables in the order in which they are drawn, so that another processor, whose last digits differ,
    gives the same spec.
    """
    spec = json.loads(json.dumps(spec, sort_keys=True), parse_float=lambda digits: float(f"{float(digits):.6g}"))
    tables = spec.pop("datasets", {})
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"(:?)', json.dumps(spec, ensure_ascii=False))
    words = {string.replace("\\", "") for string, is_key in strings if not is_key}
    expressions = " ".join(word for word in words if "datum" in word)
    for name, rows in tables.items():
        drawn = [column for column in (rows[0] if rows else ()) if column in words or column in expressions]
        tables[name], kinds = _csv([{c: row[c] for c in drawn} for row in rows]) if drawn else (rows, {})
        for place in _places(spec, name) if kinds else ():
            place["format"] = {"type": "csv", "parse": kinds}
    text = json.dumps(spec | ({"datasets": tables} if tables else {}), sort_keys=True)
    by_use = iter(
        dict.fromkeys(name for name in re.findall(HASHED, json.dumps(spec, sort_keys=True)) if name in tables)
    )
    names = [next(by_use, one) if one in tables else one for one in dict.fromkeys(re.findall(HASHED, text))]
    for i, name in enumerate(names):
        text = text.replace(name, f"named_{i}")  # no word that Vega itself gives to a table or a view
    return json.loads(text)


def _csv(rows: list[dict[str, Any]]) -> tuple[str | list[dict[str, Any]], dict[str, str]]:
    """A table as CSV and the kind of each column; as it is, without kinds, where CSV could not hold it."""
    kinds: dict[str, str] = {}
    for column in rows[0]:
        types = {type(row[column]) for row in rows} - {type(None)}
        kinds[column] = "string" if types == {str} else "boolean" if types == {bool} else "number"
        mixed, a_path = kinds[column] == "number" and not types <= {int, float}, set(column) & set(".[]'\"\\")
        if mixed or a_path or any(row[column] == "" for row in rows):
            return rows, {}
    table = pd.DataFrame(rows, dtype=object)
    for column in (column for column, kind in kinds.items() if kind == "boolean"):
        table[column] = table[column].map({True: "true", False: "false"})  # to Vega the word False is true
    return table.to_csv(index=False, lineterminator="\n"), kinds


def _places(part: Any, name: str) -> Iterator[dict[str, Any]]:
    """Every place of a spec that draws the table of a name."""
    if isinstance(part, dict) and part.get("name") == name:
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _places(inner, name)


@dataclass(frozen=True)
class Axis:
    """A column to draw: its title (None: its name), its scale, and the ends of it (None: those of the data)."""

    column: str
    title: str | None = None
    scale: Literal["linear", "log"] = "linear"
    domain: tuple[float, float] | None = None

    @property
    def words(self) -> str:
        """The title."""
        return self.column if self.title is None else self.title

    def encoding(self, zero: bool = False) -> dict[str, Any]:
        """The column as a quantitative axis, for alt.X or alt.Y; `zero` has a linear one hold zero."""
        linear = self.scale == "linear"
        options = {"type": self.scale, "nice": linear and self.domain is None} | (
            {"zero": zero} if linear else {"padding": 8}
        )
        if self.domain is not None:
            options["domain"] = list(self.domain)
        return {"field": self.column, "type": "quantitative", "title": self.words, "scale": alt.Scale(**options)}


Column = Axis | str


def as_axis(column: Column) -> Axis:
    """A column as an Axis, without a title of its own where it is a name."""
    return Axis(column) if isinstance(column, str) else column


def _tips(table: pd.DataFrame, names: Sequence[str]) -> list[Any]:
    return [alt.Tooltip(name, format=".3g") if table[name].dtype.kind == "f" else name for name in names]


def points(
    table: pd.DataFrame,
    x: Column,
    y: Column,
    *,
    color: Column | None = None,
    tooltip: Sequence[str] = (),
    diagonal: bool = False,
) -> alt.Chart | alt.LayerChart:
    """Scatter of column y against x; a click in the legend picks one group; `diagonal` draws y = x."""
    x, y = as_axis(x), as_axis(y)
    chart = alt.Chart(table).mark_circle(size=48, opacity=0.75)
    tips = _tips(table, (*tooltip, x.column, y.column))
    chart = chart.encode(x=alt.X(**x.encoding()), y=alt.Y(**y.encoding()), tooltip=tips)
    if color:
        color = as_axis(color)
        pick = alt.selection_point(fields=[color.column], bind="legend")
        chart = chart.encode(
            color=alt.Color(color.column, type="nominal", title=color.words, sort=None),
            opacity=alt.condition(pick, alt.value(0.8), alt.value(0.07)),
        ).add_params(pick)
    if diagonal:
        both = table[[x.column, y.column]]
        ends = alt.Data(values=[{"v": float(both.min().min())}, {"v": float(both.max().max())}])
        line = alt.Chart(ends).mark_line(strokeDash=[4, 4], color="#888").encode(x="v:Q", y="v:Q")
        return (line + chart).properties(width=420, height=360)
    return chart.properties(width=420, height=360)


def lines(
    table: pd.DataFrame,
    x: Column,
    y: Column,
    *,
    color: Column | None = None,
    dash: str | None = None,
    cross: str | None = None,
    rule: float | Mapping[str, float] | None = None,
    choose: str | Sequence[str] = (),
    tooltip: Sequence[str] = (),
) -> alt.LayerChart:
    """Lines of column y over x, with a band where the table has columns `low` and `high`.

    rule: a value at which a horizontal line is drawn, or {label: value}; choose: a column, one value of which is shown
    at a time, by a menu that starts at the first, or several columns with a menu each; cross: a column of booleans, true where
    a point is drawn as ×; dash: a column, each value of which has its own dashes. A column `count` is shown in the tooltip.
    """
    x, y = as_axis(x), as_axis(y)
    color = None if color is None else as_axis(color)
    band = ["low", "high"] if {"low", "high"} <= set(table) else []
    whole = {"axis": alt.Axis(tickMinStep=1)} if x.scale == "linear" and table[x.column].dtype.kind in "iu" else {}
    base = alt.Chart(table).encode(x=alt.X(**x.encoding(), **whole))
    count = ["count"] if "count" in table and "count" not in tooltip else []
    named = [*([color.column] if color else []), x.column, y.column, *band, *count, *tooltip]
    placed = {"y": alt.Y(**y.encoding()), "tooltip": _tips(table, named)}
    layers = [base.mark_line(point=False if cross else alt.OverlayMarkDef(size=42), clip=True).encode(**placed)]
    if band:
        area = alt.Y(**{**y.encoding(), "field": "low"})
        layers.insert(0, base.mark_area(opacity=0.18, clip=True).encode(y=area, y2="high"))
    if cross:
        layers.insert(-1, _crosses(base.encode(**placed), cross))
    if color:
        layers = _colored(layers, color, bool(band))
    if dash:
        stroke = alt.Legend(symbolType="stroke", symbolSize=500, symbolStrokeWidth=2)
        pattern = alt.StrokeDash(dash, type="nominal", sort=list(table[dash].unique()), title=dash, legend=stroke)
        layers = [*(layer.encode(detail=dash) for layer in layers[:-1]), layers[-1].encode(strokeDash=pattern)]
    for i, column in enumerate([choose] if isinstance(choose, str) else choose):
        layers = _under_menu(layers, column, list(table[column].unique()), f"shown{i or ''}")
    rules, labels = rule_marks(rule)
    return alt.layer(*rules, *layers, *labels).properties(width=480, height=300)


def _colored(layers: list[alt.Chart], color: Axis, band: bool) -> list[alt.Chart]:
    """The layers coloured by a column; a click in the legend picks one value, and leaves only its band."""
    pick = alt.selection_point(fields=[color.column], bind="legend")
    hue = alt.Color(color.column, type="nominal", title=color.words, sort=None, legend=alt.Legend(symbolOpacity=1))
    layers = [layer.encode(color=hue) for layer in layers]
    layers[-1] = layers[-1].encode(opacity=alt.condition(pick, alt.value(1), alt.value(0.08))).add_params(pick)
    if band:
        layers[0] = layers[0].transform_filter(pick)
    return layers


def _crosses(base: alt.Chart, column: str) -> alt.Chart:
    """A point for each row: × where `column` is true, a dot else."""
    is_cross = f"datum['{column}']"
    shape = alt.condition(is_cross, alt.value("cross"), alt.value("circle"))
    return base.mark_point(filled=True, opacity=1, size=90, clip=True).encode(
        shape=shape, angle=alt.condition(is_cross, alt.value(45), alt.value(0))
    )


Drawn = TypeVar("Drawn", alt.Chart, alt.LayerChart, alt.VConcatChart, alt.HConcatChart, alt.FacetChart)


def titled(chart: Drawn, says: str, shows: str, per_line: int = 64, **size: Any) -> Drawn:
    """A chart under the sentence that it shows, and with a text for those who cannot see it: that sentence, then what is drawn.

    `says` is the finding, in one sentence, computed where it depends on rows; it is broken into lines of `per_line` characters,
    which a page breaks anew where it has less room. `shows` tells what is drawn: marks, axes, groups. `size`: width and height.
    """
    lines = textwrap.wrap(says, per_line)
    stop = "" if says[-1] in ".?!" else "."
    return chart.properties(title=lines if len(lines) > 1 else says, description=f"{says}{stop} {shows}", **size)


def rule_marks(rule: float | Mapping[str, float] | None) -> tuple[list[alt.Chart], list[alt.Chart]]:
    """Dashed horizontal lines at a value, or at each of {label: value}, and their labels. → two lists of layers"""
    if rule is None:
        return [], []
    named = rule if isinstance(rule, Mapping) else {"": rule}
    base = alt.Chart(alt.Data(values=[{"v": value, "label": label} for label, value in named.items()])).encode(y="v:Q")
    lines = base.mark_rule(strokeDash=[4, 4], color="#888")
    place = {"align": "left", "baseline": "bottom", "dy": -3, "x": 6}
    text = base.mark_text(**place).encode(text="label:N")
    return [lines], [text] if any(named) else []


def _under_menu(layers: list[alt.Chart], column: str, values: list[Any], name: str) -> list[alt.Chart]:
    """Each layer with only the rows that a menu, a parameter called `name`, over the values of `column` names."""
    menu = alt.param(name=name, value=values[0], bind=alt.binding_select(options=values, name=f"{column} "))
    layers = [layer.transform_filter(f"datum['{column}'] == {name}") for layer in layers]
    return [*layers[:-1], layers[-1].add_params(menu)]


def intervals(
    table: pd.DataFrame, x: Column, y: str, *, color: Column | None = None, rule: float | None = None
) -> alt.LayerChart:
    """Dots of column x with bars from `low` to `high`, a line for each value of column y; `rule` marks a value of x."""
    x, order = as_axis(x), list(table[y].unique())
    long = alt.Axis(labelLimit=0, labelExpr="length(datum.label) > 24 ? split(datum.label, ', ') : datum.label")
    base = alt.Chart(table).encode(y=alt.Y(y, type="nominal", sort=order, title=None, axis=long))
    shift, hue, names = {}, {"color": alt.value(COLORS[0])}, [y]
    if color:
        color = as_axis(color)
        states = list(table[color.column].unique())
        shift = {"yOffset": alt.YOffset(color.column, type="nominal", sort=states)}
        hue = {"color": alt.Color(color.column, type="nominal", sort=states, title=color.words)}
        names = [y, color.column]
    tips = [*names, *(alt.Tooltip(name, format=".3g") for name in (x.column, "low", "high"))]
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X(**{**x.encoding(zero=True), "field": "low"}), x2="high")
    dots = base.mark_circle(size=70, opacity=1).encode(x=alt.X(**x.encoding(zero=True)), tooltip=tips)
    layers = [layer.encode(**shift, **hue) for layer in (bars, dots)]
    if rule is not None:
        line = alt.Chart(alt.Data(values=[{"v": rule}])).mark_rule(strokeDash=[4, 4], color="#888").encode(x="v:Q")
        layers.insert(0, line)
    return alt.layer(*layers).properties(width=460, height=60 * len(order))


def cells(
    table: pd.DataFrame, x: str, y: str, word: str, colors: Mapping[str, str], tooltip: Sequence[str] = ()
) -> alt.LayerChart:
    """A table as coloured cells: a column for each value of x, a line for each of y, and in each cell its word, whose colour is
    that of `colors`. What stands in brackets in y is a line of its own. ValueError names the first word without a colour."""
    unknown = [one for one in table[word].unique() if one not in colors]
    if unknown:
        raise ValueError(f"no colour for {unknown[0]!r}; colors has {', '.join(colors)}")
    order = {"x": list(table[x].unique()), "y": list(table[y].unique())}
    across = alt.X(
        x,
        type="nominal",
        sort=order["x"],
        title=None,
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False),
    )
    two_lines = alt.Axis(
        labelLimit=320, labelExpr="split(replace(datum.label, ')', ''), ' (')", domain=False, ticks=False
    )
    down = alt.Y(y, type="nominal", sort=order["y"], title=None, axis=two_lines)
    base = alt.Chart(table).encode(x=across, y=down, tooltip=[x, y, word, *tooltip])
    hue = alt.Color(
        word, type="nominal", scale=alt.Scale(domain=list(colors), range=list(colors.values())), legend=None
    )
    boxes = base.mark_rect(stroke="white", strokeWidth=2).encode(color=hue)
    words = base.mark_text(fontSize=11, color="#111").encode(text=alt.Text(word, type="nominal"))
    return alt.layer(boxes, words).properties(width=82 * len(order["x"]), height=34 * len(order["y"]))


def gallery(table: pd.DataFrame, images: Float[Tensor, "n C H W"], x: str, y: str, size: int = 48) -> alt.Chart:
    """Images in a grid, one for each line of a table: a column for each value of x, a line for each of y.

    `images` are those of the lines, in their order, with values from 0 to 1; the other columns stand in the tooltip. Raises
    ValueError where the numbers of lines and images differ.
    """
    if len(images) != len(table):
        raise ValueError(f"expected an image for each of {len(table)} lines, got {len(images)}")
    table = table.assign(image=[_png(image) for image in images])
    axis = alt.Axis(domain=False, ticks=False, labelAngle=0, grid=False)
    return (
        alt.Chart(table)
        .mark_image(width=size - 4, height=size - 4)
        .encode(
            x=alt.X(x, type="ordinal", axis=axis),
            y=alt.Y(y, type="ordinal", axis=axis),
            url=alt.Url("image", type="nominal"),
            tooltip=[name for name in table.columns if name != "image"],
        )
        .properties(width=size * table[x].nunique(), height=size * table[y].nunique())
    )


def _png(image: Float[Tensor, "C H W"]) -> str:
    """An image as a data address, its pixels enlarged so that none is blurred."""
    pixels = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    picture = Image.fromarray(pixels[0]) if len(pixels) == 1 else Image.fromarray(pixels.transpose(1, 2, 0))
    bigger = max(1, 48 // max(picture.size))
    file = io.BytesIO()
    picture.resize((picture.width * bigger, picture.height * bigger), Image.Resampling.NEAREST).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
