"""The statements of the paper × the readings: what holds whichever way F is read, and what hangs on the SAE.

A cell holds one number a network, or a pair or set of networks of one seed, and the mean of these with Student's 95% interval.
A statement holds under a reading where the interval lies on its side, fails where it lies on the other, and is undecided
else. By the count only networks whose every F is identified are used; where these are fewer than half, the cell is not
identified. The rules were written before the rows, in notebooks/full/11_what_survives.yaml.
"""

import math
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from superpos.answers import Answer, join
from superpos.claims import Claim, Estimate, NearZero, OnSide, Rule, mean_of, not_run
from superpos.readings import NAMED
from superpos.sweep import Rows

__all__ = [
    "COLUMNS", "STATEMENTS", "WORDS", "Statement", "answer", "attacked", "cells", "committed",
    "labelled", "refusals", "summary", "superposed", "write",
]  # fmt: skip

WORDS = {"agrees": "holds", "differs": "fails", "open": "undecided"}
NOT_IDENTIFIED, NOT_RUN = "not identified", "not run"
COLUMNS = (
    "statement", "words", "chapter", "reading", "verdict", "value", "low", "high", "n", "identified", "unit", "source",
)  # fmt: skip
SEED = ["reading", "seed"]

Values = Callable[[Rows], pd.DataFrame]  # reading, seed, value, and whether every F behind the value is identified


@dataclass(frozen=True)
class Statement:
    """One statement of the paper's: what it says in plain words, the chapter about it, and the rule that decides.

    Its numbers are those of `values`, which come from `source`; or, by reading, the estimates of claims of other chapters. The
    `label` is what a figure has room for.
    """

    id: str
    words: str
    chapter: str
    rule: Rule
    source: str
    values: Values | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    unit: str = "network"
    label: str = ""


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


STATEMENTS = (
    Statement(
        "toy", "F follows the weights in toy models (r above 0.92)", "02_toy_models", OnSide(1, 0.92), "toy_truth.csv",
        unit="toy model", label="F follows weights in toy models",
        claims={
            "published": "toy.r_published_recipe", "protocol": "toy.r_protocol", "TopK": "toy.r_topk",
            "count": "trust.toy_r_identified",
        },
    ),
    Statement(
        "dictionary", "F levels off as the dictionary grows", "03_dictionary", NearZero(0.1), "parity_reread.csv", _dictionary,
        label="F levels off with more codes",
    ),
    Statement(
        "dropout_32", "Dropout lowers F (32 neurons)", "04_dropout", OnSide(-1), "parity_reread.csv", _dropout(32),
        label="dropout lowers F (32 neurons)",
    ),
    Statement(
        "dropout_64", "Dropout lowers F (64 neurons)", "04_dropout", OnSide(-1), "parity_reread.csv", _dropout(64),
        label="dropout lowers F (64 neurons)",
    ),
    Statement(
        "algorithms", "A solved program stays below ψ = 1", "05_algorithms", OnSide(-1, 1.0), "algorithms_reread.csv",
        _algorithms, label="solved programs have ψ below 1",
    ),
    Statement(
        "grokking_pre", "F falls when a network groks (read pre-activation)", "06_grokking",
        OnSide(-1), "grokking_reread.csv", _grokking("pre"), label="grokking lowers F (pre-activation)",
    ),
    Statement(
        "grokking_post", "F falls when a network groks (read post-activation)", "06_grokking",
        OnSide(-1), "grokking_reread.csv", _grokking("post"), label="grokking lowers F (post-activation)",
    ),
    Statement(
        "layers", "MLPs have more features than attention (a network of our own)", "07_layers", OnSide(1), "language_reread.csv",
        _language, label="more F in MLPs than attention",
    ),
    Statement(
        "layers_gain", "Training raises F of MLPs more than of attention (a network of our own)", "07_layers", OnSide(1),
        "language_reread.csv", _language_gain, label="MLPs gain more F than attention",
    ),
    Statement(
        "h1", "H1: attacks in training do not always lower F (MLPs)", "08_under_attack", OnSide(1), "adversarial_reread.csv",
        _two_classes, label="H1: attacks do not always lower F",
    ),
    Statement(
        "h2", "H2: attacks in training lower F more where there are more classes (MLPs)", "08_under_attack", OnSide(-1),
        "adversarial_reread.csv", _classes, label="H2: more classes, F falls more",
    ),
    Statement(
        "fashion", "Attacks in training lower F more on Fashion-MNIST than on MNIST (MLPs)", "08_under_attack", OnSide(-1),
        "adversarial_reread.csv", _fashion, label="F falls more on Fashion-MNIST",
    ),
    Statement(
        "h3", "H3: attacks in training lower F less in wider networks (MLPs of one layer)", "09_room_to_spare", OnSide(1),
        "adversarial_reread.csv", _width, label="H3: wider network, F falls less",
    ),
)  # fmt: skip


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


def committed(rows: Rows) -> pd.DataFrame:
    """The table of `cells` that stands beside committed rows, as statements.csv. A test holds it against the rows."""
    return pd.read_csv(
        Path(rows.folder) / "statements.csv", keep_default_na=False, na_values={"value": "", "low": "", "high": ""}
    )


