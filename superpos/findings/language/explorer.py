"""The charts of the chapter, each under a sentence that its table decides."""

from typing import Any

import altair as alt
import pandas as pd

from superpos.answers import join, number
from superpos.charts import Axis, intervals, lines, titled

FEWEST = 3  # networks from which on a band is drawn: of two it is as wide as the page
CHOSEN = ["F", "TwoNN dimension", "effective rank", "participation ratio", "active codes a token"]


def _over_layers(table: pd.DataFrame, y: Axis, **options: Any) -> alt.LayerChart:
    """`charts.lines` over the layers of a table, with a tick for each."""
    first, last = int(table.layer.min()), int(table.layer.max())
    chart = lines(table, Axis("layer", "layer (−1: embedding)", domain=(first - 0.2, last + 0.2)), y, **options)
    for layer in chart.layer:
        if isinstance(layer.encoding.x, alt.X):
            layer.encoding.x.axis = alt.Axis(values=list(range(first, last + 1)), format="d")
    return chart


def by_kind(table: pd.DataFrame) -> alt.LayerChart:
    """A measure over depth, a line a kind of site (`analysis.profiles`), under menus for the measure and what was read.

    Its title says which site has the largest F, and what MLPs have of it beside attention.
    """
    table = table[table.measure.isin(CHOSEN)]
    if table["count"].min() < FEWEST:
        table = table.drop(columns=["low", "high"])
    first = table[(table.measure == CHOSEN[0]) & (table.reading == table.reading.iloc[0])]
    sums, most = first.groupby("line")["value"].sum(), first.loc[first["value"].idxmax()]
    place = "embedding" if most.layer < 0 else f"{most.line} of layer {most.layer}"
    return titled(
        _over_layers(
            table, Axis("value", "mean over networks"), color=Axis("line", "site"), choose=["measure", "reading"]
        ),
        f"F is largest at the {place}; that of all MLPs is {number(sums['MLP'] / sums['attention'])} times that of attention",
        "Lines of a measure against the layer for MLPs, attention and the residual stream, with menus for measure and reading.",
    )


def hills(table: pd.DataFrame, ratios: pd.DataFrame) -> alt.LayerChart:
    """Hill numbers over depth, a line an order; `ratios` holds codes ever active / F by kind of site, which the title tells."""
    told = ratios["codes ever active / F"]
    return titled(
        _over_layers(
            table,
            Axis("value", "Hill number", "log"),
            color=Axis("measure", "order"),
            choose=["reading", "line"],
        ),
        f"For every effective feature {number(told.min(), 2)} to {number(told.max(), 2)} codes are ever active, by kind of site",
        "Lines of three Hill numbers against the layer on a logarithmic axis, with menus for the SAE and the kind of site.",
    )


def convergence(table: pd.DataFrame, first: pd.DataFrame) -> alt.LayerChart:
    """Hill numbers over the number of texts read, relative to those of all texts, a line a layer (`analysis.convergence`).

    `first` holds the first MLP of every network: how many texts were `enough`, which the title tells, of `n_texts`.
    """
    enough, of, n = first.enough.dropna(), f"of {first.n_texts.iloc[0]:,} texts", len(first)
    says = f"F of the first MLP is within 2% of its end after {enough.min():.0f} to {enough.max():.0f} {of}"
    if len(enough) < n:
        says = f"In {n - len(enough)} of {n} networks half {of} are not enough for F of the first MLP"
    return titled(
        lines(
            table,
            Axis("n_texts_read", "texts read", "log"),
            Axis("value", "relative to all texts"),
            color="layer",
            choose=["measure", "reading", "line"],
            rule={"+2%": 1.02, "−2%": 0.98},
        ),
        says,
        "Lines of relative Hill numbers against the number of texts on a logarithmic axis, a line a layer, with menus.",
    )


def hunchback(table: pd.DataFrame, rises: pd.DataFrame) -> alt.LayerChart:
    """Measures over depth, each relative to its own mean (`analysis.relative_profiles`); its title tells `analysis.rises`."""
    surely = list(rises.index[rises.low > 1])
    names = f"{join(surely)} {'are' if len(surely) > 1 else 'is'}" if surely else f"None of {len(rises)} measures is"
    says = f"{names} surely higher inside the residual stream than at both of its ends"
    return titled(
        _over_layers(
            table, Axis("relative", "relative to the mean of the sites"), color="measure", choose="line", rule=1
        ),
        says,
        "Lines of effective features by two SAEs, intrinsic dimension and effective rank against the layer, with a menu.",
    )


def controls(table: pd.DataFrame, over: pd.DataFrame) -> alt.LayerChart:
    """F over depth in trained networks and their controls (`analysis.by_layer`); the title tells `analysis.over_controls`."""
    before, moved = over.xs("all sites", level=1).ratio.iloc[:2]
    return titled(
        _over_layers(table, Axis("value", "F"), color="reading", choose="line"),
        f"Over all sites F is {number(before, 2)} times what it was before training, and {number(moved)} times "
        "what the same SAEs read from tokens in random order",
        "Lines of effective features over the layers of trained networks, untrained ones and with tokens in random order.",
    )


def alike(table: pd.DataFrame) -> alt.LayerChart:
    """Spearman's ρ of measures with F over sites (`analysis.alike`); its title names the two ends."""
    most, least = table.loc[table.rho.idxmax()], table.loc[table.rho.idxmin()]
    return titled(
        intervals(table, Axis("rho", "Spearman's ρ with F over sites", domain=(-1, 1)), "measure", rule=0),
        f"Most like F the sites are ordered by “{most.measure}” (ρ = {number(most.rho, 2)}), "
        f"least by “{least.measure}” (ρ = {number(least.rho, 2)})",
        f"Dots with intervals: rank correlation over sites of {len(table)} measures with effective features.",
        height=300,
    )


def variations(table: pd.DataFrame, effects: pd.DataFrame) -> alt.LayerChart:
    """F over depth by our SAE and by another (`analysis.beside_ours`), which a menu names; the title tells `analysis.effects`."""
    other = effects.drop(index="ours")
    factor, rho = other["F over ours"], other["ρ"]
    return titled(
        _over_layers(table, Axis("F"), color="SAE", choose=["variation", "line"]),
        f"Other SAEs read {number(factor.min(), 2)} to {number(factor.max(), 2)} times the F; "
        f"ρ of the sites' order with ours is {number(rho.min(), 2)} or more",
        "Lines of effective features against the layer by our SAE and by another one, with menus.",
        height=320,
    )
