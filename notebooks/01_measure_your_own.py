# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Measure your own model
#
# *How many features does a layer represent, and do they overlap?*
#
# A layer of $N$ neurons can hold more than $N$ features if it lets them overlap: **superposition**.
# {cite:t}`bereska2025superposition` measure it with a sparse autoencoder (SAE). This chapter explains the measure,
# checks it against data whose answer is known, applies it to a small network trained here and now, and ends with
# the four lines that measure yours.
#
# **The claim.** The entropy of an SAE's codes counts the features that a layer effectively uses.
#
# **What would refute it.** On data with $k$ planted features the count must land near $k$, and order correctly when
# $k$ changes. If an untrained network or shuffled activations gave the same count as a trained network, the number
# would say nothing about what was learned.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/superpos/superpos")

# %% [markdown]
# ## Parameters
#
# These are the quick settings: half a minute on a laptop, offline. `make chapter NAME=01_measure_your_own ARGS="-p
# dataset mnist"` changes them; so does editing the cell.

# %% tags=["parameters"]
dataset: str = "digits"  # digits, mnist, fashion-mnist, cifar10, or folder:PATH (one folder of images per class)
network: str = "cnn"  # cnn, mlp, torchvision:NAME, or module:function, called with (image shape, number of classes)
width: int = 16  # channels of the first convolution (cnn), or neurons of the last hidden layer (mlp)
epochs: int = 15  # passes over the training images; 0 measures the network as it is built
layers: str = ""  # dotted names with commas between; empty: those that the network names itself
sae: str = "protocol"  # protocol (ours), published (the paper's recipe), or topk:K
n_samples: int = 6000  # rows of activations a layer, one fifth of the samples held out for reading
n_seeds: int = 3  # SAEs a layer: their spread is the measure's own noise
planted_k: str = "16,32,64,128"  # numbers of planted features for the known-answer check
results: str = ""  # results file of the planted check; empty: a scratch one
verdicts: str = ""  # table of claims to write to; empty: none

# %%
import pandas as pd

import superpos
from superpos import activations, charts, data, measurement, metrics, networks, statistics, sweep, training
from superpos.systems import planted

charts.use()
pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## The measure
#
# For activations $x \in \mathbb R^N$ an SAE finds $D > N$ non-negative codes $z$ from which $x$ can be rebuilt.
# Each code's share of the total activation, and the effective number of codes, are
#
# $$
# p_i = \frac{\sum_s |z_{si}|}{\sum_j \sum_s |z_{sj}|}, \qquad F = \exp\Big(-\sum_i p_i \ln p_i\Big),
# \qquad \psi = F / N .
# $$
#
# $F$ is the Hill number of order one {cite:p}`hill1973diversity`: $k$ codes used evenly give $F = k$, one code used
# alone gives $F = 1$. $\psi > 1$ means more effective features than neurons.

# %% mystnb={"figure": {"caption": "Drag the activation of six codes. Even shares give F = 6; a dominant code pulls F towards 1, although all six stay active.", "name": "fig-hill"}} tags=["nbval-ignore-output"]
charts.diversity_explorer(
    [60, 60, 60, 20, 10, 5],
    title="Shares of six codes, and what they count to",
    description="Bars with the shares of six codes under six sliders, and F, the effective number of codes, above them.",
)

# %% [markdown]
# Setting all sliders alike gives $F = 6$; setting all but one to zero gives $F = 1$. The count of codes that are
# ever active (order 0) ignores how much each is used, and $1/\sum p^2$ (order 2) all but ignores the rare ones.

# %%
alike, alone = metrics.code_shares([[1.0] * 6]), metrics.code_shares([[1.0, 0, 0, 0, 0, 0]])
print("alike:", round(metrics.effective_features(alike), 6), " alone:", round(metrics.effective_features(alone), 6))

