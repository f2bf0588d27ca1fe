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
# features tell the two apart, and does it move first?*
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
steps: int = 1000  # training steps of a network, all training pairs at each
every: int = 200  # steps between checkpoints
sae_steps: int = 200  # steps of each SAE's training (ours: 10,000)
llc_draws: int = 20  # draws of each LLC chain after its burn-in of 100
readings: str = "protocol,mean unit"  # SAEs: protocol, mean unit, published
decayless_networks: int = 1  # controls without weight decay
shuffled_networks: int = 1  # controls with shuffled labels
control_every: int = 500  # steps between their checkpoints
wide_networks: int = 1  # networks of 128 neurons
wide_steps: int = 200  # training steps of those
wide_every: int = 100  # steps between their checkpoints
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

import numpy as np
import pandas as pd
import torch
from scipy import stats

from superpos import charts, llc, statistics, sweep, transitions
from superpos.systems import modular
from superpos.verdicts import claim, record

charts.use()
torch.set_num_threads(1)  # the products here are small, and two threads would wait for each other
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
# every site (*pre*: $h$; *post*: $\mathrm{GELU}(h)$; the embedding) gets SAEs of its own, all from one seed (the paper's
# recipe at *pre* alone):
#
# | reading | λ | rows | codes |
# |---|---|---|---|
# | protocol | 0.5 in the sum unit | brought to mean length √N | 2h (embedding: 4e) |
# | mean unit | 3 in the mean unit | as they are | 2h (embedding: 4e) |
# | published | 0.1 in the mean unit, the paper's | as they are | 4h |
#
# λ weighs an absolute value against a squared one, in sums over a row or in means over its entries: the two units of
# [the notation page](../book/notation). The last two readings feel the scale of the layer, which weight decay changes; the first does
# not. F is read on a random fifth of all pairs that the SAE was not fitted on (drawn whatever the network trained on); of
# the embedding, which has only 53 rows, on those fitted.
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
    print(f"w^{power}: LLC within 0.04 of {1 / power:.3f}:", abs(float(chains.estimate) - 1 / power) < 0.04)
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
wide = {"hidden": 128, "steps": wide_steps, "every": wide_every, "readings": "protocol", "llc_draws": 0}
transformer = {
    "network": "transformer", "hidden": 512, "steps": transformer_steps, "every": transformer_every,
    "sae_steps": transformer_sae_steps, "readings": "protocol", "llc_draws": 0,
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
    ("mlp", 48): "MLP, 48 neurons", ("mlp", 128): "MLP, 128 neurons", ("transformer", 512): "transformer, 512 neurons",
}  # fmt: skip
full["net"] = [names[key] for key in zip(full.network, full.hidden, strict=True)]
full["state"] = pd.Categorical(full.state, modular.STATES)
full = full.sort_values(["network", "hidden", "state", "seed", "step"]).astype({"state": str})
for setting in modular.LLC_SETTINGS:  # estimates of chains in trouble are none
    full[f"llc_{setting}"] = full[f"llc_{setting}"].where(full[f"llc_trouble_{setting}"].isna())
small = full[full.net == "MLP, 48 neurons"]
main = small[small.state == "weight decay"]
F = "features_pre_protocol"

# %% [markdown]
# ## When is it understood?
#
# *memorised*: the first checkpoint with 99% of the training pairs right; *t10*, *t50*, *t90*: when a tenth, half and nine
# tenths of the test pairs are. From t10 to t90 is the *transition*.

# %%
decays = full[full.state == "weight decay"].groupby(["net", "seed"], sort=False)
when = pd.DataFrame({key: transitions.moments(rows) for key, rows in decays}).T.rename_axis(["net", "seed"])
crossed = {net: rows.droplevel(0).dropna() for net, rows in when.groupby("net", sort=False)}
for net, rows in when.groupby("net", sort=False):
    missing = [seed for _, seed in rows.index[rows.isna().any(axis=1)]]
    print(f"{net}: {len(crossed[net])} of {len(rows)} generalise", f"(not: seeds {missing})" if missing else "")
