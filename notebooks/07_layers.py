# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which layers of a language model hold the most features?

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system(
        "git clone -q --depth 1 --branch v0.1.0 https://github.com/superpos/superpos && "
        "pip list --format freeze | grep ^torch > torch.txt; pip install -q -c torch.txt ./superpos[book,language]"
    )
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")

# %% tags=["remove-input"]
from superpos import chapter
from superpos.findings.language import claims

chapter.answer(claims.answer)

# %% mystnb={"code_prompt_show": "Parameters of this chapter"} tags=["parameters", "hide-input"]
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

# %% tags=["hide-input"]
from superpos import metrics, sweep
from superpos.findings.language import analysis, explorer, runs

here = chapter.begin(results, committed, cluster)

# %% mystnb={"figure": {"caption": "Mean of the networks at every site, bands their 95% t interval. The menus choose the measure, and what was read: the kind of SAE, networks before training, or tokens in random order. Click the legend to single out a kind of site.", "name": "fig-layers-features"}} tags=["hide-input", "nbval-ignore-output"]
rows = here.committed
by_layer = analysis.by_layer(rows)
explorer.by_kind(by_layer)

# %% [markdown]
# A language model passes every token through a stack of layers. Each layer adds to the {term}`residual stream` what its
# {term}`attention` and its {term}`MLP` compute. Do all of these hold as many {term}`features <feature>`? The measure is $F$, the
# number of {term}`effective features`: a {term}`sparse autoencoder` (SAE) writes the {term}`activations <activation>` of one
# place by {term}`codes <code>`, and $F$ counts the codes that are used, those used more for more.
#
# **What the paper says.** {cite:t}`bereska2025superposition` read Pythia-70M {cite:p}`biderman2023pythia` at 19 sites of
# $N = 512$ {term}`neurons <neuron>`: the embedding, which is the stream before the first layer, and in each of six layers the
# attention, the MLP and the stream after both. The dictionaries are published ones {cite:p}`marks2025sparse` of $D = 32{,}768$
# codes; the texts are 20,000 of the Pile, of 512 tokens. All its values of $F$ stand in the table under “Pythia-70M” below.
# - MLPs have more features than attention: 3.1 to 10.5 thousand by layer, where attention has 2.1 to 3.5. The second MLP has
#   most, 20 for each neuron.
# - $F$ rises and falls with depth, as intrinsic dimension does in other networks. {cite:t}`ansuini2019intrinsic` call that shape
#   a *hunchback*.
# - $F$ of the first MLP needs many texts: 0.2 thousand after one, 3.2 after 100, 5.6 after 1,000, and no more growth by 20,000.
#   By then 21,000 codes have been active at least once.
#
# **What would refute it.** A peak at the first or the last site. Attention with as many features as MLPs. An $F$ that grows as
# long as texts are read. The same profile in a network that never trained, or from tokens in random order. Another profile by
# another kind of dictionary. An intrinsic dimension without a hunch, or with one elsewhere.
#
# **Two models.** Pythia and its dictionaries are on the Hugging Face hub. For machines without a network there is a model that
# any machine can train: a GPT-NeoX, which is Pythia's kind of network, of six layers and 64 neurons. It learns from the library
# and the manual of this Python itself, and SAEs of our own read all its 19 sites. Most of this page is about that model, trained
# several times from different {term}`seeds <seed>`. Levels of $F$ cannot be compared between the two models; their *shape* over
# layers can. The same code reads both. {doc}`/book/notation` says what sites and codes are, and in what unit λ is.

