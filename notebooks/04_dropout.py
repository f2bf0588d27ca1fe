# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Dropout: spread out, or fewer?
#
# *Dropout punishes a network for relying on single neurons. Does it spread its features over more neurons, or keep
# fewer of them?*
#
# The two are different things. A code is **polysemantic** business when many neurons carry it and each neuron carries
# many; **superposition** is when there are more features than neurons. {cite:t}`bereska2025superposition` argue that
# dropout raises the first and lowers the second: copies cost room.
#
# **The claim.** F falls with dropout at every width; from rate 0 to 0.9 from 36 to 16 with 16 neurons, 52 to 21 with 32,
# 47 to 29 with 64, 51 to 40 with 128. Most of the fall comes before 0.2, and wide networks fall least.
#
# **What would refute it.** A rank correlation of F with the rate whose interval over seeds lies above zero, or holds
# zero, at some width. And, for the reading of it, a polysemanticity that does not rise.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system("git clone -q --depth 1 https://github.com/superpos/superpos")
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")
    get_ipython().run_line_magic("pip", "install -q -e ..[charts,images]")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, under a minute on two cores. `make full NAME=04_dropout` runs the full scale and fills the
# committed rows that the figures are drawn from.

# %% tags=["parameters"]
n_networks: int = 2  # networks a rate and width, seeds 1, 2, …; the independent units behind every interval
widths: str = "16,32"  # hidden neurons h
n_rates: int = 4  # dropout rates, evenly spaced from 0 to 0.9 (paper: 10)
control_rates: int = 4  # the same for the controls
net_epochs: int = 30  # epochs of a network's training (paper: 300)
sae_epochs: int = 30  # epochs of an SAE's training on all training inputs
released_epochs: int = 30  # the same, on the rows that the released code reads (its own: 300)
protocol_epochs: int = 30  # the same for our protocol (its own: 10,000 steps, which are 130)
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows
verdicts: str = ""  # table of claims to write to; empty: none

# %%
import numpy as np
import pandas as pd

from superpos import charts, metrics, statistics, sweep
from superpos.systems import parity
from superpos.verdicts import claim, record

charts.use()
pd.options.display.width = 160
pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## The method
#
# The task and the network are those of [the chapter on dictionaries](03_dictionary); dropout acts on the hidden
# layer while it trains, and is off when it is read. Training takes a stack of networks at a time, all rates of a seed.
#
# How polysemantic the layer is can be measured beside F. With dictionary rows $d_i$ and total activations $t_i$, code
# $i$ writes $C_{ij} = t_i |d_{ij}|$ to neuron $j$, and
#
# $$
# \text{neurons a code} = \Big\langle \exp H\big(C_{i\cdot} / \textstyle\sum_j C_{ij}\big) \Big\rangle_i, \qquad
# \text{codes a neuron} = \Big\langle \exp H\big(C_{\cdot j} / \textstyle\sum_i C_{ij}\big) \Big\rangle_j ,
# $$
#
# averages weighted by what is written. The same of the network's own first weights $W_1$ says how many neurons an
# input reaches, and needs no SAE.
#
# ## A known answer first
#
# A code for each neuron; eight codes that each use all eight neurons; eight codes that share one neuron.

# %%
spread = np.array([[1, 1], [1, -1]])
spread = np.kron(np.kron(spread, spread), spread)
one = np.eye(8)[[0] * 8]
for name, dictionary in {"neurons as codes": np.eye(8), "all on all": spread, "all on one": one}.items():
    neurons, codes = metrics.polysemanticity(dictionary, np.ones(8))
    print(f"{name}: {neurons:.1f} neurons a code, {codes:.1f} codes a neuron")

# %% [markdown]
# ## Run it here
#
# Three readings of the same networks:
#
# | | |
# |---|---|
# | released | the paper's recipe (untied, λ = 0.1 in the mean unit, before the ReLU, D = 4h) on the 1,024 rows of one task and one label that its code comes to read, 300 epochs of 8 steps |
# | converged | the same recipe on all training inputs, thirteen times as many steps |
# | protocol | ours, after the ReLU, on all training inputs |


