"""Pick a kind of world, and see what every reader makes of it."""

import altair as alt
import pandas as pd

from superpos.charts import COLORS


def reader_explorer(table: pd.DataFrame) -> alt.LayerChart:
    """Answers over the truth (column `ratio`), a line a `reader`, a dot a world of the `kind` that a menu names."""
    kinds, order = list(table.kind.unique()), list(table.reader.unique())
    menu = alt.param(name="shown", value=kinds[0], bind=alt.binding_select(options=kinds, name="kind of world "))
    base = alt.Chart(table).transform_filter("datum['kind'] == shown")
    dots = base.mark_circle(size=60, opacity=0.6).encode(
        x=alt.X(
            "ratio:Q", title="F / F*, what is read over what is there", scale=alt.Scale(type="log", domain=[0.03, 30])
        ),
        y=alt.Y("reader:N", sort=order, title=None),
        color=alt.condition(f"datum['reader'] == '{order[0]}'", alt.value(COLORS[1]), alt.value(COLORS[0])),
        tooltip=["reader", "kind", "number", alt.Tooltip("truth", format=".1f"), alt.Tooltip("ratio", format=".3f")],
    )
    line = alt.Chart(alt.Data(values=[{"v": 1}])).mark_rule(strokeDash=[4, 4], color="#888").encode(x="v:Q")
    return alt.layer(line, dots).add_params(menu).properties(width=460, height=40 * len(order))
