"""What the chapter's tables and figures say in words, each sentence computed from a table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from superpos.findings.grokking.task import SITES

__all__ = [
    "chains", "choices", "correlations", "falls", "in_words", "moves", "one_network", "order", "surely", "transition", "worded",
]  # fmt: skip

PLACES = {", pre": " before the activation", ", post": " after the activation", ", embedding": " of the embedding"}
WORDS = {  # what tables show: its words; what is not here, by `in_words`
    "pre": "before the activation", "post": "after the activation", "ours": "this book's protocol", "raw": "values",
    "detrended": "changes", "own": "own LLC, aligned", "others": "others' LLC, aligned", "excess": "own less others",
    "inside": "share in the transition", "time": "share of the time", "peak to end": "fall from peak to end",
    "other": "differs by", "effective_features": "F at the end", "fvu": "left unexplained", "l0": "codes on in a row",
    "dead": "dead codes", "net": "network", "n": "networks", "unread": "seeds not read", "edge": "share at an edge",
    "accuracy_train": "training accuracy", "accuracy_test": "test accuracy", "t10": "10% right", "t50": "half right",
    "t90": "90% right",
}  # fmt: skip


def in_words(name: Any) -> Any:
    """A measure, or another name that a table shows, in words; what is no string as it is."""
    if not isinstance(name, str):
        return name
    name = WORDS.get(name, name)
    for short, words in PLACES.items():
        name = name.replace(short, words)
    return name.replace(", mean unit", ", λ in the mean unit").replace(", published", ", paper's recipe")


def worded(table: pd.DataFrame) -> pd.DataFrame:
    """A table that is shown, its index and columns in words."""
    return table.rename(index=in_words, columns=in_words).rename_axis(index=in_words, columns=in_words)


def moves(change: Mapping[str, Any]) -> str:
    """A relative fall with its interval (mean, low, high): falls by 20%, rises by 8%, or neither surely."""
    if change["low"] > 0 or change["high"] < 0:
        return f"{'falls' if change['mean'] > 0 else 'rises'} by {abs(change['mean']):.0%}"
    return "neither surely falls nor rises"


def surely(table: pd.DataFrame, side: int = 1) -> str:
    """Of how many lines of a table the interval lies above zero (side −1: below)."""
    return f"{int((side * table[['low', 'high']].astype(float) > 0).all(axis=1).sum())} of {len(table)}"


def falls(table: pd.DataFrame, state: str) -> str:
    """How many measures surely fall in the networks of one state, and in the others (`analysis.mean_falls`)."""
    own = table.state == state
    return (
        f"{surely(table[own])} measures surely fall where networks grok; in the two controls {surely(table[~own])} do"
    )


def transition(table: pd.DataFrame) -> str:
    """What F does along `analysis.curves` of aligned networks."""
    F = table[table.measure == in_words("F, pre")].sort_values("since")
    first, last = F.iloc[0], F.iloc[-1]
    when = f"from {-first.since:,.0f} steps before half of the test pairs are right to {last.since:,.0f} after"
    return f"F before the activation goes from {first.value:.0f} to {last.value:.0f}, {when}"


def one_network(curves: pd.DataFrame) -> str:
    """When the network of a timeline understands, and its F at both ends."""
    test, F = curves[curves.line == "test"], curves[curves.line == "F"]
    half, ends = test.step[test.value >= 0.5].min(), F.set_index("step").value.sort_index().iloc[[0, -1]]
    first, last = ends
    return (
        f"One network: half of the test pairs are right at step {half:,}; F is {first:.0f} at first, {last:.0f} at last"
    )


def order(table: pd.DataFrame) -> str:
    """How many of `analysis.mean_leads` that have a moment of their own surely move before, and after, test accuracy."""
    table = table[table.edge.astype(float) < 0.5]
    return f"{surely(table, -1)} measures surely move before test accuracy, {surely(table)} after it"


def correlations(table: pd.DataFrame) -> str:
    """Whether F of `analysis.mean_correlations` goes with the LLC of its own network more than with that of others."""
    line = table[(table.LLC == "cold") & (table.measure == "F, pre")].set_index("r of")
    excess, mean = line.loc["excess"], line["mean"]
    how = "more than" if excess.low > 0 else "less than" if excess.high < 0 else "not surely more than"
    ends = f"(r = {mean['own']:.2f}) {how} with that of others ({mean['others']:.2f})"
    return f"F before the activation goes with the LLC of its own network {ends}"


def chains(table: pd.DataFrame, guessing: float) -> str:
    """In which settings the chains of `analysis.chain_traces` read losses above that of guessing."""
    above = (table.set_index("setting").loss > guessing).groupby("setting").any()
    told = [
        f"{setting} chains {'go above' if one else 'stay below'} the loss of guessing" for setting, one in above.items()
    ]
    return "; ".join(told).capitalize()


def choices(table: pd.DataFrame) -> str:
    """Under how many of `analysis.choices`, in words, F surely falls."""
    before, after = (surely(table.loc[in_words(site)]) for site in SITES[1:])
    return f"F surely falls under {before} choices of the SAE before the activation, under {after} after it"
