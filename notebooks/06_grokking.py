# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Grokking: does F see the moment of understanding?
#
# *A network learns its examples by heart, and long after finds the rule behind them. Does the number of effective
# features tell the two apart, and does it tell in time?*
#
# The task is addition modulo a prime: of all pairs $(a, b)$ two fifths are shown. A network first memorises those; test
# accuracy stays at chance; then it rises to one, while the embedding turns into a few waves {cite:p}`nanda2023progress`.
# {cite:t}`bereska2025superposition` follow F of the hidden layer, beside the local learning coefficient (LLC)
# {cite:p}`lau2023quantifying`, a measure of how many directions in weight space the loss cares for.
#
# **The claim.** F rises from 145 to about 175 while the network memorises and falls sharply to about 153 when it
# generalises; the LLC peaks near 47 and decays smoothly to 23; the two correlate with r = 0.908.
#
# **What would refute it.** A fall of F in networks that never generalise; a fall that happens outside the transition; a
# correlation that is as high with the LLC of *another* network, because both series only drift the same way.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system("git clone -q --depth 1 https://github.com/superpos/superpos")
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")
    get_ipython().run_line_magic("pip", "install -q -e ..[charts,images]")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, under a minute on two cores. `make full NAME=06_grokking` runs the full scale and fills the
# committed rows that the figures are drawn from.

# %% tags=["parameters"]
n_networks: int = 2  # networks, seeds 1, 2, …; the independent units behind every interval
steps: int = 1500  # training steps of a network, all training pairs at each
every: int = 150  # steps between checkpoints
sae_steps: int = 300  # steps of each SAE's training (ours: 10,000)
llc_draws: int = 20  # draws of each LLC chain after its burn-in of 100
readings: str = "protocol,mean unit"  # SAEs: protocol, mean unit, published
decayless_networks: int = 1  # controls without weight decay
shuffled_networks: int = 1  # controls with shuffled labels
control_every: int = 500  # steps between their checkpoints
wide_networks: int = 1  # networks of 128 neurons
wide_steps: int = 300  # training steps of those
wide_every: int = 150  # steps between their checkpoints
transformer_networks: int = 1  # transformers of 512 neurons
transformer_steps: int = 10  # training steps of those
transformer_every: int = 10  # steps between their checkpoints
transformer_sae_steps: int = 10  # steps of their SAEs' training
timeline_every: int = 500  # steps between the moments of the timeline
variation_networks: int = 1  # networks of the table of choices
variation_first: int = 600  # step of their first reading, the last being the end of training
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows
verdicts: str = ""  # table of claims to write to; empty: none

# %%
import math
import warnings

import numpy as np
import pandas as pd
import torch
from scipy import stats

from superpos import charts, llc, statistics, sweep
from superpos.systems import modular
from superpos.verdicts import claim, record

charts.use()
pd.options.display.width = 160
pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## The method
#
# Two embeddings meet in one hidden layer. With $E$ shared by both numbers,
#
# $$
# h = W_l E_a + W_r E_b + c, \qquad \text{logits} = U\, \mathrm{GELU}(h) + d .
# $$
#
# 48 hidden neurons, embeddings of 12, modulus 53, AdamW on all training pairs with weight decay 1. At each checkpoint
# every site (*pre*: $h$; *post*: $\mathrm{GELU}(h)$; the embedding) gets SAEs of its own, all from one seed:
#
# | reading | λ | rows | codes |
# |---|---|---|---|
# | protocol | 0.5 in the sum unit | brought to mean length √N | 2h (embedding: 4e) |
# | mean unit | 3 in the mean unit | as they are | 2h (embedding: 4e) |
# | published | 0.1 in the mean unit, the paper's | as they are | 4h |
#
# The last two feel the scale of the layer, which weight decay changes; the first does not. F is read on a fifth of all
# pairs, drawn apart from the network's own training pairs.
#
# The LLC of weights $w^*$ is estimated by chains of Langevin steps that are pulled back to $w^*$,
#
# $$
# \hat\lambda = n\beta\,\big(\langle L(w) \rangle - L(w^*)\big), \qquad
# w \leftarrow w - \tfrac{\varepsilon}{2}\big(n\beta \nabla L + \gamma (w - w^*)\big) + \sqrt{\varepsilon}\,\mathcal N(0, 1),
# $$
#
# at two settings: *cold*, $n\beta = 82$, $\gamma = 100$, and *hot*, $n\beta = 2$, $\gamma = 5$. The burn-in is dropped. The
# estimator runs all chains of all checkpoints as one stack; `tests/test_llc.py` holds it beside `devinterp` at six checkpoints.
#
# ## A known answer first
#
# Minima of one weight with $L = w^2$, $w^4$ and $w^6$ have an LLC of 1/2, 1/4 and 1/6. Two waves, one twice as high
# as the other, hold four fifths and one fifth of the Fourier power.

