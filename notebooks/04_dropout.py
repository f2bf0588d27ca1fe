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
# The two are different things. A feature is *distributed* if many neurons carry it, and a neuron is *polysemantic* if it
# carries many; there is *superposition* if there are more features than neurons. {cite:t}`bereska2025superposition` argue
# that dropout raises the first two and lowers the third: copies cost room.
#
# **The claim.** F falls with dropout at every width; from rate 0 to 0.9 from 36 to 16 with 16 neurons, 52 to 21 with 32,
# 47 to 29 with 64, 51 to 40 with 128. Most of the fall comes before 0.2, and wide networks fall least.
#
# **What would refute it.** A rank correlation of F with the rate whose interval over seeds lies above zero at some width;
# a fall that goes away when the SAEs are trained on. And, for the reading of it, features that do not spread.

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
sae_epochs: int = 24  # epochs of an SAE's training on all training inputs
released_epochs: int = 24  # the same, on the rows that the released script reads (its own: 300)
protocol_epochs: int = 24  # the same for our protocol (its own: 10,000 steps, which are 130)
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
# How far features spread can be measured beside F. With dictionary rows $d_i$ and total activations $t_i$, code $i$
# writes $C_{ij} = t_i |d_{ij}|$ to neuron $j$, and
#
# $$
# \text{neurons a code} = \Big\langle \exp H\big(C_{i\cdot} / \textstyle\sum_j C_{ij}\big) \Big\rangle_i, \qquad
# \text{codes a neuron} = \Big\langle \exp H\big(C_{\cdot j} / \textstyle\sum_i C_{ij}\big) \Big\rangle_j ,
# $$
#
# averages weighted by what is written. The same of the network's own first weights $W_1$ says how many neurons an
# input reaches and how many inputs a neuron reads, and needs no SAE.
#
# ## A known answer first
#
# A code for each neuron; eight codes that each use all eight neurons; eight codes that share one neuron.

# %%
pair = np.array([[1, 1], [1, -1]])
everywhere = np.kron(np.kron(pair, pair), pair)
one = np.eye(8)[[0] * 8]
for name, dictionary in {"neurons as codes": np.eye(8), "all on all": everywhere, "all on one": one}.items():
    neurons, codes = metrics.polysemanticity(dictionary, np.ones(8))
    print(f"{name}: {neurons:.1f} neurons a code, {codes:.1f} codes a neuron")

# %% [markdown]
# ## Run it here
#
# Three readings of the same networks:
#
# | | rows | site | SAE |
# |---|---|---|---|
# | released | 1,024, of one task and even parity | before the ReLU | the paper's: untied, D = 4h, λ = 0.1 in the mean unit, 300 epochs of 8 steps |
# | all inputs | all training inputs | before the ReLU | the same, run on |
# | protocol | all training inputs | after the ReLU | ours |
#
# Why the released code reads those rows stands in [the chapter on dictionaries](03_dictionary).

