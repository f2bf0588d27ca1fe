# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Layer by layer: where does a language model keep its features?
#
# *A language model passes every token through a stack of layers. Do all of them hold as many features, or is there a layer that
# holds most?*
#
# {cite:t}`bereska2025superposition` read Pythia-70M {cite:p}`biderman2023pythia` at 19 sites of N = 512 neurons: the embedding, and in each of
# six layers what the attention adds, what the MLP adds, and the residual stream after both. The dictionaries are published ones
# {cite:p}`marks2025sparse` of D = 32,768 codes; the texts 20,000 of the Pile, of 512 tokens.
#
# **The claims.** F in thousands:
#
# | layer | embedding | 0 | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|---|---|
# | MLP | | 6.3 | **10.5** | 5.5 | 6.1 | 5.4 | 3.1 |
# | residual stream | 4.2 | 4.5 | 6.9 | 5.1 | 3.8 | 5.4 | 3.2 |
# | attention | | 2.1 | 2.9 | 3.4 | 2.4 | 3.5 | 2.7 |
#
# MLPs have more features than attention, most of all the second: 20 for each neuron. F rises and falls with depth, which mirrors the
# *hunchback* of intrinsic dimension {cite:p}`ansuini2019intrinsic`. F of the first MLP needs many texts: 0.2 thousand after one, 3.2 after 100,
# 5.6 after 1,000, flat by 20,000, with 21,000 codes that are ever active.
#
# **What would refute it.** A peak at the first or the last site; attention with as many features as MLPs; an F that grows as long as texts are
# read; the same profile in a network that never trained, or from tokens in random order; another profile by another kind of
# dictionary; an intrinsic dimension without a hunch, or with one elsewhere.
#
# **Two models.** Pythia and its dictionaries are on the Hugging Face hub. For machines without a network there is a model that any machine can
# train: a GPT-NeoX, Pythia's class, of six layers and 64 neurons, on the library and the manual of this Python itself, with SAEs
# of our own at all 19 sites. Most of this page is about that one, several times over, from different seeds. Its levels
# are not Pythia's; that the *shape* is what the paper says can be asked of both. The same code reads both.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system("git clone -q --depth 1 https://github.com/superpos/superpos")
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")
    get_ipython().run_line_magic("pip", "install -q -e ..[charts,language]")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, offline, under a minute on two cores. `make full NAME=07_layers` trains the models of the full scale and fills the
# committed rows that the figures are drawn from. With a network,
# `make full NAME=07_layers ARGS="-p pythia EleutherAI/pythia-70m-deduped"` fills Pythia's rows as well, at the paper's size.

# %% tags=["parameters"]
n_networks: int = 2  # networks, seeds 1, 2, …; the independent units behind every interval
layers: int = 2  # layers of each (Pythia-70M: 6)
width: int = 32  # neurons N of its residual stream (Pythia-70M: 512)
vocabulary: int = 512  # tokens that it knows (Pythia: 50,304)
context: int = 64  # tokens of a text, in training and reading (paper: 512)
train_steps: int = 60  # steps of its training
train_batch: int = 8  # texts a step
n_texts: int = 300  # texts that are read
n_fit_texts: int = 300  # other texts, to which SAEs are fitted
fit_rows: int = 5000  # tokens of those
sae_steps: int = 100  # steps of each SAE's training
expansion: float = 4.0  # codes a neuron (paper: 64)
k: int = 8  # active codes of a TopK SAE
l1: float = 0.5  # λ of the others, in the sum unit
n_rows: int = 500  # tokens behind TwoNN, ranks and the unexplained variance
variations: str = "half λ"  # names below of other SAEs on the network of seed 1, separated by semicolons
variation_sites: str = "mlp.0"  # sites that these read: names or kinds, or all
products: str = "float32"  # of SAEs; bfloat16 is faster where the processor or GPU has it
pythia: str = ""  # EleutherAI/pythia-70m-deduped, or any other model of the hub or folder; empty: none
pythia_dictionaries: str = "marks,eleuther"  # its dictionaries; marks@FOLDER: the same folders below a local one
pythia_texts: str = "hub:monology/pile-uncopyrighted:train:text"  # what it reads, as superpos.systems.texts says
pythia_n_texts: int = 20000  # (paper: 20,000)
pythia_context: int = 512  # (paper: 512)
pythia_draws: int = 3  # draws of texts (paper: 3)
saes: str = ""  # folder that keeps SAEs of our own for runs that would fit the same; empty: none
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows
verdicts: str = ""  # table of claims to write to; empty: none

# %%
import math
import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from superpos import charts, metrics, statistics, sweep
from superpos.dictionaries import Dictionary
from superpos.systems import language, survey
from superpos.usage import Usage
from superpos.verdicts import claim, record

charts.use()
torch.set_num_threads(1)
pd.options.display.width, pd.options.display.max_columns = 160, 12
pd.options.display.float_format = "{:.2f}".format
F, TWONN = "effective_features", "intrinsic_dimension"