# %% [markdown]
# ## The method
#
# A {term}`dictionary` of $D$ codes reads the activations $x$ of one site, token by token, $z = \mathrm{act}(W x + b)$. The sums
# $T_i$ run over all tokens $t$ of all texts, and $F$ is taken from them:
#
# $$
# T_i = \sum_{\text{texts}} \sum_t |z_{ti}|, \qquad p_i = \frac{T_i}{\sum_j T_j}, \qquad
# F = \exp\Big(-\sum_i p_i \ln p_i\Big), \qquad \psi = F / N .
# $$
#
# Only the $D$ sums are kept. Padding is never read; the first token of a text is read like the others. SAEs of our own are of two
# kinds. *L1* is our {term}`protocol`: encoder and decoder share their weights, their rows have length 1, the input is scaled, and
# {term}`λ` weighs sparsity. {term}`TopK` keeps the $k$ largest codes. Both are fitted to files that are not among those read, and
# the model was trained on a third set of files.
#
# How many texts are *enough*? The first number of them from which on $F$ stays within 2% of its last value, if that is at most
# half of all texts. (The paper's 20,000 are all the texts that it read, not a number found by such a rule.)
#
# Two measures know nothing of dictionaries. The intrinsic dimension $d$ is that of {term}`TwoNN` {cite:p}`facco2017estimating`,
# from the distances $r_1$ and $r_2$ of each row to its nearest and second nearest neighbour: $P(r_2 / r_1 > \mu) = \mu^{-d}$. The
# {term}`effective rank` is $\exp$ of the entropy of the singular values.
#
# ## A known answer first
#
# Take a dictionary whose codes are the neurons themselves. It must find what was put in: eight neurons used alike, one alone, one
# used three times as much as another. Rows that come in pieces must give the same. And a Gaussian cloud of five dimensions, put
# into 32 neurons, must have a TwoNN dimension near five.

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
# Further tests: sites are what hooks see, sums are those of all codes at once, and published dictionaries encode as the packages
# that wrote them do (`tests/findings/test_survey.py`, `tests/test_measurement.py`, `tests/test_dictionaries.py`).
#
# ## Run it here
#
# The parameters at the top of the page are the quick ones: offline, and under a minute on two cores. `make full NAME=07_layers`
# trains the models of the full scale and fills the committed rows behind the figures. With a network,
# `make full NAME=07_layers ARGS="-p pythia EleutherAI/pythia-70m-deduped"` fills Pythia's rows as well, at the paper's size.
#
# - `model`: layers (Pythia-70M: 6), neurons $N$ of the stream (512), size of the vocabulary (50,304), tokens in a text (512), and
#   the training.
# - `reading`: the number of texts; the number of tokens behind TwoNN, ranks and the unexplained variance; what SAEs compute in
#   (bfloat16 is faster where the processor or GPU has it).
# - `fit`: the other texts and tokens, to which SAEs are fitted; steps; codes a neuron (paper: 64); active codes of a TopK SAE; λ
#   of the others, in the sum unit.
# - `variations`: names in `runs.VARIATIONS`, and the sites that these read: names or kinds, or all.
# - `pythia_texts`: texts of 512 tokens, a seed a draw (as the paper).

# %%
from functools import partial

run = partial(runs.language_run, folder=saes or None)
grid = runs.grid(n_networks, model, **reading, **fit)
own = here.run(run, grid, "layers")
other = here.run(run, runs.varied(grid[0], **variations), "layers_variations")
print(f"{len(own)} rows at {own.site.nunique()} sites, {len(other)} of other SAEs")
print("\n".join(f"{words}: {held}" for words, held in analysis.checks(own).items()))

# %% mystnb={"figure": {"caption": "The first figure of this chapter once more, drawn from the networks that were trained just now. With fewer than three of them no interval is drawn.", "name": "fig-layers-here"}} tags=["hide-input", "nbval-ignore-output"]
explorer.by_kind(analysis.profiles(analysis.named(own)))

# %%
import os

if pythia:
    shared = {"model": pythia, "products": reading["products"], **pythia_texts}
    of_pythia = sweep.expand(runs.LanguageRun, dictionaries=pythia_dictionaries.split(","), **shared)
    path = f"{results}/pythia.csv" if results else None
    sweep.run(runs.language_run, of_pythia, path, n_jobs=1, threads=os.cpu_count(), cluster=cluster or None)

