# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A finer ruler, a longer coast?
#
# *A finer ruler finds a longer coast, without end. Does a larger dictionary find more features, without end?*
#
# If the effective features F of a layer grew with the dictionary that counts them, F would be a property of the
# ruler. {cite:t}`bereska2025superposition` ask this of networks trained on sparse parity, a task in which the number
# of features is bounded.
#
# **The claim.** With a weak sparsity weight, λ = 0.01, F grows with the dictionary without bound, nearly linearly on
# logarithmic axes (27 at D = 32, about 690 at D = 1024). With λ = 0.1 and 1 it levels off (20 to 60, 18 to 33).
#
# **What would refute it.** A slope of ln F on ln D, from twice to sixteen times as many codes as neurons, once the SAEs
# have converged. For growth in a straight line: an interval without the paper's own slope, that of its end points. For
# a plateau: one that stays above 0.1, which is a quarter more features for eight times the codes.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system("git clone -q --depth 1 https://github.com/superpos/superpos")
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")
    get_ipython().run_line_magic("pip", "install -q -e ..[charts,images]")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, under a minute on two cores. `make full NAME=03_dictionary` runs the full scale and fills
# the committed rows that the figures are drawn from.

# %% tags=["parameters"]
n_networks: int = 2  # networks, seeds 1, 2, …; they are the independent units behind every interval
n_sae: int = 1  # SAEs a network in the main sweeps (full scale: 3)
width: int = 64  # hidden neurons h
net_epochs: int = 30  # epochs of a network's training (paper: 300)
expansions: str = "1.0,4.0"  # codes per neuron
lambdas: str = "1.0"  # λ of the main sweeps, in the unit of the recipe
sae_epochs: str = "40"  # epochs of an SAE's training at each of these λ
sum_epochs: int = 40  # the same, with λ in the sum unit
other_epochs: int = 40  # the same, for the other kinds and the controls
released_epochs: int = 40  # the same, on the rows that the released code reads (its own: 300)
other_l1: float = 0.1  # λ of the other kinds and the controls
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows
verdicts: str = ""  # table of claims to write to; empty: none

# %%
import numpy as np
import pandas as pd
import torch

from superpos import charts, metrics, statistics, sweep
from superpos.systems import parity
from superpos.verdicts import claim, record

charts.use()
pd.options.display.width = 160
pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## The task, and how many features it can have
#
# Three tasks of four bits each. An input says which task is active, one of three, and gives all twelve bits; the label
# is the parity of the active task's four. All inputs are used, four fifths of them for training. The network is
#
# $$
# h = W_1 x + b_1 \in \mathbb R^{64}, \qquad \text{logit} = w_2 \cdot \mathrm{ReLU}(h) + b_2 .
# $$
#
# The paper's code measures $h$, *before* the ReLU. There it is an affine image of the input, whatever the network
# learned: the inputs can be read off it, and nothing else can. What there is to count is bounded:

# %%
data = parity.parity()
train, test = data.split(0.2, seed=0)
print(len(data), "inputs:", len(train), "for training,", len(test), "for testing")
possible = parity.possible_features()
pd.Series(possible, name="how many").to_frame()

# %% [markdown]
# `dimensions` are those that the inputs span (the three task inputs sum to one); `inputs` the tasks and bits; `states`
# a task, a bit on, a bit off; `patterns` the values of the active task's own bits, on which alone the label depends.
#
# ## A known answer first
#
# The labels, by integer arithmetic. The rank of $h$ in an untrained network. And F, were the states themselves the
# codes: a little below their number, since a task is active less often than a bit.

# %%
packed = [int("".join(map(str, row)), 2) for row in data.inputs[:, 3:].int().tolist()]
masks = [0b111100000000, 0b000011110000, 0b000000001111]
by_hand = [(bits & masks[t]).bit_count() % 2 for bits, t in zip(packed, data.task.tolist(), strict=True)]
(untrained,) = parity.train_networks(train, seeds=[0], dropout=[0.0], epochs=0)
h = parity.hidden(untrained, data).double()
states = torch.cat([data.inputs, 1 - data.inputs[:, 3:]], 1)
print("labels that agree:", sum(a == b for a, b in zip(by_hand, data.labels.tolist(), strict=True)), "of", len(data))
print("rank of h:", int(torch.linalg.matrix_rank(h - h.mean(0), rtol=1e-5)))
print(f"F of the states as codes: {metrics.effective_features(metrics.code_shares(states)):.2f}")

