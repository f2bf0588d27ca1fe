"""Charts to play with: a slider, a menu or knobs over a tidy table. They follow the conventions of `superpos.charts`."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from superpos.charts import COLORS, Column, Number, as_axis

__all__ = ["diversity_explorer", "heatmap_slider", "streams_explorer", "training_explorer"]

NOW = "datum.step == moment"


def heatmap_slider(
    table: pd.DataFrame, x: Column, y: Column, value: Column, slide: Column, *, limit: Number, start: int | None = None
) -> alt.Chart:
    """A matrix a setting: column `value` over x and y, one frame for each value of column `slide`, under a slider.

    `slide` holds whole numbers from 0; colours run from −limit to limit.
    """
    x, y, value, slide = (as_axis(column) for column in (x, y, value, slide))
    last = int(table[slide.column].max())
    bind = alt.binding_range(min=0, max=last, step=1, name=f"{slide.words} ")
    frame = alt.param(name="frame", value=last // 2 if start is None else start, bind=bind)
    colors = alt.Scale(scheme="redblue", domain=[-limit, limit], reverse=False)
    chart = alt.Chart(table).mark_rect()
    chart = chart.encode(
        x=alt.X(x.column, type="ordinal", title=x.words, axis=alt.Axis(labelAngle=0)),
        y=alt.Y(y.column, type="ordinal", title=y.words),
        color=alt.Color(value.column, type="quantitative", title=value.words, scale=colors),
        tooltip=[x.column, y.column, alt.Tooltip(value.column, type="quantitative", format=".2f")],
    )
    chart = chart.transform_filter(f"datum.{slide.column} == frame").add_params(frame)
    return chart.properties(width=340, height=340)


def streams_explorer(
    table: pd.DataFrame, answers: pd.DataFrame, *, choose: str, values_title: str, limit: Number, start: Any
) -> alt.VConcatChart:
    """Heat maps under each other, one a value of column `panel`, of what a menu over column `choose` picks, and a line of words.

    table: `choose`, panel, position, coordinate, value; rows without `choose` (None) are shown for every pick; positions
    and coordinates stand in their order in the table. answers: `choose`, words (lines). Colours run from −limit to limit.
    """
    picked = f"datum['{choose}'] == null || datum['{choose}'] == shown"
    options = answers[choose].tolist()
    menu = alt.param(name="shown", value=start, bind=alt.binding_select(options=options, name=f"{choose} "))
    scale = alt.Scale(scheme="redblue", domain=[-limit, limit], clamp=True)
    words = alt.Chart(answers).mark_text(align="left", fontSize=14, fontWeight=600, x=0, lineBreak="\n")
    parts = [words.encode(text="words:N").transform_filter(picked).properties(width=480, height=36)]
    rows = list(dict.fromkeys(table.position))
    axis = alt.Axis(labelFontSize=9, labelAngle=-90, ticks=False)
    for panel, part in table.groupby("panel", sort=False):
        order = list(dict.fromkeys(part.coordinate))
        shown = alt.Chart(part.astype({choose: object}).where(part.notna(), None)).mark_rect()
        shown = shown.transform_filter(picked).encode(
            x=alt.X("coordinate:N", sort=order, title=None, axis=axis),
            y=alt.Y("position:N", sort=rows, title=None),
            color=alt.Color("value:Q", scale=scale, title=values_title),
            tooltip=["position:N", "coordinate:N", alt.Tooltip("value:Q", format=".2f")],
        )
        parts.append(shown.properties(title=panel, width=480, height=18 * len(rows)))
    return alt.vconcat(*parts).add_params(menu)


def training_explorer(
    series: pd.DataFrame, bars: pd.DataFrame, words: pd.DataFrame, *, start: int, x_title: str = "training step"
) -> alt.VConcatChart:
    """Drag through training: curves under each other, and under them bars of what was there at that step.

    series: step, panel, line, value, a panel of curves for each value of `panel`; bars: step, panel, place (1, 2, …), kind,
    value, a panel of bars, coloured by kind; words: step, words, a line of text a step. Steps are evenly spaced.
    """
    steps = sorted(words.step.unique().tolist())
    slider = alt.binding_range(min=steps[0], max=steps[-1], step=steps[1] - steps[0], name=f"{x_title} ")
    moment = alt.param(name="moment", value=start, bind=slider)
    text = alt.Chart(words).mark_text(align="left", fontSize=14, fontWeight=600, x=0).encode(text="words:N")
    parts = [text.transform_filter(NOW).properties(width=480, height=20)]
    x = alt.X("step:Q", title=x_title, scale=alt.Scale(domain=[steps[0], steps[-1]], nice=False))
    parts += [_curves(part, panel, x) for panel, part in series.groupby("panel", sort=False)]
    parts += [_places(part, panel) for panel, part in bars.groupby("panel", sort=False)]
    return alt.vconcat(*parts).resolve_scale(color="independent").add_params(moment)


def _curves(part: pd.DataFrame, panel: str, x: alt.X) -> alt.LayerChart:
    """A panel of curves, with a line and dots at the moment."""
    moment = alt.Chart(alt.Data(values=[{}])).transform_calculate(step="moment")
    base = alt.Chart(part).encode(
        x=x,
        y=alt.Y("value:Q", title=panel, scale=alt.Scale(zero=False)),
        color=alt.Color("line:N", title=None, sort=None),
        tooltip=["line:N", "step:Q", alt.Tooltip("value:Q", format=".3g")],
    )
    dots = base.mark_circle(size=70, opacity=1).transform_filter(NOW)
    mark = moment.mark_rule(color="#888", strokeDash=[4, 4]).encode(x="step:Q")
    return alt.layer(mark, base.mark_line(), dots).properties(width=480, height=80)


def _places(part: pd.DataFrame, panel: str) -> alt.Chart:
    """A panel of the bars that were there at the moment."""
    kinds, places = list(dict.fromkeys(part.kind)), list(range(1, int(part.place.max()) + 1))
    axis = alt.Axis(values=[1, *places[9::10]], labelAngle=0)
    shown = alt.Chart(part).mark_bar().transform_filter(NOW)
    shown = shown.encode(
        x=alt.X("place:O", title=panel, scale=alt.Scale(domain=places), axis=axis),
        y=alt.Y("value:Q", title="share", scale=alt.Scale(domain=[0, float(part.value.max())])),
        color=alt.Color("kind:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds)),
        tooltip=["place:O", "kind:N", alt.Tooltip("value:Q", format=".3f")],
    )
    return shown.properties(width=480, height=110)


def diversity_explorer(start: Sequence[Number]) -> alt.LayerChart:
    """Drag the activation of each of a few codes; their shares p, F = exp(H(p)) and its neighbours follow.

    start: the first activation of each code, from 0 to 100.
    """
    names = [f"a{i}" for i in range(len(start))]
    binds = [alt.binding_range(min=0, max=100, step=1, name=f"code {i + 1} ") for i in range(len(start))]
    knobs = [alt.param(name=name, value=v, bind=bind) for name, v, bind in zip(names, start, binds, strict=True)]
    total = f"max(1e-9, {' + '.join(names)})"
    terms = " + ".join(f"({a} > 0 ? -({a} / {total}) * log({a} / {total}) : 0)" for a in names)
    squares = " + ".join(f"pow({a} / {total}, 2)" for a in names)
    active = " + ".join(f"({a} > 0 ? 1 : 0)" for a in names)
    pick = "".join(f"datum.i == {i} ? {a} : " for i, a in enumerate(names)) + "0"
    data = alt.Data(values=[{"i": i, "code": str(i + 1)} for i in range(len(start))])
    bars = alt.Chart(data).transform_calculate(p=f"({pick}) / {total}").mark_bar(color=COLORS[0], cornerRadiusEnd=3)
    bars = bars.encode(
        x=alt.X("code:N", title="code", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("p:Q", title="share p of the activation", scale=alt.Scale(domain=[0, 1])),
        tooltip=["code:N", alt.Tooltip("p:Q", format=".3f")],
    )
    reading = (
        f"'F = ' + format(exp({terms}), '.2f') + ' effective features   (ever active: ' + ({active})"
        f" + ', 1/Σp² = ' + format(1 / max(1e-9, {squares}), '.2f') + ')'"
    )
    text = alt.Chart(alt.Data(values=[{}])).transform_calculate(reading=reading)
    text = text.mark_text(align="left", fontSize=15, fontWeight=600, x=4, y=12).encode(text="reading:N")
    return alt.layer(bars, text).add_params(*knobs).properties(width=420, height=220)
