"""The Altair theme, a renderer that needs no network, and a few builders: a tidy table in, a chart out.

Charts compute nothing: means and intervals arrive as columns. Every builder takes `title` and `description`, the
text that screen readers speak and that stands under the picture where no script runs.
Call `use()` once in a notebook; it is what makes charts show as pictures on GitHub and as live charts in the book.
"""

import base64
import io
import sys

import altair as alt
import pandas as pd
import vl_convert
from PIL import Image

__all__ = [
    "COLORS",
    "diversity_explorer",
    "heatmap_slider",
    "intervals",
    "lines",
    "points",
    "specification_curve",
    "streams_explorer",
    "training_explorer",
    "use",
]

VEGALITE_MIME = "application/vnd.vegalite.v6+json"
COLORS = ["#4269d0", "#d1495b", "#2a9d8f", "#b07d0a", "#8e5bb5", "#6b7280", "#1b9dd9", "#c2571a"]


@alt.theme.register("superpos", enable=False)
def _theme():
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
        "axis": {**quiet, "gridColor": "#e6e6e6", "domainColor": "#888", "tickColor": "#888", "labelFlush": False},
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


def use():
    """Turn the theme on, and the renderer that writes each chart as live spec and as picture (in Colab: Altair's)."""
    alt.theme.enable("superpos")
    alt.data_transformers.disable_max_rows()
    if "google.colab" in sys.modules:
        alt.renderers.enable("colab")
        return
    alt.renderers.register("superpos", _bundle)
    alt.renderers.enable("superpos")


def _bundle(spec, **_):
    """A chart's outputs by type: the spec, a small PNG, and its description as text."""
    png = vl_convert.vegalite_to_png(spec, scale=1.5)
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(64)
    small = io.BytesIO()
    picture.save(small, format="PNG", optimize=True)
    text = spec.get("description", "chart")
    return {
        VEGALITE_MIME: spec,
        "image/png": base64.b64encode(small.getvalue()).decode(),
        "text/plain": text,
    }


def _titled(chart, title, description, width, height):
    return chart.properties(title=title, description=description, width=width, height=height)


def _encoding(name, title, scale="linear", zero=False, domain=None):
    """A quantitative axis over column `name`."""
    linear = scale == "linear"
    options = {"type": scale, "nice": linear and domain is None} | ({"zero": zero} if linear else {"padding": 8})
    if domain is not None:
        options["domain"] = list(domain)
    return {"field": name, "type": "quantitative", "title": title, "scale": alt.Scale(**options)}


def points(
    table, x, y, *, color=None, x_title=None, y_title=None, color_title=None, tooltip=(), diagonal=False,
    title="", description="", width=420, height=360,
):  # fmt: skip
    """Scatter of column y against x; a click in the legend picks one group; `diagonal` draws y = x."""
    pick = alt.selection_point(fields=[color], bind="legend") if color else None
    chart = alt.Chart(table).mark_circle(size=48, opacity=0.75)
    chart = chart.encode(
        x=alt.X(**_encoding(x, x_title or x)),
        y=alt.Y(**_encoding(y, y_title or y)),
        tooltip=[
            alt.Tooltip(name, format=".3g") if table[name].dtype.kind == "f" else name for name in (*tooltip, x, y)
        ],
    )
    if color:
        chart = chart.encode(
            color=alt.Color(color, type="nominal", title=color_title or color, sort=None),
            opacity=alt.condition(pick, alt.value(0.8), alt.value(0.07)),
        ).add_params(pick)
    if diagonal:
        low, high = min(table[x].min(), table[y].min()), max(table[x].max(), table[y].max())
        ends = alt.Data(values=[{"v": float(low)}, {"v": float(high)}])
        line = alt.Chart(ends).mark_line(strokeDash=[4, 4], color="#888").encode(x="v:Q", y="v:Q")
        chart = line + chart
    return _titled(chart, title, description, width, height)