# %%
def numbers(text):
    return [int(word) for word in text.split(",") if word]


fixed = {
    "width": numbers(widths), "recipe": "published", "l1": 0.1, "state": "trained", "seed": range(1, n_networks + 1),
    "site": "pre", "rows": "all", "n_rates": n_rates, "n_sae": 1, "net_epochs": net_epochs, "sae_epochs": sae_epochs,
}  # fmt: skip


def grid(**axes):
    return sweep.expand(**fixed | axes)


runs = [
    *grid(rows="released", sae_epochs=released_epochs),
    *grid(),
    *grid(recipe="protocol", l1=0.5, site="post", sae_epochs=protocol_epochs),
    *grid(state="untrained", n_rates=1),
    *grid(state=["shuffled labels", "shuffled columns"], n_rates=control_rates),
]
here = sweep.run(parity.dropout_run, runs, f"{results}/dropout.csv" if results else None, cluster=cluster or None)

# %%
trained = here[here.state == "trained"]
accuracy = trained.groupby("dropout").accuracy_train.mean()
print(len(here), "readings; accuracy falls from the lowest rate to the highest:", accuracy.iloc[0] > accuracy.iloc[-1])

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
full = sweep.read(f"{committed}/dropout.csv")
hours = full.groupby("finished").seconds.first().sum() / 3600
print(f"dropout.csv: {len(full)} rows, {hours:.1f} process hours, code {', '.join(sorted(set(full.revision)))}, "
      f"{', '.join(sorted(set(full.versions)))}, {', '.join(sorted(set(full.device)))}")  # fmt: skip
readings = {"released": "released", "all": "converged"}
full = full.assign(
    h=full.width.astype(str), reading=full["rows"].map(readings).where(full.recipe == "published", "protocol")
)
trained = full[full.state == "trained"]

# %% [markdown]
# ## The networks
#
# The rate costs accuracy, the more the narrower the network. The table holds the test accuracy at the highest rate
# beside the paper's.

# %%
networks = trained[trained.reading == "converged"]
accuracy = statistics.summarize(networks, ["h", "dropout"], "accuracy")
of_paper = {"16": 0.66, "32": 0.78, "64": 0.85, "128": 0.95}
highest = accuracy[accuracy.dropout == 0.9].set_index("h")
highest.assign(paper=pd.Series(of_paper))[["accuracy", "low", "high", "count", "paper"]]

# %% mystnb={"figure": {"caption": "Test accuracy against dropout, one line a width: mean of five networks, bands their 95% t interval.", "name": "fig-dropout-accuracy"}} tags=["hide-input", "nbval-ignore-output"]
style = {
    "x_title": "dropout rate",
    "color": "h",
    "color_title": "neurons h",
    "low": "low",
    "high": "high",
    "tooltip": ("count",),
}
charts.lines(
    accuracy, "dropout", "accuracy", **style, y_title="test accuracy", rule=0.5, title="What dropout costs",
    description="Lines of test accuracy against dropout rate for four widths.",
)  # fmt: skip

# %% [markdown]
# ## F against dropout

# %% mystnb={"figure": {"caption": "Effective features against dropout, one line a width; the menu chooses the reading. Mean of five networks, bands their 95% t interval. Dashed: the number of states that the inputs have.", "name": "fig-dropout-features"}} tags=["hide-input", "nbval-ignore-output"]
F = statistics.summarize(trained, ["reading", "h", "dropout"], "effective_features")
states = parity.possible_features()["states"]
charts.lines(
    F, "dropout", "effective_features", **style, y_title="effective features F", choose="reading",
    rule={f"{states} input states": states}, title="F against dropout",
    description="Lines of effective features against dropout rate for four widths, with a menu for the reading.",
)  # fmt: skip

# %% mystnb={"figure": {"caption": "The same as superposition ψ = F / h. Above the dashed line a layer holds more effective features than neurons.", "name": "fig-dropout-psi"}} tags=["hide-input", "nbval-ignore-output"]
psi = statistics.summarize(trained, ["reading", "h", "dropout"], "psi")
charts.lines(
    psi, "dropout", "psi", **style, y_title="superposition ψ", choose="reading", rule=1, title="ψ against dropout",
    description="Lines of superposition against dropout rate for four widths, with a menu for the reading.",
)  # fmt: skip


