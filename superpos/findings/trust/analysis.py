"""Rows of counts and of other readers → what the chapter draws and shows, its claims judge, and intervals are made of."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from superpos import intervals, statistics
from superpos.findings.trust import others, task
from superpos.sweep import Rows, made_by

CONFIDENCE = 0.9
FRESH = 1_000  # numbers below it are those of worlds that no choice was made on
COLUMNS = ["reader", "kind", "number", "truth", "n_neurons", "F", "low", "high", "answered"]
NO_FEATURES = (*task.NOTHING, *others.WITHOUT)
KINDS = {
    "contexts": "contexts", "tree": "trees", "sticky": "sticky", "categories": "categories", "sae_lens": "SynthSAEBench",
    "digits_shuffled": "digits layer, columns shuffled", "digits_random": "digits layer, untrained", "sphere": "sphere",
    "white": "white noise", "coloured": "coloured noise", "elliptical": "heavy-tailed noise", "circle": "circle",
    "random_network": "random layer", "shuffled": "planted world, columns shuffled", "torus": "torus",
    "plain": "features alike", "zipf": "features of unequal frequency",
}  # fmt: skip
READERS = {
    "count": "the count", "protocol": "this book's SAE", "published": "the paper's SAE", "TopK, k = 4": "TopK SAE, k = 4",
}  # fmt: skip
HEADS = {
    "kind": "kind of world", "n_neurons": "neurons N", "truth": "features planted F*", "effective_features": "features counted F",
    "low": "interval from", "high": "interval to", "bits": "bits a row", "bits_gaussian": "bits a row as noise",
    "F": "features read F",
    "answered": "share answered", "coverage": "share of intervals that hold F*", "high / low": "upper end / lower end",
    "wrong no": "refused though there are features", "wrong yes": "answered though there are none",
    "agreement": "agreement of dictionaries", "r, answered": "r where answered", "r, all": "r wherever features are found",
    "family": "seed of the family", "rows": "activations read",
}  # fmt: skip


def assessed(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts with what the package says of each: reason, identified, stratum, error = ln(F / F*), ratio, low, high, held."""
    table = counts.copy()
    records = table.to_dict("records")
    table["reason"] = [intervals.refusal(row, row["rows_read"]) for row in records]
    table["identified"] = table.reason == ""
    table["stratum"] = [intervals.stratum(row) for row in records]
    table["ratio"] = table.effective_features / table.truth
    table["error"] = np.log(table.ratio).abs()
    ends = [
        intervals.interval(row["effective_features"], row["stratum"], CONFIDENCE)
        if row["identified"]
        else (math.nan,) * 2
        for row in table.to_dict("records")
    ]
    table["low"], table["high"] = np.array(ends).T
    table["held"] = (table.low <= table.truth) & (table.truth <= table.high)
    return table


def calibration(rows: Rows) -> pd.DataFrame:
    """The calibration worlds that are identified: kind, number, stratum and error |ln(F* / F)|."""
    counts = rows["counting"]
    counts = counts[counts.kind.isin(task.CALIBRATION)].copy()
    records = counts.to_dict("records")
    counts["stratum"] = [intervals.stratum(row) for row in records]
    counts["error"] = np.log(counts.effective_features / counts.truth).abs().round(6)
    answered = [not intervals.refusal(row, row["rows_read"]) for row in records]
    return counts[answered].sort_values(["stratum", "error"])[["stratum", "error", "kind", "number"]]


def write_intervals(rows: Rows, path: str | Path = intervals.ERRORS) -> int:
    """Write the table of calibration errors that ships with the package, and give its number of rows."""
    found = calibration(rows)
    made = made_by(rows["counting"].query("kind in @task.CALIBRATION and number >= @FRESH"))
    about = f"# errors |ln(F* / F)| on calibration worlds, from counting.csv: {made}\n"
    Path(path).write_text(about + found.to_csv(index=False, lineterminator="\n"))
    return len(found)


def reported(rows: Rows) -> pd.DataFrame:
    """Counts of the kinds that no choice was made on, assessed."""
    counts = rows["counting"]
    return assessed(counts[counts.kind.isin([kind for kind in others.KINDS if kind not in others.WITHOUT])])


def nothing(rows: Rows) -> pd.DataFrame:
    """Counts of rows without features, assessed: those of other generators, and fresh ones of the kinds built on."""
    counts = rows["counting"]
    return assessed(counts[counts.kind.isin(NO_FEATURES) & (counts.number < FRESH)])


def by_kind(table: pd.DataFrame) -> pd.DataFrame:
    """A row a kind: worlds, the share answered, and of those median and mean |F / F* − 1|, coverage and median high / low."""
    lines = []
    for kind, group in table.groupby("kind", sort=False):
        told = group[group.identified]
        away = (told.ratio - 1).abs()
        line = {"kind": kind, "worlds": len(group), "answered": len(told) / len(group)}
        line |= {"median error": away.median(), "mean error": away.mean()}
        lines.append(line | {"coverage": told.held.mean(), "high / low": (told.high / told.low).median()})
    return pd.DataFrame(lines).set_index("kind")


