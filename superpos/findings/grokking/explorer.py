"""The charts of the chapter, and a slider through a training."""

import altair as alt
import pandas as pd

from superpos.charts import Axis, intervals, lines, titled
from superpos.findings.grokking.wording import in_words

NOW = "datum.step == moment"
MEAN = Axis("value", "mean over networks")


def through_training(table: pd.DataFrame, says: str) -> alt.VConcatChart:
    """Test accuracy, and under it F before and after the activation, with and without understanding (`analysis.through`)."""
    accuracy, features = (table[table.what == what] for what in ("accuracy", "F"))
    sizes = {"test accuracy": 70, "effective features F": 220}
    parts = [
        _means(part, title, height) for part, (title, height) in zip((accuracy, features), sizes.items(), strict=True)
    ]
    shows = "Lines of test accuracy and of F before and after the activation over training steps, for networks and two controls."
    return titled(alt.vconcat(*parts, spacing=12), says, shows)


def _means(part: pd.DataFrame, title: str, height: int) -> alt.LayerChart:
    """Means over networks with their intervals: a colour a state, dashes a site where there are two."""
    legend = alt.Legend(symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3)
    sites = part.site.nunique() > 1
    base = alt.Chart(part).encode(
        x=alt.X("step:Q", title="training step" if sites else None, axis=alt.Axis(tickCount=5)),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
        color=alt.Color("state:N", title=None, sort=None, legend=legend),
        detail="site:N",
        tooltip=[
            "state:N",
            "site:N",
            "step:Q",
            *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("value", "low", "high")),
        ],
    )
    band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
    line = base.mark_line(strokeWidth=2)
    if sites:
        line = line.encode(
            strokeDash=alt.StrokeDash("site:N", sort=["before", "after"], title="the activation", legend=legend)
        )
    return alt.layer(band, line).properties(width=480, height=height)


def curves(table: pd.DataFrame, along: Axis, says: str, color: str | None = None) -> alt.LayerChart:
    """One measure at a time against steps, under a menu (`analysis.curves`)."""
    shows = f"Lines of one measure at a time against {along.words}, with bands and a menu for the measure."
    return titled(lines(table, along, MEAN, color=Axis(color, "") if color else None, choose="measure"), says, shows)


def falls(table: pd.DataFrame, says: str) -> alt.LayerChart:
    """What falls from memorising to the end, in networks and controls (`analysis.mean_falls`, in words)."""
    chart = intervals(_short(table), Axis("mean", "relative fall"), "measure", color=Axis("state", ""), rule=0)
    shows = "Dots with intervals: relative fall of F by several readings, of rank and of norm, for networks and two controls."
    return titled(chart, says, shows, height=400)


def order(leads: pd.DataFrame, says: str) -> alt.LayerChart:
    """Which measure moves first (`analysis.mean_leads`, in words); those without a moment of their own are marked."""
    table = _short(leads.rename_axis("measure").reset_index())
    table["measure"] = table.measure.where(~(table.edge.astype(float) >= 0.5), table.measure + " (edge)")
    numbers = dict.fromkeys(("mean", "low", "high"), float)
    chart = intervals(table.astype(numbers), Axis("mean", "steps after test accuracy"), "measure", rule=0)
    shows = (
        f"Dots with intervals: lead or lag of {len(leads) - 1} measures and of noise against test accuracy, in steps."
    )
    return titled(chart, says, shows, height=340)


def _short(table: pd.DataFrame) -> pd.DataFrame:
    """Measures in words as an axis has room for them: before and after are the activation's."""
    names = table.measure.map(in_words).str.replace(" the activation", "").str.replace("λ in the ", "")
    return table.assign(measure=names)


def correlations(table: pd.DataFrame, says: str, paper: float) -> alt.LayerChart:
    """r with the LLC (`analysis.mean_correlations`, in words), intervals cut at ±1."""
    r = Axis("mean", "Pearson's r with the LLC (cold)", domain=(-1, 1))
    chart = intervals(
        _short(table).assign(high=table.high.clip(upper=1)), r, "measure", color=Axis("r of", ""), rule=paper
    )
    shows = (
        "Dots with intervals: correlation of measures with the learning coefficient of the same network and of others."
    )
    return titled(chart, says, shows, height=420)