# %% [markdown]
# ## A known answer first
#
# Here are activations of 64 neurons made from $k$ random directions, three of them active in a row on average, all
# alike: the truth is $F = k$. Two protocols read them. `PUBLISHED` is the recipe of the paper's code; `PROTOCOL` is
# ours, and differs in what it holds fixed: decoder rows of length one, activations brought to a common length, a
# penalty that does not weaken when the dictionary grows, a fixed number of steps, held-out rows for reading.

# %%
grid = sweep.expand(
    config=["published", "protocol"],
    n_neurons=64,
    k=[int(k) for k in planted_k.split(",")],
    active=3,
    seed=[1],
    n=2000,
)
known = sweep.run(planted.planted_run, grid, results or None)
known.pivot(index="k", columns="config", values="effective_features").round(0).astype(int)

# %% [markdown]
# The published recipe stops following the truth where $k$ passes $2N$; ours keeps going. The same check on more
# data and fresh seeds, with longer training and a larger dictionary, stands at the end of the page.

# %% [markdown]
# ## A network trained here
#
# The offline default is the set of handwritten digits that ships with scikit-learn.

# %%
train, test = data.load(dataset)
options = {"width": width} if network in networks.NETWORKS else {}
model = networks.build(network, train.shape, len(train.classes), seed=0, **options)
if epochs:
    training.train(model, train, epochs=epochs, seed=0)
names = layers.split(",") if layers else list(model.layers)
print(f"{len(train)} training images, test accuracy {training.accuracy(model, test):.2f}, layers {', '.join(names)}")

# %% [markdown]
# One call measures every layer in one pass over the data. Convolutions are read at random positions.

# %%
configs = {"protocol": superpos.PROTOCOL, "published": superpos.PUBLISHED}
if sae.startswith("topk:"):
    k = int(sae.removeprefix("topk:"))
    configs[sae] = superpos.PROTOCOL.but(activation="topk", k=k, loss="mse", tied=False, decoder_bias=True)
table = superpos.measure(model, train, names, sae=configs[sae], n_samples=n_samples, seeds=range(n_seeds))
table.groupby("layer", sort=False)[["n_neurons", "effective_features", "psi", "fvu", "l0", "dead"]].mean().round(2)

# %% [markdown]
# `fvu` is the share of variance that the SAE leaves unexplained, `l0` the mean number of codes active in a row,
# `dead` the share of codes never active on the rows read. An $F$ whose `fvu` is high describes the dictionary
# more than the layer.
#
# ## Is it something that was learned?
#
# Two controls: the same network untrained, and the trained activations with every neuron's column shuffled, which
# keeps each neuron's values and breaks what they share.

# %%
untrained = networks.build(network, train.shape, len(train.classes), seed=0, **options)
blank = superpos.measure(untrained, train, names, sae=configs[sae], n_samples=n_samples, seeds=range(n_seeds))
rows = activations.read_activations(model, train, names, n_samples=n_samples)
shuffled = pd.concat(
    measurement.measure_rows(
        *(activations.shuffle_columns(x, seed=1) for x in rows[name].split(0.2)), configs[sae], seeds=range(n_seeds)
    ).assign(layer=name)
    for name in names
)

# %%
everything = pd.concat(
    [table.assign(state="trained"), blank.assign(state="untrained"), shuffled.assign(state="shuffled")]
)
summary = statistics.summarize(everything, ["layer", "state"], "psi")
summary.pivot(index="layer", columns="state", values="psi").loc[names, ["trained", "untrained", "shuffled"]].round(1)

# %% mystnb={"figure": {"caption": "ψ of each layer, with the 95% t interval over SAE seeds (three at quick scale). The controls say how much of it any network, or any set of neurons with these values, would show.", "name": "fig-own-layers"}} tags=["nbval-ignore-output"]
charts.intervals(
    summary,
    "psi",
    "layer",
    low="low",
    high="high",
    color="state",
    rule=1,
    x_title="superposition ψ = F / N",
    title="Superposition by layer, and the controls",
    description="Dots with intervals: superposition of each layer for the trained network, the untrained one and shuffled activations.",
)