def lines(
    table, x, y, *, low=None, high=None, color=None, x_title=None, y_title=None, color_title=None, x_scale="linear",
    y_scale="linear", y_domain=None, tooltip=(), rule=None, choose=None, cross=None, dash=None, title="", description="",
    width=480, height=300,
):  # fmt: skip
    """Lines of column y over x with a band from column `low` to `high`.

    rule: a value at which a horizontal line is drawn, or {label: value}; choose: a column, one value of which is shown
    at a time, by a menu that starts at the first, or several columns with a menu each; cross: a column of booleans, true where
    a point is drawn as ×; dash: a column, each value of which has its own dashes.
    """
    x_axis = _encoding(x, x_title or x, x_scale)
    y_axis = _encoding(y, y_title or y, y_scale, domain=y_domain)
    base = alt.Chart(table).encode(x=alt.X(**x_axis))
    shown = [name for name in (color, x, y, low, high, *tooltip) if name]
    tips = [alt.Tooltip(name, format=".3g") if table[name].dtype.kind == "f" else name for name in shown]
    dot = None if cross else alt.OverlayMarkDef(size=42)
    line = base.mark_line(point=dot or False, clip=True).encode(y=alt.Y(**y_axis), tooltip=tips)
    pick = alt.selection_point(fields=[color], bind="legend") if color else None
    layers = []
    if low and high:
        layers.append(base.mark_area(opacity=0.18, clip=True).encode(y=alt.Y(**{**y_axis, "field": low}), y2=high))
    layers.append(line)
    if cross:
        layers.insert(-1, _crosses(base.encode(y=alt.Y(**y_axis), tooltip=tips), cross))
    if color:
        hue = alt.Color(color, type="nominal", title=color_title or color, sort=None)
        fade = alt.condition(pick, alt.value(1), alt.value(0.08))
        layers = [layer.encode(color=hue) for layer in layers]
        layers[-1] = layers[-1].encode(opacity=fade).add_params(pick)
        if low and high:
            layers[0] = layers[0].transform_filter(pick)
    if dash:
        pattern = alt.StrokeDash(dash, type="nominal", sort=list(table[dash].unique()), title=dash)
        layers[-1] = layers[-1].encode(strokeDash=pattern)
        layers = [*(layer.encode(detail=dash) for layer in layers[:-1]), layers[-1]]
    for i, column in enumerate([choose] if isinstance(choose, str) else choose or []):
        layers = _under_menu(layers, column, list(table[column].unique()), f"shown{i or ''}")
    rules, labels = _rules(rule)
    return _titled(alt.layer(*rules, *layers, *labels), title, description, width, height)


def _crosses(base, column):
    """A point for each row: × where `column` is true, a dot else."""
    is_cross = f"datum['{column}']"
    shape = alt.condition(is_cross, alt.value("cross"), alt.value("circle"))
    return base.mark_point(filled=True, opacity=1, size=90, clip=True).encode(
        shape=shape, angle=alt.condition(is_cross, alt.value(45), alt.value(0))
    )


def _rules(rule):
    """Dashed horizontal lines at a value, or at each of {label: value}, and their labels. → two lists of layers"""
    if rule is None:
        return [], []
    named = rule if isinstance(rule, dict) else {"": rule}
    base = alt.Chart(alt.Data(values=[{"v": value, "label": label} for label, value in named.items()])).encode(y="v:Q")
    lines = base.mark_rule(strokeDash=[4, 4], color="#888")
    place = {"align": "left", "baseline": "bottom", "dy": -3, "x": 6}
    text = base.mark_text(**place, color="#777").encode(text="label:N")
    return [lines], [text] if any(named) else []


def _under_menu(layers, column, values, name):
    """Each layer with only the rows that a menu, a parameter called `name`, over the values of `column` names."""
    menu = alt.param(name=name, value=values[0], bind=alt.binding_select(options=values, name=f"{column} "))
    layers = [layer.transform_filter(f"datum['{column}'] == {name}") for layer in layers]
    return [*layers[:-1], layers[-1].add_params(menu)]