# %% [markdown]
# ## Run it here
#
# The recipes differ from the paper's in one thing each:
#
# | | |
# |---|---|
# | published | untied, a bias on both sides, λ averaged over codes and neurons, all training inputs |
# | released | the same, on the 1,024 rows that the released code comes to read: it asks for 1,000 samples of a training set that stands in the order of task and label, so that all are of one task and of even parity |
# | sum | λ as a sum over codes: the same pressure for every D; equal to the published one at D = h |
# | tied, topk | one matrix for both sides; the 15 largest codes and no penalty, 15 being the number of inputs |
#
# An average over codes makes λ weaker as D grows: $\lambda_\mathrm{sum} = \lambda_\mathrm{mean} N / D$.


# %%
def numbers(text):
    return [float(word) if "." in word else int(word) for word in text.split(",") if word]


fixed = {
    "recipe": "published", "l1": other_l1, "expansion": numbers(expansions), "state": "trained",
    "seed": range(1, n_networks + 1), "site": "pre", "rows": "all", "n_sae": 1, "width": width, "net_epochs": net_epochs,
    "sae_epochs": other_epochs,
}  # fmt: skip
main = {"l1": numbers(lambdas), "n_sae": n_sae}


def grid(**axes):
    return sweep.expand(**fixed | axes)


# %%
lengths = zip(numbers(lambdas), numbers(sae_epochs), strict=True)
runs = [
    *grid(**main, rows="released", sae_epochs=released_epochs),
    *(r for l1, epochs in lengths for r in grid(**main | {"l1": l1}, sae_epochs=epochs)),
    *grid(**main, recipe="sum", sae_epochs=sum_epochs),
    *grid(recipe="tied"),
    *grid(recipe="topk", l1=0.0),
    *grid(site="post"),
    *grid(state=["untrained", "shuffled labels", "shuffled columns"]),
]
here = sweep.run(parity.dictionary_run, runs, f"{results}/dictionary.csv" if results else None, cluster=cluster or None)

# %%
plain = here[(here.recipe == "published") & (here.rows == "all") & (here.site == "pre") & (here.state == "trained")]
path = plain.sort_values("epochs").groupby(["seed", "l1", "n_codes", "sae_seed"]).effective_features
print(
    len(here), "readings; F fell with training in", int((path.last() < path.first()).sum()), "of", path.ngroups, "fits"
)

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
full = sweep.read(f"{committed}/dictionary.csv")
hours = full.groupby("finished").seconds.first().sum() / 3600
print(f"dictionary.csv: {len(full)} rows, {hours:.1f} process hours, code {', '.join(sorted(set(full.revision)))}, "
      f"{', '.join(sorted(set(full.versions)))}, {', '.join(sorted(set(full.device)))}")  # fmt: skip
full = full.assign(kind=full.recipe.where(full["rows"] == "all", "released"), λ=full.l1.map("{:g}".format))
full = full.assign(kind=full.kind.where(full.site == "pre", "after the ReLU"))
ends = full[full.epochs == full.sae_epochs]
print(f"{full.seed.nunique()} networks, all with a test accuracy of at least "
      f"{full[full.state == 'trained'].accuracy.min():.3f}")  # fmt: skip

# %% [markdown]
# ## As released: it replicates
#
# First the paper's experiment as its code does it, 300 epochs over those 1,024 rows.

# %%
states_bound = {f"{possible['states']} input states": possible["states"]}


def curve(table, by):
    """Geometric mean of F over networks, with its t interval."""
    alive = table.dropna(subset="effective_features")
    means = statistics.by_unit(alive, by, "seed", "F", lambda rows: np.log(rows.effective_features).mean())
    return means.assign(**{name: np.exp(means[name]) for name in ("F", "low", "high")})


