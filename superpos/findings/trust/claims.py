"""The claims on the count. They are our own, and each can fail: bounds and worlds were fixed before the worlds were read."""

import math

from superpos import statistics
from superpos.claims import CHECK, ELSEWHERE, Claim, Estimate, OnSide, correlation_of, mean_of
from superpos.findings.trust import analysis
from superpos.sweep import Rows

FAMILY, N_ROWS = 7, 10_000  # of toy models, as fixed before any was counted
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
        Claim(
            f"trust.{name}",
            f"Unseen worlds: {text}",
            "counting.csv",
            estimate,
            rule,
            table=CHECK,
            possible=(0, math.inf if "error" in name else 1),
        )
        for name, (text, estimate, rule) in found.items()
    ]


def refusals(rows: Rows) -> Claim:
    """Rows without features are refused."""
    table = analysis.nothing(rows)
    text = "Rows without features: fewer than one in ten is identified"
    ours = _share(table.identified, "set of rows")
    return Claim("trust.wrong_yes", text, "counting.csv", ours, OnSide(-1, 0.1), table=CHECK, possible=(0, 1))


def toys(rows: Rows) -> list[Claim]:
    """On toy models the count follows the weights, which nobody generated for it: in the first family and number of rows that
    were counted, over all models in which features were found."""
    table = analysis.toys(rows).query("seed == @FAMILY and n_rows == @N_ROWS").dropna(subset="effective_features")
    r = correlation_of(table.truth, table.effective_features, "toy model")
    told = table[table.identified]
    among = correlation_of(told.truth, told.effective_features, "toy model")
    held = _share(told.held, "toy model")
    follows = "Toy models: F counted follows F of the weights, r above .97"
    only = "Toy models: F counted follows F of the weights, among the identified"
    holds = "Toy models: the 90% interval holds F of the weights in 88% or more"
    return [
        Claim("trust.toy_r", follows, "toy_counting.csv", r, OnSide(1, 0.97), table=CHECK, possible=(-1, 1)),
        Claim(
            "trust.toy_r_identified",
            only,
            "toy_counting.csv",
            among,
            OnSide(1, 0.97),
            table=ELSEWHERE,
            possible=(-1, 1),
        ),
        Claim("trust.toy_coverage", holds, "toy_counting.csv", held, OnSide(1, 0.88), table=CHECK, possible=(0, 1)),
    ]


CLAIMS = (errors, refusals, toys)
