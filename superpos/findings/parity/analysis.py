"""From rows to what the charts draw, the tables show and the claims judge; F is the column `effective_features`.

A line of a chart is named by columns of text: `reading` (how F was read, as prose calls it; for a control its state), `l1`
(λ) and `width` (neurons h). A reading as released says how long its networks were trained, since the paper and its script
differ there. The independent unit is the seed, which is a network, or a network for each dropout rate.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from superpos import statistics
from superpos.answers import join, number
from superpos.readings import in_words as spoken

F = "effective_features"
CONTROLS = ("untrained", "shuffled labels", "shuffled columns")
RELEASED = "released, networks of {} epochs"
LONG, SHORT = RELEASED.format(300), RELEASED.format(100)  # as the paper says, as its script does
MAIN = ("all inputs", LONG, SHORT, "sum unit")
DICTIONARY = ("all inputs", "released", "sum unit", "tied", "TopK", "after the ReLU", *CONTROLS)
KINDS = ("all inputs", "tied", "TopK", "after the ReLU")
DROPOUT = ("released", "all inputs", "protocol", *CONTROLS)
SPREAD = ["neurons_per_input", "inputs_per_neuron", "neurons_per_code", "codes_per_neuron"]
PAPER = {  # of dropout, read off its figures
    "width": ["16", "32", "64", "128"],
    "accuracy": [0.66, 0.78, 0.85, 0.95],
    "F at 0": [36, 52, 47, 51],
    "F at 0.9": [16, 21, 29, 40],
}
WORDS = {  # columns and index names, as tables show them
    F: "F",
    "n_codes": "codes D",
    "l1": "λ",
    "width": "neurons h",
    "dropout": "dropout rate",
    "epochs": "epochs of the SAEs",
    "count": "networks",
    "low": "interval from",
    "high": "to",
    "slope": "slope of ln F on ln D",
    "state": "kind of network",
    "moved": "mean move, largest",
    "over 5%": "SAEs that moved over 5%",
    "fvu": "unexplained variance",
    "l0": "active codes a row",
    "dead": "share of dead codes",
    "held_out": "F held out / F fitted",
    "sae_spread": "spread between SAEs",
    "network_spread": "spread between networks",
    "ratio": "F trained / F untrained",
    "accuracy": "test accuracy",
    "rho": "Spearman's ρ",
    "of": "quantity",
    "fall": "relative fall",
    "by 0.2": "part of it done at 0.2",
    "protocol": spoken("protocol"),
}


def in_words(table: pd.DataFrame, **others: str) -> pd.DataFrame:
    """A table whose column heads and index names are words, those of WORDS and `others`."""
    words = WORDS | others
    table = table.rename(columns=words, index={"protocol": words["protocol"]})
    axes = {"index": [words.get(name, name) for name in table.index.names]}
    axes |= {"columns": [words.get(name, name) for name in table.columns.names]}
    return table.rename_axis(**axes)


def labelled(table: pd.DataFrame, order: Sequence[str] = DICTIONARY) -> pd.DataFrame:
    """Rows with the columns that name a line as text, line by line: readings as `order` has them, numbers rising.

    `order` says "released" for all readings as released, of which that of the networks trained longest comes first.
    """
    released = table["rows"] == "released"
    named = table.reading.replace({"published": "all inputs", "sum": "sum unit", "topk": "TopK"})
    named = named.mask((table.site == "post") & (table.reading == "published"), "after the ReLU")
    named = named.mask(released, table.net_epochs.map(RELEASED.format))
    table = table.assign(reading=named.mask(table.state != "trained", table.state), dropout=table.get("dropout", 0.0))
    by = ["reading", "net_epochs", "width", "l1", "n_codes", "dropout", "steps"]

    def rank(column: pd.Series) -> pd.Series:
        if column.name == "reading":
            return column.map(lambda name: order.index("released" if name.startswith("released") else name))
        return -column if column.name == "net_epochs" else column

    table = table.sort_values(by, key=rank)
    return table.assign(l1=table.l1.map("{:g}".format), width=table.width.astype(str))


def end(table: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    """The rows of SAEs at the end of their training, or after a share of it."""
    return table[table.epochs == share * table.sae_epochs]


def beside_controls(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at the λ and after the training length of the controls; TopK, which has no λ, is among them."""
    controls = table[table.reading.isin(CONTROLS)]
    return table[(table.epochs == controls.sae_epochs.max()) & table.l1.isin(["0", controls.l1.iloc[0]])]


def moves(table: pd.DataFrame) -> pd.DataFrame:
    """SAEs, and how much their F `moved` over the second half of training, relative to half-way. Those that died are left out."""
    fit = ["reading", "l1", "width", "n_codes", "dropout", "seed", "sae_seed"]
    both = end(table, 0.5).merge(end(table)[[*fit, F]], on=fit, suffixes=("_half", ""), validate="one_to_one")
    return both.assign(moved=both[F] / both[f"{F}_half"] - 1).dropna(subset="moved")