def _by_what_saes_say(table: pd.DataFrame) -> tuple[dict[str, list[str]], int]:
    """The words of the statements that hold and that fail by every SAE (two at least), that turn with the SAE, and that are left
    open; and how many the count refuses."""
    verdicts = table.pivot(index="words", columns="reading", values="verdict").loc[table.words.unique(), list(NAMED)]
    saes = verdicts.drop(columns="count")
    holds, fails, decided = saes == "holds", saes == "fails", ~(saes == WORDS["open"]).any(axis=1)
    kinds = {
        "holds": (holds.sum(axis=1) >= 2) & ~fails.any(axis=1) & decided,
        "fails": (fails.sum(axis=1) >= 2) & ~holds.any(axis=1) & decided,
        "turns": holds.any(axis=1) & fails.any(axis=1),
    }
    kinds["open"] = ~pd.DataFrame(kinds).any(axis=1)
    return {name: list(verdicts.index[those]) for name, those in kinds.items()}, int(
        (verdicts["count"] == NOT_IDENTIFIED).sum()
    )


def summary(table: pd.DataFrame) -> list[str]:
    """What the cells come to, in three sentences: what holds by every SAE (two at least), what fails by every SAE, and what can
    be said neither way."""
    of, refused = _by_what_saes_say(table)
    n, neither = table.words.nunique(), len(of["turns"]) + len(of["open"])
    turning = f" ({_quoted(of['turns'])})" if of["turns"] else ""
    turns = "holds by one SAE and fails" if len(of["turns"]) == 1 else "hold by one SAE and fail"
    return [
        f"Holds by every SAE: {'; '.join(of['holds']) or 'nothing'}.",
        f"Fails by every SAE: {'; '.join(of['fails']) or 'nothing'}.",
        f"Cannot be said of {neither} of {n} statements: {_so_many(of['open'], 'is', 'are')} left undecided by at least one "
        f"SAE, and {len(of['turns'])}{turning} {turns} by another. The count, which gives an interval or refuses, refuses "
        f"{refused} of the {n}.",
    ]


def _quoted(words: Sequence[str]) -> str:
    return join([f"“{one}”" for one in words])


def _so_many(words: Sequence[str], one: str, more: str) -> str:
    """How many there are, with the verb for one or for more: 1 holds, 3 hold."""
    return f"{len(words)} {one if len(words) == 1 else more}"


def answer(rows: Rows) -> Answer:
    """What the chapter on all statements comes to, from the table that stands beside the rows."""
    table = committed(rows)
    of, refused = _by_what_saes_say(table)
    n, holds = table.words.nunique(), len(of["holds"])
    lead = "Most do" if 2 * holds > n else "Most do not" if 2 * holds < n else "Half of them do"
    ends = table[table.verdict != NOT_RUN].groupby("unit", sort=False).n.agg(["min", "max"])
    counted = [f"{a if a == b else f'{a} to {b}'} {unit}s" for unit, a, b in ends.itertuples()]
    read = table[(table.reading != "count") & (table.verdict != NOT_RUN)]
    turning = "None turns with the SAE"
    if of["turns"]:
        turning = f"{_so_many(of['turns'], 'turns', 'turn')} with the SAE ({_quoted(of['turns'])})"
    return Answer(
        "11_what_survives", "Which of the paper's findings hold whichever sparse autoencoder reads them?",
        f"{lead}: of {n} statements {_so_many(of['holds'], 'holds', 'hold')} and {_so_many(of['fails'], 'fails', 'fail')} by "
        f"every SAE, {_so_many(of['turns'], 'turns', 'turn')} with the SAE, and {_so_many(of['open'], 'is', 'are')} left "
        "undecided by at least one SAE; the count, which "
        f"gives an interval or refuses, refuses {refused} of the {n}.",
        f"{join(counted)} a statement and reading; intervals at 95%, Student t over networks and bootstrap over toy models.",
        (*dict.fromkeys(one.source for one in STATEMENTS), "toy_reread.csv"),
        f"{turning}, and {int((read.verdict == WORDS['open']).sum())} of {len(read)} readings by an SAE are undecided: what "
        "hangs on the SAE is a finding about the SAE, until somebody shows which SAE is right.",
    )  # fmt: skip


def labelled(table: pd.DataFrame, at_most: int = 18) -> pd.DataFrame:
    """Cells with the `label` of their statement, in lines of so many characters, and the word "refused" where the count does."""
    labels = {one.id: "\n".join(textwrap.wrap(one.label or one.words, at_most)) for one in STATEMENTS}
    return table.assign(label=table.statement.map(labels), word=table.verdict.replace(NOT_IDENTIFIED, "refused"))


def superposed(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Whether ψ = F / N lies above 1, by kind of network and reading: network, reading, word, layers, lowest, highest.

    tables: rows of networks read anew, by kind. A reading that is left out is "not run"; where it identifies fewer than half of
    the layers, it is "not identified".
    """
    lines = []
    for kind, table in tables.items():
        psi = table.effective_features / table.n_neurons
        known = _identified(table) if "identified" in table else pd.Series(True, table.index)
        for reading in NAMED:
            mine = table.reading == reading
            told = psi[mine & known & np.isfinite(psi)]
            sides = {"above 1": (told > 1).all(), "below 1": (told <= 1).all(), "both": True}
            word = next(name for name, is_so in sides.items() if is_so)
            word = NOT_RUN if not mine.any() else NOT_IDENTIFIED if told.empty or len(told) < mine.sum() / 2 else word
            lines.append((kind, reading, word, int(mine.sum()), told.min(), told.max()))
    return pd.DataFrame(lines, columns=["network", "reading", "word", "layers", "lowest", "highest"])


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
