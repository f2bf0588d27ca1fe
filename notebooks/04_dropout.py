# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does a network trained with dropout have fewer features?

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system(
        "git clone -q --depth 1 --branch v0.1.0 https://github.com/superpos/superpos && "
        "pip list --format freeze | grep ^torch > torch.txt; pip install -q -c torch.txt ./superpos[book]"
    )
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")

# %% tags=["remove-input"]
from superpos import chapter
from superpos.findings.parity import claims

chapter.answer(claims.answer_dropout)

# %% mystnb={"code_prompt_show": "Parameters of this chapter"} tags=["parameters", "hide-input"]
n_networks: int = 2  # networks a rate and width, seeds 1, 2, …; the independent units behind every interval
widths: list = [16, 32]  # hidden neurons h
n_rates: dict = {"trained": 4, "controls": 4}  # dropout rates, evenly spaced from 0 to 0.9 (paper: 10)
net_epochs: int = 30  # epochs of a network's training (paper: 300)
# epochs of an SAE's training: on all training inputs, as released (its own: 300), by our protocol (10,000 steps, which are 130)
sae_epochs: dict = {"all inputs": 24, "released": 24, "protocol": 24}
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows

# %% tags=["hide-input"]
from superpos import charts, metrics, statistics
from superpos.findings.parity import analysis, explorer, runs, task

here = chapter.begin(results, committed, cluster)

# %% mystnb={"figure": {"caption": "Change of F from a network without dropout to one of the same seed at rate 0.9, by width: mean over seeds and 95% t interval. Left of zero F falls with dropout. The paper's dots are read off its figure, to about 5% a number.", "name": "fig-dropout-fall"}} tags=["hide-input", "nbval-ignore-output"]
full = analysis.labelled(here.committed["dropout"], analysis.DROPOUT)
trained = analysis.end(full[full.state == "trained"])
explorer.changes(analysis.changes(trained))

# %% [markdown]
# {term}`Dropout <dropout>` sets each hidden {term}`neuron` to zero with some probability, the rate, while a network trains. So it
# punishes a network for relying on single neurons. The network can answer in two ways: spread each feature over more neurons, or
# keep fewer features.
#
# The two are different things. A feature is *distributed* if many neurons carry it. A neuron is {term}`polysemantic` if it
# carries many features. There is {term}`superposition` if there are more features than neurons.
# {cite:t}`bereska2025superposition` argue that dropout raises the first two and lowers the third: copies cost room.
#
# **What the paper says.** The {term}`effective features` F of the hidden layer fall with dropout at every width. From rate 0 to
# 0.9 they fall from 36 to 16 with 16 neurons, from 52 to 21 with 32, from 47 to 29 with 64, and from 51 to 40 with 128. Most of
# the fall comes before rate 0.2, and wide networks fall least.
#
# **What would refute it, as released.** *As released* means: as the paper's published script does it. A rank correlation of F
# with the rate whose interval over seeds lies above zero at some width would refute the fall. By its size the fall is
# judged with 32 neurons alone, as the rules say.
#
# **What would show that it is the training of the SAE.** A fall that goes away when the
# {term}`sparse autoencoders <sparse autoencoder>` (SAEs) that read F are trained longer.
#
# **What would speak against the paper's explanation.** Features that do not spread.

# %% [markdown]
# ## The method
#
# The task is {term}`sparse parity`. The task and the network are those of {doc}`the chapter on dictionaries <03_dictionary>`.
# Dropout acts on the hidden layer of $h$ neurons while it trains, and is off when it is read. Networks are trained in a stack,
# all rates of a {term}`seed` at once.
#
# How far features spread can be measured beside F. Let $d_i$ be row $i$ of the SAE's {term}`dictionary`, and $t_i$ the total
# activation of {term}`code` $i$. Then code $i$ writes $C_{ij} = t_i |d_{ij}|$ to neuron $j$. With $H$ the entropy of shares,
#
# $$
# \text{neurons a code} = \langle \exp H\big(C_{i\cdot} / \textstyle\sum_j C_{ij}\big) \rangle_i, \qquad
# \text{codes a neuron} = \langle \exp H\big(C_{\cdot j} / \textstyle\sum_i C_{ij}\big) \rangle_j ,
# $$
#
# where the brackets are averages weighted by what is written. The same can be computed of the network's own first weights
# $W_1$. It says how many neurons an input reaches and how many inputs a neuron reads, and needs no SAE.
#
# ## A known answer first
#
# Three cases: a code for each neuron; eight codes that each use all eight neurons; eight codes that share one neuron.