# %% [markdown]
# As numbers, beside the paper's: F at the lowest and the highest rate, the relative fall, and how much of the fall is
# done at a rate of 0.2 (where F falls at all).


# %%
def at(rate):
    rows = trained[trained.dropout == rate].set_index(["reading", "h", "seed"]).effective_features
    return rows.rename(f"F at {rate:g}")


falls = pd.concat([at(0.0), at(0.2), at(0.9)], axis=1)
falls = falls.sort_index()
falls["fall"] = 1 - falls["F at 0.9"] / falls["F at 0"]
order = pd.MultiIndex.from_product([["released", "converged", "protocol"], list(of_paper)], names=["reading", "h"])
means = falls.groupby(["reading", "h"]).mean().reindex(order)
means["by 0.2"] = (means["F at 0"] - means["F at 0.2"]) / (means["F at 0"] - means["F at 0.9"]).where(means.fall > 0.05)
paper = pd.DataFrame({"h": ["16", "32", "64", "128"], "F at 0": [36, 52, 47, 51], "F at 0.9": [16, 21, 29, 40]})
paper = paper.assign(reading="paper", fall=1 - paper["F at 0.9"] / paper["F at 0"]).set_index(["reading", "h"])
pd.concat([paper, means])[["F at 0", "F at 0.2", "F at 0.9", "fall", "by 0.2"]].round(2)


# %%
def ranks(table, column):
    lines = statistics.by_unit(
        table, ["reading", "h"], "seed", "rho", lambda rows: statistics.rank_correlation(rows.dropout, rows[column])
    )
    return lines.assign(of=column, low=lines.low.clip(-1), high=lines.high.clip(upper=1))  # a ρ lies between −1 and 1


rho = ranks(trained, "effective_features")
rho.pivot(index="h", columns="reading", values="rho").loc[list(of_paper)].round(2)

# %% mystnb={"figure": {"caption": "Spearman's ρ of F with the dropout rate: mean over five seeds and its 95% t interval. Left of zero F falls with dropout.", "name": "fig-dropout-rho"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    rho.assign(line="h = " + rho.h), "rho", "line", low="low", high="high", color="reading", rule=0,
    x_title="Spearman's ρ of F with the rate", title="Does F fall with dropout?",
    description="Dots with intervals: rank correlation of effective features with dropout, for four widths and three readings.",
)  # fmt: skip

# %% [markdown]
# ## Spread out?
#
# What dropout does to the neurons themselves, from the network's own weights and from the SAE. If features are copied
# to more neurons, an input reaches more of them, and a code is carried by more.

# %%
columns = ["neurons_per_input", "inputs_per_neuron", "neurons_per_code", "codes_per_neuron"]
spreads = pd.concat(ranks(trained[trained.reading == "converged"], column) for column in columns)
spreads.pivot(index="h", columns="of", values="rho").loc[list(of_paper), columns].round(2)

# %% mystnb={"figure": {"caption": "Polysemanticity against dropout as a share of the h neurons, or of what the network without dropout has; the menu chooses the quantity. Mean of five networks, bands their 95% t interval.", "name": "fig-dropout-spread"}} tags=["hide-input", "nbval-ignore-output"]
long = trained[trained.reading == "converged"].melt(["h", "seed", "dropout"], columns, "quantity")
without = long[long.dropout == 0].set_index(["h", "seed", "quantity"]).value
long["relative"] = long.value / without.reindex(pd.MultiIndex.from_frame(long[["h", "seed", "quantity"]])).to_numpy()
long["quantity"] = long.quantity.str.replace("_", " ")
charts.lines(
    statistics.summarize(long, ["quantity", "h", "dropout"], "relative"), "dropout", "relative", **style, rule=1,
    y_title="relative to no dropout", choose="quantity", title="Polysemanticity against dropout",
    description="Lines of four measures of polysemanticity against dropout, relative to no dropout, with a menu.",
)  # fmt: skip

