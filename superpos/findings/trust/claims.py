"""The claims on the count. They are our own, and each can fail: bounds and worlds were fixed before the worlds were read."""

from superpos import statistics
from superpos.claims import Claim, Estimate, OnSide, mean_of
from superpos.findings.trust import analysis
from superpos.sweep import Rows

UNIT = "world of a kind that no choice was made on"


def _share(of, unit: str) -> Estimate:
    return Estimate(*analysis.share(of), "Wilson, 95%", unit, len(of))


def errors(rows: Rows) -> list[Claim]:
    """How far F is off where it is identified, how often the interval holds the truth, and how often there is an answer."""
    table = analysis.reported(rows)
    told = table[table.identified]
    away = (told.ratio - 1).abs()
    median = Estimate(*statistics.median_interval(away), "order statistics, 95%", UNIT, len(told))
    found = {
        "median_error": ("median |F / F* − 1| is below .08", median, OnSide(-1, 0.08)),
        "mean_error": ("mean |F / F* − 1| is below .12", mean_of(away, UNIT), OnSide(-1, 0.12)),
        "coverage": ("the 90% interval holds F* in 88% or more", _share(told.held, UNIT), OnSide(1, 0.88)),
        "answered": ("70% or more are answered", _share(table.identified, UNIT), OnSide(1, 0.7)),
    }
    return [
        Claim(f"trust.{name}", f"Unseen worlds: {text}", "counting.csv", estimate, rule)
        for name, (text, estimate, rule) in found.items()
    ]


def refusals(rows: Rows) -> Claim:
    """Rows without features are refused."""
    table = analysis.nothing(rows)
    text = "Rows without features: fewer than one in ten is identified"
    return Claim("trust.wrong_yes", text, "counting.csv", _share(table.identified, "set of rows"), OnSide(-1, 0.1))


CLAIMS = (errors, refusals)
