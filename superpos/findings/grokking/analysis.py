"""Committed rows → tidy tables: what the chapter draws and shows, and what its claims judge.

Functions take the tables of a results folder (`superpos.sweep.Rows`) and name measures by MEASURES; `net` is a kind of network.
Networks are the independent units: a mean over them has Student's t interval at 95%.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from superpos import statistics
from superpos.answers import join
from superpos.findings.grokking import transitions
from superpos.findings.grokking.llc import Chains
from superpos.findings.grokking.runs import SAMPLINGS, VARIATIONS
from superpos.findings.grokking.task import SITES, STATES
from superpos.findings.grokking.wording import in_words, moves
from superpos.sweep import Rows

MAIN, DECAY = "MLP, 48 neurons", STATES[0]
MEASURES = {  # name: column
    "test accuracy": "accuracy_test",
    "training accuracy": "accuracy_train",
    "F, pre": "features_pre_protocol",
    "F, post": "features_post_protocol",
    "F, embedding": "features_embedding_protocol",
    "F, pre, mean unit": "features_pre_mean_unit",
    "F, post, mean unit": "features_post_mean_unit",
    "F, embedding, mean unit": "features_embedding_mean_unit",
    "F, pre, published": "features_pre_published",
    "LLC, cold": "llc_cold",
    "LLC, hot": "llc_hot",
    "effective rank, pre": "effective_rank_pre",
    "effective rank, post": "effective_rank_post",
    "participation ratio, pre": "participation_pre",
    "weight norm": "weight_norm",
    "Fourier share, top 5": "fourier_share",
    "number of frequencies": "frequencies",
    "codes tuned to the sum, post": "tuned_sum_post",
}
IN_MENU = (  # the measures that a figure offers in its menu
    "F, pre", "F, post", "F, embedding", "F, pre, published", "test accuracy", "LLC, cold", "LLC, hot",
    "effective rank, pre", "weight norm", "Fourier share, top 5",
)  # fmt: skip
NOT_TIMED = ("accuracy", "embedding", "F, post, mean unit", "published", "tuned")  # words of measures without a moment


def summary(values: pd.Series) -> dict[str, Any]:
    """Mean of one value a network, its interval (NaN for fewer than two networks) and their number; NaN is left out."""
    values = values.dropna()
    mean, low, high = statistics.mean_interval(values) if len(values) > 1 else (float("nan"),) * 3
    return {"mean": mean, "low": low, "high": high, "n": len(values)}


@lru_cache
def checkpoints(rows: Rows) -> pd.DataFrame:
    """All checkpoints in order, with a column for each of MEASURES and `net`; an LLC of chains in trouble is NaN."""
    return named(rows["grokking"])


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The same of rows that `runs.checkpoint_run` gave; what they were not read by is NaN."""
    net = table.architecture.replace("mlp", "MLP") + ", " + table.width.astype(str) + " neurons"
    table = table.assign(net=net)
    for setting in SAMPLINGS:
        table[f"llc_{setting}"] = table[f"llc_{setting}"].where(table[f"llc_trouble_{setting}"].isna())
    named = {name: table.get(column, math.nan) for name, column in MEASURES.items()}
    table = table.assign(**named, place=table.state.map(STATES.index))
    return table.sort_values(["architecture", "width", "place", "seed", "step"])


def networks(rows: Rows, net: str = MAIN, state: str = DECAY) -> pd.DataFrame:
    """The checkpoints of the networks of one kind and state."""
    table = checkpoints(rows)
    return table[(table.net == net) & (table.state == state)]


@lru_cache
def all_moments(rows: Rows) -> pd.DataFrame:
    """When the networks with weight decay memorise and generalise (`transitions.moments`), by net and seed."""
    decays = checkpoints(rows).query("state == @DECAY").groupby(["net", "seed"], sort=False)
    return pd.DataFrame({key: transitions.moments(part) for key, part in decays}).T.rename_axis(["net", "seed"])


def moments(rows: Rows, net: str = MAIN) -> pd.DataFrame:
    """Those of the networks of one kind that generalise, by seed."""
    return all_moments(rows).loc[net].dropna()


