"""The charts of the chapter on all statements. They draw tables of `superpos.findings.statements`."""

import altair as alt
import pandas as pd

from superpos.charts import Axis, cells, intervals, titled
from superpos.readings import in_words

GREYS = {"refused": "#d5d9e0", "not run": "#f4f4f4"}
COLORS = {"holds": "#8fd3c7", "fails": "#f0a3ab", "undecided": "#f3dfa2"} | GREYS
SIDES = {"above 1": "#9cc3f5", "below 1": "#f5c99c", "both": "#f3dfa2"} | GREYS
HEADS = {"published": "recipe"}  # the paper's, as a column has room for it
LINE = 36  # pixels of a line of cells: two lines of a label


def what_holds(table: pd.DataFrame) -> alt.LayerChart:
    """A line a statement, a column a reading (`statements.labelled`); its title says of how many all SAEs say the same."""
    saes = table[table.reading != "count"].groupby("label", sort=False).word
    firm = sum(set(words) in ({"holds"}, {"fails"}) for _, words in saes)
    n, refused = len(saes), int((table[table.reading == "count"].word == "refused").sum())
    chart = cells(
        table.replace({"reading": HEADS}),
        "reading",
        "label",
        "word",
        COLORS,
        ("value", "low", "high", "n", "identified"),
    )
    return titled(
        in_lines(chart),
        f"All SAEs decide {firm} of {n} statements alike; the count refuses {refused} of them",
        "A table of statements by readings, whose cells say holds, fails, undecided, refused or not run.",
        per_line=48,
        width=260,
        height=LINE * n,
    )


def on_a_side(table: pd.DataFrame, about: str, value: str) -> alt.LayerChart:
    """Cells that have an interval, by statement and reading, around a dashed line at 0; the title counts the sides."""
    told = table.dropna(subset=["low"])
    told = told.assign(reading=told.reading.map(in_words))
    holds, fails = (int((told.word == word).sum()) for word in ("holds", "fails"))
    return titled(
        in_lines(intervals(told, Axis("value", value), "label", color="reading", rule=0)),
        f"{about}: of {len(told)} readings {holds} lie on the statement's side and {fails} on the other",
        "Dots with intervals by statement and reading, and a dashed line at zero.",
        width=400,
    )


def solved(table: pd.DataFrame) -> alt.LayerChart:
    """ψ of solved programs by reading, around a dashed line at 1; the title says on which side of it they lie."""
    told = table.dropna(subset=["low"])
    told = told.assign(reading=told.reading.map(in_words))
    sides = {"above": int((told.low > 1).sum()), "below": int((told.high < 1).sum())}
    counted = " and ".join(f"{side} 1 by {n} of {len(told)} SAEs" for side, n in sides.items() if n)
    return titled(
        intervals(told, Axis("value", "superposition ψ = F / N"), "reading", rule=1),
        f"Superposition of solved programs: {counted or 'surely on one side of 1 by no SAE'}",
        "Dots with intervals: superposition of compressed programs that answer everything, by reading.",
        height=150,
    )


def more_features_than_neurons(table: pd.DataFrame) -> alt.LayerChart:
    """A line a kind of network, a column a reading (`statements.superposed`); the title says how often all SAEs agree."""
    read = table[(table.reading != "count") & (table.word != "not run")].groupby("network").word
    same = [words.nunique() == 1 for _, words in read if len(words) > 1]
    shown = table.assign(
        network=table.network.str.replace(" ", "\n"), word=table.word.replace("not identified", "refused")
    )
    return titled(
        in_lines(
            cells(
                shown.replace({"reading": HEADS}), "reading", "network", "word", SIDES, ("lowest", "highest", "layers")
            )
        ),
        f"Do the networks trained here hold more features than neurons? SAEs agree for {sum(same)} of {len(same)} kinds",
        "A table of kinds of network by readings, whose cells say whether superposition lies above 1 in all layers.",
        per_line=48,
        width=260,
        height=LINE * table.network.nunique(),
    )


def in_lines(chart: alt.LayerChart) -> alt.LayerChart:
    """The chart with labels of its vertical axis broken where their text is, none of them cut."""
    axis = alt.Axis(
        labelExpr="split(datum.label, '\\n')", labelLimit=0, labelOffset=-7, domain=False, ticks=False, title=None
    )
    for layer in chart.layer:
        if isinstance(layer.encoding.y, alt.Y):
            layer.encoding.y.axis = axis
    return chart