# %%
import numpy as np

pair, ones = np.array([[1, 1], [1, -1]]), np.ones(8)
everywhere = np.kron(np.kron(pair, pair), pair)
words = "{}: {:.1f} neurons a code, {:.1f} codes a neuron"
print(words.format("neurons as codes", *metrics.polysemanticity(np.eye(8), ones)))
print(words.format("all on all", *metrics.polysemanticity(everywhere, ones)))
print(words.format("all on one", *metrics.polysemanticity(np.eye(8)[[0] * 8], ones)))

# %% [markdown]
# ## Run it here
#
# There are three {term}`readings <reading>` of the same networks. At full scale all networks train for 300
# {term}`epochs <epoch>`, as the paper says.
#
# | reading | rows | read where | SAE |
# |---|---|---|---|
# | released, networks of 300 epochs | 1,024, of one task and even parity | before the ReLU | the paper's, see below |
# | all inputs | all training inputs | before the ReLU | the same, trained longer |
# | this book's protocol | all training inputs | after the ReLU | ours |
#
# The paper's SAE is untied and has $D = 4h$ codes and {term}`λ` = 0.1 in the mean unit. As released it trains for 300 epochs of
# 8 steps. Why the released code reads those rows stands in {doc}`the chapter on dictionaries <03_dictionary>`, where the
# networks also train for 100 epochs, as the script has it. Here all networks train as long as the paper says. So 300 epochs
# stand for two things: for the networks, and for the SAEs as released.
#
# Stored are the quick parameters at the top of the page, under a minute on two cores. `make full NAME=04_dropout` runs the full
# scale and fills the committed rows.

# %%
seeds = range(1, n_networks + 1)
grid = runs.dropout_grid(n_rates, sae_epochs, seed=seeds, width=widths, net_epochs=net_epochs)
quick = analysis.labelled(here.run(runs.parity_run, grid, "dropout"), analysis.DROPOUT)

# %% mystnb={"figure": {"caption": "The first figure of this chapter once more, drawn from the rows that were computed just now. With fewer than three networks no interval is drawn. With the parameters of the full scale it is that figure.", "name": "fig-dropout-here"}} tags=["hide-input", "nbval-ignore-output"]
explorer.changes(analysis.changes(analysis.end(quick[quick.state == "trained"])))

# %%
accuracy = quick[quick.state == "trained"].groupby("dropout").accuracy_train.mean()
print(len(quick), "readings; accuracy falls from the lowest rate to the highest:", accuracy.iloc[0] > accuracy.iloc[-1])

# %% [markdown]
# That was this machine at quick scale. All other figures are drawn from the committed rows of the full scale.

# %%
_ = here.rows("dropout")

# %% [markdown]
# ## The networks
#
# Dropout costs accuracy. The table holds the test accuracy at the highest rate, with its interval, beside the paper's.

# %%
import pandas as pd

networks = trained[trained.reading == "all inputs"]
accuracy = statistics.summarize(networks, ["width", "dropout"], "accuracy")
paper = pd.DataFrame(analysis.PAPER).set_index("width").accuracy.rename("the paper")
highest = accuracy[accuracy.dropout == accuracy.dropout.max()].set_index("width").drop(columns="dropout")
analysis.in_words(highest.join(paper))

# %% mystnb={"figure": {"caption": "Test accuracy against dropout, one line a width: mean of the networks, bands their 95% t interval. Dashed: guessing.", "name": "fig-dropout-accuracy"}} tags=["hide-input", "nbval-ignore-output"]
lowest = analysis.last_in_words(accuracy.assign(width=accuracy.width + " neurons"), "width", "dropout", "accuracy")
says = f"At the highest rate test accuracy is {lowest}"
explorer.over_rates(accuracy, charts.Axis("accuracy", "test accuracy", domain=(0.45, 1.0)), says, rule=0.5)

