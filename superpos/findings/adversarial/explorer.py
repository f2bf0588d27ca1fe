"""Estimates under every choice, over the choices behind each."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from superpos.charts import Column, as_axis, rule_marks


def specification_curve(
    table: pd.DataFrame,
    estimate: Column,
    *,
    color: str,
    choices: Sequence[str],
    rule: float = 0,
    marks: Mapping[str, float] | None = None,
) -> alt.VConcatChart:
    """Estimates under every combination of some choices, in order of size, over the choices behind each (Simonsohn 2020).

    table: the estimate, `low` and `high` (the bar) and a column for each of `choices`; color: the choice that colours; rule:
    a value at which a line is drawn; marks: {label: value} of further lines. What is longer than the estimate's domain is
    cut. A click in the legend picks one colour.
    """
    estimate = as_axis(estimate)
    order, name = list(table[color].unique()), estimate.column
    table = table.sort_values(name, kind="stable").assign(place=range(1, len(table) + 1))
    pick = alt.selection_point(fields=[color], bind="legend")
    shared = {
        "x": alt.X("place:Q", title=None, axis=None, scale=alt.Scale(nice=False, zero=False, padding=6)),
        "color": alt.Color(color, type="nominal", sort=order, title=color),
        "opacity": alt.condition(pick, alt.value(0.9), alt.value(0.06)),
    }
    tips = [*choices, *(alt.Tooltip(column, format=".3g") for column in (name, "low", "high"))]
    base = alt.Chart(table).encode(**shared, tooltip=tips)
    axis = {**estimate.encoding(zero=True), "field": "low"}
    bars = base.mark_rule(strokeWidth=1, clip=True).encode(y=alt.Y(**axis), y2="high")
    dots = base.mark_circle(size=22, clip=True).encode(y=alt.Y(**{**axis, "field": name})).add_params(pick)
    rules, labels = rule_marks({"": rule} | dict(marks or {}))
    above = alt.layer(*rules, bars, dots, *labels).properties(width=560, height=200)
    named = {name: name + ": " + table[name].astype(str) for name in choices}
    long = pd.concat(table[list(dict.fromkeys(["place", color]))].assign(option=values) for values in named.values())
    options = [option for values in named.values() for option in sorted(values.unique())]
    placed = alt.Y("option:N", sort=options, title=None, axis=alt.Axis(ticks=False, domain=False))
    ticks = alt.Chart(long).mark_tick(thickness=2, bandSize=9).encode(**shared, y=placed)
    return alt.vconcat(above, ticks.properties(width=560, height=15 * len(options)), spacing=8)