def settled(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Whether F had settled, by line: how much it `moved` over the second half of the training, and the `state`.

    moved: mean over the SAEs of a size, at the size where that is largest; over 5%: the share of all SAEs that moved by more.
    A line has converged if `moved` is below 5%.
    """
    each = moves(table).assign(moved=lambda t: t.moved.abs(), far=lambda t: t.moved > 0.05)
    moved = each.groupby([*by, "n_codes"], sort=False).moved.mean().groupby(by, sort=False).max()
    found = pd.DataFrame({"moved": moved, "over 5%": each.groupby(by).far.mean()}, moved.index)
    return found.assign(state=np.where(moved < 0.05, "converged", "still falling"))


def curve(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Geometric mean of F over networks with its t interval, at points where no more than half of the SAEs died."""
    alive = table[table.groupby(by)[F].transform(lambda values: values.notna().mean()) >= 0.5].dropna(subset=F)
    means = statistics.by_unit(alive, by, "seed", F, lambda rows: np.log(rows[F]).mean())
    return means.drop(columns=[F, "low", "high"]).join(np.exp(means[[F, "low", "high"]]))


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """`curve` at the end of training by reading, λ and D, of the two readings that the chapter's answer compares.

    They are that on all inputs and that as released, with the networks trained longest.
    """
    last = end(table)
    longest = next(name for name in last.reading.unique() if name.startswith("released"))
    return _of_enough(curve(last[last.reading.isin(["all inputs", longest])], ["reading", "l1", "n_codes"]))


def _of_enough(table: pd.DataFrame, networks: int = 3) -> pd.DataFrame:
    """A table without the intervals that rest on fewer networks: those of two are twelve times as wide as these are apart."""
    return table.assign(**{end: table[end].where(table["count"] >= networks) for end in ("low", "high")})


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Slope of ln F on ln D, mean over networks with its t interval, of the lines in which no SAE died."""
    by = ["reading", "l1"]
    whole = table[table.groupby(by)[F].transform(lambda values: values.notna().all())]
    return statistics.by_unit(whole, by, "seed", "slope", _slope)


def _slope(rows: pd.DataFrame) -> float:
    """Least-squares slope through the means of ln F at each D; of two sizes the slope from end to end."""
    log_features = np.log(rows[F]).groupby(rows.n_codes).mean()
    return np.polyfit(np.log(log_features.index), log_features, 1)[0]


def quality(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Variance left unexplained, active codes a row, dead codes, F held out over F fitted; and standard deviations of ln F:

    sae_spread between the SAEs of a network, mean over networks; network_spread between networks.
    """
    table = table.dropna(subset=F).assign(held_out=lambda t: t.held_out_features / t[F], log=lambda t: np.log(t[F]))
    networks = table.groupby([*by, "seed"]).log
    spread = {"sae_spread": networks.std().groupby(by).mean(), "network_spread": networks.mean().groupby(by).std()}
    return table.groupby(by, sort=False)[["fvu", "l0", "dead", "held_out"]].mean().assign(**spread)


def ranks(table: pd.DataFrame, column: str, by: Sequence[str] = ("reading", "width")) -> pd.DataFrame:
    """Spearman's ρ of a column with the dropout rate, mean over seeds by Fisher's z, whose t interval it has.

    A ρ beyond ±0.99, whose z would be without bound, counts as that.
    """

    def z(rows: pd.DataFrame) -> float:
        return float(np.arctanh(np.clip(statistics.rank_correlation(rows.dropout, rows[column]), -0.99, 0.99)))

    lines = statistics.by_unit(table, list(by), "seed", "rho", z)
    return lines.assign(of=column.replace("_", " "), **{name: np.tanh(lines[name]) for name in ("rho", "low", "high")})


def falls(table: pd.DataFrame, by: Sequence[str] = ("reading", "width")) -> pd.DataFrame:
    """F of each seed at the dropout rates 0, 0.2 and 0.9, and its relative fall from the first to the last."""
    at = {rate: table[table.dropout == rate].set_index([*by, "seed"])[F] for rate in (0.0, 0.2, 0.9)}
    return pd.DataFrame(at).rename(columns="F at {:g}".format).assign(fall=lambda t: 1 - t["F at 0.9"] / t["F at 0"])


def falls_by_length(table: pd.DataFrame, longest: float) -> pd.DataFrame:
    """Mean fall of F from rate 0 to 0.9 by width and epochs of the SAEs, at the looks nearest to 32, 100 and `longest` epochs."""
    looks = np.sort(table.epochs.unique())
    picked = sorted({looks[np.abs(np.log(looks / epochs)).argmin()] for epochs in (32, 100, longest)})
    found = falls(table[table.epochs.isin(picked)], ["width", "epochs"])
    return found.fall.groupby(["width", "epochs"], sort=False).mean().unstack("epochs")


def over_untrained(table: pd.DataFrame) -> pd.DataFrame:
    """F of each trained network over F of the same network before its training, geometric mean and t interval: a line a D."""
    logs = np.log(table.dropna(subset=F).set_index(["state", "n_codes", "seed", "sae_seed"])[F])
    means = logs.groupby(["state", "n_codes", "seed"]).mean()
    apart = (means["trained"] - means["untrained"]).rename("ratio").reset_index()
    found = statistics.summarize(apart.dropna(), ["n_codes"], "ratio").set_index("n_codes")
    return found.assign(**{name: np.exp(found[name]) for name in ("ratio", "low", "high")})


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `falls` over seeds, after the paper's numbers; `by 0.2` is the part that is done at 0.2 of a fall above 5%."""
    paper = pd.DataFrame(PAPER).assign(reading="paper", fall=lambda t: 1 - t["F at 0.9"] / t["F at 0"])
    means = falls(table).groupby(["reading", "width"], sort=False).mean()
    both = pd.concat([paper.set_index(["reading", "width"]).drop(columns="accuracy"), means])
    fall = (both["F at 0"] - both["F at 0.9"]).where(both.fall > 0.05)
    both["by 0.2"] = (both["F at 0"] - both["F at 0.2"]) / fall
    return both[["F at 0", "F at 0.2", "F at 0.9", "fall", "by 0.2"]]


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Each network's quantities of SPREAD, over those of the network of its seed and width without dropout."""
    long = table.melt(["width", "seed", "dropout"], SPREAD, "quantity")
    without = long[long.dropout == 0].drop(columns="dropout")
    long = long.merge(without, on=["width", "seed", "quantity"], suffixes=("", "_without"))
    return long.assign(relative=long.value / long.value_without, quantity=long.quantity.str.replace("_", " "))


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """Change of F from dropout 0 to 0.9 in per cent, by reading and width, mean and t interval over seeds; then the paper's."""
    found = _of_enough(statistics.summarize(falls(table).reset_index(), ["reading", "width"], "fall"))
    ours = found.assign(change=-100 * found.fall, low=-100 * found.high, high=-100 * found.low).drop(columns="fall")
    paper = pd.DataFrame(PAPER)
    change = 100 * (paper["F at 0.9"] / paper["F at 0"] - 1)
    paper = paper[["width"]].assign(reading="the paper", change=change, low=change, high=change)
    both = pd.concat([ours, paper[paper.width.isin(ours.width)]], ignore_index=True)
    return both.assign(line=both.width + " neurons")


def grown_in_words(curves: pd.DataFrame) -> str:
    """By what factor F is larger at the largest dictionary than at the smallest in which it lives, by λ, in words."""
    ends = curves.sort_values("n_codes").groupby("l1", sort=False)[F].agg(["first", "last"])
    ends = ends.loc[curves.l1.unique()]
    return join([f"{number(one.last / one.first, 2)} (λ\u00a0=\u00a0{l1})" for l1, one in ends.iterrows()])


def fallen_in_words(looks: pd.DataFrame) -> str:
    """F of the largest dictionary at the first λ of some looks, after the first of them and after the last, in words."""
    one = looks[(looks.l1 == looks.l1.iloc[0]) & (looks.n_codes == looks.n_codes.max())].sort_values("steps")
    told = [f"{number(at[F])} after {at.steps:,.0f} steps" for _, at in one.iloc[[0, -1]].iterrows()]
    return (
        f"at λ\u00a0=\u00a0{one.l1.iloc[0]}, {one.n_codes.iloc[0]:,} codes hold F\u00a0=\u00a0{told[0]} and {told[1]}"
    )


def flat_in_words(slopes: pd.DataFrame, within: float) -> str:
    """At how many λ the interval of the slope lies between ± `within`, by reading, in words."""
    flat = ((slopes.low >= -within) & (slopes.high <= within)).groupby(slopes.reading, sort=False)
    return _counted(flat.sum(), flat.size(), "values of λ")


def signs_in_words(lines: pd.DataFrame, by: str, direction: int) -> str:
    """At how many widths the interval of ρ lies above zero (direction 1) or below it (−1), by a column, in words."""
    ends = lines.low if direction > 0 else -lines.high
    sure = (ends > 0).groupby(lines[by], sort=False)
    return _counted(sure.sum(), sure.size(), "widths")


def _counted(found: pd.Series, of: pd.Series, what: str) -> str:
    """Counts with their names in words; the first says of what."""
    told = zip(found.index, found, of, strict=True)
    return join([f"{m} of {n}{'' if i else f' {what}'} ({spoken(name)})" for i, (name, m, n) in enumerate(told)])


def ends_in_words(means: pd.DataFrame, by: str, along: str, value: str = F) -> str:
    """A value where a column is smallest and where it is largest, by another column, in words."""
    told = []
    for name, part in means.groupby(by, sort=False):
        first, last = part.sort_values(along)[value].iloc[[0, -1]]
        told.append(f"{number(first)} to {number(last)} ({_whole(name)})")
    return join(told)


def last_in_words(means: pd.DataFrame, by: str, along: str, value: str = F) -> str:
    """A value where a column is largest, by another column, in words."""
    last = means[means[along] == means[along].max()]
    return join([f"{number(at)} ({_whole(name)})" for name, at in zip(last[by], last[value], strict=True)])


def _whole(name: str) -> str:
    """A name that no end of a line breaks."""
    return name.replace(" ", "\u00a0")