# %% [markdown]
# ## F against dropout

# %% mystnb={"figure": {"caption": "Effective features against dropout, one line a width; the menu chooses the reading. Mean of the networks, bands their 95% t interval. Dashed: the number of states of all inputs; each task is one, each bit that is on, and each bit that is off. Fewer of them vary in the rows of the released reading.", "name": "fig-dropout-features"}} tags=["hide-input", "nbval-ignore-output"]
by, states, F = ["reading", "width", "dropout"], task.possible_features()["states"], analysis.F
features = charts.Axis(F, "effective features F")
means = statistics.summarize(trained, by, F)
shown = means[means.reading == analysis.LONG]
told = analysis.ends_in_words(shown.assign(width=shown.width + " neurons"), "width", "dropout")
says = f"From rate 0 to 0.9, as released, F goes from {told}"
explorer.over_rates(means, features, says, rule={f"{states} states": states}, choose="reading")

# %% mystnb={"figure": {"caption": "The same as superposition ψ = F / h. Above the dashed line a layer holds more effective features than neurons.", "name": "fig-dropout-psi"}} tags=["hide-input", "nbval-ignore-output"]
means = statistics.summarize(trained, by, "psi")
shown = means[(means.reading == analysis.LONG) & (means.psi > 1)].groupby("dropout").size()
above, n = (shown.get(0.0, 0), shown.get(0.9, 0)), means.width.nunique()
says = f"As released ψ is above 1 at {above[0]} of {n} widths without dropout, and at {above[1]} at rate 0.9"
explorer.over_rates(means, charts.Axis("psi", "superposition ψ"), says, rule=1, choose="reading")

# %% [markdown]
# As numbers, beside the paper's: F at the lowest rate, at 0.2 and at the highest; the relative fall; and, of a fall of more
# than 5%, how much of it is done at 0.2.

# %%
beside = analysis.beside_paper(trained).round(2)
early = beside.loc[analysis.LONG, "by 0.2"]
print("as released more than half of the fall is done at 0.2 at", int((early > 0.5).sum()), "of", len(early), "widths;")
print("F falls least with", beside.loc[analysis.LONG, "fall"].idxmin(), "neurons")
analysis.in_words(beside)

# %% [markdown]
# {term}`Spearman's ρ` is the rank correlation of F with the rate. There is one number a seed; the table holds their mean by
# Fisher's z, a scale on which correlations can be averaged.

# %%
rho = analysis.ranks(trained, F)
analysis.in_words(rho.pivot_table(index="width", columns="reading", values="rho", sort=False)).round(2)

# %% mystnb={"figure": {"caption": "Spearman's ρ of F with the dropout rate: mean over seeds by Fisher's z, with its 95% t interval. Left of zero F falls with dropout.", "name": "fig-dropout-rho"}} tags=["hide-input", "nbval-ignore-output"]
says = f"Over all rates F surely falls with dropout at {analysis.signs_in_words(rho, 'reading', -1)}"
explorer.ranks(rho, says, charts.Axis("reading"))

# %% [markdown]
# ## How much of it is the training of the SAE?
#
# The figure shows F of the same networks while the SAEs train on all inputs, at the lowest and the highest rate. The released
# reading stops at 2,400 steps.

# %% mystnb={"figure": {"caption": "F against the length of the SAE's training on all inputs, at dropout 0 and 0.9; the menu chooses the width. Mean of the networks, bands their 95% t interval.", "name": "fig-dropout-length"}} tags=["hide-input", "nbval-ignore-output"]
on_the_way = full[(full.reading == "all inputs") & full.dropout.isin([0.0, 0.9])]
on_the_way = on_the_way.assign(rate="rate " + on_the_way.dropout.map("{:g}".format))
on_the_way = statistics.summarize(on_the_way, ["width", "rate", "steps"], F).rename(columns={"width": "neurons"})
shown = on_the_way[on_the_way.neurons == on_the_way.neurons.iloc[0]]
says = (
    f"As SAEs train, F with {shown.neurons.iloc[0]} neurons goes from {analysis.ends_in_words(shown, 'rate', 'steps')}"
)
steps = charts.Axis("steps", "training steps of the SAE", "log")
drawn = charts.lines(on_the_way, steps, explorer.FEATURES, color=charts.Axis("rate", "dropout"), choose="neurons")
shows = "Lines of effective features against training steps at dropout 0 and 0.9, with a menu for the width."
charts.titled(explorer.solid(drawn), says, shows)

