"""Drag the activations of a few codes, and see F; and what one SAE reads, against the truth and beside controls."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from superpos.answers import join, number
from superpos.charts import COLORS, Axis, intervals, lines, titled
from superpos.readings import in_words

PSI = Axis("psi", "superposition ψ = F / N")


def diversity_explorer(start: Sequence[float]) -> alt.LayerChart:
    """Drag the activation of each of a few codes; their shares p, F = exp(H(p)) and its neighbours follow.

    start: the first activation of each code, from 0 to 100.
    """
    names = [f"a{i}" for i in range(len(start))]
    binds = [alt.binding_range(min=0, max=100, step=1, name=f"code {i + 1} ") for i in range(len(start))]
    knobs = [alt.param(name=name, value=v, bind=bind) for name, v, bind in zip(names, start, binds, strict=True)]
    pick = "".join(f"datum.i == {i} ? {a} : " for i, a in enumerate(names)) + "0"
    data = alt.Data(values=[{"i": i, "code": str(i + 1)} for i in range(len(start))])
    bars = alt.Chart(data).transform_calculate(p=f"({pick}) / {_total(names)}")
    bars = bars.mark_bar(color=COLORS[0], cornerRadiusEnd=3).encode(
        x=alt.X("code:N", title="code", axis=alt.Axis(labelAngle=0)),
        y=alt.Y(
            "p:Q",
            title="share p of the activation",
            scale=alt.Scale(domain=[0, 1.5]),  # the words stand above 1, the largest share
            axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format="~g"),
        ),
        tooltip=["code:N", alt.Tooltip("p:Q", format=".3f")],
    )
    text = alt.Chart(alt.Data(values=[{}])).transform_calculate(reading=_counts(names))
    text = text.mark_text(align="left", baseline="top", fontSize=13, fontWeight=600, lineBreak="\n", x=4, y=2)
    return alt.layer(bars, text.encode(text="reading:N")).add_params(*knobs).properties(width=420, height=260)


def _total(names: Sequence[str]) -> str:
    return f"max(1e-9, {' + '.join(names)})"


def _counts(names: Sequence[str]) -> str:
    """The Vega expression for the Hill numbers of orders 1, 0 and 2 of some activations, a line each so that a phone has room."""
    total = _total(names)
    terms = " + ".join(f"({a} > 0 ? -({a} / {total}) * log({a} / {total}) : 0)" for a in names)
    squares = " + ".join(f"pow({a} / {total}, 2)" for a in names)
    active = " + ".join(f"({a} > 0 ? 1 : 0)" for a in names)
    return (
        f"'F = ' + format(exp({terms}), '.2f') + ' effective features\\n' + 'codes ever active: ' + ({active})"
        f" + '\\n1 / Σp² = ' + format(1 / max(1e-9, {squares}), '.2f')"
    )


def read_over_planted(ratios: pd.DataFrame, to: int = 1) -> alt.LayerChart:
    """F over the number of planted features (`analysis.ratios`), a line a protocol and activity; its title says how far off.

    to: the per cent that the title rounds to; few rows give no more than tens.
    """
    off = ratios.groupby("protocol", sort=False).error.mean()
    about = "about " if to > 1 else ""
    told = [f"{about}{to * round(100 * error / to)}% by {name} protocol" for name, error in off.items()]
    active = "active in a row"
    return titled(
        lines(
            ratios.assign(**{active: ratios.active.astype(str)}),
            Axis("k", "planted features k (the truth)", "log"),
            Axis("ratio", "features read / features planted"),
            color="protocol",
            dash=active,
            rule=1,
        ),
        f"One SAE misses the number of planted features by {join(told)}, on average",
        "Lines with bands: features read over features planted, against their number; a dashed line at 1, where F is right.",
    )


def layers_and_controls(layers: pd.DataFrame, above: dict[str, int]) -> alt.LayerChart:
    """ψ of each layer of a trained network and of its controls (`analysis.own_layers`, `analysis.above_trained`)."""
    n = layers.layer.nunique()
    told = [
        f"from the {state.replace(' (control)', '')} control in {times} of {n} layers" for state, times in above.items()
    ]
    return titled(
        intervals(layers, PSI, "layer", color=Axis("state", "activations"), rule=1),
        f"A higher ψ than in the trained network is read {join(told)}",
        "Dots with intervals: superposition of each layer for the trained network, the untrained one and shuffled activations.",
    )


def controls(found: pd.DataFrame) -> alt.LayerChart:
    """ψ of rows in which nothing was learned, by reader (`analysis.by_control`); its title says what the first reader reads."""
    first = found[found.reader == found.reader.iloc[0]]
    told = [f"{number(one.psi)} from {one.control}" for one in first.itertuples()]
    return titled(
        intervals(found, PSI, "control", color=Axis("reader", "read by"), rule=1),
        f"Where nothing was learned, {first.reader.iloc[0]} still reads ψ = {join(told)}",
        "Dots with intervals: mean superposition read from rows in which nothing was learned, by two sparse autoencoders.",
        height=160,
    )


def settings_of_the_sae(by_reading: pd.DataFrame) -> alt.LayerChart:
    """ψ of one layer under several settings of the SAE: a table of reading, psi, low and high."""
    return titled(
        intervals(by_reading.assign(reading=by_reading.reading.map(in_words)), PSI, "reading", rule=1),
        f"In one layer, {len(by_reading)} settings of the SAE read ψ from {by_reading.psi.min():.1f} "
        f"to {by_reading.psi.max():.1f}",
        f"Dots with intervals: superposition of one layer as read under {len(by_reading)} settings of a sparse autoencoder.",
        height=230,
    )