# %%
rows = (torch.zeros(1000, 1),)
for power in (2, 4, 6):
    chains = llc.sample_chains(
        lambda state, rows, power=power: state["w"].abs().pow(power).sum() + 0 * rows.sum(), {"w": torch.zeros(1, 1)}, rows,
        n_beta=200, localization=0.0, lr=5e-4, n_chains=300, n_draws=1000, burn_in=1000,
    )  # fmt: skip
    print(f"w^{power}: LLC within 0.03 of {1 / power:.3f}:", abs(float(chains.estimate) - 1 / power) < 0.03)
n = torch.arange(53)
waves = torch.stack([2 * torch.cos(2 * torch.pi * 3 * n / 53), torch.sin(2 * torch.pi * 11 * n / 53)], 1)
print("Fourier power at 3 and 11:", modular.fourier_power(waves)[[2, 10]].round(3))

# %% [markdown]
# ## Run it here

# %%
fixed = {
    "network": "mlp", "hidden": 48, "state": "weight decay", "share": 0.4, "every": every, "steps": steps,
    "sae_steps": sae_steps, "llc_draws": llc_draws, "readings": readings,
}  # fmt: skip
few = {"every": control_every, "readings": "protocol", "llc_draws": 0}
wide = {"hidden": 128, "steps": wide_steps, "every": wide_every, "readings": "protocol"}
transformer = {
    "network": "transformer", "hidden": 512, "steps": transformer_steps, "every": transformer_every,
    "sae_steps": transformer_sae_steps, "readings": "protocol",
}  # fmt: skip


def grid(n, **axes):
    return sweep.expand(**fixed | axes, seed=range(1, n + 1))


def run(function, runs, name):
    return sweep.run(function, runs, f"{results}/{name}.csv" if results else None, cluster=cluster or None)


runs = [
    *grid(n_networks),
    *grid(decayless_networks, state="no weight decay", **few),
    *grid(shuffled_networks, state="shuffled labels", **few),
    *grid(wide_networks, **wide),
    *grid(transformer_networks, **transformer),
]
here = run(modular.checkpoint_run, runs, "grokking")
one = {"network": "mlp", "hidden": 48, "seed": 1, "every": timeline_every, "steps": steps, "sae_steps": sae_steps}
moments_here = run(modular.timeline_run, sweep.expand(**one, site="pre"), "grokking_timeline")
varied = {"hidden": 48, "first": variation_first, "steps": steps, "sae_steps": sae_steps}
varied_here = run(
    modular.variation_run, sweep.expand(**varied, seed=range(1, variation_networks + 1)), "grokking_variations"
)

# %%
mine = here[(here.network == "mlp") & (here.hidden == 48) & (here.step == steps)].groupby("state")
print("training pairs are memorised:", bool(mine.accuracy_train.mean()["weight decay"] > 0.98))
print("without weight decay the rule is not found:", bool(mine.accuracy_test.mean()["no weight decay"] < 0.9))

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
full = sweep.read(f"{committed}/grokking.csv")
print("grokking.csv:", sweep.made_by(full))
names = {
    ("mlp", 48): "MLP, 48 neurons",
    ("mlp", 128): "MLP, 128 neurons",
    ("transformer", 512): "transformer, 512 neurons",
}
full["net"] = [names[key] for key in zip(full.network, full.hidden, strict=True)]
main = full[(full.net == "MLP, 48 neurons") & (full.state == "weight decay")]
F = "features_pre_protocol"
last = 400  # steps: the end, and the width of the smoothing

# %% [markdown]
# ## When is it understood?
#
# *memorised*: the first checkpoint with 99% of the training pairs right; t10, t50, t90: when a tenth, half and nine tenths of
# the test pairs are.


# %%
def moments(rows):
    crossings = {
        f"t{round(100 * level)}": statistics.crossing(rows.step, rows.accuracy_test, level) for level in (0.1, 0.5, 0.9)
    }
    memorised = rows.step[rows.accuracy_train >= 0.99].min()
    return pd.Series({"memorised": memorised, **crossings, "test accuracy": rows.accuracy_test.iloc[-1]})


decays = full[full.state == "weight decay"]
when = decays.groupby(["net", "seed"], sort=False)[["step", "accuracy_train", "accuracy_test"]].apply(moments)
grokked = when.t90.notna()
print("networks that generalise:", grokked.groupby("net", sort=False).agg(lambda g: f"{g.sum()} of {len(g)}").to_dict())
when.groupby("net", sort=False).agg(["mean", "min", "max"]).round(0).T.unstack()