# %% [markdown]
# The next table holds the fall from rate 0 to 0.9 as a share of F, by the epochs that the SAEs have trained on all inputs. 31
# epochs are about the 2,400 steps of the released reading, whose fall stands in the table before.

# %%
on_all = full[(full.reading == "all inputs") & (full.state == "trained")]
analysis.in_words(analysis.falls_by_length(on_all, on_all.epochs.max())).round(2)

# %% [markdown]
# How much F moved over the second half of that training: the mean over rates and seeds, and the share of SAEs that moved by
# more than 5%. A width has converged if that mean is below 5%.

# %%
settled = analysis.settled(full[full.reading == "all inputs"], ["width"])
analysis.in_words(settled, state="state at the end", moved="mean move").round(3)

# %% [markdown]
# ## Do features spread out?
#
# Four quantities against the rate: two of the network's own weights, two of the codes (all inputs).

# %%
spreads = pd.concat(analysis.ranks(networks, column) for column in analysis.SPREAD)
analysis.in_words(spreads.pivot_table(index="width", columns="of", values="rho", sort=False)).round(2)

# %% mystnb={"figure": {"caption": "Spearman's ρ of four quantities with the dropout rate: mean over seeds by Fisher's z, with its 95% t interval. Right of zero they grow with dropout.", "name": "fig-dropout-spread-rho"}} tags=["hide-input", "nbval-ignore-output"]
says = f"The four quantities surely grow with dropout at {analysis.signs_in_words(spreads, 'of', 1)}"
explorer.ranks(spreads, says, charts.Axis("of", "quantity"), height=300)