def intervals(
    table, x, y, *, low, high, color=None, x_title=None, color_title=None, rule=None,
    title="", description="", width=460, height=None,
):  # fmt: skip
    """Dots of column x with bars from `low` to `high`, a line for each value of column y; `rule` marks a value of x."""
    order = list(table[y].unique())
    axis = alt.X(**_encoding(x, x_title or x, zero=True))
    base = alt.Chart(table).encode(y=alt.Y(y, type="nominal", sort=order, title=None))
    shift, hue = {}, {"color": alt.value(COLORS[0])}
    if color:
        states = list(table[color].unique())
        shift = {"yOffset": alt.YOffset(color, type="nominal", sort=states)}
        hue = {"color": alt.Color(color, type="nominal", sort=states, title=color_title or color)}
    tips = [name for name in (y, color) if name] + [alt.Tooltip(name, format=".3g") for name in (x, low, high)]
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X(**{**_encoding(x, x_title or x, zero=True), "field": low}), x2=high
    )
    dots = base.mark_circle(size=70, opacity=1).encode(x=axis, tooltip=tips)
    layers = [layer.encode(**shift, **hue) for layer in (bars, dots)]
    if rule is not None:
        line = alt.Chart(alt.Data(values=[{"v": rule}])).mark_rule(strokeDash=[4, 4], color="#888").encode(x="v:Q")
        layers.insert(0, line)
    return _titled(alt.layer(*layers), title, description, width, height or 60 * len(order))


def specification_curve(
    table, estimate, *, low, high, choices, color, estimate_title=None, rule=0, marks=None, domain=None, title="", description="",
    width=560, height=200,
):  # fmt: skip
    """Estimates under every combination of some choices, in order of size, over the choices behind each (Simonsohn 2020).

    table: estimate, low, high (the bar) and a column for each of `choices`; color: the choice that colours; rule: a value at
    which a line is drawn; marks: {label: value} of further lines; domain: (from, to) of the axis, at which what is longer is cut.
    A click in the legend picks one colour.
    """
    order = list(table[color].unique())
    table = table.sort_values(estimate, kind="stable").assign(place=range(1, len(table) + 1))
    hue = alt.Color(color, type="nominal", sort=order, title=color)
    pick = alt.selection_point(fields=[color], bind="legend")
    fade = alt.condition(pick, alt.value(0.9), alt.value(0.06))
    place = alt.X("place:Q", title=None, axis=None, scale=alt.Scale(nice=False, zero=False, padding=6))
    tips = [*choices, *(alt.Tooltip(name, format=".3g") for name in (estimate, low, high))]
    base = alt.Chart(table).encode(x=place, color=hue, opacity=fade, tooltip=tips)
    axis = _encoding(low, estimate_title or estimate, zero=True, domain=domain)
    bars = base.mark_rule(strokeWidth=1, clip=True).encode(y=alt.Y(**axis), y2=high)
    dots = base.mark_circle(size=22, clip=True).encode(y=alt.Y(**{**axis, "field": estimate})).add_params(pick)
    rules, labels = _rules({"": rule} | (marks or {}))
    above = alt.layer(*rules, bars, dots, *labels).properties(width=width, height=height)
    named = {name: name + ": " + table[name].astype(str) for name in choices}
    long = pd.concat(table[list(dict.fromkeys(["place", color]))].assign(option=values) for values in named.values())
    options = [option for values in named.values() for option in sorted(values.unique())]
    ticks = alt.Chart(long).mark_tick(thickness=2, bandSize=9).encode(
        x=place, y=alt.Y("option:N", sort=options, title=None, axis=alt.Axis(ticks=False, domain=False)),
        color=hue, opacity=fade,
    )  # fmt: skip
    below = ticks.properties(width=width, height=15 * len(options))
    return alt.vconcat(above, below, spacing=8).properties(title=title, description=description)


