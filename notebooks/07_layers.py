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
# of our own at all 19 sites. Most of this page is about that one, several times over, from different seeds. Levels of F cannot be
# compared between the two; whether the *shape* over layers is alike can. The same code reads both. What sites, codes and λ in the sum
# unit are stands in {doc}`/book/notation`.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system(
        "git clone -q --depth 1 https://github.com/superpos/superpos && pip install -q -e superpos[book,language]"
    )
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, offline, under a minute on two cores. `make full NAME=07_layers` trains the models of the full scale and fills the
# committed rows that the figures are drawn from. With a network,
# `make full NAME=07_layers ARGS="-p pythia EleutherAI/pythia-70m-deduped"` fills Pythia's rows as well, at the paper's size.
#
# `model`: layers (Pythia-70M: 6), neurons N of the residual stream (512), size of the vocabulary (50,304), tokens in a text (512), and the training. `reading`: texts;
# tokens behind TwoNN, ranks and the unexplained variance; what SAEs compute in (bfloat16 is faster where the processor or GPU has it). `fit`:
# the other texts and tokens to which SAEs are fitted, steps, codes a neuron (paper: 64), active codes of a TopK SAE, and λ of the others, in the sum unit.
# `variations`: names in `runs.VARIATIONS`, and the sites that these read: names or kinds, or all. `pythia_texts`: texts of 512 tokens, a seed a draw (as the paper).

# %% tags=["parameters"]
n_networks: int = 2  # networks, seeds 1, 2, …; the independent units behind every interval
model: dict = {"layers": 2, "width": 32, "vocabulary": 512, "context": 64, "steps": 60, "batch": 8}  # each network
reading: dict = {"n_texts": 300, "n_rows": 500, "products": "float32"}  # what is read, and how
fit: dict = {"n_fit_texts": 300, "fit_rows": 5000, "sae_steps": 100, "expansion": 4.0, "k": 8, "l1": 0.5}  # SAEs
variations: dict = {"names": ["half λ"], "sites": "mlp.0"}  # other SAEs on the network of seed 1, what they read
pythia: str = ""  # EleutherAI/pythia-70m-deduped, or any other model of the hub or folder; empty: none
pythia_dictionaries: str = "marks,eleuther"  # its dictionaries; marks@FOLDER: the same folders below a local one
pythia_texts: dict = {"texts": "hub:monology/pile-uncopyrighted:train:text", "n_texts": 20000, "seed": [1, 2, 3]}
saes: str = ""  # folder that keeps SAEs of our own for runs that would fit the same; empty: none
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows

# %%
from superpos import chapter, charts, metrics, sweep
from superpos.findings.language import analysis, claims, runs

here = chapter.begin(results, committed, cluster)

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
# Texts are *enough* after the first number of them from which on F stays within 2% of its last value, if that is at most half of
# all texts. (The paper's 20,000 are all that it read, no first number of this kind.)
#
# The intrinsic dimension $d$ is that of TwoNN {cite:p}`facco2017estimating`, from the distances of each row to its nearest and its second
# nearest neighbour, $P(r_2 / r_1 > \mu) = \mu^{-d}$; the effective rank is $\exp$ of the entropy of the singular values. Neither knows of dictionaries.
#
# ## A known answer first
#
# A dictionary whose codes are the neurons themselves must read what was put in: eight neurons used alike, one alone, one three times as much as another.
# Rows that come in pieces must give the same. And a Gaussian cloud of five dimensions has a TwoNN near five, in 32 neurons.

# %%
import torch

from superpos.dictionaries import Dictionary
from superpos.usage import Usage

neurons = Dictionary(torch.eye(8), torch.zeros(8), torch.eye(8), torch.zeros(8))
for name, used, answer in (("alike", range(8), 8), ("one", [2], 1), ("three to one", [0, 0, 0, 5], 4 / 3**0.75)):
    sums = Usage(neurons)
    for part in torch.eye(8)[[*used] * 50].split(37):
        sums.add(part)
    print(f"{name}: F {sums.reading(8)['effective_features']:.3f}, expected {answer:.3f}")
draws = torch.Generator().manual_seed(0)
cloud = torch.randn(2000, 5, generator=draws) @ torch.randn(5, 32, generator=draws)
print("TwoNN of five dimensions in 32 neurons is within 0.5 of 5:", abs(metrics.two_nn(cloud) - 5) < 0.5)