# %% [markdown]
# ## Verdict
#
# Rules fixed before the run: a fall at some width agrees if the interval of ρ lies below zero, differs if above, and
# is open while it holds zero; the relative fall at 32 neurons agrees if the paper's number lies in our interval.

# %%
source = "dropout.csv"
claims = []
for reading, prefix, words in (("converged", "", "converged"), ("released", "released_", "as released")):
    for line in rho[rho.reading == reading].itertuples():
        claims.append(
            claim(
                f"dropout.{prefix}rho_h{line.h}", f"Sparse parity: F falls with dropout at h = {line.h}, {words} (ρ)",
                paper=-1.0, direction=True, estimate=(line.rho, line.low, line.high), n=line.count, source=source,
            )
        )  # fmt: skip
    values = falls.loc[(reading, "32"), "fall"]
    claims.append(
        claim(
            f"dropout.{prefix}fall_h32", f"Sparse parity: relative fall of F from dropout 0 to 0.9 at h = 32, {words}",
            paper=1 - 21 / 52, estimate=statistics.mean_interval(values), n=len(values), source=source,
        )
    )  # fmt: skip
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %% [markdown]
# The paper gives no ρ; −1 stands for a fall at every step.
#
# ## Controls
#
# Networks never trained, for which dropout is nothing; networks trained on shuffled labels, for which there is nothing
# to learn; and the trained networks' activations with their columns shuffled one by one.

# %% mystnb={"figure": {"caption": "Effective features of the controls against dropout, the published recipe on all training inputs; the menu chooses the width. Mean over networks, bands their 95% t interval.", "name": "fig-dropout-controls"}} tags=["hide-input", "nbval-ignore-output"]
controls = full[full.reading == "converged"]
controls = statistics.summarize(controls, ["h", "state", "dropout"], "effective_features")
untrained = controls[controls.state == "untrained"]
controls = pd.concat([controls, untrained.assign(dropout=0.9)])
charts.lines(
    controls, "dropout", "effective_features", x_title="dropout rate", y_title="effective features F", color="state",
    low="low", high="high", tooltip=("count",), choose="h", title="F of the controls",
    description="Lines of effective features against dropout for trained networks and three controls, with a menu for the width.",
)  # fmt: skip

# %%
rates = sorted(full[full.state == "shuffled labels"].dropout.unique())
beside = controls[controls.dropout.isin(rates) & controls.dropout.isin([0.0, 0.9])]
beside.pivot(index=["h", "dropout"], columns="state", values="effective_features").round(1)

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs at the lowest and the highest rate:

# %%
ends = trained[trained.dropout.isin([0.0, 0.9])].assign(held_out=lambda t: t.held_out_features / t.effective_features)
ends.groupby(["reading", "h", "dropout"], sort=False)[["fvu", "l0", "dead", "held_out"]].mean().round(3)

# %% [markdown]
# - **The released reading sees one task of one parity**, after a number of steps at which large dictionaries have not
#   settled. [The chapter on dictionaries](03_dictionary) shows how much F moves after that.
# - **A lower F need not be fewer features.** Where the SAE has converged before the ReLU, F is bounded by the inputs and
#   moves with how evenly $W_1$ weighs them.
# - **Accuracy falls with the rate**, so that a network at a high rate is also a worse one. F against dropout at equal
#   accuracy is another question.
#
# ## Exercises
#
# 1. Dropout at rate $p$ multiplies what survives by $1/(1-p)$ while training. Could the scale of $h$ alone move F in
#    the published recipe?
#
# ```{dropdown} A solution
# Yes: λ weighs an absolute value against a squared one, so a layer of twice the scale feels half the pressure. Our
# protocol divides by the mean length of a row. Compare `parity.hidden(network, data).std()` across rates.
# ```
#
# 2. Which of the four quantities of {numref}`fig-dropout-spread` could rise by chance in a network that learned nothing?
#
# ```{dropdown} A solution
# Train on `data.shuffle_labels(0)` with and without dropout and read `metrics.polysemanticity(W.T, ones)` of the first
# layer: what rises there belongs to dropout, not to the task.
# ```
