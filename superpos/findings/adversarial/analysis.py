"""Rows of adversarial training → what the chapters draw and the claims judge: slopes, and how they go with classes and width.

H2 and H3 are both about lines: slopes of conditions on x, the code of the number of classes or the logarithm of the width. In
their tables `line` names the line that a condition lies on, `where` the lines that are pooled, `claim` what they are pooled for.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

from superpos import statistics
from superpos.findings.adversarial import slopes
from superpos.settings import flat
from superpos.sweep import Rows

F = "effective_features"
CODE = {2: 1, 3: 2, 5: 3, 10: 4}  # of the number of classes (Bereska 2025)
H2, H3, FASHION = (-0.745, 0.122), (0.220, 0.037), (-1.47, 0.16)  # numbers of the paper, and their standard errors
DEEP, SHALLOW = ("mlp", "cnn"), ("mlp1", "cnn1")  # architectures of H2, and of H3


def paper_first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Rows in the order of some columns, the paper's update, MNIST, MLPs and clean images first."""
    first = ("leak", "mnist", "mlp", "mlp1", "clean")
    places = {name: sorted(table[name].unique(), key=lambda value: (value not in first, value)) for name in columns}
    return table.sort_values(list(columns), key=lambda column: column.map(places[column.name].index), kind="stable")