def heatmap_slider(
    table, x, y, value, slide, *, slide_title, values_title, limit, start=None,
    title="", description="", width=340, height=340,
):  # fmt: skip
    """A matrix a setting: column `value` over x and y, one frame for each value of column `slide`, under a slider.

    `slide` holds whole numbers from 0; colours run from −limit to limit.
    """
    last = int(table[slide].max())
    frame = alt.param(
        name="frame", value=last // 2 if start is None else start,
        bind=alt.binding_range(min=0, max=last, step=1, name=f"{slide_title} "),
    )  # fmt: skip
    colors = alt.Scale(scheme="redblue", domain=[-limit, limit], reverse=False)
    chart = (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=alt.X(x, type="ordinal", title=x, axis=alt.Axis(labelAngle=0)),
            y=alt.Y(y, type="ordinal", title=y),
            color=alt.Color(value, type="quantitative", title=values_title, scale=colors),
            tooltip=[x, y, alt.Tooltip(value, type="quantitative", format=".2f")],
        )
        .transform_filter(f"datum.{slide} == frame")
        .add_params(frame)
    )
    return _titled(chart, title, description, width, height)


def streams_explorer(table, answers, *, choose, values_title, limit, start, title="", description="", width=480):
    """Heat maps under each other, one a value of column `panel`, of what a menu over column `choose` picks, and a line of words.

    table: `choose`, panel, position, coordinate, value; rows without `choose` (None) are shown for every pick; positions
    and coordinates stand in their order in the table. answers: `choose`, words (lines). Colours run from −limit to limit.
    """
    picked = f"datum['{choose}'] == null || datum['{choose}'] == shown"
    options = answers[choose].tolist()
    menu = alt.param(name="shown", value=start, bind=alt.binding_select(options=options, name=f"{choose} "))
    scale = alt.Scale(scheme="redblue", domain=[-limit, limit], clamp=True)
    words = (
        alt.Chart(answers)
        .mark_text(align="left", fontSize=14, fontWeight=600, x=0, lineBreak="\n")
        .encode(text="words:N")
    )
    parts = [words.transform_filter(picked).properties(width=width, height=36)]
    rows = list(dict.fromkeys(table.position))
    for panel, part in table.groupby("panel", sort=False):
        order = list(dict.fromkeys(part.coordinate))
        shown = alt.Chart(part.astype({choose: object}).where(part.notna(), None)).mark_rect()
        shown = shown.transform_filter(picked).encode(
            x=alt.X(
                "coordinate:N", sort=order, title=None, axis=alt.Axis(labelFontSize=9, labelAngle=-90, ticks=False)
            ),
            y=alt.Y("position:N", sort=rows, title=None),
            color=alt.Color("value:Q", scale=scale, title=values_title),
            tooltip=["position:N", "coordinate:N", alt.Tooltip("value:Q", format=".2f")],
        )
        parts.append(shown.properties(title=panel, width=width, height=18 * len(rows)))
    chart = alt.vconcat(*parts).add_params(menu)
    return chart.properties(title=title, description=description)