# %% [markdown]
# That the sites are what hooks see, that the sums are those of all codes at once, and that published dictionaries encode as the packages that wrote
# them do, is tested in `tests/findings/test_survey.py`, `tests/test_measurement.py` and `tests/test_dictionaries.py`.
#
# ## Run it here


# %%
from functools import partial

run = partial(runs.language_run, folder=saes or None)
grid = runs.grid(n_networks, model, **reading, **fit)
own = here.run(run, grid, "layers")
other = here.run(run, runs.varied(grid[0], **variations), "layers_variations")
print(f"{len(own)} rows at {own.site.nunique()} sites, {len(other)} of other SAEs")
print("\n".join(f"{words}: {held}" for words, held in analysis.checks(own).items()))

# %%
import os

if pythia:
    shared = {"model": pythia, "products": reading["products"], **pythia_texts}
    of_pythia = sweep.expand(runs.LanguageRun, dictionaries=pythia_dictionaries.split(","), **shared)
    path = f"{results}/pythia.csv" if results else None
    sweep.run(runs.language_run, of_pythia, path, n_jobs=1, threads=os.cpu_count(), cluster=cluster or None)

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
(layers,) = here.rows("layers")
rows, one = here.committed, analysis.sites(here.committed, analysis.L1).iloc[0]
print("one of the models:", layers.model[0])
print(
    f"{layers.seed.nunique()} networks of {layers.layer.max() + 1} layers, N {one.n_neurons}, D {one.n_codes}, "
    f"{one.n_texts:,} texts, {one.n_tokens:,} tokens"
)

# %% [markdown]
# Do the models know anything? Their loss in nats a token on the first 32 of the texts read, mean over networks, beside that of guessing:

# %%
analysis.losses(rows)

# %% [markdown]
# ## From layer to layer
#
# F at each site: mean over networks, and ψ beside it.

# %%
by_layer = analysis.by_layer(rows)
profile = by_layer[by_layer.measure.isin(["F", "ψ"]) & (by_layer.reading == analysis.L1)]
profile = profile.pivot_table(index=["measure", "line"], columns="layer", values="value", sort=False)
profile.rename(columns={-1: "embedding"}).rename_axis(["", "site"]).astype(object).fillna("")

# %% mystnb={"figure": {"caption": "Measures of every site against depth; the menus choose the measure, and the model, the order of its tokens and the kind of SAE. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-features"}} tags=["hide-input", "nbval-ignore-output"]
layer = charts.Axis("layer", "layer (−1: embedding)")
mean = charts.Axis("value", "mean over networks")
charts.lines(by_layer, layer, mean, color=charts.Axis("line", "site"), choose=["measure", "reading"]).properties(
    title="From layer to layer",
    description="Lines of a measure against the layer for MLPs, attention and the residual stream, with menus for measure and reading.",
)

# %% [markdown]
# ## Few strong codes, or many alike?
#
# Hill numbers {cite:p}`hill1973diversity` of order 0, 1 and 2: the codes that are ever active, F, and one that counts strong codes most. Far apart, few
# codes carry most of the activation; near each other, all are used alike.

# %% mystnb={"figure": {"caption": "Hill numbers of order 0 (codes ever active), 1 (F) and 2 of every site, trained networks; the menus choose the kind of SAE and of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-hill"}} tags=["hide-input", "nbval-ignore-output"]
trained = by_layer.reading.isin([analysis.L1, analysis.TOPK])
charts.lines(
    by_layer[trained & by_layer.measure.isin(analysis.HILLS)],
    layer,
    charts.Axis("value", "Hill number", scale="log"),
    color=charts.Axis("measure", "order"),
    choose=["reading", "line"],
).properties(
    title="Hill numbers 0, 1 and 2",
    description="Lines of three Hill numbers against the layer on a logarithmic axis, with menus for the SAE and the kind of site.",
)

# %% [markdown]
# Their ratios, mean over sites and networks: how many codes are ever active for each effective one, and how much order 2 is below F.

# %%
fitted = analysis.sites(rows, analysis.L1, analysis.TOPK).groupby(["reading", "line"], sort=False)
fitted[["codes ever active / F", "Hill number 2 / F"]].mean()

