"""Committed rows → tidy tables: what the chapter draws and shows, and what its claims judge.

Functions take the tables of a results folder (`superpos.sweep.Rows`). A row is a site of a network, read in one way
(`reading`); `line` is its kind, with the embedding as the start of the residual stream, and `depth` goes from 0 (embedding)
to 1 (last layer). Networks are the independent units; a mean over them has Student's t interval at 95%.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from superpos import statistics, sweep
from superpos.findings.language.pretraining import Small
from superpos.findings.language.pretraining import model_in_words as model_in_words
from superpos.findings.language.survey import CURVES
from superpos.sweep import Rows

L1, TOPK, UNTRAINED = "trained, L1", "trained, TopK", "untrained, L1"
MOVED, REFITTED = "random order, same SAEs", "random order, refitted"
LINES = MLP, STREAM, ATTENTION = "MLP", "residual stream", "attention"
KINDS = {"mlp": MLP, "residual": STREAM, "embed": STREAM, "attention": ATTENTION}
KEYS = ["reading", "line", "layer", "seed"]
PAPER = {  # F in thousands of the embedding, and of layers 0 to 5
    MLP: (math.nan, 6.3, 10.5, 5.5, 6.1, 5.4, 3.1),
    STREAM: (4.2, 4.5, 6.9, 5.1, 3.8, 5.4, 3.2),
    ATTENTION: (math.nan, 2.1, 2.9, 3.4, 2.4, 3.5, 2.7),
}
PAPER_FIRST = {1: 0.2, 100: 3.2, 1000: 5.6, 20_000: 6.3, "codes ever active": 21}  # of the first MLP, by texts
WORDS = {"fit:topk": "TopK", "drop": "no first tokens", "l1": "λ", "expansion": "codes a neuron", "sae_steps": "steps"}
QUALITY = ["fvu", "active codes a token", "dead"]
SPOKEN = {"fvu": "unexplained", "dead": "dead codes", "of all codes": "F / D"}  # heads of tables
HILLS = ["F", "codes ever active", "Hill number 2"]
MEASURES = {  # column: name
    "effective_features": "F",
    "psi": "ψ",
    "hill_0": "codes ever active",
    "hill_2": "Hill number 2",
    "intrinsic_dimension": "TwoNN dimension",
    "effective_rank": "effective rank",
    "participation_ratio": "participation ratio",
    "l0": "active codes a token",
}
SERIES = {  # what is compared with F of the trained networks: (reading, measure)
    "F, TopK": (TOPK, "F"),
    "Hill number 2": (L1, "Hill number 2"),
    "TwoNN dimension": (L1, "TwoNN dimension"),
    "effective rank": (L1, "effective rank"),
    "participation ratio": (L1, "participation ratio"),
    "unexplained variance": (L1, "fvu"),
    "F, untrained": (UNTRAINED, "F"),
    "F, random order, same SAEs": (MOVED, "F"),
    "F, random order, refitted": (REFITTED, "F"),
}
HUNCHES = {"F, L1": (L1, "F")}
HUNCHES |= {n: SERIES[n] for n in ("F, TopK", "TwoNN dimension", "effective rank", "F, untrained")}
HUNCHES |= {"TwoNN dimension, untrained": (UNTRAINED, "TwoNN dimension")}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `runs.language_run` in order, with their reading, line and depth; measures have the names in MEASURES."""
    before, topk = table.model.str.contains(",steps=0,"), table.dictionaries == "fit:topk"
    cases = {UNTRAINED: before, MOVED: table.shuffled == "read", REFITTED: table.shuffled == "both", TOPK: topk}
    reading = np.select(list(cases.values()), list(cases), L1)
    table = table.rename(columns=MEASURES).assign(
        reading=pd.Categorical(reading, (L1, TOPK, UNTRAINED, MOVED, REFITTED)),
        line=pd.Categorical(table.kind.map(KINDS), LINES),
        depth=(table.layer + 1) / (table.layer.max() + 1),
    )
    table = table.sort_values(["reading", "line", "seed", "layer"]).astype({"reading": str, "line": str})
    ratios = {f"{name} / F": table[name] / table.F for name in HILLS[1:]}
    return table.assign(**ratios, **{"of all codes": table.F / table.n_codes})


@functools.lru_cache
def sites(rows: Rows, *readings: str) -> pd.DataFrame:
    """The committed rows of some readings (none named: of all)."""
    table = named(rows["layers"])
    return table[table.reading.isin(readings)] if readings else table


def guessing(table: pd.DataFrame) -> float:
    """The loss in nats of who guesses one of all tokens that the models know."""
    return math.log(Small.parse(table.model.iloc[0]).vocabulary)


