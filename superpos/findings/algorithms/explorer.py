"""The charts of the chapter, and a menu over the neurons of a stream: what it holds, and what the program answers."""

from typing import Any

import altair as alt
import pandas as pd

from superpos.charts import Axis, intervals, lines, titled

N = Axis("n_neurons", "neurons N of the stream", "log")
FEW = Axis("n_neurons", "neurons N of the stream")  # for a handful of sizes
FEATURES = Axis("effective_features", "effective features F", "log")
PSI = Axis("psi", "superposition ψ = F / N")
MENU = "program and way"


def psi_by_neurons(table: pd.DataFrame, says: str, along: Axis = N) -> alt.LayerChart:
    """ψ over neurons, compressed and from scratch, × where not every start is solved (`analysis.superposition`)."""
    return titled(
        lines(table, along, PSI, color=Axis("way", ""), choose="program", cross="failed", rule=1),
        says,
        "Lines of superposition against neurons, compressed and from scratch, with a menu for the program and a line at ψ = 1.",
    )


def accuracy(table: pd.DataFrame, says: str) -> alt.LayerChart:
    """The share of sequences answered right over neurons (`analysis.accuracy`)."""
    return titled(
        lines(table, N, Axis("sequences", "share of sequences right"), color=Axis("line", ""), choose="program"),
        says,
        "Lines of the share of sequences answered right against neurons, best start and mean, with a menu for the program.",
    )


def features(table: pd.DataFrame, color: Axis, says: str, cross: str | None = None) -> alt.LayerChart:
    """F over neurons, beside the line F = N (`analysis.by_layer`, `analysis.by_reading`)."""
    return titled(
        lines(table.rename(columns={"which": MENU}), N, FEATURES, color=color, choose=MENU, cross=cross),
        says,
        f"Lines of effective features against neurons by {color.words}, with the line F = N, and a menu for program and way.",
    )


def controls(table: pd.DataFrame, says: str) -> alt.LayerChart:
    """ψ of features with nothing to compute (`analysis.controls`)."""
    return titled(
        intervals(table, PSI, "of", color=Axis("N", ""), rule=1),
        says,
        "Dots with intervals: superposition of toy features of several activities, of compiled and shuffled features.",
        height=300,
    )


def streams_explorer(
    table: pd.DataFrame, answers: pd.DataFrame, *, choose: str, values_title: str, limit: float, start: Any
) -> alt.VConcatChart:
    """Heat maps under each other, one a value of column `panel`, of what a menu over column `choose` picks, and a line of words.

    table: `choose`, panel, position, coordinate, value; rows without `choose` (None) are shown for every pick; positions
    and coordinates stand in their order in the table. answers: `choose`, words (lines). Colours run from −limit to limit.
    A coordinate called "name:value" is labelled by its name, once for all values, under the last panel alone.
    """
    picked = f"datum['{choose}'] == null || datum['{choose}'] == shown"
    options = answers[choose].tolist()
    menu = alt.param(name="shown", value=start, bind=alt.binding_select(options=options, name=f"{choose} "))
    words = alt.Chart(answers).mark_text(align="left", fontSize=13, fontWeight=600, x=0, lineBreak="\n")
    parts = [words.encode(text="words:N").transform_filter(picked).properties(width=480, height=54)]
    panels = list(table.groupby("panel", sort=False))
    for panel, part in panels:
        shown = alt.Chart(part.astype({choose: object}).where(part.notna(), None)).mark_rect()
        shown = shown.transform_filter(picked).encode(
            x=_coordinates(part, labelled=panel == panels[-1][0]),
            y=alt.Y("position:N", sort=list(dict.fromkeys(table.position)), title=None),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(scheme="redblue", domain=[-limit, limit], clamp=True),
                title=values_title,
                legend=alt.Legend(values=[-1, 0, 1], gradientLength=80),
            ),
            tooltip=["position:N", "coordinate:N", alt.Tooltip("value:Q", format=".2f")],
        )
        title = alt.TitleParams(panel, fontSize=12, fontWeight=500)
        parts.append(shown.properties(title=title, width=480, height=15 * table.position.nunique()))
    return alt.vconcat(*parts, spacing=8).add_params(menu)


def _coordinates(part: pd.DataFrame, labelled: bool) -> alt.X:
    """The axis of coordinates, in the order of the table, with a label for the first of each name."""
    order = list(dict.fromkeys(part.coordinate))
    first = {name.partition(":")[0]: name for name in reversed(order)}
    kept = sorted(first.values(), key=order.index)
    name = "split(datum.label, ':')[0]"
    axis = alt.Axis(values=kept, labelExpr=name, labelAngle=-90, labelOverlap=False, ticks=False) if labelled else None
    return alt.X("coordinate:N", sort=order, title=None, axis=axis)