# %% [markdown]
# ## The method
#
# A dictionary of D codes reads the activations $x$ of one site, token by token, $z = \mathrm{act}(W x + b)$, and F is taken from sums that run over all
# tokens $t$ of all texts:
#
# $$
# T_i = \sum_{\text{texts}} \sum_t |z_{ti}|, \qquad p_i = \frac{T_i}{\sum_j T_j}, \qquad F = \exp\Big(-\sum_i p_i \ln p_i\Big), \qquad \psi = F / N .
# $$
#
# Only the D sums are kept. Padding is never read; the first token of a text is read like the others. SAEs of our own are tied, with rows of unit
# length and scaled input (our protocol; *L1*), or keep the k largest codes (*TopK*). They are fitted to files that are not among
# those read, and the model was trained on a third set of files.
#
# F is *enough* after the first number of texts from which on it stays within 2% of its last value, if that is at most half of
# all texts.
#
# The intrinsic dimension $d$ is that of TwoNN {cite:p}`facco2017estimating`, from the distances of each row to its nearest and its second
# nearest neighbour, $P(r_2 / r_1 > \mu) = \mu^{-d}$; the effective rank is $\exp$ of the entropy of the singular values. Neither knows of dictionaries.
#
# ## A known answer first
#
# A dictionary whose codes are the neurons themselves must read what was put in: eight neurons used alike, one alone, one three times as much as another.
# Rows that come in pieces must give the same. And a Gaussian cloud of five dimensions has a TwoNN near five, in however many neurons it lies.

# %%
neurons = Dictionary(torch.eye(8), torch.zeros(8), torch.eye(8), torch.zeros(8))
draws = torch.Generator().manual_seed(0)
alike, one = torch.eye(8).repeat(50, 1), torch.eye(8)[[2] * 400]
for name, x, answer in (
    ("alike", alike, 8.0),
    ("one", one, 1.0),
    ("three to one", torch.eye(8)[[0, 0, 0, 5] * 100], 4 / 3**0.75),
):
    sums = Usage(neurons)
    for part in x.split(37):
        sums.add(part)
    print(f"{name}: F {sums.reading(8)[F]:.3f}, expected {answer:.3f}")
cloud = torch.randn(2000, 5, generator=draws) @ torch.randn(5, 32, generator=draws)
print("TwoNN of five dimensions in 32 neurons is within 0.5 of 5:", abs(metrics.two_nn(cloud) - 5) < 0.5)

# %% [markdown]
# That the sites are what hooks see, that the sums are those of all codes at once, and that published dictionaries encode as the packages that wrote
# them do, is tested in `tests/test_survey.py`, `tests/test_usage.py` and `tests/test_dictionaries.py`.
#
# ## Run it here


# %%
def small(seed, steps=train_steps):
    return f"small:layers={layers},width={width},vocabulary={vocabulary},context={context},steps={steps},batch={train_batch},seed={seed}"


def run_of(network, **changes):
    """One run: a network, by its seed, read by SAEs that are fitted with the same seed."""
    return {
        "model": small(network), "dictionaries": "fit:l1", "texts": "python:read", "seed": network, "n_texts": n_texts,
        "context": context, "windows": "all", "sites": "all", "shuffled": "none", "first_token": "keep", "products": products,
        "n_rows": n_rows, "fit_texts": "python:fit", "n_fit_texts": n_fit_texts, "fit_rows": fit_rows, "sae_steps": sae_steps,
        "expansion": expansion, "k": k, "l1": l1,
    } | changes  # fmt: skip


def grid():
    seeds = range(1, n_networks + 1)
    return [
        *(run_of(seed) for seed in seeds),
        *(run_of(seed, dictionaries="fit:topk") for seed in seeds),
        *(run_of(seed, model=small(seed, 0)) for seed in seeds),
        *(run_of(seed, shuffled="both") for seed in seeds),
        *(run_of(seed, shuffled="read") for seed in seeds),
    ]


