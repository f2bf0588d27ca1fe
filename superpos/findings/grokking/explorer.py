"""Drag through a training."""

import altair as alt
import pandas as pd

NOW = "datum.step == moment"


def training_explorer(
    series: pd.DataFrame, bars: pd.DataFrame, words: pd.DataFrame, *, start: int, x_title: str = "training step"
) -> alt.VConcatChart:
    """Drag through training: curves under each other, and under them bars of what was there at that step.

    series: step, panel, line, value, a panel of curves for each value of `panel`; bars: step, panel, place (1, 2, …), kind,
    value, a panel of bars, coloured by kind; words: step, words, a line of text a step. Steps are evenly spaced.
    """
    steps = sorted(words.step.unique().tolist())
    slider = alt.binding_range(min=steps[0], max=steps[-1], step=steps[1] - steps[0], name=f"{x_title} ")
    moment = alt.param(name="moment", value=start, bind=slider)
    text = alt.Chart(words).mark_text(align="left", fontSize=14, fontWeight=600, x=0).encode(text="words:N")
    parts = [text.transform_filter(NOW).properties(width=480, height=20)]
    x = alt.X("step:Q", title=x_title, scale=alt.Scale(domain=[steps[0], steps[-1]], nice=False))
    parts += [_curves(part, panel, x) for panel, part in series.groupby("panel", sort=False)]
    parts += [_places(part, panel) for panel, part in bars.groupby("panel", sort=False)]
    return alt.vconcat(*parts).resolve_scale(color="independent").add_params(moment)


def _curves(part: pd.DataFrame, panel: str, x: alt.X) -> alt.LayerChart:
    """A panel of curves, with a line and dots at the moment."""
    moment = alt.Chart(alt.Data(values=[{}])).transform_calculate(step="moment")
    base = alt.Chart(part).encode(
        x=x,
        y=alt.Y("value:Q", title=panel, scale=alt.Scale(zero=False)),
        color=alt.Color("line:N", title=None, sort=None),
        tooltip=["line:N", "step:Q", alt.Tooltip("value:Q", format=".3g")],
    )
    dots = base.mark_circle(size=70, opacity=1).transform_filter(NOW)
    mark = moment.mark_rule(color="#888", strokeDash=[4, 4]).encode(x="step:Q")
    return alt.layer(mark, base.mark_line(), dots).properties(width=480, height=80)


def _places(part: pd.DataFrame, panel: str) -> alt.Chart:
    """A panel of the bars that were there at the moment."""
    kinds, places = list(dict.fromkeys(part.kind)), list(range(1, int(part.place.max()) + 1))
    axis = alt.Axis(values=[1, *places[9::10]], labelAngle=0)
    shown = alt.Chart(part).mark_bar().transform_filter(NOW)
    shown = shown.encode(
        x=alt.X("place:O", title=panel, scale=alt.Scale(domain=places), axis=axis),
        y=alt.Y("value:Q", title="share", scale=alt.Scale(domain=[0, float(part.value.max())])),
        color=alt.Color("kind:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds)),
        tooltip=["place:O", "kind:N", alt.Tooltip("value:Q", format=".3f")],
    )
    return shown.properties(width=480, height=110)
