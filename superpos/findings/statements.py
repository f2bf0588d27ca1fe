"""The statements of the paper × the readings: what holds whichever way F is read, and what hangs on the SAE.

A cell holds one number a network, or a pair or set of networks of one seed, and the mean of these with Student's 95% interval.
A statement holds under a reading where the interval lies on its side, falls where it lies on the other, and is undecided
else. By the count only networks whose every F is identified are used; where these are fewer than half, the cell is not
identified. The rules were written before the rows, in notebooks/full/11_what_survives.yaml.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from superpos.claims import Claim, Estimate, NearZero, OnSide, Rule, mean_of, not_run
from superpos.readings import NAMED
from superpos.sweep import Rows

__all__ = ["COLORS", "COLUMNS", "STATEMENTS", "WORDS", "Statement", "attacked", "cells", "refusals", "summary", "write"]

WORDS = {"agrees": "holds", "differs": "falls", "open": "undecided"}
NOT_IDENTIFIED, NOT_RUN = "not identified", "not run"
COLORS = {"holds": "#8fd3c7", "falls": "#f0a3ab", "undecided": "#f3dfa2", NOT_IDENTIFIED: "#d5d9e0", NOT_RUN: "#f4f4f4"}
COLUMNS = (
    "statement",
    "words",
    "chapter",
    "reading",
    "verdict",
    "value",
    "low",
    "high",
    "n",
    "identified",
    "unit",
    "source",
)
SEED = ["reading", "seed"]

Values = Callable[[Rows], pd.DataFrame]  # reading, seed, value, and whether every F behind the value is identified


@dataclass(frozen=True)
class Statement:
    """One statement of the paper's: what it says in plain words, the chapter about it, and the rule that decides.

    Its numbers are those of `values`, which come from `source`; or, by reading, the estimates of claims of other chapters.
    """

    id: str
    words: str
    chapter: str
    rule: Rule
    source: str
    values: Values | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    unit: str = "network"


def _identified(table: pd.DataFrame) -> pd.Series:
    return table.identified.astype(str) == "True"


def _change(table: pd.DataFrame, index: Sequence[str], column: str, first: float, last: float) -> pd.DataFrame:
    """ln F where a column is `last` − ln F where it is `first`: columns of the index, value and identified.

    Raises ValueError where no row has one of the two.
    """
    missing = [value for value in (first, last) if not (table[column] == value).any()]
    if missing:
        raise ValueError(f"no row has {column} {missing[0]:g}: expected {first:g} and {last:g}")
    table = table.assign(log=np.log(table.effective_features), identified=_identified(table))
    wide = table.pivot(index=list(index), columns=column, values=["log", "identified"])
    both = wide["identified"][[first, last]].astype(bool).all(axis=1)
    value = (wide["log"][last] - wide["log"][first]).astype(float)
    return pd.DataFrame({"value": value, "identified": both}).reset_index()


def _dictionary(rows: Rows) -> pd.DataFrame:
    table = rows["parity_reread"].dropna(subset="expansion")
    found = _change(table, SEED, "expansion", 4.0, 16.0)
    return found.assign(value=found.value / math.log(4))


def _dropout(width: int) -> Values:
    def values(rows: Rows) -> pd.DataFrame:
        table = rows["parity_reread"]
        return _change(table[table.expansion.isna() & (table.width == width)], SEED, "dropout", 0.0, 0.9)

    return values


def _algorithms(rows: Rows) -> pd.DataFrame:
    table = rows["algorithms_reread"].query("sequences == 1")
    table = table.assign(value=table.effective_features / table.n_neurons, identified=_identified(table))
    found = table.groupby(["reading", "network"], as_index=False).agg(
        value=("value", "mean"), identified=("identified", "all")
    )
    return found.rename(columns={"network": "seed"})


def _grokking(site: str) -> Values:
    def values(rows: Rows) -> pd.DataFrame:
        table = rows["grokking_reread"]
        table = table[table.site == site]
        return _change(table, SEED, "step", int(table.step.min()), int(table.step.max()))

    return values


def _mlp_over_attention(rows: Rows) -> pd.DataFrame:
    """Σ F of the MLPs over Σ F of the attentions: reading, seed, steps (0: before training), ratio, identified."""
    table = rows["language_reread"].assign(identified=_identified)
    sums = table.groupby([*SEED, "steps", "kind"], as_index=False).agg(
        F=("effective_features", lambda v: v.sum(skipna=False)), identified=("identified", "all")
    )
    wide = sums.pivot(index=[*SEED, "steps"], columns="kind", values=["F", "identified"])
    both = wide["identified"].astype(bool).all(axis=1)
    ratio = pd.DataFrame({"ratio": (wide["F"]["mlp"] / wide["F"]["attention"]).astype(float)})
    return ratio.assign(identified=both).reset_index()


def _language(rows: Rows) -> pd.DataFrame:
    """ln of that ratio in trained networks."""
    table = _mlp_over_attention(rows)
    table = table[table.steps == table.steps.max()]
    return table.assign(value=np.log(table.ratio))[[*SEED, "value", "identified"]]


def _language_gain(rows: Rows) -> pd.DataFrame:
    """ln of that ratio in trained networks less the same before their training."""
    table = _mlp_over_attention(rows).rename(columns={"ratio": "effective_features"})
    return _change(table, SEED, "steps", 0, int(table.steps.max()))


def attacked(rows: Rows, architecture: str) -> pd.DataFrame:
    """Change of each classifier under attack, ln F(ε) − ln F(0), layers averaged by their parameters: reading, seed, dataset,
    n_classes, width, value, identified."""
    table = rows["adversarial_reread"]
    table = table[table.architecture == architecture]
    by = [*SEED, "dataset", "n_classes", "width"]
    changes = _change(table, [*by, "layer", "parameters"], "epsilon", 0.0, float(table.epsilon.max()))
    changes["weighed"] = changes.value * changes.parameters
    sums = changes.groupby(by).agg(
        weighed=("weighed", lambda v: v.sum(skipna=False)),
        parameters=("parameters", "sum"),
        identified=("identified", "all"),
    )
    return sums.assign(value=sums.weighed / sums.parameters).reset_index()[[*by, "value", "identified"]]


def _combined(table: pd.DataFrame, weight: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """Sums of weighed changes within a reading and seed."""
    table = table.assign(value=table.value * weight(table))
    return table.groupby(SEED, as_index=False).agg(
        value=("value", lambda v: v.sum(skipna=False)), identified=("identified", "all")
    )


def _two_classes(rows: Rows) -> pd.DataFrame:
    return attacked(rows, "mlp").query("dataset == 'mnist' and n_classes == 2")


def _classes(rows: Rows) -> pd.DataFrame:
    table = attacked(rows, "mlp").query("dataset == 'mnist'")
    return _combined(table, lambda t: t.n_classes.map({2: -1.0, 10: 1.0}))


def _fashion(rows: Rows) -> pd.DataFrame:
    return _combined(attacked(rows, "mlp"), lambda t: t.dataset.map({"mnist": -0.5, "fashion-mnist": 0.5}))


def _width(rows: Rows) -> pd.DataFrame:
    """The least-squares slope of the change on ln(width), mean of the numbers of classes: Σ (x − x̄) y / Σ (x − x̄)²."""
    table, x = attacked(rows, "mlp1"), {}
    for width in table.width.unique():
        x[width] = math.log(width) - np.log(table.width.unique()).mean()
    scale = sum(value**2 for value in x.values()) * table.n_classes.nunique()
    return _combined(table, lambda t: t.width.map(x) / scale)


_WEIGHTS = "F follows the weights in toy models (r above .92)"
STATEMENTS = (
    Statement(
        "toy",
        _WEIGHTS,
        "02_toy_models",
        OnSide(1, 0.92),
        "toy_truth.csv",
        unit="toy model",
        claims={
            "published": "toy.r_published_recipe",
            "protocol": "toy.r_protocol",
            "TopK": "toy.r_topk",
            "count": "trust.toy_r_identified",
        },
    ),
    Statement(
        "dictionary",
        "F levels off as the dictionary grows",
        "03_dictionary",
        NearZero(0.1),
        "parity_reread.csv",
        _dictionary,
    ),
    Statement(
        "dropout_32", "Dropout lowers F (32 neurons)", "04_dropout", OnSide(-1), "parity_reread.csv", _dropout(32)
    ),
    Statement(
        "dropout_64", "Dropout lowers F (64 neurons)", "04_dropout", OnSide(-1), "parity_reread.csv", _dropout(64)
    ),
    Statement(
        "algorithms",
        "A solved program stays below ψ = 1",
        "05_algorithms",
        OnSide(-1, 1.0),
        "algorithms_reread.csv",
        _algorithms,
    ),
    Statement(
        "grokking_pre",
        "F falls when a network groks, before the activation",
        "06_grokking",
        OnSide(-1),
        "grokking_reread.csv",
        _grokking("pre"),
    ),
    Statement(
        "grokking_post",
        "F falls when a network groks, after the activation",
        "06_grokking",
        OnSide(-1),
        "grokking_reread.csv",
        _grokking("post"),
    ),
    Statement(
        "layers",
        "MLPs have more features than attention (a network of our own)",
        "07_layers",
        OnSide(1),
        "language_reread.csv",
        _language,
    ),
    Statement(
        "layers_gain",
        "Training raises F of MLPs more than of attention (a network of our own)",
        "07_layers",
        OnSide(1),
        "language_reread.csv",
        _language_gain,
    ),
    Statement(
        "h1",
        "H1: attacks in training do not always lower F (MLPs)",
        "08_under_attack",
        OnSide(1),
        "adversarial_reread.csv",
        _two_classes,
    ),
    Statement(
        "h2",
        "H2: attacks in training lower F more where there are more classes (MLPs)",
        "08_under_attack",
        OnSide(-1),
        "adversarial_reread.csv",
        _classes,
    ),
    Statement(
        "fashion",
        "Attacks in training lower F more on Fashion-MNIST than on MNIST (MLPs)",
        "08_under_attack",
        OnSide(-1),
        "adversarial_reread.csv",
        _fashion,
    ),
    Statement(
        "h3",
        "H3: attacks in training lower F less in wider networks (MLPs of one layer)",
        "09_room_to_spare",
        OnSide(1),
        "adversarial_reread.csv",
        _width,
    ),
)


def _cell(
    statement: Statement, reading: str, values: pd.DataFrame, known: Mapping[str, Claim]
) -> tuple[str, Estimate, int]:
    """The word of a cell, its estimate, and how many units have every F identified."""
    if statement.values is None:
        name = statement.claims.get(reading)
        estimate = known[name].estimate if name in known else not_run(statement.unit)
        if not np.isfinite([estimate.low, estimate.high]).all():
            return NOT_RUN, estimate, 0
        return WORDS[statement.rule(None, estimate)], estimate, estimate.n
    mine = values[values.reading == reading]
    told = mine[mine.identified & np.isfinite(mine.value)]
    if mine.empty:
        return NOT_RUN, not_run(statement.unit), 0
    if len(told) < len(mine) / 2:
        return NOT_IDENTIFIED, not_run(statement.unit, len(mine)), len(told)
    if len(told) < 2:
        return WORDS["open"], not_run(statement.unit, len(mine)), len(told)
    estimate = mean_of(told.value, statement.unit)
    return WORDS[statement.rule(None, estimate)], estimate, len(told)


def cells(rows: Rows, claims: Iterable[Claim], statements: Sequence[Statement] = STATEMENTS) -> pd.DataFrame:
    """The table of COLUMNS: a row a statement and reading; n: units read, identified: those that the estimate rests on."""
    known, lines = {claim.id: claim for claim in claims}, []
    for statement in statements:
        values = statement.values(rows) if statement.values else pd.DataFrame()
        for reading in NAMED:
            word, ours, identified = _cell(statement, reading, values, known)
            n = int((values.reading == reading).sum()) if statement.values else ours.n
            about = (statement.id, statement.words, statement.chapter, reading, word, ours.value, ours.low, ours.high)
            lines.append(dict(zip(COLUMNS, (*about, n, identified, statement.unit, statement.source), strict=True)))
    return pd.DataFrame(lines, columns=COLUMNS)


def summary(table: pd.DataFrame) -> list[str]:
    """What the cells come to, in sentences: what holds and what falls by every SAE (two at least), what turns with it, and what
    the count can say."""
    verdicts = table.pivot(index="words", columns="reading", values="verdict").loc[table.words.unique(), list(NAMED)]
    saes = verdicts.drop(columns="count")
    holds, falls = saes == "holds", saes == "falls"
    firm = verdicts.index[(holds.sum(axis=1) >= 2) & ~falls.any(axis=1) & ~(saes == WORDS["open"]).any(axis=1)]
    lost = verdicts.index[(falls.sum(axis=1) >= 2) & ~holds.any(axis=1) & ~(saes == WORDS["open"]).any(axis=1)]
    turns = verdicts.index[holds.any(axis=1) & falls.any(axis=1)]
    counted = verdicts["count"].value_counts()
    told = ", ".join(f"{counted.get(word, 0)} {word}" for word in [*WORDS.values(), NOT_IDENTIFIED, NOT_RUN])
    return [
        f"Holds by every SAE: {'; '.join(firm) or 'nothing'}.",
        f"Falls by every SAE: {'; '.join(lost) or 'nothing'}.",
        f"Turns with the SAE, by one of which it holds and by another falls: {'; '.join(turns) or 'nothing'}.",
        f"By the count, of {len(verdicts)} statements: {told}.",
    ]


def refusals(rows: Rows) -> pd.DataFrame:
    """How often the count answers in each file of networks read anew, and its most frequent reason not to."""
    lines = []
    for name in sorted({one.source.removesuffix(".csv") for one in STATEMENTS if one.values}):
        table = rows[name].query("reading == 'count'")
        refused = table[~_identified(table)]
        reason = (
            refused.reason.str.replace(r"\(.*?\)|: \d.*", "", regex=True)
            .str.replace(r"\s+", " ", regex=True)
            .str.strip()
        )
        often = reason.mode().iloc[0] if len(reason) else ""
        share = 1 - len(refused) / len(table)
        lines.append({"file": name, "layers read": len(table), "answered": share, "most frequent reason": often})
    return pd.DataFrame(lines).set_index("file")


def write(table: pd.DataFrame, folder: str | Path) -> None:
    """Write a table of `cells` as statements.csv, numbers with three decimals, and what it comes to as statements.txt."""
    files = {"statements.csv": table.to_csv(index=False, lineterminator="\n", float_format="%.3f")}
    files["statements.txt"] = "".join(f"{line}\n" for line in summary(table))
    for name, text in files.items():
        fresh = Path(folder) / f".{name}.new"
        fresh.write_text(text)
        os.replace(fresh, Path(folder) / name)
