"""What a count may be trusted for: whether it is identified, and the interval that holds the truth.

The interval is conformal (Vovk et al. 2005) for each kind of world: on planted worlds whose F* is known, the errors
|ln(F* / F)| of identified counts are collected by stratum and kind; of each kind that quantile is taken which holds a fresh
error of it with the confidence asked for, and of these the largest. An average over kinds would hold on average only; a layer
is of one kind, and nobody knows which. The errors lie in `intervals.csv`, which `make intervals` writes from the committed
rows of `book/results/counting.csv`.
"""

import functools
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from superpos.settings import one_of

__all__ = ["ERRORS", "THRESHOLDS", "errors_of", "interval", "refusal", "stratum"]

ERRORS = Path(__file__).with_name("intervals.csv")
THRESHOLDS = {  # set on calibration worlds, before any reported world was read
    "saving": 0.02,  # least share of bits that the code must save beside a code without features
    "full": 0.8,  # largest share of the dictionary's codes that may be in use
    "agreement": 0.95,  # least share of what is written that another proposal's best code writes too
    "change": 0.25,  # largest |ln| of F halfway through the training over F, unless dictionaries agree as below
    "settled": 0.99,  # an agreement from which it does not matter that F was another halfway
    "rows": 4,  # least rows for each neuron
}
STRATA = {"agree fully": 0.999, "agree": 0.985, "nearly agree": 0.0}  # name: least agreement


def refusal(row: dict[str, Any], n_rows: int) -> str:
    """Why a count is no number to rely on, in words; "" where it is one. `row` is what `counting.evidence` gives."""
    if n_rows < THRESHOLDS["rows"] * row["n_neurons"]:
        return f"{n_rows} rows are too few for {row['n_neurons']} neurons"
    if not row["codes"]:
        return "no direction was found by two dictionaries"
    for name, words in (
        ("bits_gaussian", "as Gaussian noise of the same covariance"),
        ("bits_neurons", "by the neurons themselves, one by one"),
    ):
        if row["bits"] > (1 - THRESHOLDS["saving"]) * row[name]:
            return (
                f"rows are written as briefly {words} ({row[name]:.1f} bits a row) as by features ({row['bits']:.1f})"
            )
    if row["codes"] > THRESHOLDS["full"] * row["limit"]:
        return f"{row['codes']} of {row['limit']} codes are in use: there may be more features than can be told apart"
    if row["agreement"] < THRESHOLDS["agreement"]:
        return f"dictionaries disagree: {row['agreement']:.0%} of what is written is found again by another"
    if row["agreement"] < THRESHOLDS["settled"] and not _change(row) <= THRESHOLDS["change"]:
        return f"F still moves: it was {row['halfway']:.1f} halfway through the training and is {row['effective_features']:.1f}"
    return ""


def _change(row: dict[str, Any]) -> float:
    """How far F moved from half to full training, |ln|; NaN where there was no F halfway."""
    return abs(math.log(row["halfway"] / row["effective_features"])) if row["codes"] else math.nan


def stratum(row: dict[str, Any]) -> str:
    """The stratum of a count, by the agreement of its dictionaries."""
    return next(name for name, agreement in STRATA.items() if row["agreement"] >= agreement)


@functools.cache
def errors_of(name: str) -> dict[str, Float[np.ndarray, " n"]]:
    """The calibration errors |ln(F* / F)| by kind of world, in rising order, of a stratum and of those that agree better.

    So an interval never grows narrower where dictionaries agree less. Raises ValueError for an unknown name.
    """
    one_of("stratum", name, STRATA)
    table = pd.read_csv(ERRORS, comment="#")
    found = table[table.stratum.isin(list(STRATA)[: list(STRATA).index(name) + 1])]
    return {str(kind): np.sort(errors.to_numpy()) for kind, errors in found.groupby("kind").error}


def interval(F: float, name: str, confidence: float = 0.9, excess: float = 0.0) -> tuple[float, float]:
    """The interval about F that holds F* with a confidence, as far as the layer is like one of the calibration kinds.

    `excess` is the standard error of ln F beyond that of independent rows (see `counting.excess_error`). Of a kind with too
    few worlds for the confidence the largest error is taken. Raises ValueError for a confidence outside 0 to 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    widths = [
        errors[min(math.ceil((len(errors) + 1) * confidence), len(errors)) - 1] for errors in errors_of(name).values()
    ]
    width = math.hypot(max(widths), _normal(confidence) * excess)
    return F * math.exp(-width), F * math.exp(width)


def _normal(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