# %% mystnb={"figure": {"caption": "Measures of the main networks aligned at the step where half of the test pairs are right; the menu chooses the measure. Mean of the networks and its 95% t interval, over the steps that all of them have.", "name": "fig-grokking-aligned"}} tags=["hide-input", "nbval-ignore-output"]
measures = {
    "test accuracy": "accuracy_test", "training accuracy": "accuracy_train", "F, pre": F, "F, post": "features_post_protocol",
    "F, embedding": "features_embedding_protocol", "F, pre, mean unit": "features_pre_mean_unit",
    "F, post, mean unit": "features_post_mean_unit", "F, embedding, mean unit": "features_embedding_mean_unit",
    "F, pre, published": "features_pre_published", "LLC, cold": "llc_cold", "LLC, hot": "llc_hot",
    "effective rank, pre": "effective_rank_pre", "effective rank, post": "effective_rank_post",
    "participation ratio, pre": "participation_pre", "weight norm": "weight_norm", "Fourier share, top 5": "fourier_share",
    "number of frequencies": "frequencies", "codes tuned to the sum, post": "tuned_sum_post",
}  # fmt: skip
t50 = when.loc["MLP, 48 neurons"].t50[grokked["MLP, 48 neurons"]]
spacing = int(main.step[main.step > 0].min())
aligned = main[main.seed.isin(t50.index)].copy()
for setting in modular.LLC_SETTINGS:
    aligned[f"llc_{setting}"] = aligned[f"llc_{setting}"].where(aligned[f"llc_trouble_{setting}"].isna())
aligned["since"] = aligned.step - (aligned.seed.map(t50) / spacing).round().astype(int) * spacing
common = aligned.groupby("since").seed.transform("size") == len(t50)
aligned = aligned[common].sort_values(["seed", "since"])
long = aligned.rename(columns={column: name for name, column in measures.items()}).melt(
    ["since", "seed"], list(measures), "measure"
)
charts.lines(
    statistics.summarize(long.dropna(), ["measure", "since"], "value"), "since", "value", low="low", high="high", choose="measure",
    x_title="steps since half of the test pairs are right", y_title="mean over networks", title="Through the transition",
    description="Lines of one measure at a time against training step, aligned at the transition, with a menu.",
)  # fmt: skip

# %% [markdown]
# One network, step by step: drag the slider. Below the curves are the shares of the codes of its dictionary
# (coloured by what explains more than half of a code's variance: $a$, $b$ or $a + b$ alone) and the embedding's Fourier
# spectrum.

# %% mystnb={"figure": {"caption": "One network through its training: accuracy, F and LLC, and at the step of the slider the shares of its dictionary's codes, largest first, and the power of the embedding by frequency.", "name": "fig-grokking-timeline"}} tags=["hide-input", "nbval-ignore-output"]
moments_full = sweep.read(f"{committed}/grokking_timeline.csv")
shown = main[(main.seed == moments_full.seed[0]) & main.step.isin(moments_full.step)]
curves = {
    "accuracy": {"training": "accuracy_train", "test": "accuracy_test"}, "F, pre": {"F": F}, "LLC": {"cold": "llc_cold", "hot": "llc_hot"}
}  # fmt: skip
series = pd.concat(
    shown[["step"]].assign(panel=panel, line=line, value=shown[column].round(4))
    for panel, lines in curves.items()
    for line, column in lines.items()
)
explained = {"a": "a", "b": "b", "s": "a + b", "-": "none alone"}
bars = []
for row in moments_full.itertuples():
    shares = [float(word) for word in row.shares.split()]
    codes = [
        (k, explained[what], share)
        for k, (share, what) in enumerate(zip(shares, row.tuned, strict=True), 1)
        if share > 0.001
    ]
    waves = [(k, "power", float(word)) for k, word in enumerate(row.spectrum.split(), 1)]
    bars += [(row.step, "code", *code) for code in codes] + [(row.step, "frequency", *wave) for wave in waves]
