"""What both chapters on attacks draw: accuracies, F and its slopes on the radius, and every choice at once."""

import warnings
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from superpos.answers import join
from superpos.charts import COLORS, Axis, intervals, lines, titled
from superpos.findings.adversarial import naming

SLOPE = "slope of F on the radius ε"
CHANGE = "change of that slope"
PLACES = ("first", "second", "third", "fourth")


def slopes_of(conditions: pd.DataFrame) -> alt.LayerChart:
    """The slope of F of each condition under the paper's update, a dot with its interval (`analysis.sided`); its title counts
    those that surely lie on a side of zero."""
    mine = conditions[conditions["update"] == "leak"]
    up, down = ((mine.side == side).sum() for side in ("above", "below"))
    table = mine.assign(group=mine.line.map(naming.word), classes=mine.n_classes.astype(str))
    chart = intervals(table, Axis("slope", SLOPE), "group", color="classes", rule=0)
    return titled(
        chart,
        f"With stronger attacks in training F surely rises in {up} of {len(mine)} conditions and surely falls in {down}",
        "Dots with intervals: the slope of the number of features on the radius of training, for each data set, network and "
        "number of classes; a dashed line at zero.",
        height=62 * mine.line.nunique(),
    )


def accuracies(table: pd.DataFrame, color: str, choose: Sequence[str]) -> alt.LayerChart:
    """Accuracy under attack at the radius of training (`analysis.over_radii` of own); its title says how far it falls."""
    least, most = table[table.epsilon == table.epsilon.max()].own.agg(["min", "max"])
    return titled(
        lines(
            _chosen(table, choose),
            Axis("epsilon", "radius ε of training"),
            Axis("own", "accuracy under attack", domain=(0, 1)),
            color=color,
            choose=[naming.HEADS.get(name, name) for name in choose],
        ),
        f"At the largest radius networks are still right on {least:.0%} to {most:.0%} of attacked images",
        f"Lines with bands: accuracy under attack against the radius of training, a line for each value of {color}, with menus.",
    )


def _chosen(table: pd.DataFrame, choose: Sequence[str]) -> pd.DataFrame:
    """A table whose menus have names and entries in words."""
    words = {naming.HEADS.get(name, name): table[name].map(naming.word) for name in choose}
    return table.drop(columns=list(choose)).assign(**words)


def relative_features(table: pd.DataFrame, color: Axis, choose: Sequence[str]) -> alt.LayerChart:
    """F over F at radius 0, clean and attacked apart (`analysis.ratios`); its title compares the two at the largest radius."""
    ends = table[table.epsilon == table.epsilon.max()]
    above = (ends.ratio > 1).groupby(ends.inputs).mean()
    told = [f"{above['attacked']:.0%} of cases on attacked images", f"{above['clean']:.0%} on clean ones"]
    return titled(
        lines(
            _chosen(table, choose).rename(columns={"inputs": "images"}),
            Axis("epsilon", "radius ε of training"),
            Axis("ratio", "F over F at ε = 0"),
            color=color,
            dash="images",
            rule=1,
            choose=[naming.HEADS.get(name, name) for name in choose],
        ),
        f"At the largest radius F is above that without attacks in {join(told)}",
        f"Lines with bands: relative effective features against the radius of training, for each {color.words}, on clean and "
        "on attacked images, with menus.",
    )


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of layers with their `place` in the network, counted from the input, in words."""
    ranks = {
        (architecture, layer): PLACES[i]
        for architecture, of in table.groupby("architecture")
        for i, layer in enumerate(sorted(of.layer.unique()))
    }
    keys = zip(table.architecture, table.layer, strict=True)
    return table.assign(place=[ranks[key] for key in keys])


def beside_paper(table: pd.DataFrame, x: Axis, color: Axis, choose: Sequence[str], says: str) -> alt.LayerChart:
    """Slopes of F under each update and the paper's own, read off its figures, with menus; `says`: its title."""
    return titled(
        lines(
            _chosen(table, choose),
            x,
            Axis("slope", SLOPE),
            color=color,
            choose=[naming.HEADS.get(name, name) for name in choose],
            rule=0,
        ),
        says,
        f"Lines with bands: the slope of the number of features on the radius against {x.words}, a line for each "
        f"value of {color.words}, with menus.",
    )


