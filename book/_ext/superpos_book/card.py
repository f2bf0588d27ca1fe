"""The picture that stands beside a link to the book: the figure of claims by readings."""

import altair as alt
import vl_convert

from superpos.findings import explorer, statements
from superpos.sweep import Rows


def card(folder):
    """A PNG of the table of statements that stands beside committed rows."""
    alt.theme.enable("superpos")
    grid = explorer.what_holds(statements.labelled(statements.committed(Rows(folder)), at_most=60))
    title = alt.Title(
        "Superposition, measured and doubted",
        subtitle="What the paper says, by four readings of the same networks",
        fontSize=26,
        subtitleFontSize=16,
    )
    chart = grid.properties(title=title, width=640, height=440, background="white", padding=24)
    return vl_convert.vegalite_to_png(chart.to_dict(), scale=1.3)