def drawn(table, **words):
    shared = {"low": "low", "high": "high", "x_scale": "log", "y_scale": "log", "rule": states_bound}
    return charts.lines(table, y="F", y_title="effective features F", tooltip=("count",), **shared | words)


main_rows = ends[(ends.state == "trained") & ends.kind.isin(["released", "published", "sum"])]
curves = curve(main_rows.sort_values(["l1", "n_codes"]), ["kind", "λ", "n_codes"])
released = curves[curves.kind == "released"]
dead = main_rows[main_rows.effective_features.isna()].groupby(["kind", "λ", "n_codes"]).size()
print("fits in which every code died, left out:", dict(dead) or "none")
released.pivot(index="n_codes", columns="λ", values="F").round(1)

# %% mystnb={"figure": {"caption": "F against the size of the dictionary, the recipe as the paper's code was released: geometric mean of five networks, bands their 95% t interval. Dashed: the number of states that the inputs have. Fits in which every code died are left out, and counted above.", "name": "fig-dictionary-released"}} tags=["hide-input", "nbval-ignore-output"]
axis = {"x": "n_codes", "x_title": "codes D", "color": "λ"}
drawn(
    released,
    **axis,
    title="As released",
    description="Lines of effective features against dictionary size for four sparsity weights, released recipe.",
)

# %% [markdown]
# The curve at λ = 0.01 climbs in a straight line, far past anything that the inputs could hold. Is that a property of
# the layer, or of the training?
#
# ## F on the way down
#
# The same SAEs read again and again while they train. The released recipe stops at 2,400 steps; the others read all
# training inputs and go on.

# %% mystnb={"figure": {"caption": "F against training length, one line a dictionary; the menu chooses recipe and λ. Geometric mean of five networks, bands their 95% t interval. Every large dictionary starts out counting its own codes, and sheds them.", "name": "fig-dictionary-length"}} tags=["hide-input", "nbval-ignore-output"]
on_the_way = full[(full.state == "trained") & full.kind.isin(["published", "sum", "released"])]
on_the_way = on_the_way.sort_values(["kind", "l1", "n_codes", "steps"])
looks = curve(on_the_way, ["kind", "λ", "n_codes", "steps"])
looks = looks.assign(codes=looks.n_codes.astype(str), curve=looks.kind + ", λ = " + looks["λ"])
drawn(
    looks,
    x="steps",
    x_title="training steps of the SAE",
    color="codes",
    color_title="codes D",
    choose="curve",
    title="F against training length",
    description="Lines of effective features against training steps, one a dictionary size, with a menu for recipe and sparsity weight.",
)

# %% [markdown]
# Has it settled at the end? The change of F over the second half of the training, largest over dictionaries. By the
# rule written before the run a curve has converged if F moved by less than 5%.

# %%
keys = ["kind", "λ", "n_codes", "seed", "sae_seed"]
half = full[(full.state == "trained") & (2 * full.epochs == full.sae_epochs)].set_index(keys).effective_features
moved = (main_rows.set_index(keys).effective_features / half - 1).rename("moved").dropna().reset_index()
moved = moved.groupby(["kind", "λ", "n_codes"]).moved.mean().abs()
settled = moved.groupby(["kind", "λ"]).agg(largest="max", settled=lambda m: int((m < 0.05).sum()), of="size")
settled.loc[["published", "sum"]].round(3)

# %% [markdown]
# ## Converged: the plateau, at every λ

# %% mystnb={"figure": {"caption": "F against the size of the dictionary at the end of training, the published recipe on all training inputs. Dashed: the number of states that the inputs have.", "name": "fig-dictionary-converged"}} tags=["hide-input", "nbval-ignore-output"]
drawn(
    curves[curves.kind == "published"],
    **axis,
    title="Run to convergence",
    description="Lines of effective features against dictionary size for four sparsity weights, at the end of training.",
)

