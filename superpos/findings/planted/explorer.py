"""Drag the activations of a few codes, and see F."""

from collections.abc import Sequence

import altair as alt

from superpos.charts import COLORS


def diversity_explorer(start: Sequence[float]) -> alt.LayerChart:
    """Drag the activation of each of a few codes; their shares p, F = exp(H(p)) and its neighbours follow.

    start: the first activation of each code, from 0 to 100.
    """
    names = [f"a{i}" for i in range(len(start))]
    binds = [alt.binding_range(min=0, max=100, step=1, name=f"code {i + 1} ") for i in range(len(start))]
    knobs = [alt.param(name=name, value=v, bind=bind) for name, v, bind in zip(names, start, binds, strict=True)]
    total = f"max(1e-9, {' + '.join(names)})"
    terms = " + ".join(f"({a} > 0 ? -({a} / {total}) * log({a} / {total}) : 0)" for a in names)
    squares = " + ".join(f"pow({a} / {total}, 2)" for a in names)
    active = " + ".join(f"({a} > 0 ? 1 : 0)" for a in names)
    pick = "".join(f"datum.i == {i} ? {a} : " for i, a in enumerate(names)) + "0"
    data = alt.Data(values=[{"i": i, "code": str(i + 1)} for i in range(len(start))])
    bars = alt.Chart(data).transform_calculate(p=f"({pick}) / {total}").mark_bar(color=COLORS[0], cornerRadiusEnd=3)
    bars = bars.encode(
        x=alt.X("code:N", title="code", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("p:Q", title="share p of the activation", scale=alt.Scale(domain=[0, 1])),
        tooltip=["code:N", alt.Tooltip("p:Q", format=".3f")],
    )
    reading = (
        f"'F = ' + format(exp({terms}), '.2f') + ' effective features   (ever active: ' + ({active})"
        f" + ', 1/Σp² = ' + format(1 / max(1e-9, {squares}), '.2f') + ')'"
    )
    text = alt.Chart(alt.Data(values=[{}])).transform_calculate(reading=reading)
    text = text.mark_text(align="left", fontSize=15, fontWeight=600, x=4, y=12).encode(text="reading:N")
    return alt.layer(bars, text).add_params(*knobs).properties(width=420, height=220)
