"""A slider over the overlap of features."""

import altair as alt
import pandas as pd

from superpos.charts import Column, as_axis


def heatmap_slider(
    table: pd.DataFrame, x: Column, y: Column, value: Column, slide: Column, *, limit: float, start: int | None = None
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