# %%
fixed = {
    "width": sweep.numbers(widths), "recipe": "published", "l1": 0.1, "state": "trained",
    "seed": range(1, n_networks + 1), "site": "pre", "rows": "all", "n_rates": n_rates, "n_sae": 1,
    "net_epochs": net_epochs, "sae_epochs": sae_epochs,
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
print("dropout.csv:", sweep.made_by(full))
order = ["released", "all inputs", "protocol"]
full["reading"] = (
    full["rows"].map({"released": "released", "all": "all inputs"}).where(full.recipe == "published", "protocol")
)
full["h"] = full.width.astype(str)
full = full.sort_values(["width", "dropout", "steps"], kind="stable")
full = full.sort_values("reading", key=lambda reading: reading.map(order.index), kind="stable")
ends = full[full.epochs == full.sae_epochs]
trained, F = ends[ends.state == "trained"], "effective_features"

# %% [markdown]
# ## The networks
#
# The rate costs accuracy. The table holds the test accuracy at the highest rate beside the paper's.

# %%
networks = trained[trained.reading == "all inputs"]
accuracy = statistics.summarize(networks, ["h", "dropout"], "accuracy")
of_paper = {"16": 0.66, "32": 0.78, "64": 0.85, "128": 0.95}
highest = accuracy[accuracy.dropout == accuracy.dropout.max()].set_index("h")
highest.assign(paper=pd.Series(of_paper))[["accuracy", "low", "high", "count", "paper"]]

# %% mystnb={"figure": {"caption": "Test accuracy against dropout, one line a width: mean of the networks, bands their 95% t interval. Dashed: guessing.", "name": "fig-dropout-accuracy"}} tags=["hide-input", "nbval-ignore-output"]
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

# %% mystnb={"figure": {"caption": "Effective features against dropout, one line a width; the menu chooses the reading. Mean of the networks, bands their 95% t interval. Dashed: the states of the inputs, a task, a bit on, a bit off.", "name": "fig-dropout-features"}} tags=["hide-input", "nbval-ignore-output"]
by = ["reading", "h", "dropout"]
states = parity.possible_features()["states"]
charts.lines(
    statistics.summarize(trained, by, F), "dropout", F, **style, y_title="effective features F", choose="reading",
    rule={f"{states} states": states}, title="F against dropout",
    description="Lines of effective features against dropout rate for four widths, with a menu for the reading.",
)  # fmt: skip

# %% mystnb={"figure": {"caption": "The same as superposition ψ = F / h. Above the dashed line a layer holds more effective features than neurons.", "name": "fig-dropout-psi"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    statistics.summarize(trained, by, "psi"), "dropout", "psi", **style, y_title="superposition ψ", choose="reading",
    rule=1, title="ψ against dropout",
    description="Lines of superposition against dropout rate for four widths, with a menu for the reading.",
)  # fmt: skip

# %% [markdown]
# As numbers, beside the paper's: F at the lowest rate, at 0.2 and at the highest, the relative fall, and how much of a
# fall of more than 5% is done at 0.2.


# %%
def at(rate):
    return trained[trained.dropout == rate].set_index(["reading", "h", "seed"])[F].rename(f"F at {rate:g}")


falls = pd.concat([at(0.0), at(0.2), at(0.9)], axis=1).sort_index()
falls["fall"] = 1 - falls["F at 0.9"] / falls["F at 0"]
each = pd.MultiIndex.from_product([order, list(of_paper)], names=["reading", "h"])
means = falls.groupby(["reading", "h"]).mean().reindex(each)
fall = (means["F at 0"] - means["F at 0.9"]).where(means.fall > 0.05)
means["by 0.2"] = (means["F at 0"] - means["F at 0.2"]) / fall
paper = pd.DataFrame({"h": list(of_paper), "F at 0": [36, 52, 47, 51], "F at 0.9": [16, 21, 29, 40]})
paper = paper.assign(reading="paper", fall=1 - paper["F at 0.9"] / paper["F at 0"]).set_index(["reading", "h"])
pd.concat([paper, means])[["F at 0", "F at 0.2", "F at 0.9", "fall", "by 0.2"]].round(2)

# %% [markdown]
# The rank correlation of F with the rate, one number a seed:


# %%
def ranks(table, column, by=("reading", "h")):
    """Spearman's ρ with the rate, mean over seeds; its t interval ends at ±1, where ρ does."""
    lines = statistics.by_unit(
        table, list(by), "seed", "rho", lambda rows: statistics.rank_correlation(rows.dropout, rows[column])
    )
    return lines.assign(of=column.replace("_", " "), low=lines.low.clip(-1), high=lines.high.clip(upper=1))


rho = ranks(trained, F)
rho.pivot(index="h", columns="reading", values="rho").loc[list(of_paper), order].round(2)

# %% mystnb={"figure": {"caption": "Spearman's ρ of F with the dropout rate: mean over seeds and its 95% t interval, cut at ±1. Left of zero F falls with dropout.", "name": "fig-dropout-rho"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    rho.assign(line="h = " + rho.h), "rho", "line", low="low", high="high", color="reading", rule=0,
    x_title="Spearman's ρ of F with the rate", title="Does F fall with dropout?",
    description="Dots with intervals: rank correlation of effective features with dropout, for four widths and three readings.",
)  # fmt: skip

# %% [markdown]
# ## How much of it is the training of the SAE?
#
# F of the same networks while the SAEs train on all inputs, at the lowest and the highest rate. The released recipe
# stops at 2,400 steps.