VARIATIONS = {
    "half λ": {"l1": l1 / 2}, "twice λ": {"l1": 2 * l1}, "half the codes": {"expansion": expansion / 2},
    "twice the codes": {"expansion": 2 * expansion}, "TopK, half k": {"dictionaries": "fit:topk", "k": k // 2},
    "TopK, twice k": {"dictionaries": "fit:topk", "k": 2 * k}, "twice the steps": {"sae_steps": 2 * sae_steps},
    "no first tokens": {"first_token": "drop"}, "other seed": {"seed": 1001}, "third seed": {"seed": 1002},
}  # fmt: skip
varied = [run_of(1, **VARIATIONS[name], sites=variation_sites) for name in variations.split(";")]
run = partial(language.language_run, folder=saes or None)


def kept(name):
    return f"{results}/{name}.csv" if results else None


# %%
here = sweep.run(run, grid(), kept("layers"), cluster=cluster or None)
varied_here = sweep.run(run, varied, kept("layers_variations"), cluster=cluster or None)
of_pythia = sweep.expand(
    model=[pythia] if pythia else [], dictionaries=pythia_dictionaries.split(","), texts=pythia_texts, seed=range(1, pythia_draws + 1),
    n_texts=pythia_n_texts, context=pythia_context, products=products,
)  # fmt: skip
if of_pythia:
    sweep.run(
        language.language_run, of_pythia, kept("pythia"), n_jobs=1, threads=os.cpu_count(), cluster=cluster or None
    )

# %%
trained, untrained = (here[here.model.str.contains(",steps=0,") == value] for value in (False, True))
guessing = math.log(vocabulary)
print(f"{len(here)} rows at {here.site.nunique()} sites, {len(varied_here)} of other SAEs")
print("an untrained network guesses:", bool((untrained.loss / guessing - 1).abs().max() < 0.05))
print("a trained one knows more:", bool((trained.loss[trained.shuffled == "none"] < 0.95 * guessing).all()))
print(
    "and less of tokens in random order:", bool((trained.loss[trained.shuffled != "none"] > trained.loss.min()).all())
)
same = trained[trained.site.isin(["embed", "mlp.0"]) & (trained.dictionaries == "fit:l1")]
same = same.pivot(index=["seed", "site"], columns="shuffled", values=F)
print(
    "what sees the token alone reads the same in any order:",
    bool(((same["read"] / same["none"]) - 1).abs().max() < 1e-3),
)
print("F lies between 1 and the number of codes:", bool(here[F].between(1, here.n_codes).all()))

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
full = sweep.read(f"{committed}/layers.csv")
print("layers.csv:", sweep.made_by(full))
print("one of the models:", full.model[0])
L1, TOPK, UNTRAINED = "trained, L1", "trained, TopK", "untrained, L1"
MOVED, REFITTED = "random order, same SAEs", "random order, SAEs fitted to it"
READINGS = (L1, TOPK, UNTRAINED, MOVED, REFITTED)
STREAM, MLP, ATTENTION = "residual stream", "MLP", "attention"
LINES = {"mlp": MLP, "residual": STREAM, "embed": STREAM, "attention": ATTENTION}


def named(table):
    """Rows with their reading (model and order of the tokens, SAE), line (kind of site, the embedding in the stream) and depth."""
    reading = np.select(
        [table.model.str.contains(",steps=0,"), table.shuffled == "read", table.shuffled == "both", table.dictionaries == "fit:topk"],
        [UNTRAINED, MOVED, REFITTED, TOPK], L1,
    )  # fmt: skip
    table = table.assign(reading=pd.Categorical(reading, READINGS), line=table.kind.map(LINES))
    table["line"] = pd.Categorical(table.line, [MLP, STREAM, ATTENTION])
    table["depth"] = (table.layer + 1) / (table.layer.max() + 1)
    return table.sort_values(["reading", "line", "seed", "layer"]).astype({"reading": str, "line": str})


full = named(full)
main = full[full.reading == L1]
N, D, n_layers = int(main.n_neurons.iloc[0]), int(main.n_codes.iloc[0]), int(main.layer.max()) + 1
size = f"{main.seed.nunique()} networks of {n_layers} layers, N {N}, D {D}, {main.n_texts.iloc[0]:,} texts"
print(f"{size}, {main.n_tokens.iloc[0]:,} tokens")

# %% [markdown]
# Do the models know anything? Their loss in nats a token on the texts read, mean over networks, beside that of guessing:

# %%
loss = full.drop_duplicates(["reading", "seed"]).groupby("reading", sort=False).loss.agg(["mean", "min", "max"])
tokens = int(main.model.iloc[0].split("vocabulary=")[1].split(",")[0])
loss.loc["guessing"] = math.log(tokens)
loss.drop(index=[TOPK, REFITTED])  # the same models on the same tokens

# %% [markdown]
# ## From layer to layer
#
# F at each site: mean over networks, and ψ beside it.

# %%
profile = main.pivot_table(index="line", columns="layer", values=F, sort=False).rename(columns={-1: "embedding"})
shown = pd.concat({"F": profile, "ψ": profile / N})
shown.rename_axis(["", "site"]).astype(object).fillna("")

# %% mystnb={"figure": {"caption": "Measures of every site against depth; the menus choose the measure, and the model, the order of its tokens and the kind of SAE. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-features"}} tags=["hide-input", "nbval-ignore-output"]
measures = {
    "F": F, "ψ": "psi", "codes ever active": "hill_0", "Hill number 2": "hill_2", "TwoNN dimension": TWONN,
    "effective rank": "effective_rank", "participation ratio": "participation_ratio", "active codes a token": "l0",
}  # fmt: skip
long = full.rename(columns={column: name for name, column in measures.items()})
long = long.melt(["reading", "line", "layer", "seed"], list(measures), "measure").dropna()
by_layer = statistics.summarize(long, ["measure", "reading", "line", "layer"], "value").round(4)
charts.lines(
    by_layer, "layer", "value", low="low", high="high", color="line", color_title="site", choose=["measure", "reading"], tooltip=("count",),
    x_title="layer (−1: embedding)", y_title="mean over networks", title="From layer to layer",
    description="Lines of a measure against the layer for MLPs, attention and the residual stream, with menus for measure and reading.",
)  # fmt: skip

# %% [markdown]
# ## Few strong codes, or many alike?
#
# Hill numbers {cite:p}`hill1973diversity` of order 0, 1 and 2: the codes that are ever active, F, and one that counts strong codes most. Far apart, few
# codes carry most of the activation; near each other, all are used alike.

# %% mystnb={"figure": {"caption": "Hill numbers of order 0 (codes ever active), 1 (F) and 2 of every site, trained networks; the menus choose the kind of SAE and of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-hill"}} tags=["hide-input", "nbval-ignore-output"]
orders = {"hill_0": "0, ever active", F: "1, F", "hill_2": "2"}
long = full[full.reading.isin([L1, TOPK])].melt(["reading", "line", "layer", "seed"], list(orders), "order")
long["order"] = long.order.map(orders)
charts.lines(
    statistics.summarize(long, ["reading", "line", "order", "layer"], "value").round(3), "layer", "value", low="low", high="high",
    color="order", y_scale="log", choose=["reading", "line"], tooltip=("count",), x_title="layer (−1: embedding)", y_title="Hill number",
    title="Hill numbers 0, 1 and 2",
    description="Lines of three Hill numbers against the layer on a logarithmic axis, with menus for the SAE and the kind of site.",
)  # fmt: skip

# %% [markdown]
# Their ratios, mean over sites and networks: how many codes are ever active for each effective one, and how much order 2 is below F.

# %%
ratios = full.assign(active=full.hill_0 / full[F], strong=full.hill_2 / full[F])
ratios = ratios[ratios.reading.isin([L1, TOPK])].groupby(["reading", "line"], sort=False)[["active", "strong"]].mean()
ratios.rename(columns={"active": "ever active / F", "strong": "order 2 / F"})

# %% [markdown]
# ## How many texts are enough?
#
# F after the first texts, relative to F after all.

# %% mystnb={"figure": {"caption": "Hill numbers after so many texts, relative to those after all, trained networks; one line a layer, the menus choose. Dashed: 2% around the end. Mean of the networks.", "name": "fig-layers-convergence"}} tags=["hide-input", "nbval-ignore-output"]
curve = survey.curves(full[full.reading.isin([L1, TOPK])])
names = {F: "F", "hill_0": "codes ever active", "hill_2": "Hill number 2"}
keys = ["reading", "line", "layer", "seed"]
ends = curve.loc[curve.groupby(keys)["n_texts_read"].idxmax()].set_index(keys)[list(names)]
relative = curve.set_index([*keys, "n_texts_read"])[list(names)] / ends
relative = relative.rename(columns=names).reset_index().melt([*keys, "n_texts_read"], list(names.values()), "measure")
means = (
    relative.groupby(["measure", "reading", "line", "layer", "n_texts_read"], sort=False)["value"].mean().reset_index()
)
order = ["measure", "reading", "line", "layer", "n_texts_read"]
means = means.sort_values(
    order, key=lambda column: column.map({"F": ""}).fillna(column) if column.name == "measure" else column
)
charts.lines(
    means.round(4), "n_texts_read", "value", color="layer", x_scale="log", choose=["measure", "reading", "line"], rule={"+2%": 1.02, "−2%": 0.98},
    x_title="texts read", y_title="relative to all texts", title="Converging",
    description="Lines of relative Hill numbers against the number of texts on a logarithmic axis, a line a layer, with menus.",
)  # fmt: skip

# %% [markdown]
# The number of texts that were enough by the rule, median over networks (largest in brackets; *never*: in so many networks half of the
# texts were not):

# %%
found = full[full.reading.isin([L1, TOPK])].groupby(["reading", "line", "layer"], sort=False).enough


def words(values):
    never = f", never {values.isna().sum()}" if values.isna().any() else ""
    return f"{values.median():.0f} ({values.max():.0f})" + never if values.notna().any() else "never"


found.agg(words).unstack("layer").rename(columns={-1: "embedding"}).fillna("")

# %% [markdown]
# The first MLP, which the paper shows: F after 1, 100 and 1,000 texts and after all, and the codes ever active, as shares of F after all. The paper's
# shares are of its 6.3 thousand.

# %%
first = curve[(curve.reading == L1) & (curve.site == "mlp.0")]
at = first.groupby("n_texts_read")[[F, "hill_0"]].mean()
whole = at[F].iloc[-1]
table = (at[F][at.index.isin([1, 100, 1000, at.index.max()])] / whole).rename("ours").to_frame()
table["paper"] = table.index.map({1: 0.2 / 6.3, 100: 3.2 / 6.3, 1000: 5.6 / 6.3})
table.loc["codes ever active"] = [at.hill_0.iloc[-1] / whole, 21 / 6.3]
table.rename_axis("texts")

# %% [markdown]
# ## Is there a hunchback?
#
# *Peak*: the position of the largest value in depth, from 0 (the embedding) to 1 (the last layer), mean over networks with its interval. *Rise*: the largest
# value inside over the larger of the two ends, geometric mean over networks; above 1 there is a hunch.


# %%
def interval(values):
    """Mean and t interval of a value a network, or (mean, NaN, NaN) of one network."""
    values = pd.Series(values, dtype=float)
    return statistics.mean_interval(values) if len(values) > 1 else (values.mean(), np.nan, np.nan)


def peaks(table, line, column):
    """Position and rise of the peak in each network. → DataFrame by seed: at, rise"""
    rows = table[(table.line == line) & table[column].notna()]
    each = {seed: statistics.peak(one.depth, one[column]) for seed, one in rows.groupby("seed")}
    return pd.DataFrame(each, index=["at", "rise"]).T


def hunch(table, line, column):
    each = peaks(table, line, column)
    rise = statistics.geometric_interval(each.rise) if len(each) > 1 else (each.rise.mean(), np.nan, np.nan)
    return {
        "peak": "{:.2f} [{:.2f}, {:.2f}]".format(*interval(each["at"])),
        "rise": "{:.2f} [{:.2f}, {:.2f}]".format(*rise),
    }


depths = {
    "F, L1": (L1, F), "F, TopK": (TOPK, F), "TwoNN dimension": (L1, TWONN), "effective rank": (L1, "effective_rank"), "F, untrained": (UNTRAINED, F),
    "TwoNN dimension, untrained": (UNTRAINED, TWONN),
}  # fmt: skip
lines = [
    {"site": line, "measure": name} | hunch(full[full.reading == reading], line, column)
    for line in (STREAM, MLP, ATTENTION)
    for name, (reading, column) in depths.items()
]
paper = pd.DataFrame(
    {
        "embedding": [None, 4.2, None], "0": [6.3, 4.5, 2.1], "1": [10.5, 6.9, 2.9], "2": [5.5, 5.1, 3.4], "3": [6.1, 3.8, 2.4], "4": [5.4, 5.4, 3.5],
        "5": [3.1, 3.2, 2.7],
    },
    index=[MLP, STREAM, ATTENTION],
)  # fmt: skip
for line, values in paper.iterrows():
    values = values.dropna().astype(float)
    at, rise = statistics.peak([(int(i) + 1) / 6 if i != "embedding" else 0 for i in values.index], values)
    lines.append({"site": line, "measure": "F, paper", "peak": f"{at:.2f}", "rise": f"{rise:.2f}"})
shown = pd.DataFrame(lines)
shown.sort_values("site", key=lambda site: site.map({STREAM: 0, MLP: 1, ATTENTION: 2}), kind="stable").set_index(
    ["site", "measure"]
)

# %% mystnb={"figure": {"caption": "F, TwoNN dimension and effective rank against depth, each relative to its mean over the sites of its kind in the same network, trained networks; the menu chooses the kind of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-hunchback"}} tags=["hide-input", "nbval-ignore-output"]
parts = [
    full[full.reading == reading].assign(measure=name, value=lambda t, column=column: t[column])
    for name, (reading, column) in depths.items()
    if "untrained" not in name
]
long = pd.concat(parts).dropna(subset="value")
long["relative"] = long["value"] / long.groupby(["measure", "line", "seed"])["value"].transform("mean")
long = long.sort_values("line", key=lambda line: line.map({STREAM: 0, MLP: 1, ATTENTION: 2}), kind="stable")
charts.lines(
    statistics.summarize(long, ["line", "measure", "layer"], "relative").round(4), "layer", "relative", low="low", high="high", color="measure",
    choose="line", rule=1, tooltip=("count",), x_title="layer (−1: embedding)", y_title="relative to the mean of the sites",
    title="A hunchback?",
    description="Lines of effective features by two SAEs, intrinsic dimension and effective rank against the layer, with a menu.",
)  # fmt: skip

# %% [markdown]
# ## What is not learned
#
# F of the trained networks over F of the control, at the same site of the network of the same seed: geometric mean over the sites of a kind, then over
# networks, with its interval. *Untrained*: the same network before its first step. *Random order*: all tokens of all texts in random order, so that each is
# there as often and what precedes it tells nothing; read by the SAEs of ordered texts, or by some that were fitted to random order. The embedding and the first MLP see nothing but the
# token (attention and MLP of a layer run side by side in this class), so that by the same SAEs their F must not change.


# %%
def ratio_to(control, line=None):
    """F of the trained network over F of its control, geometric mean over sites. → Series by seed"""
    both = full[full.reading.isin([L1, control]) & ((full.line == line) if line else True)]
    both = both.pivot(index=["seed", "site"], columns="reading", values=F)
    return np.exp(np.log(both[L1] / both[control]).groupby("seed").mean())


token_alone = full[full.site.isin(["embed", "mlp.0"])].pivot(index=["seed", "site"], columns="reading", values=F)
print(
    "largest change by random order where the token is alone:",
    f"{(token_alone[MOVED] / token_alone[L1] - 1).abs().max():.1e}",
)
lines = {
    (control, line or "all sites"): dict(
        zip(("ratio", "low", "high"), statistics.geometric_interval(ratio_to(control, line)), strict=True)
    )
    for control in (UNTRAINED, MOVED, REFITTED)
    for line in (None, MLP, STREAM, ATTENTION)
}
pd.DataFrame(lines).T.rename_axis(["trained, L1 over", "site"])

# %% mystnb={"figure": {"caption": "F against depth in trained networks and in their controls, by L1 SAEs; the menu chooses the kind of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-controls"}} tags=["hide-input", "nbval-ignore-output"]
shown = full[full.reading != TOPK].sort_values(
    "line", key=lambda line: line.map({MLP: 0, STREAM: 1, ATTENTION: 2}), kind="stable"
)
charts.lines(
    statistics.summarize(shown, ["line", "reading", "layer"], F).round(3), "layer", F, low="low", high="high", color="reading", choose="line",
    tooltip=("count",), x_title="layer (−1: embedding)", y_title="F", title="Trained, and not",
    description="Lines of effective features against the layer for trained and untrained networks and for tokens in random order, with a menu.",
)  # fmt: skip

# %% [markdown]
# ## What has the same profile?
#
# Spearman's ρ over the sites of a network between F of the trained network, by L1 SAEs, and other measures of them. Mean over networks. Near one: the other
# would have ordered the sites alike.

# %%
others = {
    "F, TopK": (TOPK, F), "Hill number 2": (L1, "hill_2"), "TwoNN dimension": (L1, TWONN),
    "effective rank": (L1, "effective_rank"), "participation ratio": (L1, "participation_ratio"), "unexplained variance": (L1, "fvu"),
    "F, untrained": (UNTRAINED, F), "F, random order, same SAEs": (MOVED, F), "F, random order, refitted": (REFITTED, F),
}  # fmt: skip


def agreement(reading, column):
    """ρ over sites between F of the trained network and a measure. → Series by seed"""
    ours = main.set_index(["seed", "site"])[F].rename("a")
    both = full[full.reading == reading].set_index(["seed", "site"])[column].rename("b").to_frame().join(ours).dropna()
    return both.groupby("seed")[["a", "b"]].apply(lambda rows: statistics.rank_correlation(rows.a, rows.b))


rho = {name: agreement(*which) for name, which in others.items()}
alike = pd.DataFrame(
    {"measure": name, **dict(zip(("rho", "low", "high"), interval(values), strict=True))}
    for name, values in rho.items()
)
alike.set_index("measure")

# %% mystnb={"figure": {"caption": "Spearman's ρ over the sites between F of the trained networks, by L1 SAEs, and other measures. Mean of the networks and its 95% t interval.", "name": "fig-layers-alike"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    alike, "rho", "measure", low="low", high="high", rule=0, height=320, x_title="Spearman's ρ with F over sites", title="Who orders the sites like F?",
    description="Dots with intervals: rank correlation over sites of nine measures with effective features.",
)  # fmt: skip