def answers(rows: Rows) -> pd.DataFrame:
    """What each reader says of the frozen worlds: reader, kind, number, truth, F, low, high, answered; the count first."""
    others_say = rows["counting_readers"]
    counts = assessed(rows["counting"].query("kind in @task.FROZEN and number < @FRESH"))
    answered = counts.identified
    ours = counts.assign(reader="count", F=counts.effective_features.where(answered), answered=answered)
    return pd.concat([ours[COLUMNS], others_say[COLUMNS]], ignore_index=True)


def scores(readers: pd.DataFrame) -> pd.DataFrame:
    """A row a reader on the frozen worlds: what it answers, how far it is off, coverage and width, and its wrong yes and no.

    A wrong yes is an answer on rows without features; a wrong no a refusal of a world whose features are known.
    """
    lines = []
    for name, group in readers.groupby("reader", sort=False):
        known, empty = group[group.truth.notna()], group[group.truth.isna()]
        told = known[known.answered]
        away = (told.F / told.truth - 1).abs()
        line = {"reader": name, "worlds": len(known), "median error": away.median(), "mean error": away.mean()}
        spans = told.dropna(subset=["low"])
        held = ((spans.low <= spans.truth) & (spans.truth <= spans.high)).mean() if len(spans) else math.nan
        line |= {"coverage": held, "high / low": (spans.high / spans.low).median()}
        lines.append(line | {"wrong no": 1 - known.answered.mean(), "wrong yes": empty.answered.mean()})
    return pd.DataFrame(lines).set_index("reader")


def shared(readers: pd.DataFrame) -> pd.DataFrame:
    """Answers on the worlds that every reader was asked and answered."""
    known = readers[readers.truth.notna() & readers.answered]
    asked = known.groupby(["kind", "number"]).reader.transform("nunique")
    return known[asked == readers.reader.nunique()]


def beside(readers: pd.DataFrame) -> pd.DataFrame:
    """Answers over the truth, for worlds that have one: column `ratio`."""
    known = readers[readers.truth.notna() & readers.answered]
    return known.assign(ratio=known.F / known.truth)


def of_nothing(readers: pd.DataFrame) -> pd.DataFrame:
    """ψ that each reader gives rows without features, mean and t interval over sets of rows; refusals have none."""
    empty = readers[readers.truth.isna() & readers.answered]
    return statistics.summarize(empty.assign(psi=empty.F / empty.n_neurons), ["reader"], "psi")


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its readers in words (READERS)."""
    return table.assign(reader=table.reader.replace(READERS))


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """A table as a reader is shown it: kinds of worlds and heads of columns in words (KINDS, HEADS)."""
    if "kind" in table:
        table = table.assign(kind=table.kind.replace(KINDS))
    table = table.rename(index=KINDS, columns=HEADS)
    return table.rename_axis(index=[HEADS.get(str(name), name) for name in table.index.names])


def refused_of_nothing(readers: pd.DataFrame, name: str) -> tuple[int, int]:
    """How many sets of rows without features a reader refused, and how many it was asked."""
    empty = readers[readers.truth.isna() & (readers.reader == name)]
    return int((~empty.answered).sum()), len(empty)


def share(of: pd.Series) -> tuple[float, float, float]:
    """A share with its Wilson interval at 95%."""
    return statistics.share_interval(int(of.sum()), len(of))


def toys(rows: Rows) -> pd.DataFrame:
    """Toy models counted: `truth` is F of the weights, by ‖W_i‖²; assessed as worlds are."""
    counts = rows["toy_counting"]
    return assessed(counts.assign(n_neurons=5, truth=5 * counts.psi_weights))


def of_toys(known: pd.DataFrame) -> pd.DataFrame:
    """A row for each family (its seed) and number of rows: models, the share answered, r with F of the weights among the
    answered and among all of which anything was found, median |F / F* − 1| and the share of intervals that hold F*."""
    lines = []
    for (family, n_rows), group in known.groupby(["seed", "n_rows"]):
        told, found = group[group.identified], group.dropna(subset="effective_features")
        line = {"family": family, "rows": n_rows, "models": len(group), "answered": len(told) / len(group)}
        line |= {"r, answered": told.truth.corr(told.effective_features)}
        line |= {"r, all": found.truth.corr(found.effective_features), "median error": (told.ratio - 1).abs().median()}
        lines.append(line | {"coverage": told.held.mean()})
    return pd.DataFrame(lines).set_index(["family", "rows"])


def rungs(rows: Rows) -> pd.DataFrame:
    """Layers read by each reader: reader, layer (its name), F, low, high; where a reader gives no interval it is a point.

    A count that was refused has no F, only the range of its readings.
    """
    table = rows["trust_layers"].assign(layer=lambda t: t.name + " (" + t.dataset.replace("mnist", "MNIST") + ")")
    return table.assign(low=table.low.fillna(table.F), high=table.high.fillna(table.F))