# %% [markdown]
# That was this machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
(layers,) = here.rows("layers")
main = analysis.sites(rows, analysis.L1)
one = main.iloc[0]
print("one of the models:", analysis.model_in_words(layers.model[0]))
print(
    f"{layers.seed.nunique()} networks of {layers.layer.max() + 1} layers, N {one.n_neurons}, D {one.n_codes}, "
    f"{one.n_texts:,} texts, {one.n_tokens:,} tokens"
)

# %% [markdown]
# Do the models know anything? Their loss in nats a token on the first 32 of the texts read, over networks, beside that of
# guessing:

# %%
analysis.losses(rows)

# %% [markdown]
# ## From layer to layer
#
# The numbers of the first figure: mean $F$ at each site, and $\psi$ below it.

# %%
profile = by_layer[by_layer.measure.isin(["F", "ψ"]) & (by_layer.reading == analysis.L1)]
profile = profile.pivot_table(index=["measure", "line"], columns="layer", values="value", sort=False)
profile.rename(columns={-1: "embedding"}).rename_axis(["", "site"]).astype(object).fillna("")

# %% [markdown]
# ## Few strong codes, or many alike?
#
# Hill numbers {cite:p}`hill1973diversity` count codes in three ways. Order 0 counts all that are ever active, order 1 is $F$, and
# order 2 counts strong codes most. Where the three are far apart, few codes carry most of the activation. Where they are near
# each other, all codes are used alike.

# %% mystnb={"figure": {"caption": "Hill numbers of order 0 (codes ever active), 1 (F) and 2 of every site, trained networks; the menus choose the kind of SAE and of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-hill"}} tags=["hide-input", "nbval-ignore-output"]
trained = by_layer.reading.isin([analysis.L1, analysis.TOPK])
fitted = analysis.sites(rows, analysis.L1, analysis.TOPK).groupby(["reading", "line"], sort=False)
ratios = fitted[["codes ever active / F", "Hill number 2 / F"]].mean().rename_axis(["read in", "site"])
explorer.hills(by_layer[trained & by_layer.measure.isin(analysis.HILLS)], ratios)

# %% [markdown]
# Their ratios, mean over sites and networks: how many codes are ever active for each effective one, and how far order 2 is below
# $F$.

# %%
ratios

# %% [markdown]
# ## How many texts are enough?
#
# $F$ after the first texts, relative to $F$ after all of them.

# %% mystnb={"figure": {"caption": "Hill numbers after so many texts, relative to those after all, trained networks; one line a layer, the menus choose. Dashed: 2% around the end. Mean of the networks.", "name": "fig-layers-convergence"}} tags=["hide-input", "nbval-ignore-output"]
explorer.convergence(analysis.convergence(rows), main[main.site == "mlp.0"])

# %% [markdown]
# The number of texts that were enough by the rule, median over networks, with the largest in brackets. *Never* counts the
# networks in which half of the texts were not enough.

# %%
analysis.enough_by_layer(rows).rename_axis(["read in", "site"])

# %% [markdown]
# The first MLP, which the paper shows: $F$ after 1, 100 and 1,000 texts and after all, and the codes ever active, as shares of
# $F$ after all. The paper's shares are of its 6.3 thousand.

# %%
analysis.first_mlp_shares(rows).rename(index=lambda texts: texts if isinstance(texts, str) else f"{texts:,.0f}")

# %% [markdown]
# ## Is there a hunchback?
#
# *Peak* is the position of the largest value in depth, from 0 (the embedding) to 1 (the last layer), mean over networks with its
# {term}`interval`. *Rise* is the largest value inside over the larger of the two ends, geometric mean over networks. An interval
# of the rise above 1 speaks for a hunch, but the largest of several values passes the ends somewhat by chance. An interval of no
# length says that all networks peak at one site, not that its depth is known exactly.

# %%
analysis.hunchback(rows)

# %% mystnb={"figure": {"caption": "F, TwoNN dimension and effective rank against depth, each relative to its mean over the sites of its kind in the same network, trained networks; the menu chooses the kind of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-hunchback"}} tags=["hide-input", "nbval-ignore-output"]
explorer.hunchback(analysis.relative_profiles(rows), analysis.rises(rows))