def forest(table: pd.DataFrame, by: str, says: str, height: int) -> alt.LayerChart:
    """How slopes go with classes or width in each group, pooled, and in the paper (`analysis.forest`)."""
    shown = table.assign(group=table.line.map(naming.word), update=table["update"].map(naming.word))
    return titled(
        intervals(shown, Axis("slope", f"{CHANGE}, {by}"), "group", color="update", rule=0),
        says,
        f"Dots with intervals: {CHANGE} {by} in each group, pooled and in the paper, under both updates.",
        height=height,
    )


def by_width(conditions: pd.DataFrame, rises: pd.DataFrame) -> alt.VConcatChart:
    """Slopes of F over the width under the paper's update, a panel for each kind of network (`analysis.h3_slopes`); the title
    says for how many numbers of classes they rise from the narrowest to the widest (`analysis.rises`)."""
    mine, count = conditions[conditions["update"] == "leak"], rises[rises["update"] == "leak"]
    parts, told = [], []
    for architecture, of in mine.groupby("architecture", sort=False):
        name, up = naming.word(architecture), count[count.architecture == architecture].rises
        told.append(f"{up.sum()} of {len(up)}{'' if told else ' numbers of classes'} in {name}s")
        unit = "neurons" if name == "MLP" else "channels"
        chart = lines(
            of.assign(classes=of.n_classes.astype(str))[["classes", "width", "slope", "low", "high"]],
            Axis("width", f"width of the {name}: {unit}", scale="log"),
            Axis("slope", "slope of F on ε"),
            color="classes",
            rule=0,
        )
        parts.append(chart.properties(width=480, height=210))
    with warnings.catch_warnings():  # a click in the legend holds for both panels, as it should
        warnings.filterwarnings("ignore", "Automatically deduplicated selection parameter")
        panels = alt.vconcat(*parts)
    return titled(
        panels,
        f"From the narrowest to the widest network the slope of F rises for {join(told)}",
        "Lines with bands: the slope of the number of features on the radius against the width of the hidden layer, a line for "
        "each number of classes, a panel for each kind of network.",
    )


SHADES = dict(
    zip(
        ("surely the paper's", "the paper's", "the other", "surely the other"),
        (COLORS[0], COLORS[6], COLORS[3], COLORS[1]),
        strict=True,
    )
)


def every_choice(options: pd.DataFrame, says: str, shades: Mapping[str, str] = SHADES) -> alt.Chart:
    """For each option of each choice a bar: the shares of combinations on each side of zero (`choices.by_option`)."""
    table = options.assign(row=options.asked + "|" + options.option, rank=options.side.map(list(shades).index))
    rows = []
    for asked, of in table.groupby("asked", sort=False):
        rows += [f"{asked}|", *of.row.unique()]
    bold = {"condition": {"test": "split(datum.label, '|')[1] == ''", "value": "bold"}, "value": "normal"}
    words = "split(datum.label, '|')[1] || split(datum.label, '|')[0]"
    axis = alt.Axis(labelExpr=words, labelFontWeight=bold, labelLimit=260, domain=False, ticks=False)
    across = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    chart = alt.Chart(table[table.share > 0]).mark_bar(height=11)
    return titled(
        chart.encode(
            x=alt.X("share:Q", stack=True, title="share of combinations", scale=alt.Scale(domain=[0, 1]), axis=across),
            y=alt.Y("row:N", sort=rows, scale=alt.Scale(domain=rows), title=None, axis=axis),
            color=alt.Color(
                "side:N",
                title="side of zero",
                scale=alt.Scale(domain=list(shades), range=list(shades.values())),
            ),
            order=alt.Order("rank:Q"),
            tooltip=["asked", "option", "side", alt.Tooltip("share:Q", format=".0%"), "combinations"],
        ),
        says,
        "Bars of four parts: for each option of each choice, the share of combinations whose estimate lies on the paper's "
        "side of zero or on the other, and whose interval does.",
        width=380,
        height=15 * len(rows),
    )