def chains(table: pd.DataFrame, says: str, guessing: float) -> alt.LayerChart:
    """Losses along chains, under a menu for the setting (`analysis.chain_traces`)."""
    chart = lines(
        table, Axis("draw", "step of the chain"), "loss", color="checkpoint", dash="chain", choose="setting",
        rule={"guessing": guessing},
    )  # fmt: skip
    shows = "Lines of loss along two Langevin chains at each of three checkpoints, with a menu for the setting."
    return titled(chart, says, shows)


def choices(table: pd.DataFrame, says: str) -> alt.LayerChart:
    """The fall of F under one change of the protocol at a time (`analysis.choices`, in words)."""
    chart = intervals(table, Axis("mean", "relative fall of F"), "variation", color=Axis("site", ""), rule=0)
    shows = "Dots with intervals: relative fall of F for eleven choices of the SAE, before and after the activation."
    return titled(chart, says, shows, height=380)


def training_explorer(
    series: pd.DataFrame, bars: pd.DataFrame, words: pd.DataFrame, *, start: int, x_title: str = "training step"
) -> alt.VConcatChart:
    """Drag through training: curves under each other, and under them bars of what was there at that step.

    series: step, panel, line, value, a panel of curves for each value of `panel`; bars: step, panel, place (1, 2, …), kind,
    value, a panel of bars, coloured by kind; words: step, words, a line of text a step. Steps are evenly spaced. What changes
    most stands lowest, right above the slider.
    """
    steps = sorted(words.step.unique().tolist())
    slider = alt.binding_range(min=steps[0], max=steps[-1], step=steps[1] - steps[0], name=f"{x_title} ")
    moment = alt.param(name="moment", value=start, bind=slider)
    panels = list(series.groupby("panel", sort=False))
    scale = alt.Scale(domain=[steps[0], steps[-1]], nice=False)
    parts: list[alt.Chart | alt.LayerChart] = []
    for panel, part in panels:
        last = panel == panels[-1][0]
        axis = alt.Axis(tickCount=4) if last else alt.Axis(labels=False, ticks=False)
        parts.append(_curves(part, panel, alt.X("step:Q", title=x_title if last else None, scale=scale, axis=axis)))
    parts += [_places(part, panel) for panel, part in bars.groupby("panel", sort=False)]
    text = (
        alt.Chart(words)
        .mark_text(align="left", fontSize=13, fontWeight=600, x=0, lineBreak="; ")
        .encode(text="words:N")
    )
    parts.append(text.transform_filter(NOW).properties(width=480, height=54))
    return alt.vconcat(*parts, spacing=8).resolve_scale(color="independent").add_params(moment)


def _curves(part: pd.DataFrame, panel: str, x: alt.X) -> alt.LayerChart:
    """A panel of curves, with a line and dots at the moment."""
    moment = alt.Chart(alt.Data(values=[{}])).transform_calculate(step="moment")
    base = alt.Chart(part).encode(
        x=x,
        y=alt.Y("value:Q", title=panel, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=2)),
        color=alt.Color("line:N", title=None, sort=None, legend=_legend(part.line)),
        tooltip=["line:N", "step:Q", alt.Tooltip("value:Q", format=".3g")],
    )
    dots = base.mark_circle(size=70, opacity=1).transform_filter(NOW)
    mark = moment.mark_rule(color="#888", strokeDash=[4, 4]).encode(x="step:Q")
    return alt.layer(mark, base.mark_line(), dots).properties(width=480, height=60)


def _legend(names: pd.Series) -> alt.Legend | None:
    """A legend, where there is more than one name."""
    return alt.Legend() if names.nunique() > 1 else None


def _places(part: pd.DataFrame, panel: str) -> alt.Chart:
    """A panel of the bars that were there at the moment."""
    kinds, places = list(dict.fromkeys(part.kind)), list(range(1, int(part.place.max()) + 1))
    axis = alt.Axis(values=[1, *places[9::20]], labelAngle=0)
    shown = alt.Chart(part).mark_bar().transform_filter(NOW)
    shown = shown.encode(
        x=alt.X("place:O", title=panel, scale=alt.Scale(domain=places), axis=axis),
        y=alt.Y(
            "value:Q", title="share", scale=alt.Scale(domain=[0, float(part.value.max())]), axis=alt.Axis(tickCount=2)
        ),
        color=alt.Color("kind:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds), legend=_legend(part.kind)),
        tooltip=["place:O", "kind:N", alt.Tooltip("value:Q", format=".3f")],
    )
    return shown.properties(width=480, height=80)
