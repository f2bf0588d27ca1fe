"""The picture that stands beside a link to the book: claims by readings."""

import altair as alt
import pandas as pd
import vl_convert

from superpos import charts
from superpos.findings import statements


def card(path):
    """A PNG of 1200 × 630 of the table of statements at a path."""
    table = pd.read_csv(path, keep_default_na=False)
    alt.theme.enable("superpos")
    grid = charts.cells(table, "reading", "words", "verdict", statements.COLORS)
    title = alt.Title(
        "Superposition, measured and doubted",
        subtitle="What the paper says, by four readings of the same networks",
        fontSize=26,
        subtitleFontSize=16,
    )
    chart = grid.properties(title=title, width=640, height=440, background="white", padding=24)
    return vl_convert.vegalite_to_png(chart.to_dict(), scale=1.3)
