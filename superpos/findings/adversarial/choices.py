"""Every choice combined with each: what H2 and H3 come to under each combination, and which choice moves it.

A choice is one of `slopes.Choice`, or where and under which update networks are looked at (Simonsohn 2020: specification curves).
"""

import pandas as pd

from superpos import statistics
from superpos.findings.adversarial import naming, slopes
from superpos.settings import flat

ASKED = {  # choice: what is asked, {option: words}
    "where": ("data set and network", {}),
    "update": ("update in training", {"leak": "the paper's", "corrected": "corrected"}),
    "inputs": ("images read", {"both": "both", "clean": "clean alone", "attacked": "attacked alone"}),
    "layers": ("layers count", {"parameters": "by their parameters", "equal": "equally"}),
    "radii": ("radii on the line", {"all": "all", "above 0": "those above 0"}),
    "measure": ("measure", {"F": "F, the paper's recipe"}),
    "counted": ("networks counted", {"all": "all", "above chance": "those above chance"}),
}
SIDES = (
    "surely the paper's",
    "the paper's",
    "the other",
    "surely the other",
)  # of zero: the interval's, or the estimate's


def every_choice(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """`slopes_by_choice` of the usual reading, and of F by each of the others, which its `measure` then names."""
    tables = [slopes.slopes_by_choice(slopes.without_silent(rows)[0])]
    for reading, part in others[others.n_sae == 1].groupby("reading", sort=False):
        tables.append(slopes.slopes_by_choice(slopes.without_silent(part)[0], ["F"]).assign(measure=f"F, {reading}"))
    return pd.concat(tables, ignore_index=True)


def specifications(table: pd.DataFrame) -> pd.DataFrame:
    """H2 or H3 by where, update and choices: the slope of the slopes on x with its interval, and how many conditions it is of.

    table: placed slopes by choice. Several lines are pooled, and a single one is a meta-regression, both with random effects.
    NaN where no line has three conditions, or only one of several has.
    """
    by = ["where", "update", *(name for name in flat(slopes.USUAL) if name in table)]
    found = [(*key, *_estimate(part)) for key, part in table.groupby(by, sort=False)]
    names = ["estimate", "low", "high"]
    return pd.DataFrame(found, columns=[*by, *names, "conditions"]).astype(dict.fromkeys(names, float))


def _estimate(part: pd.DataFrame) -> tuple[float, float, float, int]:
    found, pool = statistics.trend(part, "x", "line")
    if pool:
        return pool["mean_re"], pool["low_re"], pool["high_re"], int(found.n.sum())
    if found.empty or part.line.nunique() > 1:
        return float("nan"), float("nan"), float("nan"), 0
    fit = statistics.meta_slope(part.x, part.slope, part.variance)
    return fit["slope_re"], fit["low_re"], fit["high_re"], len(part)


def sides(h2: pd.DataFrame, h3: pd.DataFrame) -> pd.DataFrame:
    """Of how many combinations of choices the estimate lies on the paper's side of zero, and of how many surely.

    Combinations that come to the same, since all networks are above chance, count once.
    """
    both = pd.concat([h2.assign(claim="H2", sign=-1.0), h3.assign(claim="H3", sign=1.0)])
    both = both.sort_values("counted", ascending=False, kind="stable")  # "all" stays, where they come to the same
    both = both.drop_duplicates(["claim", "where", "update", "measure", "estimate", "low", "high"])
    ends = both[["low", "high"]].mul(both.sign, axis=0)
    both["right side"], both["surely"] = both.estimate * both.sign > 0, ends.min(axis=1) > 0
    shares = both.groupby(["claim", "where", "measure", "update"])
    found = {"right side": "mean", "surely": "mean", "estimate": ["size", "mean"]}
    return shares.agg(found).set_axis(["right side", "surely", "combinations", "mean"], axis=1)


def one_other_choice(table: pd.DataFrame) -> pd.DataFrame:
    """Specifications that are the usual one but for one choice: choice, which (where and update), words, and the side of zero."""
    usual, found = {name: value for name, value in flat(slopes.USUAL).items() if name in table}, []
    for row in table.dropna().to_dict("records"):
        other = [name for name, value in usual.items() if row[name] != value]
        if len(other) <= 1:
            place, choice = (list(usual).index(other[0]), f"{other[0]}: {row[other[0]]}") if other else (-1, "as above")
            words = "{estimate:.2f} [{low:.2f}, {high:.2f}], {conditions}".format(**row)
            side = "rises" if row["low"] > 0 else "falls" if row["high"] < 0 else "neither surely"
            found.append((place, choice, f"{row['where']}, {row['update']}", words, side))
    found = pd.DataFrame(found, columns=["place", "choice", "which", "words", "side"])
    return found.sort_values("place", kind="stable").drop(columns="place")


def beside(found: pd.DataFrame) -> pd.DataFrame:
    """The table of `one_other_choice` with a row a choice and a column a place and update, the paper's first, in words."""
    found = found.assign(words=found.side.str.replace("neither surely", "open") + ": " + found.words)
    wide = found.pivot(index="choice", columns="which", values="words").reindex(found.choice.unique())
    wide = wide[sorted(wide, key=lambda which: ("mlp1" not in which, "corrected" in which))].fillna("not read")
    return wide.rename(columns=lambda which: naming.word(which).removeprefix("all, ") + " update")


def by_option(table: pd.DataFrame, sign: float) -> pd.DataFrame:
    """For each option of each choice, the share of combinations on each of SIDES: asked, option, side, share, combinations.

    table: specifications; sign: of the paper's number. Choices are told from combinations by measures that were taken
    everywhere, so that each option is combined with the same others; other SAEs, which read some networks alone, are set
    beside the paper's recipe on these networks, as a choice of their own.
    """
    table = table.dropna(subset="estimate")
    ends = table[["low", "high"]] * sign
    side = (table.estimate * sign <= 0) * 1 + 1
    side = side.mask(ends.min(axis=1) > 0, 0).mask(ends.max(axis=1) < 0, 3)
    table, other = table.assign(side=side.map(dict(enumerate(SIDES)))), table.measure.str.startswith("F, ")
    lines = []
    for choice, (asked, words) in ASKED.items():
        if choice in table:
            if choice == "where" and not table["where"].str.contains(",").any():
                asked = "network"
            lines.append(_shares(table[~other], choice, asked, words).assign(choice=choice))
    some = table[table.measure.str.startswith("F") & _like(table, table[other], ["where", "update"])]
    if other.any():
        read = " and ".join(map(naming.word, some["where"].unique()))
        shares = _shares(some, "measure", f"SAE ({read})", ASKED["measure"][1])
        lines.append(shares.assign(choice="SAE", option=shares.option.str.removeprefix("F, ")))
    return pd.concat(lines, ignore_index=True)


def _like(table: pd.DataFrame, others: pd.DataFrame, names: list[str]) -> pd.Series:
    rows = pd.MultiIndex.from_frame(table[names])
    return pd.Series(rows.isin(pd.MultiIndex.from_frame(others[names])), table.index)


def _shares(table: pd.DataFrame, choice: str, asked: str, words: dict[str, str]) -> pd.DataFrame:
    counts = table.groupby([choice, "side"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=SIDES, fill_value=0)
    first = [*words, *(name for name in counts.index if name not in words)]
    counts = counts.loc[[name for name in first if name in counts.index]]
    shares = counts.div(counts.sum(axis=1), axis=0).rename_axis("option").reset_index()
    shares = shares.assign(asked=asked, combinations=counts.sum(axis=1).to_numpy())
    shares["option"] = [words.get(name, naming.word(name)) for name in shares.option]
    return shares.melt(["asked", "option", "combinations"], list(SIDES), "side", "share")


def told(options: pd.DataFrame) -> str:
    """What the table of `by_option` comes to: how many combinations lie on the paper's side, how many surely, and which choice
    moves that share most."""
    crossed = options[options.choice != "SAE"]
    wide = crossed.pivot(index=["asked", "option", "combinations"], columns="side", values="share").reset_index()
    wide = wide.assign(share=wide[list(SIDES[:2])].sum(axis=1))
    one = wide[wide.asked == wide.asked.iloc[0]]  # the options of any choice hold all combinations
    n, total, sure = one.combinations.sum(), *(one[["share", SIDES[0]]].T @ one.combinations / one.combinations.sum())
    spread = wide.groupby("asked", sort=False).share.agg(lambda shares: shares.max() - shares.min())
    low, high = (wide[wide.asked == spread.idxmax()].sort_values("share").iloc[end] for end in (0, -1))
    return (
        f"{total:.0%} of {n} combinations lie on the paper's side of zero, {sure:.0%} surely; the choice that moves "
        f"this share most: {spread.idxmax()} ({low.option} {low.share:.0%}, {high.option} {high.share:.0%})"
    )
