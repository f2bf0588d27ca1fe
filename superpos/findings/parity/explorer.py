"""F against the dictionary and with dropout: a picture is drawn from committed rows, and again from those of this machine."""

import altair as alt
import pandas as pd

from superpos.answers import join, number
from superpos.charts import Axis, intervals, lines, titled
from superpos.readings import in_words

F = "effective_features"
SIZE = Axis("n_codes", "codes D", "log")
FEATURES = Axis(F, "effective features F", "log")
RATE = Axis("dropout", "dropout rate")
NEURONS = Axis("width", "neurons h")


def solid(chart: alt.LayerChart) -> alt.LayerChart:
    """A chart whose legend has the full colours, not those of the bands."""
    return chart.configure_legend(symbolOpacity=1)


def below(chart: alt.LayerChart) -> alt.LayerChart:
    """A chart whose legends stand below it, one entry a line, so that long names are read whole."""
    return chart.configure_legend(orient="bottom", columns=1, labelLimit=0, symbolOpacity=1)


def _under_rule(chart: alt.LayerChart, right: bool) -> alt.LayerChart:
    """A chart whose dashed lines have their labels below them, at the left or the right end, where no curve runs through."""
    chart.layer[-1].mark.baseline, chart.layer[-1].mark.dy = "top", 3
    if right:
        chart.layer[-1].mark.align, chart.layer[-1].mark.x = "right", alt.expr("width - 6")
    return chart


def growth(table: pd.DataFrame, states: int) -> alt.LayerChart:
    """F over the dictionary, a line a reading, under a menu of λ (`analysis.growth`); its title tells the growth at the first λ.

    states: a number that F is held against, drawn as a dashed line.
    """
    weakest = table[table.l1 == table.l1.iloc[0]].sort_values("n_codes")
    ends = weakest.groupby("reading", sort=False)[[F, "n_codes"]].agg(["first", "last"])
    told = [f"{number(one[F, 'last'] / one[F, 'first'], 2)} ({name})" for name, one in ends.iterrows()]
    more = weakest.n_codes.max() / weakest.n_codes.min()
    values = Axis(
        F, "effective features F", "log", (0.7 * min(table[F].min(), states), 1.5 * max(table[F].max(), states))
    )
    chart = lines(
        table.rename(columns={"l1": "λ"}),
        SIZE,
        values,
        color="reading",
        choose="λ",
        rule={f"{states} states of the inputs": states},
    )
    return titled(
        below(_under_rule(chart, right=True)),
        f"At λ\u00a0=\u00a0{table.l1.iloc[0]}, {more:g} times the codes multiply F by {join(told)}",
        "Lines of effective features against dictionary size, one a reading, with a menu for the sparsity weight.",
    )


def _framed(table: pd.DataFrame, rule: dict[str, float]) -> Axis:
    """F as an axis that holds all intervals, and the dashed lines with their labels."""
    low, high = min(table.low.min(), *rule.values()), max(table.high.max(), *rule.values())
    return Axis(F, "effective features F", "log", (0.75 * low, 1.1 * high))


def sizes(
    table: pd.DataFrame, says: str, rule: dict[str, float], *, color: Axis, choose: str | tuple[str, ...] = ()
) -> alt.LayerChart:
    """F over the dictionary, a line for each value of a column (`analysis.curve`)."""
    drawn = lines(table, SIZE, _framed(table, rule), color=color, rule=rule, choose=choose)
    shows = f"Lines of effective features against dictionary size, one for each {color.words}."
    return titled(solid(_under_rule(drawn, right=True)), says, shows)


def lengths(table: pd.DataFrame, says: str, rule: dict[str, float], choose: tuple[str, ...]) -> alt.LayerChart:
    """F over the steps of an SAE's training, a line a dictionary, under menus."""
    steps, codes = Axis("steps", "training steps of the SAE", "log"), Axis("codes", "codes D")
    drawn = lines(table, steps, _framed(table, rule), color=codes, rule=rule, choose=choose)
    shows = (
        f"Lines of effective features against training steps, one a dictionary size, with a menu for {join(choose)}."
    )
    return titled(solid(_under_rule(drawn, right=False)), says, shows)


def changes(table: pd.DataFrame) -> alt.LayerChart:
    """Change of F from dropout 0 to 0.9, a dot a reading and width (`analysis.changes`); its title tells the range by reading."""
    table = table.assign(reading=table.reading.map(in_words))
    ends = table[table.reading != "the paper"].groupby("reading", sort=False).change.agg(["min", "max"])
    told = [
        f"{' to '.join(dict.fromkeys(_signed(one[end]) for end in ('min', 'max')))} ({name})"
        for name, one in ends.iterrows()
    ]
    n = table.width.nunique()
    chart = intervals(
        table,
        Axis("change", "change of F from dropout 0 to 0.9, in %", domain=(-100, 100)),
        "line",
        color="reading",
        rule=0,
    )
    for layer in chart.layer[1:]:
        layer.mark.clip = True
    return titled(
        below(chart),
        f"With dropout F changes by {join(told)}, {f'over {n} widths' if n > 1 else 'at one width'}",
        "Dots with intervals: change of effective features with dropout, by width, one a reading and one of the paper.",
        height=52 * n,
    )


def _signed(change: float) -> str:
    """A change in whole per cent with its sign; zero has none."""
    return f"{round(change):+d}%".replace("-", "−") if round(change) else "0%"


def over_rates(
    table: pd.DataFrame, value: Axis, says: str, *, color: Axis = NEURONS, **drawn: object
) -> alt.LayerChart:
    """A mean over the dropout rate, a line for each value of a column, with what `charts.lines` takes besides."""
    table = table.assign(reading=table.reading.map(in_words)) if "reading" in table else table
    menu = f", with a menu for the {drawn['choose']}" if "choose" in drawn else ""
    shows = f"Lines of {value.words} against dropout rate, one for each value of {color.words}{menu}."
    chart = lines(table, RATE, value, color=color, **drawn)
    chart = _under_rule(chart, right=True) if isinstance(drawn.get("rule"), dict) else chart
    return titled(solid(chart), says, shows)


def ranks(table: pd.DataFrame, says: str, color: Axis, height: int = 240) -> alt.LayerChart:
    """Spearman's ρ with the dropout rate, dots with intervals by width (`analysis.ranks`)."""
    axis = Axis("rho", "Spearman's ρ with the dropout rate", domain=(-1, 1))
    table = table.assign(**{color.column: table[color.column].map(in_words)})
    chart = intervals(table.assign(line=table.width + " neurons"), axis, "line", color=color, rule=0)
    return titled(
        below(chart),
        says,
        f"Dots with intervals: rank correlation with dropout by width, one a {color.words}.",
        height=height,
    )