# %% [markdown]
# ## Pythia-70M
#
# The paper's F in thousands, and ours of the same model where a run exists: *marks*, by the same dictionaries; *eleuther*, by TopK ones. Mean over draws of
# texts, in brackets their standard deviation.

# %%
path = Path(committed) / "pythia.csv"
tables = {"paper": paper}
if path.exists():
    rows = sweep.read(path)
    print("pythia.csv:", sweep.made_by(rows))
    rows["place"] = rows.layer.astype(str).replace("-1", "embedding")
    rows["by"] = rows.model.str.split("/").str[-1] + ", " + rows.dictionaries.str.split("@").str[0]
    by_draw = rows.groupby(["by", "site"])[F]
    print("largest spread over draws, of the mean:", f"{(by_draw.std() / by_draw.mean()).max():.1%}")
    rows["line"] = rows.kind.map(LINES)
    tables |= {by: part.pivot_table(index="line", columns="place", values=F) / 1000 for by, part in rows.groupby("by")}
else:
    print("No run yet: rows of ours wait for a machine with a network, where this fills them:")
    print('make full NAME=07_layers ARGS="-p pythia EleutherAI/pythia-70m-deduped"')
wide = pd.concat(tables, names=["F, thousands, by", "site"]).swaplevel().reindex([MLP, STREAM, ATTENTION], level=0)
wide.astype(object).fillna("")