# %% [markdown]
# ## How many texts are enough?
#
# F after the first texts, relative to F after all.

# %% mystnb={"figure": {"caption": "Hill numbers after so many texts, relative to those after all, trained networks; one line a layer, the menus choose. Dashed: 2% around the end. Mean of the networks.", "name": "fig-layers-convergence"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.convergence(rows),
    charts.Axis("n_texts_read", "texts read", scale="log"),
    charts.Axis("value", "relative to all texts"),
    color="layer",
    choose=["measure", "reading", "line"],
    rule={"+2%": 1.02, "−2%": 0.98},
).properties(
    title="F against the number of texts read",
    description="Lines of relative Hill numbers against the number of texts on a logarithmic axis, a line a layer, with menus.",
)

# %% [markdown]
# The number of texts that were enough by the rule, median over networks (largest in brackets; *never*: in so many networks half of the
# texts were not):

# %%
analysis.enough_by_layer(rows)

# %% [markdown]
# The first MLP, which the paper shows: F after 1, 100 and 1,000 texts and after all, and the codes ever active, as shares of F after all. The paper's
# shares are of its 6.3 thousand.

# %%
analysis.first_mlp_shares(rows)

# %% [markdown]
# ## Is there a hunchback?
#
# *Peak*: the position of the largest value in depth, from 0 (the embedding) to 1 (the last layer), mean over networks with its interval. *Rise*: the largest
# value inside over the larger of the two ends, geometric mean over networks. An interval above 1 speaks for a hunch; the largest of several values passes
# the ends somewhat by chance. An interval of no length says that all networks peak at one site, not that its depth is known exactly.

# %%
analysis.hunchback(rows)

# %% mystnb={"figure": {"caption": "F, TwoNN dimension and effective rank against depth, each relative to its mean over the sites of its kind in the same network, trained networks; the menu chooses the kind of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-hunchback"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.relative_profiles(rows),
    layer,
    charts.Axis("relative", "relative to the mean of the sites"),
    color="measure",
    choose="line",
    rule=1,
).properties(
    title="A hunchback?",
    description="Lines of effective features by two SAEs, intrinsic dimension and effective rank against the layer, with a menu.",
)

# %% [markdown]
# ## What is not learned
#
# F of the trained networks over F of the control, at the same site of the network of the same seed: geometric mean over the sites of a kind, then over
# networks, with its interval. *Untrained*: the same network before its first step. *Random order*: all tokens of all texts in random order, so that each is
# there as often and what precedes it tells nothing; read by the SAEs of ordered texts, or by some that were fitted to random order. The embedding and the first MLP see nothing but the
# token (attention and MLP of a layer run side by side in this class), so that by the same SAEs their F must not change. A mean over sites can hide changes of
# opposite sign: {numref}`fig-layers-controls` has them one by one.

# %%
print(f"largest change by random order where the token is alone: {analysis.change_by_order(analysis.sites(rows)):.1e}")
analysis.over_controls(rows)

# %% mystnb={"figure": {"caption": "F against depth in trained networks and in their controls, by L1 SAEs; the menu chooses the kind of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-controls"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    by_layer[(by_layer.measure == "F") & (by_layer.reading != analysis.TOPK)],
    layer,
    charts.Axis("value", "F"),
    color="reading",
    choose="line",
).properties(
    title="Trained, and not",
    description="Lines of effective features against the layer for trained and untrained networks and for tokens in random order, with a menu.",
)

# %% [markdown]
# ## What orders the sites alike?
#
# Spearman's ρ over the sites of a network between F of the trained network, by L1 SAEs, and other measures of them. Mean over networks. Near one: the other
# would have ordered the sites alike. Over all 19 sites ρ tells kinds of sites apart more than depths; the table after the figure is within a kind.

# %%
alike = analysis.alike(rows)
alike.set_index("measure")

# %% mystnb={"figure": {"caption": "Spearman's ρ over the sites between F of the trained networks, by L1 SAEs, and other measures. Mean of the networks and its 95% t interval.", "name": "fig-layers-alike"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(alike, charts.Axis("rho", "Spearman's ρ with F over sites"), "measure", rule=0).properties(
    height=320,
    title="Who orders the sites like F?",
    description="Dots with intervals: rank correlation over sites of nine measures with effective features.",
)

