"""Rows of adversarial training → what the chapters draw and the claims judge: slopes, and how they go with classes and width.

H2 and H3 are both about lines: slopes of conditions on x, the code of the number of classes or the logarithm of the width. In
their tables `line` names the line that a condition lies on, `where` the lines that are pooled, `claim` what they are pooled for.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

from superpos import statistics
from superpos.answers import join, number
from superpos.findings.adversarial import choices, naming, slopes
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


def sizes(rows: pd.DataFrame, *also: str) -> pd.DataFrame:
    """How large networks of each architecture were trained, and how they were read; `also`: further columns."""
    names = [*also, "per_class", "epochs", "n_images", "n_rows", "attack_steps"]
    return rows.drop_duplicates("architecture").set_index("architecture")[names]


def n_updates(each: pd.DataFrame) -> pd.DataFrame:
    """Updates of a network of 2 and of 10 classes, by architecture; and the paper's: all images, 100 epochs, batches of 256."""
    size = each.drop_duplicates("architecture").set_index("architecture")[["per_class", "epochs", "batch_size"]]
    size.loc["the paper"] = 6000, 100, 256
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
    return slopes_of(table[table.architecture.isin(architectures)])


def slopes_of(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes of the conditions of some networks, with intervals; the paper's update first."""
    return paper_first(with_intervals(slopes.slopes(slopes.without_silent(table)[0])), "update")


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


def rises(table: pd.DataFrame, x: str, *by: str) -> pd.DataFrame:
    """Whether the slope at the largest value of a column lies above that at the smallest: update, by, rises."""
    groups = table.sort_values(x, kind="stable").groupby(["update", *by], sort=False)
    ends = groups.slope.agg(["first", "last", "size"]).query("size > 1")
    return (ends["last"] > ends["first"]).rename("rises").reset_index()


def rises_in_words(found: pd.DataFrame, falls: bool = False) -> str:
    """In how many lines of `rises` the slope rises, or `falls`, under each update."""
    counts = (found.rises != falls).groupby(found["update"]).agg(["sum", "size"])
    names = {"leak": "lines under the paper's update", "corrected": "under the corrected one"}
    return join(
        [f"{counts['sum'][key]} of {counts['size'][key]} {name}" for key, name in names.items() if key in counts.index]
    )


def with_paper(table: pd.DataFrame, paper: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Our slopes and the paper's, one below the other, in the order of some columns, with what a chart draws."""
    drawn = ["update", "line", "architecture", "n_classes", "width", "slope", "low", "high"]
    both = pd.concat([table, paper])
    both = paper_first(both, *by)[[name for name in drawn if name in both]]
    return both.assign(classes=both.n_classes.astype(str))


def shape_counts(table: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Of how many conditions `shapes` says that they are no line, and that they jump one way and then go the other."""
    seen = {"no line (p < .05)": table.line_p < 0.05, "jump, then the other way": table.jump * table.above < 0}
    return table.assign(**seen, conditions=True).groupby(list(by))[[*seen, "conditions"]].sum()


def surely(p: ArrayLike) -> Bool[np.ndarray, " n"]:
    """Which of several tests are significant, with a family error of 5% (Holm 1979)."""
    return multipletests(p, method="holm")[0] if np.size(p) else np.zeros(0, bool)


def sided(conditions: pd.DataFrame) -> pd.DataFrame:
    """Slopes with the `side` of zero that each surely lies on by Holm's test over those of an update: above, below or neither."""
    parts = []
    for _, of in conditions.groupby("update", sort=False):
        above, below = surely(of.p_above), surely(of.p_below)
        parts.append(of.assign(side=np.where(above, "above", np.where(below, "below", "neither"))))
    return pd.concat(parts)


def surely_on(conditions: pd.DataFrame) -> pd.DataFrame:
    """Which slopes surely lie above and below zero, named: a row an update, a column a side."""
    table = sided(conditions)
    table = table.assign(named=table.line.map(naming.word) + ", " + table.n_classes.astype(str) + " classes")
    of = table[table.side != "neither"].groupby(["update", "side"], sort=False).named.agg("; ".join).unstack("side")
    of = of.reindex(index=table["update"].unique(), columns=["above", "below"]).fillna("none")
    return of.rename(columns="surely {} zero".format)


def apart(conditions: pd.DataFrame, more: str, less: str) -> pd.DataFrame:
    """`differences` of two data sets under each update: update, architecture, n_classes, slope, variance."""
    parts = {update: differences(of, more, less) for update, of in conditions.groupby("update", sort=False)}
    return pd.concat(parts, names=["update"]).reset_index()


def clean_alone(rows: Rows) -> pd.DataFrame:
    """Slopes of the conditions of H2 under the paper's update where F is read on clean images alone, with their sides."""
    table = rows["adversarial"]
    spoken = slopes.without_silent(table[table.architecture.isin(DEEP)])[0]
    found = slopes.slopes(spoken, slopes.Choice(inputs="clean"))
    return sided(with_intervals(found[found["update"] == "leak"]))


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
    return pd.DataFrame(pools, index=names).T.rename_axis(by).astype({"n": int})


def spreads(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`pooled` by update of several tables, each under its name."""
    return pd.concat({name: pooled(table, "update") for name, table in tables.items()}, names=["pooled"])


def pooled_in_words(table: pd.DataFrame) -> str:
    """Lines under the paper's update pooled with random effects, for each `where`: the mean and its interval."""
    told = []
    for where, of in table[table["update"] == "leak"].groupby("where", sort=False):
        pool = pooled(of, "update").iloc[0]
        interval = "{} [{} to {}]".format(*(number(pool[name]) for name in ("mean_re", "low_re", "high_re")))
        told.append(interval if where == "all" else f"{interval} in {naming.word(where)}s")
    return join(told)


def forest(table: pd.DataFrame, paper: float, error: float) -> pd.DataFrame:
    """Lines with their intervals, after those of each `where` their pool by random effects, and last the paper's number."""
    parts, names = [], ["update", "slope", "low", "high"]
    for where, part in table.groupby("where", sort=False):
        pools = pooled(part, "update").reset_index()[["update", "mean_re", "low_re", "high_re"]]
        parts += [part, pools.set_axis(names, axis=1).assign(line=f"{where}, pooled")]
    of_paper = ("leak", paper, paper - 1.96 * error, paper + 1.96 * error)
    parts.append(pd.DataFrame([of_paper], columns=names).assign(line="the paper"))
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
    """Slopes of F on the radius at each width of ResNet-18, and whether they rise with the width as the paper's do."""
    by_seed = resnet_by_seed(rows)
    each = [
        "{:.1f} [{:.1f} to {:.1f}] at {:g}".format(*statistics.mean_interval(by_seed[w]), w) for w in by_seed.columns
    ]
    value, low, high = statistics.mean_interval(on_width(by_seed))
    change = "by" if low > 0 or high < 0 else "which is a change of"
    if high < 0:
        way, value, low, high = "falls", -value, -high, -low
    else:
        way = "rises" if low > 0 else "neither surely rises nor surely falls"
    change = f"{change} {value:.1f} [{low:.1f} to {high:.1f}]"
    told = f"By the width the slope of F on ε is {join(each)}. It {way} with the width, {change}"
    return f"{told} a unit of ln(width), over {len(by_seed)} seeds; in the paper it rises.".replace("-", "−")


def resnet_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """What the slopes of ResNet-18 are made of, by width: jump and slope above it (`slopes.shapes`), training accuracies."""
    found = slopes.shapes(rows).set_index("width").sort_index()[["jump", "above"]]
    for name, radius in (("without attacks", 0.0), ("under the strongest", rows.epsilon.max())):
        found[f"training accuracy {name}"] = rows[rows.epsilon == radius].groupby("width").accuracy_train.mean()
    return found


def h2_specifications(rows: Rows) -> pd.DataFrame:
    """H2 under every choice, in each data set and architecture by itself."""
    every, others = rows["adversarial"], rows["adversarial_readings"]
    table = choices.every_choice(every[every.architecture.isin(DEEP)], others[others.architecture == "mlp"])
    return choices.specifications(for_h2(table).assign(where=lambda table: table.line))


def h3_specifications(rows: Rows) -> pd.DataFrame:
    """H3 under every choice, in each architecture; layers are not weighed, as there is one."""
    every, others = rows["adversarial"], rows["adversarial_readings"]
    table = choices.every_choice(every[every.architecture.isin(SHALLOW)], others[others.architecture == "mlp1"])
    return choices.specifications(for_h3(table[table["layers"] == "equal"].drop(columns="layers")))