def generalising(rows: Rows) -> str:
    """A line for each kind of network that says how many generalise, and which do not."""
    lines = []
    for net, part in all_moments(rows).isna().any(axis=1).groupby("net", sort=False):
        late = part.index.get_level_values("seed")[part].tolist()
        lines.append(f"{net}: {(~part).sum()} of {len(part)} generalise" + (f" (not: seeds {late})" if late else ""))
    return "\n".join(lines)


@lru_cache
def aligned(rows: Rows) -> pd.DataFrame:
    """Main networks at the checkpoints that all of them have, counted from t50 (`since`, in steps)."""
    when, table = moments(rows), networks(rows)
    table, step = table[table.seed.isin(when.index)], transitions.spacing(table)
    table = table.assign(since=table.step - (table.seed.map(when.t50) / step).round().astype(int) * step)
    return table[table.groupby("since").seed.transform("size") == len(when)].sort_values(["seed", "since"])


def beside_controls(rows: Rows) -> pd.DataFrame:
    """Main networks and their controls, at the steps of the controls."""
    return _beside(checkpoints(rows))


def _beside(table):
    table = table[table.net == MAIN]
    return table[table.step.isin(table.step[table.state != DECAY])]


def through(table: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy, and F on both sides of the activation, of the main networks and their controls (`named` rows).

    what ("accuracy" or "F"), state, site, step, value, low, high, count; of fewer than three networks low and high are the value.
    """
    names = {"test accuracy": ("accuracy", ""), "F, pre": ("F", "before"), "F, post": ("F", "after")}
    long = _beside(table).melt(["state", "step", "seed"], list(names), "measure")
    long["what"], long["site"] = (long.measure.map({name: both[i] for name, both in names.items()}) for i in (0, 1))
    means = statistics.summarize(long, ["what", "state", "site", "step"], "value").round(4)
    few = means["count"] < 3  # whose interval says nothing
    return means.assign(low=means.low.mask(few, means.value), high=means.high.mask(few, means.value))


def falls_in_words(rows: Rows) -> str:
    """What F does from memorising to the end, before and after the activation."""
    before, after = (moves(summary(falls(rows, name))) for name in ("F, pre", "F, post"))
    return f"While networks grok, F {before} before the activation; after it, F {after}"


def controls_in_words(rows: Rows) -> str:
    """What F before the activation does with weight decay, and between the same steps in the controls."""
    told: dict[str, list[str]] = {}
    for state in STATES:
        told.setdefault(moves(summary(falls(rows, "F, pre", state=state))), []).append(state)
    return f"F before the activation {'; it '.join(f'{does} with {join(states)}' for does, states in told.items())}"


def so_far_in_words(table: pd.DataFrame) -> str:
    """How many networks with weight decay get half of the test pairs right, of `named` rows."""
    best = table[(table.net == MAIN) & (table.state == DECAY)].groupby("seed")["test accuracy"].max()
    n = f"{int((best >= 0.5).sum())} of {len(best)} networks"
    return f"Run here: in {table.step.max():,} steps {n} get half of the test pairs right, and this is F until then"


def curves(table: pd.DataFrame, along: list[str]) -> pd.DataFrame:
    """Mean over networks of those IN_MENU that every state has, along columns: measure, `along`, value, low, high, count."""
    names = [name for name in IN_MENU if table.groupby("state")[name].count().all()]
    long = table.melt([*along, "seed"], names, "measure").dropna()
    long["measure"] = long.measure.map(in_words)
    return statistics.summarize(long, ["measure", *along], "value").round(4)


def timeline(rows: Rows) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """One network through its training, as `explorer.training_explorer` takes it: curves, bars and words."""
    moments, table = rows["grokking_timeline"], networks(rows)
    shown = table[(table.seed == moments.seed[0]) & table.step.isin(moments.step)]
    panels = {
        "accuracy": {"training": "training accuracy", "test": "test accuracy"},
        "F": {"F": "F, pre"},
        "LLC": {"cold": "LLC, cold", "hot": "LLC, hot"},
    }
    curves = pd.concat(
        shown[["step"]].assign(panel=panel, line=line, value=shown[name].round(4))
        for panel, lines in panels.items()
        for line, name in lines.items()
    )
    known = zip(shown.step, *(shown[name] for name in ("test accuracy", "F, pre", "LLC, cold")), strict=True)
    words = ["step {:,}; {:.0%} of the test pairs right; F {:.0f}, LLC {:.0f}".format(*values) for values in known]
    return curves.dropna(), timeline_bars(moments), shown[["step"]].assign(words=words)


def timeline_bars(table: pd.DataFrame, least: float = 0.001) -> pd.DataFrame:
    """The lists of `runs.timeline_run`'s rows as bars: step, panel, place, kind and value, ordered by kind.

    panel "code": shares of at least `least`, place by size, kind what explains the code; panel "frequency": Fourier power.
    """
    kinds = {"a": "a", "b": "b", "s": "a + b", "-": "none alone", "power": "power"}
    codes = table.assign(panel="code", value=table.shares.str.split(), kind=table.tuned.map(list))
    waves = table.assign(panel="frequency", value=table.spectrum.str.split(), kind="power").explode("value")
    bars = pd.concat([codes.explode(["value", "kind"]), waves]).astype({"value": float})
    bars["place"] = bars.groupby(["step", "panel"]).cumcount() + 1
    bars = bars[(bars.panel == "frequency") | (bars.value >= least)][["step", "panel", "place", "kind", "value"]]
    order = {kind: i for i, kind in enumerate(kinds)}
    return bars.sort_values("kind", key=lambda kind: kind.map(order), kind="stable").replace({"kind": kinds})


@lru_cache
def levels(rows: Rows) -> pd.DataFrame:
    """Means over the main networks of all columns at the start, when memorised, at t50 and at the end (columns), and the paper's.

    Read at the checkpoint at, or next after, the moment of each network.
    """
    table, when = networks(rows), moments(rows)
    steps = when.assign(start=0, end=table.step.max())[["start", "memorised", "t50", "end"]]
    read = {name: table[table.step >= table.seed.map(steps[name])].groupby("seed").head(1) for name in steps}
    names = ["F, paper", "LLC, paper"]
    paper = pd.DataFrame({"start": [145, None], "memorised": [175, 47], "end": [153, 23]}, index=names)
    return pd.concat([pd.DataFrame({name: part.mean(numeric_only=True) for name, part in read.items()}), paper])


def falls(rows: Rows, column: str, net: str = MAIN, state: str = DECAY) -> pd.Series:
    """The fall (`transitions.fall`) of each network between the moments of its seed with weight decay, by seed.

    NaN where no checkpoint lies between them; networks whose seed does not generalise with weight decay are left out.
    """
    when, parts = moments(rows, net), networks(rows, net, state).groupby("seed")
    found = {s: transitions.fall(part, column, when.memorised[s], when.t10[s]) for s, part in parts if s in when.index}
    return pd.Series(found, dtype=float)


def mean_falls(rows: Rows) -> pd.DataFrame:
    """Mean fall of F, rank and norm by net, measure and state; unread: seeds without a checkpoint between memorised and t10."""
    names = [name for name in MEASURES if name.startswith(("F, ", "effective rank", "weight norm"))]
    lines = []
    for net, name, state in itertools.product(checkpoints(rows).net.unique(), names, STATES):
        fell = falls(rows, name, net, state)
        unread = ", ".join(map(str, fell.index[fell.isna()]))
        lines.append({"net": net, "measure": name, "state": state, **summary(fell), "unread": unread})
    return pd.DataFrame(lines)


def other_nets(rows: Rows) -> pd.DataFrame:
    """The falls of F, of rank and of norm in every kind of network with weight decay: by net and measure."""
    names = ["F, pre", "F, post", "effective rank, pre", "effective rank, post", "weight norm"]
    table = mean_falls(rows)
    table = table[(table.state == DECAY) & table.measure.isin(names)].drop(columns="state")
    return table.set_index(["net", "measure"])


def of_saes(rows: Rows) -> pd.DataFrame:
    """Quality of the main networks' SAEs at each site, and what their codes are tuned to, at the moments of `levels`."""
    kept, lines = levels(rows).filter(regex="^(fvu|l0|dead)_.*_protocol$|^tuned_.*(pre|post)$", axis=0), {}
    for name, line in kept.iterrows():
        what, _, site = str(name).removesuffix("_protocol").rpartition("_")
        lines[what.replace("tuned_", "tuned to ").replace(" sum", " the sum"), site] = line
    return pd.DataFrame(lines).T.rename_axis(["codes", "site"])


def half_way(rows: Rows) -> pd.DataFrame:
    """The fall from SAEs half way through their training, beside that at its end, and how far F moves in between."""
    table, lines = networks(rows), {}
    for name in ("F, pre", "F, post", "F, pre, mean unit", "F, post, mean unit"):
        half = MEASURES[name].replace("features", "half")
        fell = {"fall, half way": falls(rows, half).mean(), "fall, end": falls(rows, name).mean()}
        lines[name] = fell | {"F moves by": (table[name] / table[half] - 1).abs().mean()}
    return pd.DataFrame(lines).T


def peak_falls(rows: Rows, column: str) -> pd.DataFrame:
    """The fall of each main network's column from its peak (`transitions.peak_fall`), by seed."""
    table, when = networks(rows), moments(rows)[["t10", "t90"]]
    found = {s: transitions.peak_fall(table[table.seed == s], column, *when.loc[s]) for s in when.index}
    return pd.DataFrame(found).T


def sharpness(rows: Rows) -> pd.DataFrame:
    """How much of the fall from peak to end lies in the transition (a ratio of means), and how much of the time."""
    lines = {}
    for name in ("F, pre", "F, pre, mean unit", "F, pre, published"):
        fell = peak_falls(rows, name)
        means = fell[["drop", "peak_step", "time"]].mean()
        inside = dict(zip(("inside", "low", "high"), transitions.ratio_interval(fell.inside, fell.fall), strict=True))
        lines[name] = {"peak to end": means["drop"], "peak at step": means.peak_step, **inside, "time": means.time}
    return pd.DataFrame(lines).T


@lru_cache
def leads(rows: Rows) -> pd.DataFrame:
    """Steps from the steepest rise of test accuracy to the steepest change of each measure: measure, seed, lead, edge, moves.

    Searched from four checkpoints after memorising to eight after t90. White noise stands at the end.
    """
    when, table, level = moments(rows), networks(rows), levels(rows)
    table, step = table[table.seed.isin(when.index)], transitions.spacing(table)
    windows = pd.DataFrame({"start": when.memorised + 4 * step, "end": when.t90 + 8 * step})
    gaps = table.groupby("seed")[["LLC, cold", "LLC, hot"]]  # of chains in trouble, if any
    whole = gaps.transform(lambda y: y.interpolate(limit_direction="both"))
    filled = table.drop(columns=list(whole)).join(whole)
    accuracy, lines = transitions.steepest_moments(filled, "test accuracy", 1, windows)["at"], []
    for name in (name for name in MEASURES if not any(word in name for word in NOT_TIMED)):
        direction = np.sign(level.end[name] - level.memorised[name])
        found = transitions.steepest_moments(filled, name, direction, windows)
        moves = "up" if direction > 0 else "down"
        lines.append(found.assign(measure=name, lead=found["at"] - accuracy, moves=moves))
    noise = transitions.noise_leads(table, accuracy, windows)
    lines.append(pd.DataFrame({"lead": noise, "measure": "white noise", "moves": ""}))
    return pd.concat(lines).rename_axis("seed").reset_index()


def mean_leads(rows: Rows) -> pd.DataFrame:
    """Mean lead by measure, first movers first; edge: share of networks whose moment is the first or last allowed."""
    groups = leads(rows).groupby("measure", sort=False)
    found = pd.DataFrame({name: summary(part.lead) | {"edge": part.edge.mean()} for name, part in groups}).T
    return found.assign(moves=groups.moves.first()).sort_values("mean")


def first_movers(rows: Rows) -> pd.DataFrame:
    """The measure that moves first in all networks but one, and its lead in that one (measure, lead), by seed.

    Measures whose moments lie at an edge in half of the networks are out.
    """
    timed = leads(rows).groupby("measure", sort=False).filter(lambda part: part.edge.mean() < 0.5)
    found = timed.set_index(["seed", "measure"]).lead.unstack(sort=False)
    picks = {seed: found.drop(seed).mean().idxmin() for seed in found.index}
    return pd.DataFrame({"measure": picks, "lead": {seed: found[name][seed] for seed, name in picks.items()}})


@lru_cache
def correlations(rows: Rows, setting: str, name: str) -> pd.DataFrame:
    """Pearson r of a measure with the LLC in a setting, by seed (`transitions.correlations`)."""
    return transitions.correlations(networks(rows), aligned(rows), name, f"LLC, {setting}")


def mean_correlations(rows: Rows) -> pd.DataFrame:
    """Their means over networks: LLC (the setting), measure, r of, mean, low, high, n."""
    left_out = ("F, post, mean unit", "F, embedding, mean unit")
    names = [name for name in MEASURES if name.startswith("F, ") and name not in left_out]
    return pd.DataFrame(
        {"LLC": setting, "measure": name, "r of": kind, **summary(values)}
        for setting in ("cold", "hot")
        for name in [*names, "effective rank, pre", "weight norm"]
        for kind, values in correlations(rows, setting, name).items()
    )


def random_pairings(rows: Rows, draws: int = 10_000) -> tuple[float, float, float]:
    """F's mean r with the own LLC (cold) and with that of all networks, and the share of random pairings that do as well."""
    r, rng = transitions.pairings(aligned(rows), "F, pre", "LLC, cold").to_numpy(), np.random.default_rng(0)
    orders = np.array([rng.permutation(len(r)) for _ in range(draws)])
    as_well = (r[np.arange(len(r)), orders].mean(1) >= r.diagonal().mean()).sum()
    return float(r.diagonal().mean()), float(r.mean()), float((as_well + 1) / (draws + 1))


def health(rows: Rows) -> pd.DataFrame:
    """How the chains of the main networks do: troubles at all checkpoints, the rest once training pairs are memorised."""
    table, lines = networks(rows), {}
    known = table[table.step >= table.seed.map(moments(rows).memorised)]
    for setting, sampling in SAMPLINGS.items():
        value, drift, error = (known[f"llc_{name}{setting}"] for name in ("", "drift_", "error_"))
        loss = known.loss_train + value / sampling.n_beta
        lines[setting] = {
            "checkpoints": f"{len(table)}",
            "in trouble": f"{table[f'llc_trouble_{setting}'].notna().sum()}",
            "median error": f"{(error / value).median():.3f}",
            "largest drift": f"{(drift / value).abs().max():.3f}",
            "median loss of the chains": f"{loss.median():.2f}",
            "above guessing": f"{(loss > math.log(53)).mean():.0%}",
        }
    return pd.DataFrame(lines)


def chain_traces(chains: Mapping[str, Chains], steps: Iterable[int]) -> pd.DataFrame:
    """Losses along chains by setting, in means of ten steps, burn-in included: setting, checkpoint, chain, draw, loss."""
    lines = []
    for setting, sampled in sorted(chains.items()):
        means = torch.cat([sampled.burned, sampled.trace], 2).unflatten(2, (-1, 10)).mean(-1).double().numpy().round(4)
        for step, of_step in zip(steps, means, strict=True):
            for c, losses in enumerate(of_step, 1):
                place = {"setting": setting, "checkpoint": f"step {step}", "chain": f"chain {c}"}
                lines.append(pd.DataFrame({**place, "draw": 10 * np.arange(len(losses)) + 5, "loss": losses}))
    return pd.concat(lines)


def choices(rows: Rows) -> pd.DataFrame:
    """The fall of F from the first step to the last under each variation of the protocol, by site and variation.

    other: how far F is from that of the protocol, mean of the absolute relative differences; quality at the last step.
    """
    table, by = rows["grokking_variations"], ["site", "variation"]
    features = table.set_index([*by, "seed", "step"]).effective_features.unstack("step")
    fell = (1 - features.iloc[:, 1] / features.iloc[:, 0]).groupby(by)
    apart = (features / features.xs("ours", level="variation") - 1).abs().mean(axis=1).groupby(by).mean()
    ends = table[table.step == table.step.max()].groupby(by)[["effective_features", "fvu", "l0", "dead"]].mean()
    index = pd.MultiIndex.from_product([SITES[1:], VARIATIONS], names=by)
    return pd.DataFrame([summary(fell.get_group(key)) for key in index], index).join(apart.rename("other")).join(ends)


def behind_ranges(rows: Rows) -> pd.DataFrame:
    """Mean and interval of what the claims hold against a single run of the paper's."""
    drops = {
        f"fall of F from its peak, {name}": peak_falls(rows, f"F, pre{by}")["drop"]
        for name, by in (("this book's protocol", ""), ("paper's recipe", ", published"))
    }
    raw = {f"r of F and LLC, {setting}": correlations(rows, setting, "F, pre").raw for setting in ("cold", "hot")}
    return pd.DataFrame({name: summary(values) for name, values in (drops | raw).items()}).T
