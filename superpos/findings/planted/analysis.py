"""Rows of planted features → what the chapter draws and shows, and its claims judge."""

import pandas as pd

from superpos import statistics
from superpos.sweep import Rows


def plain(table: pd.DataFrame, longer: int | float = 1) -> pd.DataFrame:
    """The rows of SAEs whose training is `longer` times that of the reading, and their dictionary as it is."""
    return table[(table.longer == longer) & (table.codes == 1)]


def rises(table: pd.DataFrame) -> bool:
    """Whether F, the mean over seeds, rises with every step of k, at each number of active features."""
    means = table.groupby(["active", "k"]).effective_features.mean()
    return bool(means.groupby("active").is_monotonic_increasing.all())


def ratios(rows: Rows) -> pd.DataFrame:
    """F over the number of features, mean and t interval over seeds, by reading, number of active ones, and k."""
    found = statistics.summarize(plain(rows["planted"]), ["reading", "active", "k"], "ratio")
    return found.assign(line=found.reading + ", " + found.active.astype(str) + " active")


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