pd.concat({net: rows.describe().loc[["mean", "min", "max"]] for net, rows in crossed.items()}).round(0)

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
moments = crossed["MLP, 48 neurons"]
spacing = int(np.diff(main.step.unique()).min())
aligned = main[main.seed.isin(moments.index)].copy()
aligned["since"] = aligned.step - (aligned.seed.map(moments.t50) / spacing).round().astype(int) * spacing
aligned = aligned[aligned.groupby("since").seed.transform("size") == len(moments)].sort_values(["seed", "since"])
long = aligned.rename(columns={column: name for name, column in measures.items()})
long = long.melt(["since", "seed"], list(measures), "measure")
charts.lines(
    statistics.summarize(long.dropna(), ["measure", "since"], "value").round(4), "since", "value", low="low", high="high",
    choose="measure", tooltip=("count",), x_title="steps since half of the test pairs are right", y_title="mean over networks",
    title="Through the transition",
    description="Lines of one measure at a time against training step, aligned at the transition, with a menu.",
)  # fmt: skip

# %% [markdown]
# One network, step by step: drag the slider. Below the curves are the shares of the codes of its dictionary at *pre*
# (coloured by what explains more than half of a code's variance: $a$, $b$ or $a + b$ alone) and the embedding's Fourier
# spectrum.

