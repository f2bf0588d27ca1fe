"""A slider over the overlap of features, and what SAEs read against the truth."""

import altair as alt
import pandas as pd

from superpos.answers import join
from superpos.charts import Axis, Column, as_axis, intervals, lines, points, titled
from superpos.readings import NAMED, in_words


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
        x=alt.X(x.column, type="ordinal", title=x.words, axis=alt.Axis(labelAngle=0, values=_few(table[x.column]))),
        y=alt.Y(y.column, type="ordinal", title=y.words, axis=alt.Axis(values=_few(table[y.column]))),
        color=alt.Color(value.column, type="quantitative", title=value.words, scale=colors),
        tooltip=[x.column, y.column, alt.Tooltip(value.column, type="quantitative", format=".2f")],
    )
    chart = chart.transform_filter(f"datum.{slide.column} == frame").add_params(frame)
    return chart.properties(width=340, height=340)


def _few(column: pd.Series) -> list:
    """The values of a column that are named on an axis: all of a dozen, of more every fifth."""
    names = sorted(column.unique().tolist())
    return names[:: 5 if len(names) > 12 else 1]


def _worded(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose readings have their names in words, and in every figure the same order, and so the same colours."""
    table = table.sort_values("reading", key=lambda column: column.map(list(NAMED).index), kind="stable")
    return table.assign(reading=table.reading.map(in_words))


def against_truth(models: pd.DataFrame) -> alt.LayerChart:
    """ψ from SAE codes over ψ of the weights, a dot a model (`analysis.by_model`); its title says how far off each reading is."""
    models = _worded(models)
    crowded = models[models.psi_weights > 2]
    off = (crowded.psi / crowded.psi_weights - 1).groupby(crowded.reading, sort=False).median() * 100
    told = [f"{abs(one):.0f}% too {'high' if one > 0 else 'low'} by {name}" for name, one in off.items()]
    says = (
        f"Where there are more than two features a neuron, ψ is read {join(told)} (median)"
        if told
        else "ψ from SAE codes"
    )
    truth, seen = Axis("psi_weights", "ψ of the weights (truth)"), Axis("psi", "ψ from SAE codes")
    return titled(
        points(models, truth, seen, color="reading", diagonal=True, tooltip=("sparsity", "fvu", "l0")),
        says,
        "Scatter of superposition from SAE codes against that of the weights, a dot a model; a dashed line where both are equal.",
    )


def who_follows(measures: pd.DataFrame) -> alt.LayerChart:
    """r of each measure with the truth (`analysis.measures`); its title counts those that surely follow it, and that do not."""
    measures = measures.assign(measure=measures.measure.map(in_words))
    surely, not_at_all = measures[measures.low > 0.9].measure, measures[measures.high < 0.5].measure
    return titled(
        intervals(measures, Axis("r", "Pearson r with ψ of the weights", domain=(-1, 1)), "measure"),
        f"{len(surely)} of {len(measures)} measures follow the truth with r surely above 0.9; "
        f"of {len(not_at_all)} r lies surely below 0.5",
        f"Dots with intervals: correlation of {len(measures)} measures with the superposition of the weights.",
        height=230,
    )


def stability(table: pd.DataFrame, along: Axis) -> alt.LayerChart:
    """r with the truth over one setting, a line a reading (`analysis.stability`); its title says how low r falls."""
    table = _worded(table)
    lowest = table.loc[table.groupby("reading", sort=False).r.idxmin()]
    short = {"l1": "λ", "n_neurons": "N", "expansion": "D / N"}.get(along.column, along.words)
    told = [
        f"{line.r:.2f} by {line.reading} (at {short} = {getattr(line, along.column):g})" for line in lowest.itertuples()
    ]
    return titled(
        lines(table, along, Axis("r", "r with the truth", domain=(min(0, table.low.min()), 1)), color="reading"),
        f"r with the truth falls to {' and to '.join(told)}".replace("-", "−"),
        f"Lines with bands: correlation with the truth against {along.words}, for both readings.",
    )