# %% mystnb={"figure": {"caption": "The same quantities relative to the network without dropout; the menu chooses the quantity. Mean of the networks, bands their 95% t interval.", "name": "fig-dropout-spread"}} tags=["hide-input", "nbval-ignore-output"]
relative = statistics.summarize(analysis.relative(networks), ["quantity", "width", "dropout"], "relative")
shown = relative[relative.quantity == relative.quantity.iloc[0]]
told = analysis.last_in_words(shown.assign(width=shown.width + " neurons"), "width", "dropout", "relative")
says = f"{shown.quantity.iloc[0].capitalize()} at the highest rate, relative to no dropout: {told}"
explorer.over_rates(
    relative, charts.Axis("relative", "quantity relative to no dropout"), says, rule=1, choose="quantity"
)

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/04_dropout.yaml`, with their history.
#
# - **As released, which is the paper's protocol.** A fall agrees if the interval of ρ (by Fisher's z) lies below zero, differs
#   if it lies above, and is open while it holds zero. The relative fall agrees if our interval meets the paper's and is no
#   wider than the paper's number. The paper's two numbers are read off its figure to about 5% each.
# - **All inputs before the ReLU, and the spread in neurons that an input reaches,** are ways of ours, which decide nothing.
#
# What a verdict needs, and what would have been *differs*, stands beside each in {doc}`the table of verdicts </book/verdicts>`.

# %%
here.verdicts(claims.DROPOUT)

# %% [markdown]
# ## Controls
#
# There are three: networks never trained, for which dropout is nothing; networks trained on shuffled labels, which hold nothing
# but noise to learn; and the trained networks' activations with their columns shuffled one by one.

# %% mystnb={"figure": {"caption": "Effective features of the controls against dropout on all inputs; the menu chooses the width. Mean of the networks, bands their 95% t interval.", "name": "fig-dropout-controls"}} tags=["hide-input", "nbval-ignore-output"]
ends = analysis.end(full)
compared = ends[ends.reading.isin(["all inputs", *analysis.CONTROLS])]
controls = statistics.summarize(compared, ["width", "state", "dropout"], F)
controls = pd.concat([controls, controls[controls.state == "untrained"].assign(dropout=0.9)])
controls = controls.rename(columns={"width": "neurons"})
shown = controls[controls.neurons == controls.neurons.iloc[0]]
told = analysis.ends_in_words(shown, "state", "dropout")
says = f"From rate 0 to 0.9, F with {shown.neurons.iloc[0]} neurons goes from {told}"
explorer.over_rates(controls, features, says, color=charts.Axis("state", "network"), choose="neurons")

# %% [markdown]
# Do the controls follow the rate as the trained networks do? The table holds Spearman's ρ of F, and of the neurons an input
# reaches, with the rates that the controls were run at. These are four, so that a seed's ρ is coarse and often ±1 (counted as
# ±0.99): compare within this table, not with those above.

# %%
compared = compared[
    compared.dropout.isin(ends[ends.state == "shuffled labels"].dropout) & (compared.state != "untrained")
]
own = compared[compared.state != "shuffled columns"]
tables = {
    "F": analysis.ranks(compared, F, ["state", "width"]),
    "neurons an input reaches": analysis.ranks(own, "neurons_per_input", ["state", "width"]),
}
compared = pd.concat(tables, names=["ρ of"]).reset_index("ρ of")
analysis.in_words(compared.pivot_table(index="width", columns=["ρ of", "state"], values="rho", sort=False)).round(2)

# %% [markdown]
# ## Where it breaks
#
# The quality of the SAEs at the lowest and the highest rate. `F held out / F fitted` is F on the test inputs over F on those
# fitted.

# %%
quality = analysis.quality(trained[trained.dropout.isin([0.0, 0.9])], by).loc[:, :"held_out"]
analysis.in_words(quality.assign(fvu=1000 * quality.fvu), fvu="unexplained variance, in thousandths")

# %% [markdown]
# - **The released reading sees one task of one parity**, at a number of steps at which F is still moving
#   ({numref}`fig-dropout-length` and {numref}`fig-dictionary-length`).
# - **Before the ReLU an untrained network has an F too**: {numref}`fig-dropout-controls` shows how much of F that is.
# - **Accuracy falls with the rate**, so that a network at a high rate is often a worse one. Only where accuracy stays at one
#   ({numref}`fig-dropout-accuracy`) is a fall of F surely none of accuracy.
# - **After the ReLU some rows have no active code.** Where there is less than one active code a row, F describes the rows that
#   have any.
#
# ## Exercises
#
# ```{exercise} The fall with 64 neurons
# :label: exercise-parity-fall
#
# As released, by what share does the mean F fall from rate 0 to 0.9 with 64 neurons? Take the mean over seeds of each seed's
# own fall. The rows are in `trained`. Put your number (between 0 and 1) below.
# ```

# %%
mine = None
of_64 = analysis.falls(trained).reset_index().query("reading == @analysis.LONG and width == '64'")
chapter.check(mine, of_64.fall.mean())

# %% [markdown]
# ```{solution} exercise-parity-fall
# :class: dropdown
#
# `analysis.falls(trained)` holds the fall of each seed; average it over the lines of that reading and width. By hand: take the
# rows with that `reading` and `width`, pivot `effective_features` with `seed` as index and `dropout` as columns, and average
# one minus the column 0.9 over the column 0.
# ```
#
# ```{exercise} The scale of a layer
# :label: exercise-parity-scale
#
# λ weighs an absolute value against a squared one. Could the scale of $h$ alone move F in the paper's recipe?
# ```
#
# ```{solution} exercise-parity-scale
# :class: dropdown
#
# Yes: a layer of twice the scale feels half the pressure, and its codes take longer to die. Train
# `task.train_networks(task.parity(), seeds=[9, 9], dropout=[0.0, 0.9], width=32)` and compare
# `task.hidden(network, task.parity()).std()` of the two. Our protocol divides by the mean length of a row.
# ```
#
# ```{exercise} Task or dropout
# :label: exercise-parity-spread
#
# Does an input reach more neurons under dropout because the task asks for it, or because dropout does?
# ```
#
# ```{solution} exercise-parity-spread
# :class: dropdown
#
# The last table of the controls: networks trained on shuffled labels have no task. What rises there too belongs to
# dropout; what rises in the trained networks alone asks for both.
# ```