# %% [markdown]
# F of its first MLP after so many texts, and the codes ever active there, in thousands:

# %%
first = pd.DataFrame({"paper": {1: 0.2, 100: 3.2, 1000: 5.6, 20000: 6.3, "codes ever active": 21}}).rename_axis("texts")
for by, part in rows[rows.site == "mlp.0"].groupby("by") if path.exists() else ():
    at = survey.curves(part).groupby("n_texts_read")[[F, "hill_0"]].mean() / 1000
    first[by] = pd.concat([at[F], pd.Series({"codes ever active": at.hill_0.iloc[-1]})])
first.astype(object).fillna("")

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/07_layers.yaml`, written before there was any row. Each network is one unit. The model is not the paper's, so its
# directions are asked for, and its numbers stand beside.

# %%
claims, source, n = [], "layers.csv", main.seed.nunique()


def of_networks(name, text, estimate, *, paper=None, **rule):
    text = f"Small GPT-NeoX of our own: {text}"
    claims.append(claim(f"layers.{name}", text, paper=paper, estimate=estimate, n=n, source=source, **rule))


by_site = main.pivot(index="seed", columns="site", values=F)
elsewhere = by_site.drop(columns="mlp.1").max(axis=1)
places = by_site.idxmax(axis=1).value_counts()
text = f"F of the second MLP over the largest of any other site (ours peaks at {', '.join(f'{site}: {count}' for site, count in places.items())})"
of_networks(
    "peak_site",
    text,
    statistics.geometric_interval(by_site["mlp.1"] / elsewhere),
    paper=10.5 / 6.9,
    direction=1,
    than=1,
)
sums = main.pivot_table(index="seed", columns="line", values=F, aggfunc="sum")
ratio = statistics.geometric_interval(sums[MLP] / sums[ATTENTION])
of_networks("mlp_over_attention", "F of MLPs over F of attention", ratio, paper=36.9 / 17.0, direction=1, than=1)

# %% [markdown]
# The hunchback of the stream: where F peaks, whether F and TwoNN rise inside at all, and whether they peak together.

# %%
stream, dimension = peaks(main, STREAM, F), peaks(main, STREAM, TWONN)
of_networks(
    "hunchback", "depth at which F of the residual stream peaks", interval(stream["at"]), paper=2 / 6, error=1 / 12
)
text = "largest F inside the residual stream over the larger of its ends"
of_networks("hunchback_rise", text, statistics.geometric_interval(stream.rise), paper=6.9 / 4.2, direction=1, than=1)
text = "largest TwoNN dimension inside the residual stream over the larger of its ends"
of_networks("hunchback_rise_twonn", text, statistics.geometric_interval(dimension.rise), direction=1, than=1)
text = f"depth at which TwoNN peaks in the residual stream, {dimension['at'].mean():.2f}, less that at which F does, {stream['at'].mean():.2f}"
of_networks("hunchback_twonn", text, interval(dimension["at"] - stream["at"]), within=1 / n_layers)

# %% [markdown]
# Learning, the number of texts, and the kind of SAE.

# %%
text = "F of trained networks over F before training, all sites"
of_networks("untrained_ratio", text, statistics.geometric_interval(ratio_to(UNTRAINED)), direction=1, than=1)
enough = main[main.site == "mlp.0"].enough
known = interval(enough) if enough.notna().all() else (enough.mean(), np.nan, np.nan)
of_networks(
    "samples_to_converge",
    "texts that are enough for F of the first MLP",
    known,
    paper=20_000,
    direction=-1,
    than=20_000,
)
of_networks("kinds_agree", "ρ over sites of F by L1 and by TopK SAEs", interval(rho["F, TopK"]), direction=1)
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %%
print("F is largest at:", places.to_dict())
print(f"networks in which half of the texts were not enough for the first MLP: {enough.isna().sum()} of {n}")

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs: variance left unexplained, active codes a token, dead codes, and F as a share of the D codes, above which it cannot rise; mean over
# networks and sites, and the worst site.

# %%
full["of all codes"] = full[F] / full.n_codes
quality = full.groupby(["reading", "line"], sort=False)
worst = full.loc[quality.fvu.idxmax()].set_index(["reading", "line"])
quality[["fvu", "l0", "dead", "of all codes"]].mean().join(
    worst[["site", "fvu"]].rename(columns={"site": "worst site", "fvu": "its fvu"})
)

# %% [markdown]
# Other SAEs on the network of seed 1: F relative to ours (geometric mean over the sites), the ratio of MLPs to attention, where MLPs and the stream peak, ρ over sites with
# ours, and the quality.

# %%
varied = named(sweep.read(f"{committed}/layers_variations.csv"))
base = full[(full.seed == 1) & full.reading.isin([L1, TOPK])]
ours = base[base.reading == L1].iloc[0]
options = ["dictionaries", "k", "l1", "expansion", "sae_steps", "first_token", "seed"]


def difference(row):
    """What a row's run has other than ours, in words."""
    spoken = {"fit:topk": "TopK", "drop": "no first tokens"}
    found = [(name, row[name]) for name in options if row[name] != ours[name]]
    return ", ".join(spoken.get(value) or f"{name} {value:g}" for name, value in found) or "ours"


varied = pd.concat([base, varied])
varied["variation"] = [difference(row) for row in varied.to_dict("records")]
own = varied[varied.variation == "ours"].set_index("site")[F]
lines = {}
for name, rows in varied.groupby("variation", sort=False):
    f, sums = rows.set_index("site")[F], rows.groupby("line")[F].sum()
    at = {line: rows[rows.line == line].set_index("site")[F].idxmax() for line in (MLP, STREAM)}
    lines[name] = {
        "F over ours": np.exp(np.log(f / own).mean()), "MLP / attention": sums[MLP] / sums[ATTENTION], "MLP peak": at[MLP], "stream peak": at[STREAM],
        "ρ": statistics.rank_correlation(*f.to_frame("a").join(own.rename("b")).to_numpy().T), **rows[["fvu", "l0", "dead"]].mean(),
    }  # fmt: skip
pd.DataFrame(lines).T

# %% mystnb={"figure": {"caption": "F against depth in the network of seed 1 under other SAEs: one change at a time; the menu chooses the kind of site.", "name": "fig-layers-variations"}} tags=["hide-input", "nbval-ignore-output"]
shown = varied.sort_values("line", key=lambda line: line.map({MLP: 0, STREAM: 1, ATTENTION: 2}), kind="stable")
charts.lines(
    shown[["line", "variation", "layer", F]].round(3), "layer", F, color="variation", choose="line", y_scale="log", x_title="layer (−1: embedding)",
    y_title="F", title="The same network, other SAEs", height=340,
    description="Lines of effective features against the layer for a dozen choices of the SAE, on a logarithmic axis, with a menu.",
)  # fmt: skip

# %% [markdown]
# How far F moves from one seed of the SAE (and of the tokens that it is fitted to) to the next, beside how far from network to network: the standard deviation of ln F,
# root of its mean square over sites.

# %%
seeds = varied[(varied.variation == "ours") | varied.variation.str.startswith("seed")]
spread = {"SAE seeds": seeds, "networks": main}
spread = {name: np.log(rows[F]).groupby(rows.site).var(ddof=1).mean() ** 0.5 for name, rows in spread.items()}
print({name: f"{value:.1%}" for name, value in spread.items()})

# %% [markdown]
# - **The model is small, and so are its texts.** It has seen Python and little else; a profile over its layers is one of a model that knows syntax and
#   names, not the world. What it says of Pythia is a shape to look for.
# - **F cannot pass the number of codes.** Where it comes near, as the table of the quality shows, a larger dictionary would read more. Pythia's have 64 codes for
#   each neuron, and levels of F cannot be compared.
# - **F of a site depends on the SAE's quality there.** A site that its SAE explains badly has an F of what is explained. The table of the quality names the worst.
# - **Attention and MLP outputs are small beside the stream.** The protocol scales every site to one mean length, so λ presses alike; published dictionaries
#   have a λ of their own at each site.
# - **Tokens are not independent.** Neighbours in a text are alike; TwoNN takes 2,000 tokens from all texts, so few of them are of one text.
# - **The first token of a text** has activations of its own kind. Among the other SAEs above is one that never sees it.
#
# ## Exercises
#
# 1. In the paper F after a single text is a small share of F after all; in the table of the first MLP above, is ours? What could make the difference? And why does the
#    number of codes ever active need more texts than F?
#
# ```{dropdown} A solution
# A text is about something: its tokens share few topics, the codes of other topics are silent, and the sums see only one text's mixture. That needs a model that
# knows topics, and a dictionary with codes for them; where most codes stand for tokens and syntax, one text uses nearly all that others use. A rare code adds to
# the codes ever active in full the first time that it is active, and to F only in proportion to its share. Compare in the figure of convergence the Hill
# numbers 0, 1 and 2.
# ```
#
# 2. Reading the trained SAEs on tokens in random order is not the same as fitting SAEs to random order. What does each of the two controls ask?
#
# ```{dropdown} A solution
# The first asks whether the features that were found need context to be active: the ruler stays and the texts change. The second asks how many features there would be
# to find in a model that gets no context: the ruler is made anew. What looks at single tokens alone gives the same F in any order by the same SAEs, and nearly
# the same by those that are fitted anew, to other tokens. The first MLP of a GPT-NeoX, which runs beside the attention and sees nothing but its own token, is such a part. Look at it in the figure of the controls.
# ```