# %% mystnb={"figure": {"caption": "One network through its training: accuracy, F and LLC, and at the step of the slider the shares of its dictionary's codes, largest first, and the power of the embedding by frequency.", "name": "fig-grokking-timeline"}} tags=["hide-input", "nbval-ignore-output"]
timeline = sweep.read(f"{committed}/grokking_timeline.csv")
shown = main[(main.seed == timeline.seed[0]) & main.step.isin(timeline.step)]
panels = {
    "accuracy": {"training": "accuracy_train", "test": "accuracy_test"}, "F, pre": {"F": F},
    "LLC": {"cold": "llc_cold", "hot": "llc_hot"},
}  # fmt: skip
series = pd.concat(
    shown[["step"]].assign(panel=panel, line=line, value=shown[column].round(4))
    for panel, lines in panels.items()
    for line, column in lines.items()
).dropna()
state = "step {}: test {:.2f}, F {:.0f}, LLC {:.0f}".format
words = [state(*row) for row in shown[["step", "accuracy_test", F, "llc_cold"]].to_numpy().tolist()]
words = shown[["step"]].assign(words=[line.replace(".0:", ":") for line in words])
charts.training_explorer(
    series, modular.timeline_bars(timeline), words, start=int(words.step.iloc[len(words) // 4]),
    title="One network through its training",
    description="Curves of accuracy, F and LLC, and bars of code shares and Fourier power at the step of a slider.",
)  # fmt: skip

# %% [markdown]
# The same measures as numbers, beside the paper's: at the start, when memorised, at t50 and at the end, mean over networks.


# %%
def near(steps):
    """The checkpoint of each network at, or next after, its own step."""
    return pd.concat(main[(main.seed == seed) & (main.step >= step)].head(1) for seed, step in steps.items())


at = {
    "start": near(0 * moments.t50), "memorised": near(moments.memorised), "t50": near(moments.t50),
    "end": near(0 * moments.t50 + main.step.max()),
}  # fmt: skip
levels = pd.DataFrame({when_: rows[list(measures.values())].mean() for when_, rows in at.items()})
levels.index = list(measures)
paper = pd.DataFrame({"start": [145, None], "memorised": [175, 47], "end": [153, 23]}, index=["F, paper", "LLC, paper"])
pd.concat([levels, paper]).round(2)

# %% [markdown]
# ## Does F fall?
#
# The *signed fall*: one minus F at the end (its last 400 steps) over F between memorising and t10. Mean over networks and 95%
# t interval. The controls are read between the same steps as the network of the same seed, with the same initial weights.


# %%
def falls(table, column, net="MLP, 48 neurons"):
    """The fall of each network of a table, between the moments of its seed with weight decay. → Series by seed"""
    found = {
        seed: transitions.fall(table[table.seed == seed], column, m.memorised, m.t10)
        for seed, m in crossed.get(net, moments.head(0)).iterrows()
        if (table.seed == seed).any()
    }
    found = pd.Series(found, dtype=float)
    if found.isna().any():
        print(f"{net}, {column}: no checkpoint between memorised and t10 in seeds {list(found.index[found.isna()])}")
    return found.dropna()


def summary(values):
    """Mean, interval and number of networks; without an interval for fewer than two."""
    known = len(values) > 1
    mean, low, high = statistics.mean_interval(values) if known else (*[np.nan] * 3,)
    return {"mean": mean, "low": low, "high": high, "n": len(values)}


falling = [name for name in measures if name.startswith(("F, ", "effective rank", "weight norm"))]
table = pd.DataFrame(
    {"measure": name, "state": state, **summary(falls(rows, measures[name]))}
    for name in falling
    for state, rows in small.groupby("state", sort=False)
    if rows[measures[name]].notna().all()
)
table.set_index(["measure", "state"])

# %% mystnb={"figure": {"caption": "Signed fall from between memorising and t10 to the end: mean of the networks and its 95% t interval. Right of zero a measure falls, left of zero it rises.", "name": "fig-grokking-fall"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    table.dropna(), "mean", "measure", low="low", high="high", color="state", rule=0, height=420, x_title="relative fall",
    title="What falls, and where it should not",
    description="Dots with intervals: relative fall of F by several readings, rank and norm, for networks and two controls.",
)  # fmt: skip

# %% mystnb={"figure": {"caption": "Networks and controls against training step; the menu chooses the measure. Mean of the networks and its 95% t interval.", "name": "fig-grokking-controls"}} tags=["hide-input", "nbval-ignore-output"]
shared = [name for name in measures if small[measures[name]].notna().all()]
long = small[small.step.isin(small.step[small.state != "weight decay"])]
long = long.rename(columns={measures[name]: name for name in shared}).melt(["state", "step", "seed"], shared, "measure")
charts.lines(
    statistics.summarize(long, ["measure", "state", "step"], "value").round(4), "step", "value", low="low", high="high", color="state",
    choose="measure", tooltip=("count",), x_title="training step", y_title="mean over networks",
    title="With and without understanding",
    description="Lines of one measure at a time against training step for networks and two controls, with a menu.",
)  # fmt: skip

# %% [markdown]
# How much of that is the training of the SAE? The same fall from copies taken half way, before the step size decays, and how far F
# moves from there to the end of the SAE's training (mean over checkpoints and networks). Whether SAEs trained twice as long
# still see the fall stands under *Where it breaks*.

# %%
halves = {}
for name in ("pre_protocol", "post_protocol", "pre_mean_unit", "post_mean_unit"):
    moved = (main[f"features_{name}"] / main[f"half_{name}"] - 1).abs().mean()
    half, end = (summary(falls(main, f"{part}_{name}")) for part in ("half", "features"))
    halves[name.replace("_", ", ", 1)] = {"fall, half way": half["mean"], "fall, end": end["mean"], "F moves by": moved}
pd.DataFrame(halves).T

# %% [markdown]
# ## Is the fall sharp?
#
# The fall of smoothed F from its peak to its end, how much of it lies in the transition (*inside*, negative where F
# rises there), and the share of the steps from peak to end that the transition takes. *inside* is a ratio of means over networks, with
# the jackknife's interval: each network is left out in turn.

# %%
sharp = {}
for name in ("F, pre", "F, pre, mean unit", "F, pre, published"):
    parts = {
        s: transitions.peak_fall(main[main.seed == s], measures[name], m.t10, m.t90) for s, m in moments.iterrows()
    }
    sharp[name] = pd.DataFrame(parts).T
lines = {}
for name, t in sharp.items():
    inside = dict(zip(("inside", "low", "high"), statistics.ratio_interval(t.inside, t.fall), strict=True))
    lines[name] = {"peak to end": t["drop"].mean(), "peak at step": t.peak_step.mean(), **inside, "time": t.time.mean()}
pd.DataFrame(lines).T

# %% [markdown]
# ## Which measure moves first?
#
# The step of steepest change of each measure, from shortly after memorising to shortly after t90, less that of test accuracy.
# *edge* is the share of networks whose steepest step is the first or last allowed: where it is half or more, the measure has no
# moment of its own. White noise in the same windows is the measure of chance: it need not be zero.

# %%
movers = [
    "F, pre", "F, post", "F, pre, mean unit", "LLC, cold", "LLC, hot", "effective rank, pre", "effective rank, post",
    "participation ratio, pre", "weight norm", "Fourier share, top 5", "number of frequencies",
]  # fmt: skip
filled = main[main.seed.isin(moments.index)].copy()
for setting in modular.LLC_SETTINGS:  # gaps of chains in trouble, if any, on a straight line
    by_network = filled.groupby("seed")[f"llc_{setting}"]
    filled[f"llc_{setting}"] = by_network.transform(lambda y: y.interpolate(limit_direction="both"))
window = (moments.memorised + 4 * spacing, moments.t90 + 8 * spacing)
accuracy = transitions.steepest_moments(filled, "accuracy_test", 1, *window)["at"]
moves = {name: np.sign(levels.end[name] - levels.memorised[name]) for name in movers}
found = {name: transitions.steepest_moments(filled, measures[name], moves[name], *window) for name in movers}
leads = pd.DataFrame({name: moment["at"] - accuracy for name, moment in found.items()})
lead = pd.DataFrame({name: summary(leads[name]) | {"edge": found[name].edge.mean()} for name in movers}).T
lead["moves"] = ["up" if moves[name] > 0 else "down" for name in movers]
chance = transitions.noise_leads(main.step.unique(), accuracy, *window)
lead.loc["white noise"] = {**summary(chance), "edge": np.nan, "moves": ""}
lead.sort_values("mean")

# %% mystnb={"figure": {"caption": "Steps from the steepest rise of test accuracy to the steepest change of each measure: mean of the networks and its 95% t interval. Left of zero a measure moves first. Measures marked edge have no moment of their own.", "name": "fig-grokking-first"}} tags=["hide-input", "nbval-ignore-output"]
shown = (
    lead.sort_values("mean").rename_axis("measure").reset_index().astype({"mean": float, "low": float, "high": float})
)
shown["measure"] = shown.measure.where(~(shown.edge >= 0.5), shown.measure + " (edge)")
charts.intervals(
    shown, "mean", "measure", low="low", high="high", rule=0, height=360, x_title="steps after test accuracy",
    title="Which measure moves first?",
    description="Dots with intervals: lead or lag of eleven measures and of noise against test accuracy, in training steps.",
)  # fmt: skip

# %% [markdown]
# The first mover, picked on all networks but one and scored on that one, in turn:

# %%
allowed = [name for name in movers if lead.edge[name] < 0.5]
picks = {seed: leads.loc[leads.index != seed, allowed].mean().idxmin() for seed in leads.index if allowed}
scores = pd.Series({seed: leads.loc[seed, name] for seed, name in picks.items()}, dtype=float)
first = pd.Series(picks, dtype=object).mode().get(0, "none")
print(f"picked: {pd.Series(picks).value_counts().to_dict()}")

# %% [markdown]
# ## F and the learning coefficient
#
# Pearson's r over the checkpoints of a network, of the values (*raw*) and of the changes between means of blocks of five
# checkpoints (*detrended*). Aligned at t50 and on the steps that all networks have: r with the network's *own* LLC, with that of the
# *others*, and the *excess* of the first. Mean over networks.

# %%
of = [
    "F, pre",
    "F, post",
    "F, embedding",
    "F, pre, mean unit",
    "F, pre, published",
    "effective rank, pre",
    "weight norm",
]
r = {
    (setting, name): transitions.correlations(main, aligned, measures[name], f"llc_{setting}")
    for setting in ("cold", "hot")
    for name in of
}
kinds = ["raw", "detrended", "own", "others", "excess"]
pd.DataFrame({key: values[kinds].mean() for key, values in r.items()}).T.rename_axis(["LLC", "measure"])

# %% mystnb={"figure": {"caption": "Pearson's r with the LLC. Mean of the networks and its 95% t interval, cold setting. Others: with the LLC of other networks, aligned at t50. Dashed: the paper's r.", "name": "fig-grokking-r"}} tags=["hide-input", "nbval-ignore-output"]
shown = pd.DataFrame(
    {"measure": name, "r of": kind, **summary(r["cold", name][kind])}
    for name in of
    for kind in ("raw", "detrended", "own", "others")
)
charts.intervals(
    shown, "mean", "measure", low="low", high="high", color="r of", rule=0.908, height=460,
    x_title="Pearson's r with the LLC (cold)", title="What goes with the learning coefficient",
    description="Dots with intervals: correlation of seven measures with the learning coefficient, raw, detrended, and with other networks' series.",
)  # fmt: skip

# %% [markdown]
# Random pairings of the networks' F with the networks' LLC, and the share in which the mean r is at least that of every
# network with its own:

# %%
R = transitions.pairings(aligned, F, "llc_cold").to_numpy()
draws = np.random.default_rng(0)
orders = np.array([draws.permutation(len(R)) for _ in range(10_000)])
as_well = (R[np.arange(len(R)), orders].mean(1) >= R.diagonal().mean()).sum()
share = (as_well + 1) / (len(orders) + 1)
print(f"own: mean r {R.diagonal().mean():.2f}; all pairs: {R.mean():.2f}; pairings that do as well: {share:.4f}")

# %% [markdown]
# ## Are the chains healthy?
#
# Checkpoints in trouble (a chain below zero, or a drift of more than a fifth of the estimate), error and drift in units of the
# estimate, and the mean loss that the chains read once training pairs are memorised. Guessing has a loss of ln 53 = 3.97: chains that
# read more than that say nothing of the minimum they started from.

# %%
lines, known = {}, main[main.step >= main.seed.map(moments.memorised)]
for setting, options in modular.LLC_SETTINGS.items():
    value, drift = known[f"llc_{setting}"], known[f"llc_drift_{setting}"]
    loss = known.loss_train + value / options["n_beta"]
    lines[setting] = {
        "checkpoints": f"{len(main)}", "in trouble": f"{main[f'llc_trouble_{setting}'].notna().sum()}",
        "median error": f"{(known[f'llc_error_{setting}'] / value).median():.3f}",
        "largest drift": f"{(drift / value).abs().max():.3f}", "median loss of the chains": f"{loss.median():.2f}",
        "above guessing": f"{(loss > math.log(53)).mean():.0%}",
    }  # fmt: skip
pd.DataFrame(lines)

# %% [markdown]
# Every chain of a network trained here, at three checkpoints, burn-in included:

# %% mystnb={"figure": {"caption": "Loss along each chain, mean of ten steps, at three checkpoints of a network; the menu chooses the setting. Draws before step 100 are dropped. Dashed: guessing.", "name": "fig-grokking-chains"}} tags=["hide-input", "nbval-ignore-output"]
marks = [300, 600, 900]
split = modular.modular(53).split(0.4, 1)
training = modular.train_networks(split, seeds=[1], steps=marks[-1], keep=marks, embed=12, hidden=48)
lines = []
for setting in modular.LLC_SETTINGS:
    chains = modular.estimate_llc(training, marks, setting, n_chains=2, seed=1).require_health()
    whole = torch.cat([chains.burned, chains.trace], 2).unflatten(2, (-1, 10)).mean(-1)
    for (k, c, t), value in np.ndenumerate(whole.numpy()):
        lines.append((setting, f"step {marks[k]}, chain {c + 1}", 10 * t + 5, round(float(value), 4)))
traces = pd.DataFrame(lines, columns=["setting", "line", "draw", "loss"])
charts.lines(
    traces.sort_values("setting", kind="stable"), "draw", "loss", color="line", choose="setting",
    rule={"guessing": math.log(53)}, x_title="step of the chain", y_title="loss", title="The chains",
    description="Lines of loss along six Langevin chains at three checkpoints, with a menu for the setting.",
)  # fmt: skip

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/06_grokking.yaml`, with their history. A number of the paper's that is of one run agrees if
# it lies in the range of one more of our runs; *low* and *high* are then that range, which is wider the more our
# networks differ, and easier to lie in.

# %%
claims, source = [], "grokking.csv"


def of_mean(name, text, values, **rule):
    line = summary(values)
    estimate = (line["mean"], line["low"], line["high"])
    text = f"Grokking: {text}"
    claims.append(claim(f"grokking.{name}", text, paper=None, estimate=estimate, n=line["n"], source=source, **rule))


def directed(name, text, values, direction):
    of_mean(name, text, values, direction=direction)


def near_zero(name, text, values, within):
    of_mean(name, text, values, within=within)


def of_one_run(name, text, values, paper, error=0.0):
    """Beside a number of the paper's that is of one run: the range of one more of ours; open if that holds zero."""
    mean, n = np.mean(values), len(values)
    reach = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n)
    text = f"Grokking: {text} (range of one run)"
    row = claim(
        f"grokking.{name}",
        text,
        paper=paper,
        error=error,
        estimate=(mean, mean - reach, mean + reach),
        n=n,
        source=source,
    )
    claims.append(row | ({"verdict": "open"} if abs(mean) <= reach else {}))


# %% [markdown]
# The fall, and where it should not be.

# %%
read_off = 3 / 175 + 3 * 153 / 175**2
text = "relative fall of F from its peak to the end, pre-activation"
of_one_run("f_drop", text, sharp["F, pre"]["drop"], 1 - 153 / 175, read_off)
of_one_run(
    "f_drop_published", f"{text}, by the paper's recipe", sharp["F, pre, published"]["drop"], 1 - 153 / 175, read_off
)
fell = {state: falls(rows, F) for state, rows in small.groupby("state", sort=False)}
directed("f_fall", "F falls from before the transition to the end", fell["weight decay"], 1)
directed("f_fall_post", "the same after the activation", falls(main, "features_post_protocol"), 1)
near_zero("control_drop", "F does not fall without weight decay", fell["no weight decay"], 0.05)
for name, state in {"fall_over_control": "no weight decay", "fall_over_shuffled": "shuffled labels"}.items():
    directed(name, f"F falls more than with {state}", (fell["weight decay"] - fell[state]).dropna(), 1)

# %% [markdown]
# Its shape, and what it goes with.

# %%
t = sharp["F, pre"]
estimate = statistics.ratio_interval(t.inside, t.fall)
text = "Grokking: more than half of the fall of F happens in the transition"
claims.append(
    claim("grokking.sharpness", text, paper=None, direction=1, than=0.5, estimate=estimate, n=len(t), source=source)
)
without = (t.inside.sum() - t.inside) / (t.fall.sum() - t.fall)
pseudo = len(t) * estimate[0] - (len(t) - 1) * without - t.time
directed("sharp_over_time", "the transition's share of the fall exceeds its share of the time", pseudo, 1)
pre = r["cold", "F, pre"]
of_one_run("r_llc_raw", "r of F and LLC, cold", pre.raw, 0.908)
of_one_run("r_llc_raw_hot", "r of F and LLC, hot", r["hot", "F, pre"].raw, 0.908)
directed("r_llc_detrended", "changes of F and LLC (cold) go together", pre.detrended, 1)
directed("r_llc_over_null", "F goes with its own LLC more than with that of other networks", pre.excess, 1)
directed("first_mover", f"some measure moves before test accuracy, in steps ({first})", scores, -1)
text = "F falls steepest when test accuracy rises steepest, in steps"
near_zero("f_lead", text, leads["F, pre"] if lead.edge["F, pre"] < 0.5 else [], 100.0)
for name, net in {"wide": "MLP, 128 neurons", "transformer": "transformer, 512 neurons"}.items():
    each = falls(full[full.net == net], F, net)
    directed(f"{name}_f_fall", f"F falls from before the transition to the end ({net})", each, 1)
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %% [markdown]
# The intervals of the means behind the ranges, and controls that generalise after all:

# %%
means = {
    "f_drop": t["drop"],
    "f_drop_published": sharp["F, pre, published"]["drop"],
    "r, cold": pre.raw,
    "r, hot": r["hot", "F, pre"].raw,
}
print(pd.DataFrame({name: summary(values) for name, values in means.items()}).T)
ends = small[(small.state != "weight decay") & (small.step == small.step.max())]
print(ends.groupby("state", sort=False)[["accuracy_train", "accuracy_test"]].mean())
found_out = ends[ends.accuracy_test > 0.9]
print("generalising controls:", [f"{row.state}, seed {row.seed}" for row in found_out.itertuples()] or "none")

# %% [markdown]
# ## Where it breaks
#
# The fall between step 800 and the end under every choice that a reading makes: mean over networks, 95% t interval, and the
# SAE's quality at the end. *other*: how far F is from ours at these steps, mean of the absolute relative differences.

# %%
varied = sweep.read(f"{committed}/grokking_variations.csv")
keys = ["site", "variation", "seed"]
by_step = varied.set_index([*keys, "step"]).effective_features.unstack("step")
change = (1 - by_step.iloc[:, 1] / by_step.iloc[:, 0]).rename("fall").reset_index()
choices = pd.DataFrame(
    {"site": site, "variation": name, **summary(change.fall[(change.site == site) & (change.variation == name)])}
    for site in ("pre", "post")
    for name in modular.VARIATIONS
)
apart = (by_step / by_step.xs("ours", level="variation") - 1).abs().mean(axis=1).groupby(["site", "variation"]).mean()
ends = varied[varied.step == varied.step.max()].groupby(["site", "variation"])[
    ["effective_features", "fvu", "l0", "dead"]
]
choices.set_index(["site", "variation"]).join(apart.rename("other")).join(ends.mean())

# %% mystnb={"figure": {"caption": "Relative fall of F from step 800 to the end under one change of our protocol at a time: mean of the networks and its 95% t interval.", "name": "fig-grokking-choices"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    choices, "mean", "variation", low="low", high="high", color="site", rule=0, height=380, x_title="relative fall of F",
    title="Does the fall depend on the SAE?",
    description="Dots with intervals: relative fall of F for eleven choices of the SAE, before and after the activation.",
)  # fmt: skip

# %% [markdown]
# Quality of the SAEs of the main networks: variance left unexplained, active codes a row, dead codes.

# %%
quality = {
    (site, q): [rows[f"{q}_{site}_protocol"].mean() for rows in at.values()] for site in modular.SITES for q in ("fvu", "l0", "dead")
}  # fmt: skip
pd.DataFrame(quality, index=list(at)).T.rename_axis(["site", "quality"]).round(3)

# %% [markdown]
# The other networks: signed falls, and what the codes of the main networks know. *tuned to a*: share of a code's variance that $a$
# alone explains, averaged over codes by their activation.

# %%
others = pd.DataFrame(
    {
        "network": net,
        "measure": name,
        **summary(falls(full[(full.net == net) & (full.state == "weight decay")], measures[name], net)),
    }
    for net in crossed
    for name in ("F, pre", "F, post", "effective rank, pre", "effective rank, post", "weight norm")
)
others.set_index(["network", "measure"])

# %%
tuned = {
    (site, what): [rows[f"tuned_{what}_{site}"].mean() for rows in at.values()] for site in ("pre", "post") for what in ("a", "b", "sum")
}  # fmt: skip
pd.DataFrame(tuned, index=list(at)).T.rename_axis(["site", "tuned to"])

# %% [markdown]
# - **The fall is gradual.** By the paper's recipe, whose F follows the scale of the layer, it starts before test accuracy moves; by ours it
#   goes on after. Nor is it F's alone: the effective rank before the activation falls as well.
# - **F is a number of one dictionary**, fitted anew at every checkpoint from one seed. What it differs by from seed to seed stands under
#   *other*; its steepest step is to be read beside that of white noise.
# - **Tying decides what is counted.** An untied SAE gives each row few active codes, reads F near the number of codes at any time, and
#   sees no fall. Every tied one sees it, more of it with more codes than neurons, and none once each neuron's values are shuffled apart.
# - **Before the activation $h$ is a function of $a$ plus a function of $b$.** Codes, a ReLU of that, are explained by
#   $a$ and $b$ nearly alone, hardly by their sum: what F counts there are parts of two embeddings. After the activation the sum appears.
# - **The LLC is meant for a minimum.** These weights are held by weight decay where the training loss alone still has a
#   slope, and the hot chains read losses above guessing.
#
# ## Exercises
#
# 1. Does subtraction look different? And $a^2 + b$, which is not symmetric in its numbers?
#
# ```{dropdown} A solution
# `modular.checkpoint_run("mlp", 48, "weight decay", 1, 0.4, 100, 4000, 2000, 50, "protocol", operation="-")` returns the same rows
# for another operation, `"a2+b"` for the other. For $a^2 + b$ numbers of equal square act alike in the left path and not in the right,
# while both paths share one embedding: compare the step at which test accuracy rises.
# ```
#
# 2. The paper's $r$ comes with p < 0.001. What is wrong with a p-value over checkpoints?
#
# ```{dropdown} A solution
# It counts every checkpoint as an independent observation, while neighbouring ones are nearly the same network. Two series that
# each go down have a high r whatever they are: compare $r$ with the LLC of other networks in the table above, which
# know nothing of this one.
# ```
