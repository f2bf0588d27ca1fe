"""Rows of the comparisons → the tables of the chapter on costs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from superpos import statistics
from superpos.answers import Answer, join, said
from superpos.claims import mean_of
from superpos.sweep import Rows

__all__ = [
    "agreement", "along", "answer", "beside_peer", "cheaper", "exponents", "grid_of", "in_words", "judge_claim", "memory",
    "projection", "side_by_side", "throughput", "ways",
]  # fmt: skip

ONE = {"n_rows": 10_000, "n_neurons": 128, "expansion": 4, "n_fits": 1, "products": "float32", "threads": 1}
CLAIMED = {"mlp": 5, "cnn": 10, "planted": 4}  # times less processor time, claimed before any comparison was run
HIGHER_LOSS, OTHER_F = 1.01, 0.02  # what still counts as the same number
SETS = {
    "planted": "planted features", "mlp": "MLP (MNIST)", "cnn": "CNN (MNIST)", "mlp fashion": "MLP (Fashion)",
    "cnn fashion": "CNN (Fashion)", "cnn conv1": "CNN conv1 (MNIST)", "cnn fc1": "CNN fc1 (MNIST)", "digits": "MLP (digits)",
    "resnet18": "ResNet-18",
}  # fmt: skip
HEADS = {  # columns of rows, in words
    "set": "activations", "peer": "other code", "peer_cpu": "theirs, processor s", "our_cpu": "ours, processor s",
    "cpu_ratio": "times less", "peer_wall": "theirs, wall s", "our_wall": "ours, wall s", "wall_ratio": "times less, wall",
    "step_ratio": "times less, a step", "loss_ratio": "loss, ours / theirs", "features_ratio": "F, ours / theirs",
    "peer_features": "F, theirs", "our_features": "F, ours", "reached": "share of matrix rate", "architecture": "network",
    "difference": "largest difference", "our_robust": "accuracy, these products", "float_robust": "accuracy, float32",
    "n_models": "toy models", "lowest": "lowest of the seeds", "ratio": "times less, mean",
}  # fmt: skip


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its sets of activations, its columns and the names of its index in words."""
    table = table.rename(columns=HEADS, index=SETS)
    if "set" in table:
        table = table.assign(set=table.set.replace(SETS))
    return table.rename_axis([HEADS.get(name, name) for name in table.index.names])


def cheaper(table: pd.DataFrame) -> pd.DataFrame:
    """Processor time of the other code over ours, by set: activations, cpu_ratio, low, high (t interval over seeds), count."""
    return _by_set(table, ["activations"], "cpu_ratio")


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Our loss and F over theirs, by set and `what`: ours / theirs, low and high, which are a t interval over seeds.

    Of fewer than three seeds an interval says nothing: low and high are then the lowest and the highest of them.
    """
    long = table.melt(["set", "seed"], ["loss_ratio", "features_ratio"], "what", "ours / theirs")
    long["what"] = long.what.map({"loss_ratio": "loss", "features_ratio": "F"})
    return _by_set(long, ["activations", "what"], "ours / theirs")


def _by_set(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    table = table.assign(activations=table.set.replace(SETS))
    found = statistics.summarize(table, by, value)
    ends = table.groupby(by, sort=False)[value].agg(["min", "max"]).reset_index(drop=True)
    few = found["count"] < 3
    return found.assign(low=found.low.mask(few, ends["min"]), high=found.high.mask(few, ends["max"]))


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Loss, in thousandths, and F of both sides, a row a seed."""
    losses = {"peer loss, thousandths": 1e3 * table.peer_loss, "our loss, thousandths": 1e3 * table.our_loss}
    return pd.DataFrame({"seed": table.seed, **losses, "peer F": table.peer_features, "our F": table.our_features})


def ways(rows: Rows) -> pd.DataFrame:
    """Each way down the published loss, with its loss `relative` to that of the published way on the same set and seed."""
    table = rows["speed_way"]
    axis = table["axes"].map({"neurons": "axes of neurons,", "mean": "axis of the mean,"})
    table["way"] = axis + "\nstep " + table.lr.astype(str) + np.where(table.decay > 0, ", decay", "")
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


def answer(rows: Rows) -> Answer:
    """What the chapter on costs comes to: whether ours is as much cheaper as was claimed, at the same loss and F."""
    fits = rows["speed_fit"]
    paper = fits[fits.peer == "paper"]
    judged = judge_claim(paper)
    claimed, others = judged.loc[list(CLAIMED)], judged.drop(index=list(CLAIMED))
    held = claimed["claim holds"].astype(str) == "True"
    n, same = len(claimed), int(claimed["same number"].sum())
    ratios = {name: mean_of(paper[paper.set == name].cpu_ratio, "SAE seed") for name in CLAIMED}
    on = dict(zip(CLAIMED, ("an MLP", "a CNN", "planted features"), strict=True))
    told = [
        f"{said(ours)} times{' our processor time' * (not i)} on {on[name]}"
        for i, (name, ours) in enumerate(ratios.items())
    ]
    at = "at the same loss and F" if same == n else f"at the same loss and F on {same} of the {n}"
    left = others.index[~others["same number"].astype(bool)]
    outside = (
        f"Not the same number: {join([SETS[name] for name in left])}" if len(left) else "No layer has another number"
    )
    return Answer(
        "20_what_it_costs", "Is this book's way to fit an SAE cheaper than the paper's code, and does it read the same number?",
        f"{'Cheaper, yes' if held.all() else 'In part' if held.any() else 'No'}: the paper's code needs {join(told)}, {at}; "
        f"{'but' if len(left) else 'and'} on {len(left)} of {len(others)} other layers the number is not the same.",
        f"{paper.seed.nunique()} SAE seeds on one network a layer; intervals over SAE seeds, {ratios['mlp'].kind}, which say "
        f"nothing about other networks. “The same”: a loss at most {HIGHER_LOSS - 1:.0%} higher and an F within "
        f"{OTHER_F:.0%}, or within its range over the seeds. "
        f"Both sides in one process on one thread, on {join(list(paper.device.unique()))}.",
        ("speed_fit.csv", "speed_way.csv", "speed_whole.csv", "costs.csv", "sweep_throughput.csv"),
        f"{int(held.sum())} of {n} claims ({join([f'{CLAIMED[one]:.0f} times on {on[one]}' for one in CLAIMED])}) hold by "
        f"every seed; they were fixed before any comparison. {outside}. Ratios of two "
        "programs in one run carry over to other machines, seconds do not.",
    )  # fmt: skip


ANSWERS = (answer,)