# %% mystnb={"figure": {"caption": "F against the SAE's training length on all inputs, at dropout 0 and 0.9; the menu chooses the width. Mean of the networks, bands their 95% t interval.", "name": "fig-dropout-length"}} tags=["hide-input", "nbval-ignore-output"]
on_the_way = full[(full.reading == "all inputs") & (full.state == "trained") & full.dropout.isin([0.0, 0.9])]
on_the_way = on_the_way.assign(rate=on_the_way.dropout.map("{:g}".format))
charts.lines(
    statistics.summarize(on_the_way, ["h", "rate", "steps"], F), "steps", F, x_scale="log", y_scale="log",
    x_title="training steps of the SAE", y_title="effective features F", color="rate", color_title="dropout",
    low="low", high="high", tooltip=("count",), choose="h", title="F against training length",
    description="Lines of effective features against training steps at dropout 0 and 0.9, with a menu for the width.",
)  # fmt: skip

# %% [markdown]
# How much F moved over the second half of that training, mean over rates and seeds, and the share of SAEs that moved by
# more than 5%; a width has converged if that mean is below 5%:

# %%
keys = ["reading", "state", "h", "seed", "dropout"]
half = full[2 * full.epochs == full.sae_epochs].set_index(keys)[F]
moved = (ends.set_index(keys)[F].reindex(half.index) / half - 1).abs().rename("moved").reset_index()
moved = moved[(moved.reading == "all inputs") & (moved.state == "trained")].groupby("h", sort=False).moved
settled = pd.DataFrame({"mean": moved.mean(), "over 5%": moved.apply(lambda m: (m > 0.05).mean())})
settled["state"] = np.where(settled["mean"] < 0.05, "converged", "still falling")
settled.round(3)

# %% [markdown]
# ## Spread out?
#
# Four quantities against the rate: two of the network's own weights, two of the codes (all inputs).

# %%
columns = ["neurons_per_input", "inputs_per_neuron", "neurons_per_code", "codes_per_neuron"]
spreads = pd.concat(ranks(networks, column) for column in columns)
spreads.pivot(index="h", columns="of", values="rho").loc[list(of_paper), [c.replace("_", " ") for c in columns]].round(
    2
)

# %% mystnb={"figure": {"caption": "Spearman's ρ of four quantities with the dropout rate: mean over seeds and its 95% t interval, cut at ±1. Right of zero they grow with dropout.", "name": "fig-dropout-spread-rho"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    spreads.assign(line="h = " + spreads.h), "rho", "line", low="low", high="high", color="of", color_title="quantity",
    rule=0, x_title="Spearman's ρ with the rate", title="Does dropout spread features?", height=300,
    description="Dots with intervals: rank correlation of four measures of spread with dropout, for four widths.",
)  # fmt: skip