# %% mystnb={"figure": {"caption": "The same with λ in the sum unit, where the pressure is the same for every dictionary.", "name": "fig-dictionary-sum"}} tags=["hide-input", "nbval-ignore-output"]
drawn(
    curves[curves.kind == "sum"],
    **axis,
    title="λ as a sum over codes",
    description="Lines of effective features against dictionary size for four sparsity weights in the sum unit.",
)


# %% [markdown]
# As a number: the slope of ln F on ln D from 2h to 16h codes, one number a network. The slope of the released recipe
# is that from end to end, h/2 to 16h, as the paper's end points give it.


# %%
def log_slope(rows):
    F = np.log(rows.effective_features).groupby(rows.n_codes).mean()
    return statistics.slope(np.log(F.index), F)


large = main_rows[main_rows.n_codes >= 128]
slopes = statistics.by_unit(large.dropna(subset="effective_features"), ["kind", "λ"], "seed", "slope", log_slope)
outer = main_rows[(main_rows.kind == "released") & main_rows.n_codes.isin([32, 1024])]


def end_to_end(rows):
    F = np.log(rows.effective_features).groupby(rows.n_codes).mean()
    return (F[1024] - F[32]) / np.log(1024 / 32)


from_ends = statistics.by_unit(outer[outer.l1 < 10], ["λ"], "seed", "slope", end_to_end)
slopes.pivot(index="λ", columns="kind", values="slope").loc[["0.01", "0.1", "1", "10"]].round(3)

# %% mystnb={"figure": {"caption": "Slope of ln F on ln D from 2h to 16h codes, mean of five networks and 95% t interval. One: F grows as the dictionary does. Zero: the dictionary does not matter.", "name": "fig-dictionary-slopes"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    slopes.assign(line="λ = " + slopes["λ"]), "slope", "line", low="low", high="high", color="kind",
    color_title="recipe", rule=0, x_title="slope of ln F on ln D", title="Does F grow with the dictionary?",
    description="Dots with intervals: log-log slope of effective features on dictionary size, for three recipes and four sparsity weights.",
)  # fmt: skip

# %% [markdown]
# ## Verdict
#
# Rules fixed before the run. A plateau agrees if the interval meets 0 ± 0.1. Growth, and the slopes as released, agree
# if the paper's slope lies in the interval; it is that of its end points, and holds for any part of a straight line.

# %%
paper = {"0.01": (27, 690), "0.1": (20, 60), "1": (18, 33)}
source = "dictionary.csv"
claims = []
for λ, (first, last) in paper.items():
    of_paper = np.log(last / first) / np.log(1024 / 32)
    expected = {"paper": of_paper} if λ == "0.01" else {"paper": 0.0, "error": 0.1}
    word = "grows" if λ == "0.01" else "levels off"
    for kind, name, unit in (("published", "l1", "mean"), ("sum", "l1_sum", "sum")):
        line = slopes[(slopes.kind == kind) & (slopes["λ"] == λ)].iloc[0]
        claims.append(
            claim(
                f"dictionary.slope_{name}_{λ}",
                f"Sparse parity: F {word} with the dictionary at λ = {λ}, {unit} unit, converged (slope of ln F on ln D)",
                estimate=(line.slope, line.low, line.high), n=int(line["count"]), source=source, **expected,
            )
        )  # fmt: skip
    line = from_ends[from_ends["λ"] == λ].iloc[0]
    claims.append(
        claim(
            f"dictionary.released_l1_{λ}",
            f"Sparse parity: growth of F with the dictionary at λ = {λ}, as released (slope from end to end)",
            paper=of_paper, estimate=(line.slope, line.low, line.high), n=int(line["count"]), source=source,
        )
    )  # fmt: skip
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %% [markdown]
# ## What does the plateau count?
#
# The plateau stands near the number of states that the inputs have. Is it then something that the network learned?
# Three controls at one λ: networks that were never trained, networks trained on shuffled labels, and activations whose
# columns were shuffled one by one, which keeps every neuron's values and breaks what they share.