# %% [markdown]
# ## What is not learned
#
# $F$ of the trained networks over $F$ of a control, at the same site of the network of the same seed: geometric mean over the
# sites of a kind, then over networks, with its interval. There are two kinds of control.
#
# - *Untrained*: the same network before its first step.
# - *Random order*: all tokens of all texts in random order. Each token is there as often as before, and what precedes it tells
#   nothing. It is read by the SAEs of ordered texts (*same SAEs*), or by SAEs that were fitted to random order (*refitted*).
#
# The embedding and the first MLP see nothing but the token, since attention and MLP of a layer run side by side in a GPT-NeoX. By
# the same SAEs their $F$ must therefore not change with the order. A mean over sites can hide changes of opposite sign:
# {numref}`fig-layers-controls` shows the sites one by one.

# %%
print(f"largest change by random order where the token is alone: {analysis.change_by_order(analysis.sites(rows)):.1e}")
over = analysis.over_controls(rows)
over

# %% mystnb={"figure": {"caption": "F against depth in trained networks and in their controls, by L1 SAEs; the menu chooses the kind of site. Mean of the networks, bands their 95% t interval.", "name": "fig-layers-controls"}} tags=["hide-input", "nbval-ignore-output"]
explorer.controls(by_layer[(by_layer.measure == "F") & (by_layer.reading != analysis.TOPK)], over)

# %% [markdown]
# ## What orders the sites alike?
#
# {term}`Spearman's ρ` over the sites of a network, between $F$ of the trained network by L1 SAEs and other measures, mean over
# networks. Near 1 the other measure would have put the sites in the same order. Over all 19 sites ρ tells kinds of sites apart
# more than depths. The table after the figure is within a kind.

# %% mystnb={"figure": {"caption": "Spearman's ρ over the sites between F of the trained networks, by L1 SAEs, and other measures. Mean of the networks and its 95% t interval.", "name": "fig-layers-alike"}} tags=["hide-input", "nbval-ignore-output"]
alike = analysis.alike(rows)
explorer.alike(alike)

# %%
alike.rename(columns={"rho": "ρ"}).set_index("measure")

# %%
analysis.within_kinds(rows).round(2)

# %% [markdown]
# ## Pythia-70M
#
# The paper's $F$ in thousands, and ours of the same model where a run exists: *marks*, by the same dictionaries; *eleuther*, by
# TopK ones. Ours are means over draws of texts; where there are several draws, the line above the table says how far they differ.

# %%
print(analysis.about_pythia(rows))
analysis.pythia_profiles(rows)

# %% [markdown]
# $F$ of its first MLP after so many texts, and the codes ever active there, in thousands:

# %%
analysis.pythia_first_mlp(rows)

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/07_layers.yaml`, written before there was any row. Two things were made after: the claim of
# MLPs over attention “over what it is before training” was added, and the number of texts that are enough became a geometric
# mean. Each network is one {term}`unit of inference`. The model is not the paper's, so that nothing here is a word for it or
# against it: its numbers stand beside. The words that stood here before are in {doc}`/book/corrections`.

# %%
here.verdicts(claims.CLAIMS)

# %%
largest, enough = main.loc[main.groupby("seed")["F"].idxmax()].site, main.enough[main.site == "mlp.0"]
print("F is largest at:", largest.map(analysis.site_in_words).value_counts().to_dict())
print(f"networks in which half of the texts were not enough for the first MLP: {enough.isna().sum()} of {len(enough)}")

# %% [markdown]
# What came of the tests under “What would refute it”, in our networks. It speaks of these, not of Pythia.

# %%
analysis.tried(rows)

# %% [markdown]
# ## Where it breaks
#
# How good are the SAEs? The share of variance left unexplained ({term}`fvu`), active codes a token,
# {term}`dead codes <dead code>`, and $F / D$, which is at most 1; mean over networks and sites, and the worst site.

# %%
analysis.quality(rows).rename_axis(["read in", "site"])

# %% [markdown]
# Other SAEs on the network of seed 1, one or two changes at a time: $F$ relative to ours (geometric mean over the sites), the
# ratio of MLPs to attention, where MLPs and the stream peak, ρ over sites with ours, and the quality.

# %%
effects = analysis.effects(rows)
effects

# %% mystnb={"figure": {"caption": "F against depth in the network of seed 1 by our SAE and by another one; the menus choose the other SAE and the kind of site. The title tells of all the other SAEs, and of all sites.", "name": "fig-layers-variations"}} tags=["hide-input", "nbval-ignore-output"]
explorer.variations(analysis.beside_ours(rows), effects)

# %% [markdown]
# How far does $F$ move from one draw to the next, where a draw is of the SAE, the tokens that it is fitted to and the texts read?
# And how far from network to network? The standard deviation of $\ln F$, root of its mean square over sites:

# %%
print({name: f"{value:.1%}" for name, value in analysis.spread(rows).items()})

# %% [markdown]
# - **The model is small, and so are its texts.** It was trained on Python's library and manual alone.
# - **F hangs on the number of codes**, near that number and far from it: the table of other SAEs has twice and half as many.
#   Pythia's have 64 codes for each neuron, and levels of $F$ cannot be compared.
# - **F of a site depends on the SAE's quality there.** If its SAE explains a site badly, $F$ is of the part that is explained.
#   The table of the quality names the worst sites.
# - **Our protocol scales every site to one mean length**, and yet active codes a token differ by kind of site (the table of the
#   quality). Published dictionaries have a λ of their own at each site.
# - **Tokens are not independent.** Neighbours in a text are alike. TwoNN leaves out repeated rows. At the embedding and the first
#   MLP a token always gives the same row, so that TwoNN there is the dimension of the vocabulary seen, not to be compared with
#   later sites.
# - **The first token of a text** may have activations of its own kind. Among the other SAEs above is one that never sees it.
#
# ## Exercises
#
# ```{exercise} Down the stream
# :label: exercise-layers-stream
#
# By what factor is $F$ of the residual stream larger at its highest site than at its lowest, in the trained networks by L1 SAEs?
# The means over networks are in the table `profile`. Put your number below.
# ```

# %%
mine = None
stream = profile.loc[("F", analysis.STREAM)]
chapter.check(mine, stream.max() / stream.min())

# %% [markdown]
# ```{solution} exercise-layers-stream
# :class: dropdown
#
# `stream.max() / stream.min()`. Look in `profile` at which layers the two lie, and compare with the paper's stream in the table
# under “Pythia-70M”.
# ```
#
# ```{exercise} One text
# :label: exercise-layers-text
#
# In the paper $F$ after a single text is a small share of $F$ after all. Is ours, in the table of the first MLP above? What could
# make the difference? And why does the number of codes ever active need more texts than $F$?
# ```
#
# ```{solution} exercise-layers-text
# :class: dropdown
#
# One reason may be size: a text of ours uses each of few codes several times, one of the paper's uses each of 32,768 hardly ever.
# Another may be topics: a text is about something, and the codes of other topics are silent. These rows cannot tell the two
# apart. A rare code adds 1 to the codes ever active the first time that it is active. To $\ln F$ it adds about $p \ln(1/p)$ for
# its share $p$, which is little. Compare the Hill numbers 0, 1 and 2 in {numref}`fig-layers-convergence`.
# ```
#
# ```{exercise} Two random orders
# :label: exercise-layers-order
#
# To read the trained SAEs on tokens in random order is not the same as to fit SAEs to random order. What does each control ask?
# ```
#
# ```{solution} exercise-layers-order
# :class: dropdown
#
# The first asks whether the features that were found need context to be active: the ruler stays and the texts change. The second
# asks how many features there would be to find in a model that gets no context: the ruler is made anew. What looks at single
# tokens alone gives the same $F$ in any order by the same SAEs, and nearly the same by those that are fitted anew, to other
# tokens. The first MLP of a GPT-NeoX is such a part. Look at it in {numref}`fig-layers-controls`.
# ```