def training_explorer(series, bars, words, *, start, x_title="training step", title="", description="", width=480):
    """Drag through training: curves under each other, and under them bars of what was there at that step.

    series: step, panel, line, value, a panel of curves for each value of `panel`; bars: step, panel, place (1, 2, …), kind,
    value, a panel of bars, coloured by kind; words: step, words, a line of text a step. Steps are evenly spaced.
    """
    steps = sorted(words.step.unique().tolist())
    slider = alt.binding_range(min=steps[0], max=steps[-1], step=steps[1] - steps[0], name=f"{x_title} ")
    moment = alt.param(name="moment", value=start, bind=slider)
    now = "datum.step == moment"
    text = alt.Chart(words).mark_text(align="left", fontSize=14, fontWeight=600, x=0).encode(text="words:N")
    parts = [text.transform_filter(now).properties(width=width, height=20)]
    mark = (
        alt.Chart(alt.Data(values=[{}])).transform_calculate(step="moment").mark_rule(color="#888", strokeDash=[4, 4])
    )
    for panel, part in series.groupby("panel", sort=False):
        base = alt.Chart(part).encode(
            x=alt.X("step:Q", title=x_title, scale=alt.Scale(domain=[steps[0], steps[-1]], nice=False)),
            y=alt.Y("value:Q", title=panel, scale=alt.Scale(zero=False)),
            color=alt.Color("line:N", title=None, sort=None),
            tooltip=["line:N", "step:Q", alt.Tooltip("value:Q", format=".3g")],
        )
        dots = base.mark_circle(size=70, opacity=1).transform_filter(now)
        layers = alt.layer(mark.encode(x="step:Q"), base.mark_line(), dots)
        parts.append(layers.properties(width=width, height=80))
    for panel, part in bars.groupby("panel", sort=False):
        kinds, places = list(dict.fromkeys(part.kind)), list(range(1, int(part.place.max()) + 1))
        shown = alt.Chart(part).mark_bar().transform_filter(now)
        shown = shown.encode(
            x=alt.X(
                "place:O",
                title=panel,
                scale=alt.Scale(domain=places),
                axis=alt.Axis(values=[1, *places[9::10]], labelAngle=0),
            ),
            y=alt.Y("value:Q", title="share", scale=alt.Scale(domain=[0, float(part.value.max())])),
            color=alt.Color("kind:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds)),
            tooltip=["place:O", "kind:N", alt.Tooltip("value:Q", format=".3f")],
        )
        parts.append(shown.properties(width=width, height=110))
    chart = alt.vconcat(*parts).resolve_scale(color="independent").add_params(moment)
    return chart.properties(title=title, description=description)


def diversity_explorer(start, *, title="", description="", width=420, height=220):
    """Drag the activation of each of a few codes; their shares p, F = exp(H(p)) and its neighbours follow.

    start: the first activation of each code, from 0 to 100.
    """
    knobs = [
        alt.param(name=f"a{i}", value=v, bind=alt.binding_range(min=0, max=100, step=1, name=f"code {i + 1} "))
        for i, v in enumerate(start)
    ]
    names = [f"a{i}" for i in range(len(start))]
    total = f"max(1e-9, {' + '.join(names)})"
    terms = " + ".join(f"({a} > 0 ? -({a} / {total}) * log({a} / {total}) : 0)" for a in names)
    squares = " + ".join(f"pow({a} / {total}, 2)" for a in names)
    active = " + ".join(f"({a} > 0 ? 1 : 0)" for a in names)
    pick = "".join(f"datum.i == {i} ? {a} : " for i, a in enumerate(names)) + "0"
    data = alt.Data(values=[{"i": i, "code": str(i + 1)} for i in range(len(start))])
    bars = (
        alt.Chart(data)
        .transform_calculate(p=f"({pick}) / {total}")
        .mark_bar(color=COLORS[0], cornerRadiusEnd=3)
        .encode(
            x=alt.X("code:N", title="code", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("p:Q", title="share p of the activation", scale=alt.Scale(domain=[0, 1])),
            tooltip=["code:N", alt.Tooltip("p:Q", format=".3f")],
        )
    )
    reading = (
        f"'F = ' + format(exp({terms}), '.2f') + ' effective features   (ever active: ' + ({active})"
        f" + ', 1/Σp² = ' + format(1 / max(1e-9, {squares}), '.2f') + ')'"
    )
    text = (
        alt.Chart(alt.Data(values=[{}]))
        .transform_calculate(reading=reading)
        .mark_text(align="left", fontSize=15, fontWeight=600, x=4, y=12)
        .encode(text="reading:N")
    )
    return _titled(alt.layer(bars, text).add_params(*knobs), title, description, width, height)