# %% mystnb={"figure": {"caption": "The same quantities relative to the network without dropout; the menu chooses the quantity. Mean of the networks, bands their 95% t interval.", "name": "fig-dropout-spread"}} tags=["hide-input", "nbval-ignore-output"]
long = networks.melt(["h", "seed", "dropout"], columns, "quantity")
without = long[long.dropout == 0].set_index(["h", "seed", "quantity"]).value
long["relative"] = long.value / without.reindex(pd.MultiIndex.from_frame(long[["h", "seed", "quantity"]])).to_numpy()
long["quantity"] = long.quantity.str.replace("_", " ")
charts.lines(
    statistics.summarize(long, ["quantity", "h", "dropout"], "relative"), "dropout", "relative", **style, rule=1,
    y_title="relative to no dropout", choose="quantity", title="Spread against dropout",
    description="Lines of four measures of spread against dropout, relative to no dropout, with a menu.",
)  # fmt: skip

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/04_dropout.yaml`, with their history. A fall agrees if the interval of ρ lies below
# zero, differs if above, and is open while it holds zero; the spread, neurons an input reaches, likewise above zero. The
# relative fall agrees if our interval meets the paper's, whose two numbers are read off its figure to about 5% each.

# %%
source = "dropout.csv"
claims = []


def ranked(name, text, line, direction):
    estimate = (line.rho, line.low, line.high)
    claims.append(claim(name, text, paper=None, direction=direction, estimate=estimate, n=line.count, source=source))


for reading, prefix in (("all inputs", ""), ("released", "released_")):
    words = {h: "as released" if prefix else f"all inputs, {settled.state[h]}" for h in of_paper}
    for line in rho[rho.reading == reading].itertuples():
        text = f"Sparse parity: F falls with dropout at h = {line.h}, {words[line.h]} (ρ)"
        ranked(f"dropout.{prefix}rho_h{line.h}", text, line, -1)
    values = falls.loc[(reading, "32"), "fall"]
    claims.append(
        claim(
            f"dropout.{prefix}fall_h32", f"Sparse parity: relative fall of F from dropout 0 to 0.9 at h = 32, {words['32']}",
            paper=1 - 21 / 52, error=2 * 0.05 * 21 / 52, estimate=statistics.mean_interval(values), n=len(values),
            source=source,
        )
    )  # fmt: skip
for line in spreads[spreads.of == "neurons per input"].itertuples():
    text = f"Sparse parity: dropout spreads an input over more neurons at h = {line.h} (ρ)"
    ranked(f"dropout.spread_h{line.h}", text, line, 1)
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %% [markdown]
# ## Controls
#
# Networks never trained, for which dropout is nothing; networks trained on shuffled labels, which hold nothing but noise
# to learn; and the trained networks' activations with their columns shuffled one by one.

# %% mystnb={"figure": {"caption": "Effective features of the controls against dropout on all inputs; the menu chooses the width. Mean of the networks, bands their 95% t interval.", "name": "fig-dropout-controls"}} tags=["hide-input", "nbval-ignore-output"]
states_of = ends[ends.reading == "all inputs"].sort_values("width", kind="stable")
controls = statistics.summarize(states_of, ["h", "state", "dropout"], F)
controls = pd.concat([controls, controls[controls.state == "untrained"].assign(dropout=0.9)])
charts.lines(
    controls, "dropout", F, x_title="dropout rate", y_title="effective features F", color="state",
    low="low", high="high", tooltip=("count",), choose="h", title="F of the controls",
    description="Lines of effective features against dropout for trained networks and three controls, with a menu for the width.",
)  # fmt: skip

# %% [markdown]
# Do the controls follow the rate as the trained networks do? Spearman's ρ of F, and of the neurons an input reaches, at
# the rates that the controls were run at:

# %%
rates = ends[ends.state == "shuffled labels"].dropout.unique()
compared = states_of[states_of.dropout.isin(rates) & (states_of.state != "untrained")]
tables = {
    "F": ranks(compared, F, ("state", "h")),
    "spread": ranks(compared[compared.state != "shuffled columns"], "neurons_per_input", ("state", "h")),
}
compared = pd.concat(tables, names=["of what"]).reset_index("of what")
compared.pivot(index="h", columns=["of what", "state"], values="rho").loc[list(of_paper)].round(2)

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs at the lowest and the highest rate: variance left unexplained, active codes a row, dead codes, F
# on the test inputs over F on those fitted.

# %%
edges = trained[trained.dropout.isin([0.0, 0.9])].assign(held_out=lambda t: t.held_out_features / t[F])
edges.groupby(["reading", "h", "dropout"], sort=False)[["fvu", "l0", "dead", "held_out"]].mean().round(3)

# %% [markdown]
# - **The released reading sees one task of one parity**, at a number of steps at which dictionaries have not settled, the
#   less so the larger the layer's scale and the larger D ({numref}`fig-dropout-length` and {numref}`fig-dictionary-length`).
# - **Before the ReLU there is little else to count than the inputs**, at any rate: compare the untrained networks.
# - **Accuracy falls with the rate**, so that a network at a high rate is also a worse one. F against dropout at equal
#   accuracy is another question.
#
# ## Exercises
#
# 1. λ weighs an absolute value against a squared one. Could the scale of $h$ alone move F in the paper's recipe?
#
# ```{dropdown} A solution
# Yes: a layer of twice the scale feels half the pressure, and its codes take longer to die. Train
# `parity.train_networks(parity.parity(), seeds=[9, 9], dropout=[0.0, 0.9], width=32)` and compare
# `parity.hidden(network, parity.parity()).std()` of the two. Our protocol divides by the mean length of a row.
# ```
#
# 2. Does an input reach more neurons under dropout because the task asks for it, or because dropout does?
#
# ```{dropdown} A solution
# The last table of the controls: networks trained on shuffled labels have no task. What rises there too belongs to
# dropout.
# ```