def each_network(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a network, with its accuracy under attack at its own radius, `own`, and whether that is above chance."""
    each = rows.drop_duplicates(slopes.NETWORK)
    return each.assign(own=slopes.own_accuracy(each), above_chance=slopes.above_chance(each))


def learned(each: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """How many of the attacked networks are above chance, as “8 of 9”, by number of classes in columns."""
    counts = each[each.epsilon > 0].groupby([*by, "n_classes"]).above_chance.agg(["sum", "count"]).astype(str)
    return (counts["sum"] + " of " + counts["count"]).unstack("n_classes")


def n_updates(each: pd.DataFrame) -> pd.DataFrame:
    """Updates of a network of 2 and of 10 classes, by architecture; and the paper's: all images, 100 epochs, batches of 256."""
    size = each.drop_duplicates("architecture").set_index("architecture")[["per_class", "epochs", "batch_size"]]
    size.loc["paper"] = 6000, 100, 256
    found = {f"{n} classes": size.epochs * np.ceil(size.per_class * n / size.batch_size) for n in (2, 10)}
    return pd.DataFrame(found).astype(int)


def lost_to_more_steps(masking: pd.DataFrame) -> pd.Series:
    """The accuracy that five times the attack's steps cost each network that was checked for masking."""
    accuracy = masking.set_index([*slopes.NETWORK, "check"]).accuracy.unstack("check")
    return accuracy["PGD"] - accuracy["more steps"]


def over_radii(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean of a column over networks with its t interval, by some columns and the radius; numbers that are chosen are words."""
    by = [*by, "epsilon"]
    table = paper_first(statistics.summarize(table, by, value), *by)
    words = {name: table[name].map("{:g}".format) for name in ("n_classes", "width") if name in by}
    return table.assign(**words).rename(columns={"n_classes": "classes"})


def relative(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Rows of layers, logits aside, with `ratio`: F over its mean at radius 0 among the rows that are equal in some columns."""
    rows = rows[rows.layer != "out"]
    zero = rows[rows.epsilon == 0].groupby(list(by))[F].mean().rename("zero")
    return rows.join(zero, on=list(by)).assign(ratio=lambda table: table[F] / table.zero)


def ratios(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`over_radii` of relative F under each update, clean and attacked apart, which start from the same rows at radius 0."""
    table = relative(slopes.unattacked_for_both(rows), by)
    table = pd.concat([table, table[table.epsilon == 0].assign(inputs="attacked")])
    return over_radii(table, [*by, "inputs"], "ratio")


def quality(rows: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Means of what the SAEs of layers say of themselves at the lowest and the highest radius."""
    edges = rows[rows.epsilon.isin([0.0, rows.epsilon.max()]) & (rows.layer != "out")]
    return edges.groupby(list(by))[["rows_fitted", "psi", "fvu", "l0", "dead"]].mean()


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes with their 95% t intervals, and the one-sided p of lying above and below zero."""
    error, df = table.variance**0.5, table.n - 2
    reach, t = stats.t.ppf(0.975, df) * error, table.slope / error
    ends = {"low": table.slope - reach, "high": table.slope + reach}
    return table.assign(**ends, p_above=stats.t.sf(t, df), p_below=stats.t.sf(-t, df))


def for_h2(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes placed for H2: a line is a data set and an architecture, x the code of the number of classes."""
    line = table.dataset + ", " + table.architecture
    return table.assign(x=table.n_classes.map(CODE), line=line, where="all", claim=table["update"])


def for_h3(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes placed for H3: a line is an architecture and a number of classes, x the logarithm of the width."""
    line = table.architecture + ", " + table.n_classes.astype(str) + " classes"
    claim = np.where(table["update"] == "corrected", "corrected", table.architecture.str.removesuffix("1"))
    return table.assign(x=np.log(table.width.astype(float)), line=line, where=table.architecture, claim=claim)


def h2_slopes(rows: Rows) -> pd.DataFrame:
    """Slopes of the conditions of H2, those of networks of several layers, with intervals; the paper's update first."""
    return for_h2(_slopes(rows, DEEP))


def h3_slopes(rows: Rows) -> pd.DataFrame:
    """Slopes of the conditions of H3, those of networks of one hidden layer, with intervals; the paper's update first."""
    return for_h3(_slopes(rows, SHALLOW))


def _slopes(rows: Rows, architectures: Sequence[str]) -> pd.DataFrame:
    table = rows["adversarial"]
    return paper_first(
        with_intervals(slopes.slopes(slopes.without_silent(table[table.architecture.isin(architectures)])[0])), "update"
    )


def paper_h2() -> pd.DataFrame:
    """The paper's slopes for H2, read off its figure; they have no interval."""
    table = pd.DataFrame(index=pd.Index(CODE, name="n_classes"))
    table["mnist, mlp"], table["fashion-mnist, mlp"] = [0.95, 0.85, 0.2, -0.5], [2.5, -0.1, -1.1, -1.0]
    table["mnist, cnn"], table["fashion-mnist, cnn"] = [2.9, 2.7, 1.9, 0.2], [1.8, 0.25, -0.9, -1.1]
    table = table.melt(ignore_index=False, var_name="line", value_name="slope").reset_index()
    return table.assign(x=table.n_classes.map(CODE), update="paper", low=table.slope, high=table.slope)


def paper_h3() -> pd.DataFrame:
    """The paper's slopes for H3, read off its figure; they have no interval."""
    mlp, cnn = (pd.DataFrame(index=pd.Index(w, name="width")) for w in ([8, 32, 128, 512], [8, 16, 32, 64]))
    mlp[2], mlp[3] = [-0.1, 0.1, 0.25, 1.2], [-0.3, 0.1, 0.4, 1.2]
    mlp[5], mlp[10] = [-0.9, -1.0, -0.45, 0.3], [-0.7, -1.15, -0.75, -0.2]
    cnn[2], cnn[10] = [0.25, 0.5, 0.6, 0.75], [-0.65, -0.6, -0.5, -0.2]
    table = pd.concat({"mlp1": mlp.stack(), "cnn1": cnn.stack()}, names=["architecture", "width", "n_classes"])
    table = table.rename("slope").reset_index()
    return for_h3(table.assign(update="paper", low=table.slope, high=table.slope))


def paper_betas() -> pd.Series:
    """The slope of the paper's slopes for H3 on ln(width), by architecture and number of classes."""
    by_line = paper_h3().groupby(["architecture", "n_classes"])[["x", "slope"]]
    return by_line.apply(lambda part: statistics.slope(part.x, part.slope))


def beside_paper(table: pd.DataFrame, paper: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Slopes by some columns: the paper's, under its update, and under the corrected one."""
    wide = pd.concat([paper, table]).pivot_table(index=list(by), columns="update", values="slope", sort=False)
    return wide[[update for update in ("paper", "leak", "corrected") if update in wide]]


def shape_counts(table: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Of how many conditions `shapes` says that they are no line, and that they jump one way and then go the other."""
    seen = {"no line (p < .05)": table.line_p < 0.05, "jump, then the other way": table.jump * table.above < 0}
    return table.assign(**seen, conditions=True).groupby(list(by))[[*seen, "conditions"]].sum()


def surely(p: ArrayLike) -> Bool[np.ndarray, " n"]:
    """Which of several tests are significant, with a family error of 5% (Holm 1979)."""
    return multipletests(p, method="holm")[0] if np.size(p) else np.zeros(0, bool)


def sides_in_words(conditions: pd.DataFrame, more: str, less: str) -> str:
    """Which slopes surely lie above and below zero, and what two data sets differ by: a block an update."""
    words = []
    for update, mine in conditions.groupby("update", sort=False):
        apart, named = differences(mine, more, less), mine.line + ", " + mine.n_classes.astype(str)
        words.append(f"{update}: {len(mine)} conditions, {mine.line.nunique()} lines, {len(apart)} differences")
        for side, p in (("above", mine.p_above), ("below", mine.p_below)):
            words.append(f"  slopes surely {side} zero: {' · '.join(named[surely(p)]) or 'none'}")
        if len(apart) > 1:
            spread = statistics.pool(apart.slope, apart.variance)
            words.append("  {} minus {}: Q {q:.1f}, p {p:.1g}, I² {i2:.2f}; each:".format(more, less, **spread))
            each = " · ".join(f"{', '.join(map(str, key))}: {d:.2f}" for key, d in apart.slope.items())
            words.append(f"    {each}")
    return "\n".join(words)


def h1_by_choice(rows: pd.DataFrame) -> pd.DataFrame:
    """How many conditions surely lie above and below zero, by Holm's test over those of a line: by update, inputs and layers."""
    every = slopes.slopes_by_choice(rows, ["F"]).query("radii == 'all' and counted == 'all'")
    found = []
    for key, of in with_intervals(every).groupby(["update", "inputs", "layers"]):
        found.append((*key, len(of), int(surely(of.p_above).sum()), int(surely(of.p_below).sum())))
    return pd.DataFrame(found, columns=["update", "inputs", "layers", "conditions", "surely above", "surely below"])


def differences(table: pd.DataFrame, left: str, right: str) -> pd.DataFrame:
    """Slopes of one data set minus those of another, where both were run, and the variances of these differences."""
    one, other = (table[table.dataset == name].set_index(["architecture", "n_classes"]) for name in (left, right))
    return pd.DataFrame({"slope": one.slope - other.slope, "variance": one.variance + other.variance}).dropna()


def lines(table: pd.DataFrame) -> pd.DataFrame:
    """The slope of the slopes on x in each line of three conditions or more, by inverse variances (`statistics.trend`)."""
    return statistics.trend(table, "x", ["claim", "where", "line", "update"])[0]


def pooled(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Lines pooled by a column, where there are two or more: fixed effects (mean), random ones (mean_re), and their spread."""
    parts = {key: part for key, part in table.groupby(by, sort=False) if len(part) > 1}
    pools = {key: statistics.pool(part.slope, part.variance) for key, part in parts.items()}
    names = ["mean", "low", "high", "mean_re", "low_re", "high_re", "q", "p", "i2", "n"]
    return pd.DataFrame(pools, index=names).T.rename_axis(by)


def forest(table: pd.DataFrame, paper: float, error: float) -> pd.DataFrame:
    """Lines with their intervals, after those of each `where` their pool by random effects, and last the paper's number."""
    parts, names = [], ["update", "slope", "low", "high"]
    for where, part in table.groupby("where", sort=False):
        pools = pooled(part, "update").reset_index()[["update", "mean_re", "low_re", "high_re"]]
        parts += [part, pools.set_axis(names, axis=1).assign(line=f"{where}, pooled")]
    of_paper = ("leak", paper, paper - 1.96 * error, paper + 1.96 * error)
    parts.append(pd.DataFrame([of_paper], columns=names).assign(line="paper"))
    return pd.concat(parts, ignore_index=True)[["line", *names]]


def by_reading(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """H2 in one line by every reading: the slopes of its conditions, theirs on x, and how many networks were left out."""
    found = []
    for reading, part in [*rows.groupby("reading"), *others.groupby("reading", sort=False)]:
        spoken, lost = slopes.without_silent(part)
        table = for_h2(slopes.slopes(spoken))
        by_classes = {f"{n} classes": slope for n, slope in zip(table.n_classes, table.slope, strict=True)}
        line = lines(table)[["slope", "low", "high"]].rename(columns={"slope": "h2"}).to_dict("records")
        found.append({"reading": reading, **by_classes, **dict(*line), "left out": len(lost)})
    return pd.DataFrame(found).set_index("reading")


def spread_of_saes(rows: pd.DataFrame) -> pd.DataFrame:
    """By classes, the standard deviation of a network's relative F over SAE seeds, beside its change to the largest radius."""
    rows = relative(slopes.without_silent(rows)[0], ["n_classes", "layer"])
    by = rows.groupby(["n_classes", "epsilon", "sae_seed", "layer"])[["ratio", "parameters"]].mean()
    sums = by.assign(ratio=by.ratio * by.parameters).groupby(level=[0, 1, 2]).sum()
    over_seeds = (sums.ratio / sums.parameters).unstack("sae_seed")
    change = over_seeds.mean(axis=1).unstack("epsilon").iloc[:, -1] - 1
    spread = over_seeds.var(axis=1, ddof=1).groupby("n_classes").mean() ** 0.5
    return pd.DataFrame({"sd over SAE seeds": spread, "change of F to the largest radius": change})


def resnet_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Relative F of each layer of ResNet-18 by radius and kind of input, beside accuracies of the networks."""
    task = ["dataset", "n_classes", "width"]
    several = [name for name in task if rows[name].nunique() > 1]
    names = {"accuracy_train": "training", "accuracy_0": "test", "own": "attacked"}
    accuracy = each_network(rows).groupby([*several, "epsilon"])[list(names)].mean().rename(columns=names)
    table = relative(rows, [*task, "layer"]).groupby([*several, "epsilon", "inputs", "layer"]).ratio.mean()
    return table.unstack("layer").join(accuracy, on=[*several, "epsilon"])


def resnet_by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Slopes of F on the radius by seed of ResNet-18, F relative to that seed's at ε = 0: a line a seed, a column a width."""
    found = {seed: slopes.slopes(of).set_index("width").slope for seed, of in rows.groupby("seed")}
    return pd.DataFrame(found).T.sort_index(axis=1)


def on_width(by_seed: pd.DataFrame) -> pd.Series:
    """The slope of a seed's slopes on ln(width): a number a seed."""
    return by_seed.apply(lambda row: statistics.slope(np.log(row.index.astype(float)), row), axis=1)


def resnet_in_words(rows: pd.DataFrame) -> str:
    """Slopes of F on the radius at each width of ResNet-18, whether they rise with the width as the paper's do, and what they are
    made of."""
    by_seed, shapes = resnet_by_seed(rows), slopes.shapes(rows).set_index("width").sort_index()
    each = ["{:.1f} [{:.1f}, {:.1f}] at {:g}".format(*statistics.mean_interval(by_seed[w]), w) for w in by_seed.columns]
    value, low, high = statistics.mean_interval(on_width(by_seed))
    way = "rise" if low > 0 else "fall" if high < 0 else "neither surely rise nor surely fall"
    plain, attacked = (
        rows[rows.epsilon == end].groupby("width").accuracy_train.mean() for end in (0.0, rows.epsilon.max())
    )
    parts = [
        f"at {w:g} {shapes.jump[w]:+.2f} to the smallest radius, a slope of {shapes.above[w]:+.1f} above it, accuracy on "
        f"training images {plain[w]:.2f} without attacks and {attacked[w]:.2f} under the strongest"
        for w in by_seed.columns
    ]
    return (
        f"slopes of F on ε: {', '.join(each)}; they {way} with the width, by {value:.1f} [{low:.1f}, {high:.1f}] a unit of "
        f"ln(width), over {len(by_seed)} seeds; the paper's rise. What they are made of: {'; '.join(parts)}."
    )


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


def h2_specifications(rows: Rows) -> pd.DataFrame:
    """H2 under every choice, in each data set and architecture by itself."""
    every, others = rows["adversarial"], rows["adversarial_readings"]
    table = every_choice(every[every.architecture.isin(DEEP)], others[others.architecture == "mlp"])
    return specifications(for_h2(table).assign(where=lambda table: table.line))


def h3_specifications(rows: Rows) -> pd.DataFrame:
    """H3 under every choice, in each architecture; layers are not weighed, as there is one."""
    every, others = rows["adversarial"], rows["adversarial_readings"]
    table = every_choice(every[every.architecture.isin(SHALLOW)], others[others.architecture == "mlp1"])
    return specifications(for_h3(table[table["layers"] == "equal"].drop(columns="layers")))


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
