"""Rows of the comparisons → the tables of the chapter on costs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from superpos.sweep import Rows

__all__ = [
    "along",
    "beside_peer",
    "exponents",
    "grid_of",
    "judge_claim",
    "memory",
    "projection",
    "side_by_side",
    "throughput",
    "ways",
]

ONE = {"n_rows": 10_000, "n_neurons": 128, "expansion": 4, "n_fits": 1, "products": "float32", "threads": 1}
CLAIMED = {"mlp": 5, "cnn": 10, "planted": 4}  # times less processor time, claimed before any comparison was run
HIGHER_LOSS, OTHER_F = 1.01, 0.02  # what still counts as the same number


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Loss, in thousandths, and F of both sides, a row a seed."""
    losses = {"peer loss, thousandths": 1e3 * table.peer_loss, "our loss, thousandths": 1e3 * table.our_loss}
    return pd.DataFrame({"seed": table.seed, **losses, "peer F": table.peer_features, "our F": table.our_features})


def ways(rows: Rows) -> pd.DataFrame:
    """Each way down the published loss, with its loss `relative` to that of the published way on the same set and seed."""
    table = rows["speed_way"]
    table["way"] = table["axes"] + ", step " + table.lr.astype(str) + np.where(table.decay > 0, ", decay", "")
    plain = (table["axes"] == "neurons") & (table.lr == 0.001) & (table.decay == 0)
    first = table[plain].set_index(["set", "seed"]).loss.rename("first")
    return table.join(first, on=["set", "seed"]).assign(relative=lambda t: t.loss / t["first"])


def judge_claim(paper: pd.DataFrame) -> pd.DataFrame:
    """Each set beside the paper's code: is it as much cheaper as claimed, at the same loss and F? Claimed sets come first.

    The bound on F is 2%, or the range of the peer's F over its seeds where that is wider.
    """
    groups = paper.groupby("set", sort=False)
    spread = groups.peer_features.apply(lambda values: (values.max() - values.min()) / values.mean())
    table = pd.DataFrame(
        {
            "claimed": pd.Series(CLAIMED),
            "ratio": groups.cpu_ratio.mean(),
            "lowest": groups.cpu_ratio.min(),
            "loss": groups.our_loss.mean() / groups.peer_loss.mean(),
            "F": groups.our_features.mean() / groups.peer_features.mean(),
            "bound on F": spread.clip(lower=OTHER_F),
        }
    )
    table["same number"] = (table.loss <= HIGHER_LOSS) & ((table.F - 1).abs() <= table["bound on F"])
    holds = table["same number"] & (table.lowest >= table.claimed)
    table["claim holds"] = np.where(table.claimed.isna(), "", holds)
    table["claimed"] = ["" if np.isnan(value) else f"{value:.0f}" for value in table.claimed]
    return table.loc[[*CLAIMED, *table.index.difference(list(CLAIMED))]]


def beside_peer(table: pd.DataFrame, keys: Sequence[str], *columns: str) -> pd.DataFrame:
    """Mean seconds of both sides, their ratios, and further columns, by some keys."""
    shown = ["peer_cpu", "our_cpu", "cpu_ratio", "peer_wall", "our_wall", "wall_ratio", *columns]
    means = table.groupby(list(keys), sort=False)[shown].mean()
    return means.assign(difference=means.difference.map("{:.0e}".format)) if "difference" in means else means


def along(costs: pd.DataFrame, axis: str, *free: str) -> pd.DataFrame:
    """The rows in which only `axis`, and what is named as free, differs from the base case, in its order."""
    same = np.logical_and.reduce([costs[name] == value for name, value in ONE.items() if name not in (axis, *free)])
    return costs[same].sort_values(axis, kind="stable")


def exponents(costs: pd.DataFrame) -> pd.DataFrame:
    """Log-log slope of the time of a step along each axis, from where the axis rules the time on, and what is expected."""
    lines = []
    for words, axis, least, expected in (
        ("rows", "n_rows", 2_000, 0.0),
        ("neurons, D = 4N", "n_neurons", 128, 2.0),
        ("codes", "expansion", 2, 1.0),
        ("fits", "n_fits", 1, 1.0),
    ):
        part = along(costs, axis)
        part = part[part[axis] >= least]
        slope = np.polyfit(np.log(part[axis]), np.log(part.step_seconds), 1)[0]
        lines.append({"along": words, "expected": expected, "exponent": slope})
    return pd.DataFrame(lines).set_index("along")


def memory(costs: pd.DataFrame) -> pd.DataFrame:
    """Peak memory along rows, neurons and codes, each alone, against the `factor` by which it exceeds the base case."""
    axes = {"n_rows": "rows", "n_neurons": "neurons", "expansion": "codes"}
    parts = [along(costs, axis).assign(along=words) for axis, words in axes.items()]
    factors = [part[axis] / ONE[axis] for axis, part in zip(axes, parts, strict=True)]
    table = pd.concat([part.assign(factor=factor) for part, factor in zip(parts, factors, strict=True)])
    return table[table.memory_mib > 0]


def projection(widest: pd.DataFrame, steps: int, tokens: int, workers: int) -> pd.DataFrame:
    """Hours on one core for a layer of 4,096 neurons of a model of 7 billion parameters.

    widest: the row of that width for each kind of products. A fit is its steps times the seconds of a step; reading costs
    two operations a parameter and token at the rate that the bfloat16 fit reached, once for all layers.
    """
    fit = widest.step_seconds * steps / 3600
    reading = 2 * 7e9 * tokens / (widest.gflops["bfloat16"] * 1e9) / 3600
    hours = {
        "fit of one 7B layer, float32": fit["float32"],
        "fit of one 7B layer, bfloat16": fit["bfloat16"],
        f"reading {tokens:,} tokens through a 7B model": reading,
        "fits of a thousand such layers": 1000 * fit["bfloat16"],
        f"the thousand on {workers} workers": 1000 * fit["bfloat16"] / workers,
    }
    return pd.DataFrame({"hours on one core": hours})


def throughput(rows: Rows) -> pd.DataFrame:
    """Runs an hour by kind of workers and their number: mean over repeats, and what it is of that many times one worker."""
    table = rows["sweep_throughput"]
    mean = table.groupby(["kind", "n_workers"]).runs_per_hour.mean().reset_index()
    one = mean[mean.n_workers == 1].set_index("kind").runs_per_hour
    mean["share"] = mean.runs_per_hour / (mean.n_workers * mean.kind.map(one))
    return mean


def grid_of(rows: Rows, n_runs: int, seconds: float, workers: int) -> str:
    """What a grid of many runs would take, and with how many workers the driver's store would be the limit; in a sentence.

    The store takes one run after the other: claim and save, at the size that was measured nearest to the grid.
    """
    saving = rows["sweep_saving"]
    nearest = saving.loc[(np.log(saving.n_held) - np.log(n_runs)).abs().idxmin()]
    limit = seconds / (nearest.save_ms / 1000)
    hours = n_runs * seconds / workers / 3600
    return (
        f"{n_runs:,} runs of {seconds:g} s on {workers} workers: {hours:.1f} hours. "
        f"Beside {nearest.n_held:,.0f} runs the store takes {nearest.save_ms:.1f} ms a run, so that it would be the limit "
        f"from {limit:,.0f} workers on; an export takes {nearest.export_seconds:.1f} s."
    )