# %% mystnb={"figure": {"caption": "F of trained networks beside the controls, published recipe at λ = 0.1. Untrained networks and networks trained on noise show the same plateau: before the ReLU F counts what comes in, not what was learned.", "name": "fig-dictionary-controls"}} tags=["hide-input", "nbval-ignore-output"]
at = full[(full.kind == "published") & (full.l1 == 0.1) & (full.epochs == 400)]
controls = curve(at, ["state", "n_codes"])
drawn(
    controls,
    x="n_codes",
    x_title="codes D",
    color="state",
    title="The controls",
    description="Lines of effective features against dictionary size for trained networks and three controls.",
)

# %%
controls[controls.n_codes == 256][["state", "F", "low", "high", "count"]].set_index("state").round(1)

# %% [markdown]
# ## Tied, untied, TopK, and after the ReLU

# %% mystnb={"figure": {"caption": "The same networks under other SAEs at the same number of epochs, and the published SAE after the ReLU, where the hidden layer is no longer an affine image of the inputs.", "name": "fig-dictionary-kinds"}} tags=["hide-input", "nbval-ignore-output"]
same_length = full[(full.state == "trained") & (full.epochs == 400) & (full.kind != "released")]
same_length = same_length[(same_length.l1 == 0.1) | (same_length.kind == "topk")]
kinds = curve(same_length[same_length.kind != "sum"], ["kind", "n_codes"])
drawn(
    kinds,
    x="n_codes",
    x_title="codes D",
    color="kind",
    title="Other SAEs, another site",
    description="Lines of effective features against dictionary size for untied, tied and TopK autoencoders and for the layer after its ReLU.",
)

# %%
kinds.pivot(index="n_codes", columns="kind", values="F").round(1)

# %% [markdown]
# ## Where it breaks
#
# The quality of the SAEs behind the converged figure at the largest dictionary: variance left unexplained, active
# codes a row, dead codes, F on the test inputs over F on those fitted, and the spread (standard deviation of ln F)
# between SAEs of one network and between networks.

# %%
largest = main_rows[(main_rows.n_codes == 1024) & (main_rows.kind != "released")].dropna(subset="effective_features")
largest = largest.assign(
    held_out=largest.held_out_features / largest.effective_features, log=np.log(largest.effective_features)
)
quality = largest.groupby(["kind", "λ"])[["fvu", "l0", "dead", "held_out"]].mean()
within = largest.groupby(["kind", "λ", "seed"]).log.std().groupby(["kind", "λ"]).mean()
between = largest.groupby(["kind", "λ", "seed"]).log.mean().groupby(["kind", "λ"]).std()
quality.assign(sae_spread=within, network_spread=between).round(3)

# %% [markdown]
# - **The stopping rule is part of the measure.** At the same loss, within a few percent, F of a large dictionary can
#   be a multiple of its own converged value. A dictionary-scaling curve without its training length says nothing.
# - **Reconstruction warns nobody.** The unexplained variance is near zero all along the way down in
#   {numref}`fig-dictionary-length`.
# - **λ = 10** kills small dictionaries altogether in the published unit, and nearly all codes in the sum unit.
# - **A plateau is not a discovery.** By the controls it belongs to the inputs. What the network adds lies behind the
#   ReLU, where the published recipe does not look.
#
# ## Exercises
#
# 1. Why does λ in the mean unit, at a given number of steps, make a large dictionary look richer than it is, even
#    though its converged F is the same?
#
# ```{dropdown} A solution
# The penalty on each code is λ/D of what a sum would give, so its gradient beside the noise of the batches is weaker
# the larger D: codes that should die take longer. Compare `sum` and `published` at one λ in a smaller number of
# epochs: `parity.dictionary_run(recipe="sum", l1=0.1, expansion=16.0, state="trained", seed=9, sae_epochs=40)`.
# ```
#
# 2. Before the ReLU every network has the same fourteen dimensions. Which of `measure`'s baselines would have told?
#
# ```{dropdown} A solution
# The effective rank and the participation ratio of the covariance cannot exceed fourteen, trained or not, while F of
# an under-trained SAE reads hundreds. `superpos.measure(network, inputs, ["hidden"])` prints them beside F.
# ```