def checks(table: pd.DataFrame) -> dict[str, bool]:
    """What must hold of rows of `runs.grid`, however small: in words, and whether it does."""
    table = named(table)
    loss = table.set_index("reading").loss
    before, ordered, disorder = loss[[UNTRAINED]], loss[[L1, TOPK]], loss[[MOVED, REFITTED]]
    held = {
        "an untrained network guesses": (before / guessing(table) - 1).abs().max() < 0.05,
        "a trained one knows more": (ordered < 0.95 * guessing(table)).all(),
        "and less of tokens in random order": (disorder > ordered.min()).all(),
        "what sees the token alone reads the same in any order": change_by_order(table) < 1e-3,
        "F lies between 1 and the number of codes": table.F.between(1, table.n_codes).all(),
    }
    return {words: bool(value) for words, value in held.items()}


def change_by_order(table: pd.DataFrame) -> float:
    """The largest relative change of F by random order, with the same SAEs, where a site sees the token alone."""
    alone = table[table.site.isin(["embed", "mlp.0"])].pivot(index=["seed", "site"], columns="reading", values="F")
    return float((alone[MOVED] / alone[L1] - 1).abs().max())


def losses(rows: Rows) -> pd.DataFrame:
    """Loss of the models in nats a token, over networks: mean, min, max; beside that of guessing."""
    table = sites(rows, L1, UNTRAINED, MOVED).drop_duplicates(["reading", "seed"])
    found = table.groupby("reading", sort=False).loss.agg(["mean", "min", "max"])
    found.loc["guessing"] = guessing(table)
    return found


@functools.lru_cache
def by_layer(rows: Rows) -> pd.DataFrame:
    """`profiles` of the committed rows."""
    return profiles(sites(rows))


def profiles(table: pd.DataFrame) -> pd.DataFrame:
    """Each of MEASURES by reading, line and layer, of rows as `named` gives them: mean over networks (`value`), its interval."""
    long = table.melt(KEYS, list(MEASURES.values()), "measure").dropna()
    return statistics.summarize(long, ["measure", "reading", "line", "layer"], "value").round(4)


def site_in_words(site: str) -> str:
    """The name of a site in words: "mlp.1" is the MLP of layer 1."""
    kind, _, layer = site.partition(".")
    return "embedding" if kind == "embed" else f"{KINDS[kind]}, layer {layer}"


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """The curves in rows of `Survey.rows`: a row a site and number of texts, in order.

    n_texts_read, and HILLS after so many texts; the other columns are kept.
    """
    names = {"curve_texts": "n_texts_read"} | {column: MEASURES[what] for column, what in CURVES.items()}
    table = table.drop(columns=HILLS, errors="ignore").rename(columns=names)
    split = table.assign(**{name: table[name].astype(str).str.split() for name in names.values()})
    return split.explode(list(names.values()), ignore_index=True).astype(dict.fromkeys(names.values(), float))


def convergence(rows: Rows) -> pd.DataFrame:
    """HILLS after so many texts over those after all, mean over trained networks, by measure, reading, line and layer."""
    curve = curves(sites(rows, L1, TOPK))
    curve[HILLS] /= curve.groupby(KEYS)[HILLS].transform("last")
    long = curve.melt([*KEYS, "n_texts_read"], HILLS, "measure")
    by = ["measure", "reading", "line", "layer", "n_texts_read"]
    return long.groupby(by, sort=False)["value"].mean().reset_index().round(4)


def enough_by_layer(rows: Rows) -> pd.DataFrame:
    """The number of texts that were enough: median over networks, the largest, and in how many half were not, in words."""

    def words(values: pd.Series) -> str:
        never = f", never {values.isna().sum()}" if values.isna().any() else ""
        return f"{values.median():.0f} ({values.max():.0f})" + never if values.notna().any() else "never"

    found = sites(rows, L1, TOPK).groupby(["reading", "line", "layer"], sort=False).enough.agg(words)
    return found.unstack("layer").rename(columns={-1: "embedding"}).fillna("")


def first_mlp(table: pd.DataFrame) -> pd.Series:
    """F of the first MLP by the number of texts read, mean over rows, and the codes ever active in the end."""
    at = curves(table[table.site == "mlp.0"]).groupby("n_texts_read")[HILLS].mean()
    return pd.concat([at.F, pd.Series({"codes ever active": at["codes ever active"].iloc[-1]})])