bars = pd.DataFrame(bars, columns=["step", "panel", "place", "kind", "value"]).sort_values(
    "kind", key=lambda kind: kind.map([*explained.values(), "power"].index), kind="stable"
)
bars = bars.sort_values("panel", kind="stable")
words = shown[["step"]].assign(
    words=[
        f"step {r.step}: test accuracy {r.accuracy_test:.2f}, F {getattr(r, F):.0f}, LLC {r.llc_cold:.0f}"
        for r in shown.itertuples()
    ]
)
charts.training_explorer(
    series, bars, words, start=int(words.step.iloc[len(words) // 4]), title="One network through its training",
    description="Curves of accuracy, F and LLC, and bars of code shares and Fourier power at the step of a slider.",
)  # fmt: skip

# %% [markdown]
# ## Does F fall?
#
# For every reading and site the signed fall, one minus F at the end over F between memorising and t10: mean over networks and
# 95% t interval. The controls are read between the same steps as the network of the same seed.


# %%
def fall(rows, column, since, until):
    """1 − after / before of a column; after: the last 400 steps."""
    before = rows[column][(rows.step >= since) & (rows.step <= until)].mean()
    return 1 - rows[column][rows.step > rows.step.max() - last].mean() / before


def falls(table, column, net="MLP, 48 neurons"):
    """The fall of each network of a table between the steps of the network of its seed that generalises. → Series by seed"""
    moments_of = when.loc[net][grokked[net]]
    groups = {seed: rows for seed, rows in table.groupby("seed") if seed in moments_of.index}
    return pd.Series({s: fall(rows, column, moments_of.memorised[s], moments_of.t10[s]) for s, rows in groups.items()})


small = full[full.net == "MLP, 48 neurons"]
of = {name: column for name, column in measures.items() if name.startswith(("F", "effective rank", "weight norm"))}
lines = []
for name, column in of.items():
    for state, rows in small.groupby("state", sort=False):
        if rows[column].notna().all():
            value, low, high = statistics.mean_interval(each := falls(rows, column))
            lines.append({"measure": name, "state": state, "fall": value, "low": low, "high": high, "n": len(each)})
table = pd.DataFrame(lines)
table.set_index(["measure", "state"]).loc[[name for name in of if name.startswith("F, pre") or name == "F, post"]]

# %% mystnb={"figure": {"caption": "Signed fall from between memorising and t10 to the end: mean of the networks and its 95% t interval. Right of zero a measure falls.", "name": "fig-grokking-fall"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    table, "fall", "measure", low="low", high="high", color="state", rule=0, height=420, x_title="relative fall",
    title="What falls, and where it should not",
    description="Dots with intervals: relative fall of F by several readings, rank and norm, for networks and two controls.",
)  # fmt: skip

# %% mystnb={"figure": {"caption": "Networks and controls against training step; the menu chooses the measure. Mean of the networks and its 95% t interval.", "name": "fig-grokking-controls"}} tags=["hide-input", "nbval-ignore-output"]
grid_steps = small.step[small.state != "weight decay"].unique()
long = small[small.step.isin(grid_steps)].rename(columns={column: name for name, column in measures.items()})
shared = [
    "F, pre",
    "F, post",
    "F, embedding",
    "test accuracy",
    "training accuracy",
    "effective rank, pre",
    "effective rank, post",
    "weight norm",
]
long = long.melt(["state", "step", "seed"], shared, "measure")
charts.lines(
    statistics.summarize(long, ["measure", "state", "step"], "value"), "step", "value", low="low", high="high", color="state",
    choose="measure", x_title="training step", y_title="mean over networks", title="With and without understanding",
    description="Lines of one measure at a time against training step for networks and two controls, with a menu.",
)  # fmt: skip

# %% [markdown]
# ## Is the fall sharp?
#
# How much of the fall from peak to end lies between t10 and t90, beside the share of that time. A ratio of means over
# networks.


# %%
def smoothed(rows, column):
    return statistics.smooth(rows[column], width=2 * round(last / 2 / rows.step.diff().iloc[-1]) + 1)


def inside(rows, column, start, end):
    """Fall from the peak, the part of it between two times, and the share of the time from the peak. → dict"""
    y, t = smoothed(rows, column), rows.step.to_numpy()
    peak, after = y.max(), rows[column][rows.step > t[-1] - last].mean()
    within = np.interp(start, t, y) - np.interp(end, t, y)
    time = (min(end, t[-1]) - max(start, t[y.argmax()])) / (t[-1] - t[y.argmax()])
    return {
        "drop": 1 - after / peak,
        "fall": peak - after,
        "inside": within,
        "time": max(0.0, time),
        "peak at": t[y.argmax()],
    }


crossed = when.loc["MLP, 48 neurons"][grokked["MLP, 48 neurons"]]
sharp = {
    name: pd.DataFrame({s: inside(rows, column, crossed.t10[s], crossed.t90[s]) for s, rows in aligned_rows}).T
    for name, column in measures.items()
    if name.startswith("F, p")
    for aligned_rows in [[(s, main[main.seed == s]) for s in crossed.index]]
}
pd.DataFrame(
    {
        name: {
            "peak to end": t["drop"].mean(), "peak at step": t["peak at"].mean(),
            **dict(zip(("inside", "low", "high"), statistics.ratio_interval(t.inside, t.fall), strict=True)), "time": t.time.mean(),
        }
        for name, t in sharp.items()
    }
).T  # fmt: skip

# %% [markdown]
# ## Which measure moves first?
#
# The moment of steepest change of each measure from shortly after memorising to shortly after t90, less that of test accuracy.
# *edge*: share of networks whose steepest moment is the first or last allowed; where it is half or more the measure has none.

# %%
movers = [
    "F, pre", "F, post", "F, pre, mean unit", "LLC, cold", "LLC, hot", "effective rank, pre", "effective rank, post",
    "participation ratio, pre", "weight norm", "Fourier share, top 5", "number of frequencies",
]  # fmt: skip
filled = main.set_index("seed").loc[crossed.index].reset_index()
for setting in modular.LLC_SETTINGS:
    healthy = filled[f"llc_{setting}"].where(filled[f"llc_trouble_{setting}"].isna())
    filled[f"llc_{setting}"] = healthy.groupby(filled.seed).transform(lambda y: y.interpolate(limit_direction="both"))


def direction(column):
    """The sign of the mean network's change from memorised to the end."""
    changes = [
        rows[column].iloc[-1] - rows[column][rows.step >= crossed.memorised[s]].iloc[0]
        for s, rows in filled.groupby("seed")
    ]
    return 1 if np.mean(changes) > 0 else -1


def steepest(column, way):
    """When a column moves fastest in each network, and whether at an edge. → DataFrame by seed"""
    found = {
        s: statistics.steepest(
            rows.step, rows[column], way, start=crossed.memorised[s] + 4 * spacing, end=crossed.t90[s] + 8 * spacing
        )
        for s, rows in filled.groupby("seed")
    }
    return pd.DataFrame(found, index=["at", "edge"]).T


accuracy = steepest("accuracy_test", 1)["at"]
leads, edges = {}, {}
for name in movers:
    found = steepest(measures[name], direction(measures[name]))
    leads[name], edges[name] = found["at"] - accuracy, found.edge.astype(float).mean()
leads = pd.DataFrame(leads).astype(float)
lead = pd.DataFrame(
    [dict(zip(("lead", "low", "high"), statistics.mean_interval(leads[name]), strict=True)) for name in movers],
    index=movers,
)
lead["edge"] = pd.Series(edges)
lead["moves"] = ["up" if direction(measures[name]) > 0 else "down" for name in movers]
lead.sort_values("lead").round(2)

# %% mystnb={"figure": {"caption": "Steps from the steepest rise of test accuracy to the steepest change of each measure: mean of the networks and its 95% t interval. Left of zero a measure moves first. Hollow of meaning where the edge share is half or more.", "name": "fig-grokking-first"}} tags=["hide-input", "nbval-ignore-output"]
shown = lead.sort_values("lead").rename_axis("measure").reset_index()
shown["moment"] = np.where(shown.edge < 0.5, "inside the window", "at its edge")
charts.intervals(
    shown, "lead", "measure", low="low", high="high", color="moment", rule=0, height=360, x_title="steps after test accuracy",
    title="Which measure moves first?",
    description="Dots with intervals: lead or lag of eleven measures against test accuracy, in training steps.",
)  # fmt: skip

# %% [markdown]
# The first mover, picked on all networks but one and scored on that one, in turn:

# %%
allowed = [name for name in movers if edges[name] < 0.5]
picks = {s: leads.loc[leads.index != s, allowed].mean().idxmin() for s in leads.index}
scores = pd.Series({s: leads.loc[s, name] for s, name in picks.items()})
first = pd.Series(picks).mode()[0]
print(f"picked: {pd.Series(picks).value_counts().to_dict()}")

# %% [markdown]
# ## F and the learning coefficient
#
# Pearson's r over the checkpoints of a network, of the values (*raw*) and of the changes between means of blocks of five
# checkpoints (*detrended*); and r with the LLC of the other networks, aligned at t50 (*others'*), on the steps that all have.


# %%
def block_changes(y, size=5):
    """Changes between neighbouring blocks' means; NaN where a block holds one."""
    blocks = y.reset_index(drop=True).groupby(np.arange(len(y)) // size)
    return blocks.agg(lambda block: block.mean(skipna=False) if len(block) == size else np.nan).diff().iloc[1:]


def r_of(x, y):
    known = (x.notna() & y.notna()).to_numpy()
    return statistics.pearson(x[known], y[known])


def pairings(x, y):
    """r of every network's x with every network's y over the common aligned steps. → (n, n)"""
    x, y = (aligned.pivot(index="since", columns="seed", values=column) for column in (x, y))
    return np.array([[r_of(x[i], y[j]) for j in y] for i in x])


def correlations(x, y):
    """One line for each network: r raw, detrended, own and others' on the common steps. → DataFrame"""
    healthy = main.assign(**{y: main[y].where(main[y.replace("llc", "llc_trouble")].isna())})
    rows = {s: healthy[healthy.seed == s] for s in crossed.index}
    R = pairings(x, y)
    others = (R.sum(1) - R.diagonal()) / (len(R) - 1)
    return pd.DataFrame(
        {
            "raw": [r_of(t[x], t[y]) for t in rows.values()],
            "detrended": [r_of(block_changes(t[x]), block_changes(t[y])) for t in rows.values()],
            "own, aligned": R.diagonal(), "others', aligned": others, "own less others'": R.diagonal() - others,
        },
        index=list(rows),
    )  # fmt: skip


sites = {
    name: measures[name]
    for name in ("F, pre", "F, post", "F, embedding", "F, pre, mean unit", "effective rank, pre", "weight norm")
}
r = {
    (name, setting): correlations(column, f"llc_{setting}")
    for setting in ("cold", "hot")
    for name, column in sites.items()
}
lines = [
    {
        "measure": name,
        "LLC": setting,
        "r of": kind,
        **dict(zip(("r", "low", "high"), statistics.mean_interval(t[kind]), strict=True)),
    }
    for (name, setting), t in r.items()
    for kind in t
]
r_table = pd.DataFrame(lines)
r_table.pivot(index=["LLC", "measure"], columns="r of", values="r")[list(r["F, pre", "cold"])]

# %% mystnb={"figure": {"caption": "Pearson's r with the cold LLC: mean of the networks and its 95% t interval. Others': with the LLC of other networks, aligned at t50. Dashed: the paper's r.", "name": "fig-grokking-r"}} tags=["hide-input", "nbval-ignore-output"]
kinds = ["raw", "detrended", "own, aligned", "others', aligned"]
charts.intervals(
    r_table[(r_table.LLC == "cold") & r_table["r of"].isin(kinds)], "r", "measure", low="low", high="high", color="r of", rule=0.908,
    height=420, x_title="Pearson's r with the LLC (cold)", title="What goes with the learning coefficient",
    description="Dots with intervals: correlation of six measures with the learning coefficient, raw, detrended, and with other networks' series.",
)  # fmt: skip

# %% [markdown]
# Of all pairings of the networks' F with the networks' LLC, the share in which the mean r is at least that of every
# network with its own:

# %%
R = pairings(F, "llc_cold")
draws = np.random.default_rng(0)
orders = np.array([draws.permutation(len(R)) for _ in range(10_000)])
p_value = (R[np.arange(len(R)), orders].mean(1) >= R.diagonal().mean()).mean()
print(
    f"own pairing: mean r {R.diagonal().mean():.3f}; random pairings: {R.mean():.3f}; share that do as well: {p_value:.4f}"
)

# %% [markdown]
# ## Are the chains healthy?
#
# Checkpoints in trouble (a chain below zero, or a drift of more than a fifth of the estimate), the largest error and drift
# in units of the estimate, and the mean loss that the chains read at a checkpoint, which should lie far below that of
# guessing, ln 53.

# %%
lines = []
for setting, options in modular.LLC_SETTINGS.items():
    value, trouble = main[f"llc_{setting}"], main[f"llc_trouble_{setting}"]
    loss = main.loss_train + value / options["n_beta"]
    lines.append(
        {
            "setting": setting, "estimates": len(value), "in trouble": int(trouble.notna().sum()),
            "error, median": (main[f"llc_error_{setting}"] / value).median(),
            "drift, median": (main[f"llc_drift_{setting}"] / value).abs().median(), "drift, largest": (main[f"llc_drift_{setting}"] / value).abs().max(),
            "loss of chains, median": loss.median(), "above guessing": (loss > math.log(53)).mean(),
        }
    )  # fmt: skip
pd.DataFrame(lines).set_index("setting").T

# %% [markdown]
# Every chain of a network trained here, at three checkpoints, burn-in included:

# %% mystnb={"figure": {"caption": "Loss along each chain, mean of ten steps, at three checkpoints of a network; the menu chooses the setting. Draws before step 100 are dropped. Dashed: guessing.", "name": "fig-grokking-chains"}} tags=["hide-input", "nbval-ignore-output"]
training = modular.train_networks(
    modular.modular(53).split(0.4, 1), seeds=[1], steps=1500, keep=[500, 1000], embed=12, hidden=48
)
lines = []
for setting in modular.LLC_SETTINGS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chains = modular.estimate_llc(training, [500, 1000, 1500], setting, seed=1)
    whole = torch.cat([chains.burned, chains.trace], 2).unflatten(2, (-1, 10)).mean(-1)
    for (k, c, t), value in np.ndenumerate(whole.numpy()):
        lines.append((setting, f"step {[500, 1000, 1500][k]}", c, 10 * t + 5, round(float(value), 4)))
traces = pd.DataFrame(lines, columns=["setting", "checkpoint", "chain", "draw", "loss"])
traces["line"] = traces.checkpoint + ", chain " + (traces.chain + 1).astype(str)
charts.lines(
    traces.sort_values("setting", kind="stable"), "draw", "loss", color="line", choose="setting", rule={"guessing": math.log(53)},
    x_title="step of the chain", y_title="loss", title="The chains",
    description="Lines of loss along nine Langevin chains at three checkpoints, with a menu for the setting.",
)  # fmt: skip

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/06_grokking.yaml`, with their history: written before these rows, after other seeds.

# %%
claims, source, n = [], "grokking.csv", len(crossed)


def directed(name, text, values, direction, **options):
    claims.append(
        claim(f"grokking.{name}", text, paper=None, direction=direction, estimate=statistics.mean_interval(values), n=len(values), source=source, **options)
    )  # fmt: skip


def of_one_run(name, text, values, paper, reading_error=0.0):
    """Beside a number of the paper's that is of one run: the range of one more of ours; open if that holds zero."""
    mean, low, high = statistics.mean_interval(values)
    reach = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / len(values))
    known = abs(mean) > reach
    error = reach - (high - low) / 2 + reading_error
    claims.append(
        claim(f"grokking.{name}", text, paper=paper if known else None, error=error, estimate=(mean, low, high), n=len(values), source=source)
    )  # fmt: skip


read_off = 3 / 175 + 3 * 153 / 175**2
of_one_run(
    "f_drop",
    "Grokking: relative fall of F from its peak to the end, pre-activation",
    sharp["F, pre"]["drop"],
    1 - 153 / 175,
    read_off,
)
of_one_run(
    "f_drop_published",
    "Grokking: the same, read by the paper's recipe",
    sharp["F, pre, published"]["drop"],
    1 - 153 / 175,
    read_off,
)
fell = {state: falls(rows, F) for state, rows in small.groupby("state", sort=False)}
directed("f_fall", "Grokking: F falls from before the transition to the end", fell["weight decay"], 1)
claims.append(
    claim(
        "grokking.sharpness", "Grokking: more than half of the fall of F happens in the transition", paper=None, direction=1, than=0.5,
        estimate=statistics.ratio_interval(sharp["F, pre"].inside, sharp["F, pre"].fall), n=n, source=source,
    )
)  # fmt: skip
faster = sharp["F, pre"].inside / sharp["F, pre"].fall.mean() - sharp["F, pre"].time
directed("sharp_over_time", "Grokking: the transition's share of the fall exceeds its share of the time", faster, 1)
claims.append(
    claim(
        "grokking.control_drop", "Grokking: F does not fall without weight decay, where nothing is understood", paper=None, within=0.05,
        estimate=statistics.mean_interval(fell["no weight decay"]), n=len(fell["no weight decay"]), source=source,
    )
)  # fmt: skip
for name, state in {"fall_over_control": "no weight decay", "fall_over_shuffled": "shuffled labels"}.items():
    directed(name, f"Grokking: F falls more than with {state}", (fell["weight decay"] - fell[state]).dropna(), 1)
of_one_run("r_llc_raw", "Grokking: r of F and LLC (cold)", r["F, pre", "cold"]["raw"], 0.908)
of_one_run("r_llc_raw_hot", "Grokking: r of F and LLC (hot)", r["F, pre", "hot"]["raw"], 0.908)
directed("r_llc_detrended", "Grokking: changes of F and LLC (cold) go together", r["F, pre", "cold"]["detrended"], 1)
directed(
    "r_llc_over_null",
    "Grokking: F goes with its own LLC more than with that of other networks",
    r["F, pre", "cold"]["own less others'"],
    1,
)
directed("first_mover", f"Grokking: some measure moves before test accuracy (steps; {first})", scores, -1)
claims.append(
    claim(
        "grokking.f_lead", "Grokking: F falls steepest when test accuracy rises steepest (steps)", paper=None, within=100.0,
        estimate=statistics.mean_interval(leads["F, pre"]), n=n, source=source,
    )
)  # fmt: skip
for name, net in {"wide": "MLP, 128 neurons", "transformer": "transformer, 512 neurons"}.items():
    each = falls(full[full.net == net], F, net)
    if len(each) > 1:
        directed(f"{name}_f_fall", f"Grokking: F falls from before the transition to the end ({net})", each, 1)
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %% [markdown]
# Controls that generalise after all:

# %%
ends = small[(small.state != "weight decay") & (small.step == small.step.max())]
found_out = ends[ends.accuracy_test > 0.9][["state", "seed", "accuracy_test"]]
print(ends.groupby("state", sort=False)[["accuracy_train", "accuracy_test"]].mean().round(3))
print("generalising controls:", found_out.to_dict("records") or "none")

# %% [markdown]
# ## Where it breaks
#
# The fall between step 600 and the end under every choice that a reading makes: mean over networks, 95% t interval, and the
# SAE's quality at the end.

# %%
varied = sweep.read(f"{committed}/grokking_variations.csv")
keys = ["site", "variation", "seed"]
at = {
    where: varied[varied.step == step].set_index(keys).effective_features
    for where, step in (("before", varied.step.min()), ("after", varied.step.max()))
}
change = (1 - at["after"] / at["before"]).rename("fall").reset_index()
choices = statistics.summarize(change, ["site", "variation"], "fall")
quality = (
    varied[varied.step == varied.step.max()]
    .groupby(["site", "variation"], sort=False)[["effective_features", "fvu", "l0", "dead"]]
    .mean()
)
choices.set_index(["site", "variation"]).join(quality)

# %% mystnb={"figure": {"caption": "Relative fall of F from step 600 to the end under one change of our protocol at a time: mean of the networks and its 95% t interval.", "name": "fig-grokking-choices"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    choices, "fall", "variation", low="low", high="high", color="site", rule=0, height=380, x_title="relative fall of F",
    title="Does the fall depend on the SAE?",
    description="Dots with intervals: relative fall of F for eleven choices of the SAE, before and after the activation.",
)  # fmt: skip

# %% [markdown]
# Quality of the SAEs of the main networks, at the start, at half of the test pairs right and at the end: variance left
# unexplained, active codes a row, dead codes.

# %%
nearest = aligned[aligned.since == 0].assign(moment="t50")
edges_of = main[main.step.isin([0, main.step.max()])].assign(moment=lambda t: np.where(t.step == 0, "start", "end"))
quality = (
    pd.concat([edges_of, nearest])
    .groupby("moment", sort=False)[[f"{q}_{s}_protocol" for s in modular.SITES for q in ("fvu", "l0", "dead")]]
    .mean()
)
quality.T.round(3)

# %% [markdown]
# The other networks: signed fall of F and of the effective rank, before and after the activation.

# %%
lines = []
for net in list(names.values()):
    for name in ("F, pre", "F, post", "effective rank, pre", "effective rank, post", "weight norm"):
        each = falls(full[(full.net == net) & (full.state == "weight decay")], measures[name], net)
        if len(each) > 1:
            value, low, high = statistics.mean_interval(each)
            lines.append({"network": net, "measure": name, "fall": value, "low": low, "high": high, "n": len(each)})
pd.DataFrame(lines).pivot(index="measure", columns="network", values=["fall", "low", "high"]).swaplevel(
    axis=1
).sort_index(axis=1).round(2)

# %% [markdown]
# - **F is a number of one dictionary**, fitted anew at every checkpoint from one seed; what it moves by from one seed to
#   another stands in the table above.
# - **Before the activation the layer is linear in two embeddings**, so F there counts codes for $a$ and for $b$, never
#   for their sum.
# - **The LLC is meant for a minimum.** These weights are held by weight decay where the training loss alone still has a
#   slope, and the hot chains read losses above guessing.
#
# ## Exercises
#
# 1. Does subtraction look different? And $a^2 + b$, which is not symmetric in its numbers?
#
# ```{dropdown} A solution
# `modular.checkpoint_run("mlp", 48, "weight decay", 1, 0.4, 100, 4000, 2000, 50, "protocol", operation="-")` returns the same rows
# for another operation. Multiplication is addition of logarithms: its waves live on another ordering of the numbers, so the
# Fourier share misses them although the network is the same.
# ```
#
# 2. The paper's $r$ comes with p < 0.001. What is wrong with a p-value over checkpoints?
#
# ```{dropdown} A solution
# It counts every checkpoint as an independent observation, while neighbouring ones are nearly the same network. Two series that
# each go down have a high r whatever they are: compare $r$ with the LLC of another network in the table above, which
# knows nothing of this one.
# ```
