"""The charts of the chapter, each under a sentence that its table decides."""

from collections.abc import Mapping

import altair as alt
import pandas as pd

from superpos.answers import join, number
from superpos.charts import Axis, cells, lines, titled
from superpos.readings import in_words

DEPTH = Axis("depth", "depth (0: first layer, 1: last)", domain=(-0.03, 1.03))


def by_reading(table: pd.DataFrame) -> alt.LayerChart:
    """ψ over depth, a line an SAE, and a band for the count (`analysis.readings`), under menus for the network and its state.

    Its title says how far the SAEs are apart in trained layers, or what the only SAE says, and for how many the count answers.
    """
    state = "trained" if (table.state == "trained").any() else table.state.iloc[0]
    mine = table[table.state == state]
    saes, count = mine[mine.reading != "count"], mine[mine.reading == "count"]
    if not (table.reading == "count").any():
        table = table.drop(columns=["low", "high"])
    told, names = [], list(saes.reading.unique())
    if len(names) > 1:
        psi = saes.groupby(["network", "layer"]).psi
        factor = number((psi.max() / psi.min()).median(), 2)
        told.append(f"SAEs disagree about ψ of a {state} layer by a factor of {factor} in the median")
    elif names:
        told.append(
            f"ψ of {state} layers is {number(saes.psi.min())} to {number(saes.psi.max())} by {in_words(names[0])}"
        )
    if len(count):
        told.append(f"the count answers for {count.psi.notna().sum()} of {len(count)} such layers")
    return titled(
        lines(
            table.assign(reading=table.reading.map(in_words)),
            DEPTH,
            Axis("psi", "ψ = F / N", "log"),
            color="reading",
            choose=["network", "state"],
            tooltip=["layer"],
        ),
        "; ".join(told),
        "Lines of superposition over the depth of a network as SAEs read it, and a band for the range that the count leaves.",
    )


def counted(table: pd.DataFrame, colors: Mapping[str, str], says: str) -> alt.LayerChart:
    """How many layers the count answers for, a cell a network and state (`analysis.refused`)."""
    return titled(
        cells(table, "state", "network", "word", colors, ["why"]),
        says.removesuffix("."),
        "A table of cells: for each published network and state, how many of its layers the count answers for.",
        per_line=44,
    )


def beside_controls(table: pd.DataFrame, medians: pd.DataFrame) -> alt.LayerChart:
    """ψ over the layers, a line a state (`analysis.by_layer`), under menus for the network and the SAE; `medians` holds F of a
    trained layer over that of its controls (`analysis.beside_controls`), of which the title tells how often it is above 1.
    """
    above = {name: medians[f"over {name}"].dropna() > 1 for name in ("untrained", "shuffled")}
    told = [f"that of the {name} one in {one.sum()} of {len(one)}" for name, one in above.items()]
    return titled(
        lines(
            table.assign(reading=table.reading.map(in_words)),
            DEPTH,
            Axis("psi", "ψ = F / N", "log"),
            color="state",
            choose=["network", "reading"],
            tooltip=["layer", "n_neurons", "fvu"],
        ),
        f"F of the trained layer is larger than {join(told)} pairs of a network and an SAE",
        "Lines over the layers of a network: superposition as an SAE reads it from the trained, untrained and shuffled layer.",
    )


def shapes(table: pd.DataFrame, shown: pd.DataFrame) -> alt.LayerChart:
    """F over depth, each line over its mean (`analysis.shapes`); `shown` says where each is highest (`analysis.shown_shapes`)."""
    own = shown[~shown.index.str.contains("paper")]["highest at"]
    told = [f"{number(at, 2)} by {in_words(line.rpartition(', ')[2])}" for line, at in own.items()]
    return titled(
        lines(
            table.assign(line=table.line.map(in_words)),
            DEPTH,
            Axis("ratio", "F over its mean over layers", "log"),
            color=Axis("line", "model"),
            tooltip=["layer", "F"],
        ),
        f"F of {own.index[0].rpartition(', ')[0]} is highest at depth {join(told)}",
        "Lines over depth: effective features of SmolLM2 by three SAEs, and of Pythia-70M from the paper, each over its mean.",
    )


def tones(table: pd.DataFrame) -> alt.LayerChart:
    """F and the TwoNN dimension of CREPE on pure tones, by block (`analysis.tones`); its title has the ends of both."""
    ends = {
        name: f"{number(one.min(), 2)} to {number(one.max(), 2)}"
        for name, one in table.groupby(table.measure.str.startswith("F"))["value"]
    }
    last = int(table.number.max())
    block = Axis("number", "block", domain=(-0.1, last + 0.1))
    chart = lines(
        table.assign(measure=table.measure.map(in_words)),
        block,
        Axis("value", "features, or dimensions", "log"),
        color="measure",
    )
    for layer in chart.layer:
        layer.encoding.x.axis = alt.Axis(values=list(range(last + 1)), format="d")
    return titled(
        chart,
        f"In tones that differ in pitch and phase SAEs count {ends[True]} features; the TwoNN dimension is {ends[False]}",
        "Lines over the blocks of CREPE: effective features by three SAEs, and the intrinsic dimension, on pure tones.",
    )