def first_mlp_shares(rows: Rows) -> pd.DataFrame:
    """The first MLP as shares of F after all texts: ours and the paper's."""
    ours = first_mlp(sites(rows, L1))
    last, paper = ours.index[-2], {texts: value / 6.3 for texts, value in PAPER_FIRST.items()}
    shown = pd.DataFrame({"ours": ours / ours[last], "paper": ours.index.map(paper)}, ours.index)
    return shown[shown.index.isin([1, 100, 1000, last, "codes ever active"])].rename_axis("texts")


def peak(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Where a series y over x is largest, and how far it rises inside: (x there, largest inner value / larger end).

    The second is above 1 for a hunchback, below 1 for a series that is largest at an end. Raises ValueError for fewer than 3
    points, and for a value that is not above 0.
    """
    y = pd.Series(np.asarray(y, dtype=float), np.asarray(x, dtype=float)).sort_index(kind="stable")
    if len(y) < 3 or not (y > 0).all():
        raise ValueError(f"a peak needs at least 3 values, all above 0, got {y.tolist()}")
    return float(y.index[y.argmax()]), float(y.iloc[1:-1].max() / max(y.iloc[0], y.iloc[-1]))


def peaks(rows: Rows, measure: str, line: str) -> pd.DataFrame:
    """Where one of HUNCHES peaks in depth in each network, and how far it rises inside: `at` and `rise`, by seed."""
    reading, column = HUNCHES[measure]
    table = sites(rows, reading).query("line == @line").dropna(subset=column)
    found = {seed: peak(one.depth, one[column]) for seed, one in table.groupby("seed")}
    return pd.DataFrame(found, index=["at", "rise"]).T


def hunchback(rows: Rows) -> pd.DataFrame:
    """Position and rise of the peak of each of HUNCHES, and of the paper's F, by line: mean and interval, in words."""
    found, words = {}, "{:.2f} [{:.2f}, {:.2f}]".format
    for line in (STREAM, MLP, ATTENTION):
        for measure in HUNCHES:
            each = peaks(rows, measure, line)
            at, rise = statistics.mean_interval(each["at"]), statistics.geometric_interval(each.rise)
            found[line, measure] = {"peak": words(*at), "rise": words(*rise)}
        paper = pd.Series(PAPER[line], np.arange(7) / 6).dropna()
        at, rise = peak(paper.index, paper)
        found[line, "F, paper"] = {"peak": f"{at:.2f}", "rise": f"{rise:.2f}"}
    return pd.DataFrame(found).T.rename_axis(["site", "measure"])


def rises(rows: Rows, line: str = STREAM) -> pd.DataFrame:
    """How far measures of trained networks rise inside a kind of site, over networks: measure, rise, low, high."""
    names = [name for name, (reading, _) in HUNCHES.items() if reading != UNTRAINED]
    found = {name: statistics.geometric_interval(peaks(rows, name, line).rise) for name in names}
    return pd.DataFrame(found, index=["rise", "low", "high"]).T


def relative_profiles(rows: Rows) -> pd.DataFrame:
    """Those of HUNCHES of trained networks by line and layer, relative to the mean over the sites of a line in a network."""
    trained = {measure: one for measure, one in HUNCHES.items() if one[0] != UNTRAINED}
    parts = {name: sites(rows, by).assign(relative=lambda t, c=column: t[c]) for name, (by, column) in trained.items()}
    long = pd.concat(parts, names=["measure", None]).reset_index("measure").dropna(subset="relative")
    long["relative"] /= long.groupby(["measure", "line", "seed"])["relative"].transform("mean")
    long = long.sort_values("line", key=lambda line: line.map((STREAM, MLP, ATTENTION).index), kind="stable")
    return statistics.summarize(long, ["line", "measure", "layer"], "relative").round(4)


def ratio_to(rows: Rows, control: str, line: str | None = None) -> pd.Series:
    """F of the trained networks (L1) over F of their control, geometric mean over the sites of a line, or of all; by seed."""
    table = sites(rows, L1, control)
    table = table[table.line == line] if line else table
    wide = np.log(table.pivot(index=["seed", "site"], columns="reading", values="F"))
    return np.exp((wide[L1] - wide[control]).groupby("seed").mean())


def mlp_over_attention(rows: Rows, reading: str = L1) -> pd.Series:
    """Σ F of the MLPs over Σ F of the attentions, by seed."""
    sums = sites(rows, reading).pivot_table(index="seed", columns="line", values="F", aggfunc="sum")
    return sums[MLP] / sums[ATTENTION]


def over_controls(rows: Rows) -> pd.DataFrame:
    """`ratio_to` each control, for all sites and for those of each line: geometric mean over networks and its interval."""
    found = {
        (control, line or "all sites"): statistics.geometric_interval(ratio_to(rows, control, line))
        for control in (UNTRAINED, MOVED, REFITTED)
        for line in (None, *LINES)
    }
    return pd.DataFrame(found, index=["ratio", "low", "high"]).T.rename_axis(["trained, L1 over", "site"])


def agreement(rows: Rows, measure: str) -> pd.Series:
    """Spearman's ρ over sites between F of the trained network (L1) and one of SERIES; by seed."""
    reading, column = SERIES[measure]
    ours, other = (sites(rows, name).set_index(["seed", "site"]) for name in (L1, reading))
    both = pd.DataFrame({"ours": ours.F, "other": other[column]}).dropna()
    return both.groupby("seed").apply(lambda part: statistics.rank_correlation(part.ours, part.other))


def alike(rows: Rows) -> pd.DataFrame:
    """`agreement` with each of SERIES: mean over networks (`rho`) and its interval."""
    found = {measure: statistics.mean_interval(agreement(rows, measure)) for measure in SERIES}
    return pd.DataFrame(found, index=["rho", "low", "high"]).T.rename_axis("measure").reset_index()


def tried(rows: Rows) -> pd.DataFrame:
    """What would refute the paper's claims, and what came of it in our networks, in words."""
    by_site, ends = sites(rows, L1).pivot(index="seed", columns="site", values="F"), ("embed",)
    ends += (f"residual.{sites(rows, L1).layer.max()}",)
    largest, n = by_site.idxmax(axis=1), len(by_site)
    ratio = {name: mlp_over_attention(rows, name) for name in (L1, UNTRAINED)}
    interval = lambda values: "{:.2f} [{:.2f}, {:.2f}]".format(*values)  # noqa: E731
    of_ratios, means = statistics.geometric_interval, statistics.mean_interval
    enough = sites(rows, L1).query("site == 'mlp.0'").enough
    hunch = peaks(rows, "TwoNN dimension", STREAM).rise
    asked = ("F, untrained", "F, random order, same SAEs", "F, TopK")
    rho = {name: interval(means(agreement(rows, name))) for name in asked}
    found = {
        "a peak at the first or the last site": f"in {largest.isin(ends).sum()} of {n} networks",
        "attention with as many features as MLPs": f"MLPs over attention {interval(of_ratios(ratio[L1]))}, "
        f"{interval(of_ratios(ratio[UNTRAINED]))} before training",
        "an F that grows as long as texts are read": f"in {enough.isna().sum()} of {n} networks, first MLP",
        "the same profile without training": f"ρ over sites {rho['F, untrained']}",
        "the same profile in random order": f"ρ over sites {rho['F, random order, same SAEs']}",
        "another profile by TopK SAEs": f"ρ over sites {rho['F, TopK']}",
        "a TwoNN dimension without a hunch": f"inside over ends {interval(of_ratios(hunch))}, stream",
    }
    return pd.DataFrame({"in our networks": found}).rename_axis("what would refute it")


def within_kinds(rows: Rows) -> pd.DataFrame:
    """Spearman's ρ of F of trained networks (L1) with each of SERIES over the sites of one kind alone, mean over networks."""
    found = {}
    for line in LINES:
        ours = sites(rows, L1).query("line == @line").set_index(["seed", "site"]).F
        for measure, (reading, column) in SERIES.items():
            other = sites(rows, reading).query("line == @line").set_index(["seed", "site"])[column]
            both = pd.DataFrame({"ours": ours, "other": other}).dropna()
            each = both.groupby("seed").apply(lambda part: statistics.rank_correlation(part.ours, part.other))
            found[measure, line] = each.mean()
    return pd.Series(found).unstack().loc[list(SERIES), list(LINES)]


def quality(rows: Rows) -> pd.DataFrame:
    """Quality of the SAEs by reading and line: mean over sites and networks, and the worst site."""
    by = sites(rows).groupby(["reading", "line"], sort=False)
    worst = sites(rows).loc[by.fvu.idxmax()].set_index(["reading", "line"])[["site", "fvu"]]
    worst = worst.set_axis(["worst site", "unexplained there"], axis=1)
    worst["worst site"] = worst["worst site"].map(site_in_words)
    return by[[*QUALITY, "of all codes"]].mean().join(worst).rename(columns=SPOKEN)


@functools.lru_cache
def variations(rows: Rows) -> pd.DataFrame:
    """The network of seed 1 by other SAEs: rows as `sites` gives them, with what its run has other than ours, in words."""
    table = pd.concat([sites(rows, L1, TOPK).query("seed == 1"), named(rows["layers_variations"])])
    options, ours = ["dictionaries", "k", "l1", "expansion", "sae_steps", "first_token", "seed"], table.iloc[0]

    def difference(run: Mapping[str, Any]) -> str:
        found = [(name, run[name]) for name in options if run[name] != ours[name]]
        return ", ".join(WORDS.get(value) or f"{WORDS.get(name, name)} {value:g}" for name, value in found) or "ours"

    table["variation"] = [difference(run) for run in table.to_dict("records")]
    return table.sort_values("line", key=lambda line: line.map(LINES.index), kind="stable")


def effects(rows: Rows) -> pd.DataFrame:
    """What other SAEs change: F over ours (geometric mean over sites), the order of the sites, and the quality."""
    table = variations(rows)
    by_site = table.pivot(index="site", columns="variation", values="F")
    mlp, stream, attention = (by_site.loc[table.site[table.line == line].unique()] for line in LINES)
    found = {
        "F over ours": np.exp(np.log(by_site.div(by_site.ours, axis=0)).mean()),
        "MLP / attention": mlp.sum() / attention.sum(),
        "MLPs peak at": mlp.idxmax().map(site_in_words),
        "stream peaks at": stream.idxmax().map(site_in_words),
        "ρ": by_site.corrwith(by_site.ours, method="spearman"),
    }
    found = pd.DataFrame(found).join(table.groupby("variation")[QUALITY].mean().rename(columns=SPOKEN))
    return found.loc[table.variation.unique()].rename_axis(None)


def beside_ours(rows: Rows) -> pd.DataFrame:
    """F by each other SAE of `variations` with that by ours beside it: variation, line, layer, SAE ("ours" or "other") and F."""
    table = variations(rows)[["variation", "line", "layer", "F"]]
    ours, other = table[table.variation == "ours"], table[table.variation != "ours"]
    parts = [ours.assign(variation=name, SAE="ours") for name in other.variation.unique()]
    return pd.concat([*parts, other.assign(SAE="other")], ignore_index=True).round(3)


def spread(rows: Rows) -> dict[str, float]:
    """Standard deviation of ln F from one seed of the SAE to the next, and between networks: root mean square over sites."""
    table = variations(rows)
    seeds = table[(table.variation == "ours") | table.variation.str.startswith("seed")]
    several = {"SAE seeds": seeds, "networks": sites(rows, L1)}
    return {name: np.log(one.F).groupby(one.site).var(ddof=1).mean() ** 0.5 for name, one in several.items()}


def pythia(rows: Rows) -> dict[str, pd.DataFrame]:
    """Rows of other models by model and release; none where there was no run."""
    if "pythia" not in set(rows):
        return {}
    table = named(rows["pythia"])
    table["place"] = table.layer.astype(str).replace("-1", "embedding")
    by = table.model.str.split("/").str[-1] + ", " + table.dictionaries.str.split("@").str[0]
    return dict(list(table.groupby(by)))


def about_pythia(rows: Rows) -> str:
    """What made the rows of Pythia, and how far draws of texts differ, or how such rows can be made."""
    if not (found := pythia(rows)):
        command = 'make full NAME=07_layers ARGS="-p pythia EleutherAI/pythia-70m-deduped"'
        return f"No run yet: rows of ours wait for a machine with a network, where this fills them:\n{command}"
    draws = pd.concat(found, names=["by", None]).groupby(["by", "site"]).F
    largest = (draws.std() / draws.mean()).max()
    return f"pythia.csv: {sweep.made_by(rows['pythia'])}\nlargest spread over draws, of the mean: {largest:.1%}"


def pythia_profiles(rows: Rows) -> pd.DataFrame:
    """F in thousands by line and layer: the paper's, and ours of the same model."""
    tables = {"paper": pd.DataFrame(PAPER, index=["embedding", *"012345"]).T}
    for by, part in pythia(rows).items():
        tables[by] = part.pivot_table(index="line", columns="place", values="F") / 1000
    wide = pd.concat(tables, names=["F, thousands, by", "site"]).swaplevel()
    return wide.reindex(LINES, level=0).astype(object).fillna("")


def pythia_first_mlp(rows: Rows) -> pd.DataFrame:
    """F of its first MLP by the number of texts read, and the codes ever active there, in thousands, beside the paper's."""
    ours = {by: first_mlp(part) / 1000 for by, part in pythia(rows).items() if (part.site == "mlp.0").any()}
    table = pd.DataFrame({"paper": pd.Series(PAPER_FIRST), **ours}, list(PAPER_FIRST))
    return table.rename_axis("texts").astype(object).fillna("")
