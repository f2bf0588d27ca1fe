"""Rows of toy models → what the chapter draws and shows, and its claims judge.

Everywhere r is Pearson's, over models, with a bootstrap BCa interval at 95% (`low`, `high`).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from superpos import statistics
from superpos.findings.toy.runs import READINGS, Run
from superpos.findings.toy.task import Toy
from superpos.sweep import Rows

MEASURES = {  # name: reading, column
    "ψ_Frob of the toy weights": ("published", "psi_frobenius"),
    "SAE codes, protocol": ("protocol", "psi"),
    "SAE codes, published": ("published", "psi"),
    "SAE weights, published": ("published", "psi_sae_weights"),
    "ψ_Frob of SAE weights, published": ("published", "psi_frobenius_sae"),
    "effective rank of x": ("published", "effective_rank"),
    "participation ratio of x": ("published", "participation_ratio"),
}
SPARSITY_ENDS = [0, 0.1, 0.4, 0.9, 0.99, 0.997, 1]


def interference(toys: Iterable[Toy]) -> pd.DataFrame:
    """Inner products of the feature directions of some models: `frame` (the model), `feature i`, `feature j`, `overlap`."""
    overlap = np.stack([(toy.W.T @ toy.W).double().numpy() for toy in toys])
    frame, i, j = np.indices(overlap.shape).reshape(3, -1)
    return pd.DataFrame({"frame": frame, "feature i": i, "feature j": j, "overlap": overlap.ravel()})


def kept_in_words(toys: Iterable[Toy], length: float = 0.5) -> str:
    """How many features the densest and the sparsest of some models keep, as directions longer than `length`, in words."""
    kept = [int((toy.W.norm(dim=0) > length).sum()) for toy in toys]
    return f"{kept[0]} where they are dense, {kept[-1]} where they are sparse"


def by_model(rows: Rows) -> pd.DataFrame:
    """A line a reading and model of the family that is held against the truth: the mean over its SAEs."""
    return over_saes(rows["toy_truth"])


def over_saes(table: pd.DataFrame) -> pd.DataFrame:
    """A line a reading and model: the mean over its SAEs."""
    return table.groupby(["reading", "model"], as_index=False, sort=False).mean(numeric_only=True)


def correlations(table: pd.DataFrame, *by: str, measure: str = "psi", truth: str = "psi_weights") -> pd.DataFrame:
    """r of a measure with the truth over the models of each group: `by`, r, low, high, count, missing."""
    return statistics.correlate(table, list(by), truth, measure)


def measures(rows: Rows) -> pd.DataFrame:
    """r of each of MEASURES with the truth: measure, r, low, high, count."""
    models = by_model(rows)
    found = [
        correlations(models[models.reading == reading], "reading", measure=column).assign(measure=name)
        for name, (reading, column) in MEASURES.items()
    ]
    return pd.concat(found)[["measure", "r", "low", "high", "count"]]


def stability(rows: Rows, axis: str) -> pd.DataFrame:
    """r by reading along `axis`, one of l1, n_neurons and expansion, where the other two are at their defaults.

    r is NaN where nearly all dictionaries are dead. The λ of a row that has none of its own is that of its reading.
    """
    table = rows["toy"].query("seed == 1 and spacing == 'log' and (reading == 'published' or n_rows > 10_000)")
    own = table.reading.map({name: settings.l1 for name, settings in READINGS.items()})
    table = table.assign(l1=table.l1.fillna(own))
    plain = _plain(table).assign(l1=table.l1 == own).drop(columns=axis)
    once = table[plain.all(axis=1)].drop_duplicates(
        ["reading", axis, "model"]
    )  # the default λ was run by name and as default
    return correlations(once.sort_values(axis), "reading", axis)


def families(rows: Rows) -> pd.DataFrame:
    """r of every family with all settings at their defaults: by reading, n_rows and spacing, a column a family."""
    table = rows["toy"]
    table = table[_plain(table).all(axis=1) & table.l1.isna()]
    found = correlations(table, "reading", "spacing", "n_rows", "seed")
    return found.pivot(index=["reading", "n_rows", "spacing"], columns="seed", values="r")


def _plain(table):
    """Where the bottleneck and the dictionary are the default ones, a column each."""
    return table[["n_neurons", "expansion"]] == [Run.n_neurons, Run.expansion]


def sae_seeds(rows: Rows) -> pd.DataFrame:
    """By reading: the spread of ψ between the SAEs of a model relative to its mean (median), and the range of r of one SAE."""
    table = rows["toy_truth"]
    psi = table.groupby(["reading", "model"]).psi
    spread = (psi.std() / psi.mean()).groupby("reading").median()
    alone = correlations(table, "reading", "sae_seed").groupby("reading").r
    return pd.DataFrame({"spread": spread, "r lowest": alone.min(), "r highest": alone.max()})


def by_sparsity(rows: Rows) -> pd.DataFrame:
    """ψ over its truth (mean and sd over models) and unexplained variance, by reading and range of sparsity."""
    table = by_model(rows)
    table = table.assign(ratio=table.psi / table.psi_weights, sparsity=pd.cut(table.sparsity, SPARSITY_ENDS))
    groups = table.groupby(["reading", "sparsity"], observed=True)
    return groups.agg(ratio=("ratio", "mean"), sd=("ratio", "std"), fvu=("fvu", "mean"), models=("ratio", "size"))
