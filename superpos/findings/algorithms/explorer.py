"""A menu over the neurons of a stream: what it holds, and what the program answers."""

from typing import Any

import altair as alt
import pandas as pd


def streams_explorer(
    table: pd.DataFrame, answers: pd.DataFrame, *, choose: str, values_title: str, limit: float, start: Any
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
