"""Rows of planted features → what the chapter draws and shows, and its claims judge."""

import itertools

import pandas as pd
from torch import Tensor

from superpos import statistics
from superpos.sweep import Rows

NAMES = {"protocol": "this book's", "published": "the paper's"}
STATES = {"trained": "trained", "untrained": "untrained (control)", "shuffled": "shuffled (control)"}
CONTROLS = {  # kinds of rows, from others' generators, in which nothing was learned
    "untrained networks": ("random_network", "digits_random"),
    "shuffled columns": ("shuffled", "digits_shuffled"),
}
READERS = {"protocol": "this book's protocol", "TopK, k = 4": "TopK, k = 4"}
HEADS = {
    "n_neurons": "neurons N", "effective_features": "effective features F", "psi": "superposition ψ",
    "fvu": "variance unexplained (fvu)", "l0": "codes active in a row (l0)", "dead": "share of dead codes",
    "active": "active in a row", "k": "planted features k", "low": "interval from", "high": "interval to", "count": "seeds",
}  # fmt: skip


def plain(table: pd.DataFrame, longer: int | float = 1) -> pd.DataFrame:
    """The rows of SAEs whose training is `longer` times that of the reading, and their dictionary as it is."""
    return table[(table.longer == longer) & (table.codes == 1)]


def rises(table: pd.DataFrame) -> bool:
    """Whether F, the mean over seeds, rises with every step of k, at each number of active features."""
    means = table.groupby(["active", "k"]).effective_features.mean()
    return bool(means.groupby("active").is_monotonic_increasing.all())


def order(table: pd.DataFrame) -> tuple[int, int]:
    """Of all pairs of fits by one reading and seed with different k: how many F order as k does, and how many pairs there are."""
    right, pairs = 0, 0
    for _, group in table.groupby(["reading", "seed"]):
        fits = zip(group.k, group.effective_features, strict=True)
        signs = [(k - m) * (F - G) > 0 for (k, F), (m, G) in itertools.combinations(fits, 2) if k != m]
        right, pairs = right + sum(signs), pairs + len(signs)
    return right, pairs


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """F over the number of features, mean and t interval over seeds, by reading, number of active ones, and k.

    table: rows of `plain`. `error` is the mean of |F / k − 1| over these seeds; `protocol` is the reading in words.
    """
    by = ["reading", "active", "k"]
    error = table.assign(error=(table.ratio - 1).abs()).groupby(by, as_index=False).error.mean()
    found = statistics.summarize(table, by, "ratio").merge(error, on=by)
    return found.assign(protocol=found.reading.map(NAMES))


def stressed(rows: Rows) -> pd.DataFrame:
    """How F changes with twice the training or twice the codes: the ratio to F of the plain fit, same data and seed."""
    table, key = rows["planted"], ["reading", "k", "active", "seed"]
    usual = plain(table).set_index(key).effective_features.rename("usual")
    table = table.join(usual, on=key)
    stress = {"trained twice as long": table[table.longer == 2], "twice the codes": table[table.codes == 2]}
    table = pd.concat(
        part.assign(stress=name, change=part.effective_features / part.usual) for name, part in stress.items()
    )
    return statistics.summarize(table, ["reading", "stress", "k"], "change")


def errors(rows: Rows) -> pd.DataFrame:
    """Mean of |F / k − 1| over the grid of k and activity: a row a seed, a column a reading."""
    table = plain(rows["planted"])
    return table.assign(error=(table.ratio - 1).abs()).pivot_table(index="seed", columns="reading", values="error")


def unlearned(rows: Rows) -> pd.DataFrame:
    """ψ of rows in which nothing was learned, a row a set of them: control, reader and psi."""
    table = rows["counting_readers"]
    names = {kind: control for control, kinds in CONTROLS.items() for kind in kinds}
    table = table[table.reader.isin(list(READERS)) & table.kind.isin(list(names))]
    return pd.DataFrame(
        {"control": table.kind.map(names), "reader": table.reader.map(READERS), "psi": table.F / table.n_neurons}
    )


def by_control(rows: Rows) -> pd.DataFrame:
    """Mean ψ of rows in which nothing was learned, with its t interval over sets of rows, by control and reader."""
    found = statistics.summarize(unlearned(rows), ["control", "reader"], "psi")
    return found.sort_values(["control", "reader"], ascending=False, ignore_index=True)


def own_layers(trained: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """ψ of a network's layers and of the same layers in its controls, mean and t interval over SAE seeds: layer, state, psi."""
    both = pd.concat([trained.assign(state="trained"), controls])
    found = statistics.summarize(both.assign(state=both.state.map(STATES)), ["layer", "state"], "psi")
    rank = found.layer.map({name: i for i, name in enumerate(found.layer.unique())})
    return found.iloc[rank.argsort(kind="stable")].reset_index(drop=True)


def above_trained(layers: pd.DataFrame) -> dict[str, int]:
    """In how many layers each control reads a higher ψ than the trained network, by its state: from `own_layers`."""
    psi = layers.pivot(index="layer", columns="state", values="psi")
    return {STATES[name]: int((psi[STATES[name]] > psi[STATES["trained"]]).sum()) for name in ("untrained", "shuffled")}


def alike_in_words(top: pd.DataFrame, classes: Tensor) -> str:
    """How many of the images that move a code most are of one class, on average; classes: that of each image of `top`."""
    table = top.assign(label=classes.tolist())
    share = float(table.groupby("code").label.agg(lambda of: of.value_counts(normalize=True).iloc[0]).mean())
    return "Nearly all" if share > 0.8 else "Most" if share > 0.5 else "Less than half"
