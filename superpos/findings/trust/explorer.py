"""What the count and other readers say, beside the truth and where there is nothing to count."""

import altair as alt
import numpy as np
import pandas as pd

from superpos.answers import join, number
from superpos.charts import COLORS, Axis, intervals, points, titled

SAYS = {True: "answered", False: "refused"}


def _said(known: pd.DataFrame) -> pd.DataFrame:
    """With what the count says of each line, those that it answered first."""
    return known.assign(said=known.identified.map(SAYS)).sort_values("identified", ascending=False, kind="stable")


def counted_over_planted(table: pd.DataFrame) -> alt.LayerChart:
    """Features counted over features planted, a dot a world (`analysis.assessed`); its title says how far off answers are."""
    known = table.dropna(subset=["truth", "effective_features"])
    told = known[known.identified]
    off = f"off by {(told.ratio - 1).abs().median():.1%} in the median" if len(told) else "nowhere"
    return titled(
        points(
            _said(known),
            Axis("truth", "features planted, F* (the truth)", "log"),
            Axis("effective_features", "features counted, F", "log"),
            color=Axis("said", "the count"),
            tooltip=["kind", "n_neurons"],
            diagonal=True,
        ),
        f"Where the count answers it is {off}; of {len(known)} worlds with features it refuses {len(known) - len(told)}",
        "Scatter on the diagonal: features counted against features planted, a dot a world, by whether the count answered.",
    )


def read_from_nothing(found: pd.DataFrame, refused: tuple[int, int]) -> alt.LayerChart:
    """ψ of rows without features by reader (`analysis.of_nothing`); its title says who sees superposition in them.

    refused: how many of how many such sets of rows the count refused (`analysis.refused_of_nothing`).
    """
    above = found[found.psi > 1]
    told = [f"{number(one.psi, 2)} by {one.reader}" for one in above.itertuples()]
    return titled(
        intervals(found, Axis("psi", "superposition ψ = F / N"), "reader", rule=1),
        f"Where there are no features, {len(above)} of {len(found)} readers read ψ above 1 on average ({join(told) or 'none'});"
        f" the count refuses {refused[0]} of {refused[1]} such sets of rows",
        "Dots with intervals: superposition read from noise, shuffled columns, circles and spheres, by reader.",
        height=190,
    )


def ladder(rungs: pd.DataFrame) -> alt.LayerChart:
    """F of layers by each reader (`analysis.rungs`); its title says how far readers are apart, and where the count refuses."""
    told = rungs.dropna(subset="F").groupby("layer", sort=False).F.agg(["min", "max"])
    spans = [
        f"{number(one['min'], 2)} to {number(one['max'], 2)} features in {layer}" for layer, one in told.iterrows()
    ]
    counts = rungs[rungs.reader == "the count"]
    return titled(
        intervals(rungs, Axis("F", "effective features F"), "reader", color="layer"),
        f"By reader there are {join(spans)}; the count refuses {int(counts.F.isna().sum())} of {len(counts)}",
        "Dots with intervals: effective features of the layers of a trained network, by each reader.",
        height=280,
    )


def reader_explorer(table: pd.DataFrame) -> alt.LayerChart:
    """Answers over the truth (column `ratio`), a line a `reader`, a dot a world of the `kind` that a menu names.

    Its title says by what factor the first reader and the others are off, in the median of the kind that is worst for each.
    """
    kinds, order = list(table.kind.unique()), list(table.reader.unique())
    middle = np.log(table.groupby(["reader", "kind"], sort=False).ratio.median()).abs()
    worst = np.exp(middle.groupby("reader", sort=False).max())
    rest = " to ".join(dict.fromkeys(number(end, 2) for end in (worst.iloc[1:].min(), worst.iloc[1:].max())))
    menu = alt.param(name="shown", value=kinds[0], bind=alt.binding_select(options=kinds, name="kind of world "))
    base = alt.Chart(table).transform_filter("datum['kind'] == shown")
    dots = base.mark_circle(size=60, opacity=0.8).encode(
        x=alt.X(
            "ratio:Q",
            title="features read / features planted",
            scale=alt.Scale(type="log", domain=[0.03, 30]),
            axis=alt.Axis(values=[0.03, 0.1, 0.3, 1, 3, 10, 30], format="~g"),
        ),
        y=alt.Y("reader:N", sort=order, title=None),
        color=alt.condition(f"datum['reader'] == '{order[0]}'", alt.value(COLORS[1]), alt.value(COLORS[0])),
        tooltip=["reader", "kind", "number", alt.Tooltip("truth", format=".1f"), alt.Tooltip("ratio", format=".3f")],
    )
    line = alt.Chart(alt.Data(values=[{"v": 1}])).mark_rule(strokeDash=[4, 4], color="#888").encode(x="v:Q")
    return titled(
        alt.layer(line, dots).add_params(menu),
        f"On the kind of world that is worst for it, {order[0]} is off by a factor of {number(worst.iloc[0], 2)} in the median;"
        f" the other readers by {rest}",
        "Dots by reader on a logarithmic axis: features read over features planted for the worlds of the kind chosen in a menu.",
        width=440,
        height=40 * len(order),
    )


def toys(known: pd.DataFrame, seen: pd.DataFrame) -> alt.LayerChart:
    """Features counted in toy models over F of their weights (`analysis.toys`); its title holds r (`analysis.of_toys`)."""
    told = [
        f"{one['r, answered']:.2f} where the count answers and {one['r, all']:.2f} wherever it finds features"
        for _, one in seen.iterrows()
    ]
    return titled(
        points(
            _said(known),
            Axis("truth", "F of the weights (the truth)"),
            Axis("effective_features", "features counted, F"),
            color=Axis("said", "the count"),
            tooltip=["sparsity"],
            diagonal=True,
        ),
        f"In toy models the count follows the weights with r = {join(told)}",
        "Scatter: features counted from the activations of toy models against effective features of their weights.",
    )