# %%
analysis.within_kinds(rows).round(2)

# %% [markdown]
# ## Pythia-70M
#
# The paper's F in thousands, and ours of the same model where a run exists: *marks*, by the same dictionaries; *eleuther*, by TopK ones. Mean over draws of
# texts; where there are several, the line above says how far they differ.

# %%
print(analysis.about_pythia(rows))
analysis.pythia_profiles(rows)

# %% [markdown]
# F of its first MLP after so many texts, and the codes ever active there, in thousands:

# %%
analysis.pythia_first_mlp(rows)

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/07_layers.yaml`, written before there was any row, with two exceptions that were made after: the claim
# `mlp_over_attention_gain` was added, and `samples_to_converge` became a geometric mean. Each network is one unit. The model is not the paper's,
# so that nothing here is a word for it or against it: its numbers stand beside. The words that stood here before are in {doc}`/book/corrections`.

# %%
here.verdicts(claims.CLAIMS)

# %%
main = analysis.sites(rows, analysis.L1)
largest, enough = main.loc[main.groupby("seed")["F"].idxmax()].site, main.enough[main.site == "mlp.0"]
print("F is largest at:", largest.value_counts().to_dict())
print(f"networks in which half of the texts were not enough for the first MLP: {enough.isna().sum()} of {len(enough)}")

# %% [markdown]
# What came of the tests at the head of this page, in our networks. It speaks of these, not of Pythia.

# %%
import pandas as pd

pd.set_option("display.max_colwidth", None)
analysis.tried(rows)

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs: variance left unexplained, active codes a token, dead codes, and F / D, which is at most 1; mean over
# networks and sites, and the worst site.

# %%
analysis.quality(rows)

# %% [markdown]
# Other SAEs on the network of seed 1, one or two changes at a time: F relative to ours (geometric mean over the sites), the ratio of MLPs to attention, where MLPs and the stream peak, ρ over sites with
# ours, and the quality.

# %%
analysis.effects(rows)

# %% mystnb={"figure": {"caption": "F against depth in the network of seed 1 under other SAEs; the menu chooses the kind of site.", "name": "fig-layers-variations"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.variations(rows)[["line", "variation", "layer", "F"]].round(3),
    layer,
    charts.Axis("F", scale="log"),
    color="variation",
    choose="line",
).properties(
    title="The same network, other SAEs",
    height=340,
    description="Lines of effective features against the layer for a dozen choices of the SAE, on a logarithmic axis, with a menu.",
)

# %% [markdown]
# How far F moves from one draw (of the SAE, the tokens that it is fitted to and the texts read) to the next, beside how far from network to network: the standard deviation of ln F,
# root of its mean square over sites.

# %%
print({name: f"{value:.1%}" for name, value in analysis.spread(rows).items()})

# %% [markdown]
# - **The model is small, and so are its texts.** It was trained on Python's library and manual alone.
# - **F hangs on the number of codes**, near that number and far from it: the table of other SAEs has twice and half as many. Pythia's have 64 codes for
#   each neuron, and levels of F cannot be compared.
# - **F of a site depends on the SAE's quality there.** A site that its SAE explains badly has an F of what is explained. The table of the quality names the worst.
# - **Our protocol scales every site to one mean length**, and yet active codes a token differ by kind of site (the table of the quality); published dictionaries
#   have a λ of their own at each site.
# - **Tokens are not independent.** Neighbours in a text are alike. TwoNN leaves out repeated rows: at the embedding and the first MLP a token always gives the same row, so
#   that it is the dimension of the vocabulary seen there, and not to be compared with later sites.
# - **The first token of a text** may have activations of its own kind. Among the other SAEs above is one that never sees it.
#
# ## Exercises
#
# 1. In the paper F after a single text is a small share of F after all; in the table of the first MLP above, is ours? What could make the difference? And why does the
#    number of codes ever active of the first MLP need more texts than F?
#
# ```{dropdown} A solution
# One reason may be size: a text of ours uses each of few codes several times, one of the paper's each of 32,768 hardly ever. Another may be topics: a text is about
# something, and the codes of other topics are silent. These rows cannot tell the two apart. A rare code adds to
# the codes ever active in full the first time that it is active, and to ln F about p ln(1/p) for its share p, which is little. Compare in the figure of convergence the Hill
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
