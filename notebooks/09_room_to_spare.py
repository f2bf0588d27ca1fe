# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does a wider network keep more features under attack?

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
from superpos.findings.adversarial import claims

chapter.answer(claims.answer_width)

# %% mystnb={"code_prompt_show": "Parameters of this chapter"} tags=["parameters", "hide-input"]
tasks: dict = {"dataset": "digits", "n_classes": [2, 5], "epsilon": [0.2], "seed": [1, 2]}  # or mnist, folder:PATH, …
mlp: dict = {"width": [4, 16], "per_class": 60, "epochs": 15, "n_images": 128, "n_test": 100}  # paper: 100 epochs
cnn: dict = {"n_classes": [2], "width": [2, 4], "per_class": 60, "epochs": 12, "n_images": 64, "n_test": 100}
resnet: dict = {"dataset": "digits", "n_classes": [3], "epsilon": [0.2], "seed": [1], "width": [0.0625]}  # ResNet-18
common: dict = {
    "attack_steps": 3,  # steps of the attack in training, as far together as the paper's 40
    "lr": 0.02,  # step size (paper: 0.01)
    "milestones": "0.75,0.9",  # shares of the epochs after which it falls to a tenth (paper: 0.5, 0.75)
    "batch_size": 32,  # images a step (paper: 256)
    "products": "float32",  # of that attack; bfloat16 is faster where the processor has it
    "n_rows": 128,  # rows of a layer for an SAE (paper: 10,000)
    "sae_share": 0.25,  # of the epochs of its reading (paper: 1)
}  # what all networks share
of_resnet: dict = {
    "per_class": 60,
    "epochs": 3,  # (paper: 200)
    "n_images": 32,
    "n_test": 60,
    "attack_steps": 2,  # as far together as the paper's 10
    "lr": 0.05,  # (paper: 0.1)
    "weight_decay": 5e-4,  # the paper's; the other networks have its 1e-4
}  # what ResNet-18 has of its own
others: dict = {"readings": "published, twice λ", "width": [4]}  # other SAEs, and widths of the MLPs that they read
masking: dict = {"n_classes": [2, 3], "n_test": 50}  # networks of seed 1 and the largest radius, checked for masking
networks: str = ""  # folder that keeps the trained weights; empty: a scratch one, on a cluster none
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows

# %% tags=["hide-input"]
from superpos import charts, sweep
from superpos.findings.adversarial import analysis, choices, explorer, naming, runs, slopes

here = chapter.begin(results, committed, cluster)

# %% mystnb={"figure": {"caption": "How fast the number of features F changes with the strength ε of the attacks in training, against the width of the network, one line a number of classes. Above the dashed line attacks leave more features, below it fewer; a slope of 1 is a tenth more at ε = 0.1. H3 says that the lines rise. Bands: 95% t interval over networks. The legend singles out a line.", "name": "fig-room-key"}} tags=["hide-input", "nbval-ignore-output"]
conditions = analysis.h3_slopes(here.committed)
by = ["architecture", "n_classes"]
explorer.by_width(conditions, analysis.rises(conditions, "width", *by))

# %% [markdown]
# In [the chapter before](08_under_attack) the task was made harder, by more classes; here the network is made larger. If attacks
# make a network keep more {term}`features <feature>` where it has room to spare (*abundance*), and fewer where it has none
# (*scarcity*), then what matters is its width. {cite:t}`bereska2025superposition` train networks of one hidden layer, of 8 to 512
# neurons or 8 to 64 channels, with attacks of growing radius ε.
#
# **What the paper says.** H3: the slope of the number of {term}`effective features` F on ε rises with the logarithm of the width,
# by 0.220 ± 0.037 a unit. In ResNet-18 on CIFAR-10 it rises by 31.0 ± 2.0 a unit, from −1.6 at a quarter of the width to 78 at
# twice.
#
# **What would refute it.** A slope that does not rise with the width; or one that does so only under one update, one
# {term}`sparse autoencoder` (SAE) or one kind of input; or an {term}`effective rank`, which needs no SAE, that rises just as
# fast.

# %% [markdown]
# ## The method
#
# Training, attacks, reading and the slope of a condition are those of [the chapter before](08_under_attack). In short: half of
# the training images are attacked within the radius ε; an SAE reads F on clean and on attacked images; and the *slope* is that of
# F on ε, relative to F at ε = 0, over networks that differ in ε and seed. The paper's update has a gradient in it that its attack
# leaves behind; the *corrected* one has not. Here an MLP has one hidden layer of $w$ neurons, a CNN one convolution of $w$
# channels. A condition has its width $w$ too, and H3 is about $\beta$ in
#
# $$
# \text{slope}(w) = \alpha + \beta \ln w ,
# $$
#
# fitted for each number of classes, certain slopes weighing more (by inverse variances), and pooled over them.
#
# ## A known answer first
#
# How many weights the widths stand for, counted by hand for ten classes of 28×28 images: 784h + h + 10h + 10 for an MLP of h
# neurons, 25c + c + 196 · 10c + 10 for a CNN of c channels.

# %%
from superpos.networks import build

by_hand = {
    "mlp1": lambda h: 784 * h + h + 10 * h + 10,
    "cnn1": lambda c: 25 * c + c + 196 * 10 * c + 10,
}
for name, width in (("mlp1", 8), ("mlp1", 512), ("cnn1", 8), ("cnn1", 64)):
    network = build(name, (1, 28, 28), 10, width=width, seed=0)
    n_weights = sum(p.numel() for p in network.parameters())
    told = f"{n_weights:,} weights, by hand {by_hand[name](width):,}"
    print(f"{naming.word(name)} of width {width}: {told}")

# %% [markdown]
# ## Run it here
#
# Stored are the quick parameters at the top of the page, on the digits that come with scikit-learn: about a minute on two cores.
# `make full NAME=09_room_to_spare` runs the full scale and fills the committed rows; it looks for the folder of CIFAR-10 images
# beside the notebook. `tasks` holds the conditions, but for the width: classes (paper: 2, 3, 5, 10), radii above 0 of training
# (paper: 0.1, 0.2, 0.3; for ResNet-18 0.01, 0.02, 0.03) and the seeds of networks (paper: 3 each). A network learns from
# `per_class` images of each class (paper: all, about 6,000), is read on `n_images`, and its accuracy is taken on `n_test`. Its
# `width` is in neurons for MLPs (paper: 8, 32, 128, 512), in channels for CNNs (8, 16, 32, 64), and in 64 channels of the first
# stage for ResNet-18 (¼, ½, 1, 2; its images CIFAR-10's, its classes 10).

# %%
mlps = runs.grid(**tasks | common | mlp, architecture="mlp1")
cnns = runs.grid(**tasks | common | cnn, architecture="cnn1")
resnets = runs.grid(["leak"], **common | resnet | of_resnet, architecture="resnet18")
of_others = runs.under_leak(mlps, width=others["width"])
work = {
    "adversarial": mlps + cnns,
    "adversarial_readings": [one.but(readings=others["readings"]) for one in of_others],
    "adversarial_resnet": resnets,
    "adversarial_masking": runs.masking_runs(runs.under_leak(mlps + cnns), **masking),
    "adversarial_resnet_masking": runs.masking_runs(resnets, **masking),
}
done = runs.run_all(here, work, networks)
mine, silent = slopes.without_silent(done["adversarial"])

# %% mystnb={"figure": {"caption": "The first figure of this chapter once more, drawn from the networks that were trained just now: two widths each, on digits of 8×8 pixels, so that bands are wide. Change the parameters, and it changes.", "name": "fig-room-here"}} tags=["hide-input", "nbval-ignore-output"]
conditions_here = analysis.for_h3(analysis.slopes_of(mine))
explorer.by_width(conditions_here, analysis.rises(conditions_here, "width", *by))

# %%
at_zero = mine[mine.epsilon == 0].groupby("architecture").accuracy_0.mean()
print("rows:", ", ".join(f"{name} {len(table)}" for name, table in done.items()))
print("accuracy at radius 0 above 0.8 in both networks:", bool((at_zero > 0.8).all()))

# %% [markdown]
# That was this machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
every = here.committed["adversarial"].query("architecture in @analysis.SHALLOW")
print("adversarial.csv:", sweep.made_by(every))
full, silent = slopes.without_silent(every)
print(f"networks left out, for a layer that says nothing: {len(silent)}")
naming.shown(analysis.sizes(every))

# %% [markdown]
# ## The networks
#
# Networks *above chance* (accuracy under attack at the radius of their own training more than 0.1 above 1 over the number of
# classes), of all with a radius above 0:

# %%
each = analysis.each_network(every)
naming.shown(analysis.learned(each, ["architecture", "width", "update"]))

# %% mystnb={"figure": {"caption": "Test accuracy under attack at the radius of training (PGD, 40 steps), one line a width. Mean of the networks, bands their 95% t interval.", "name": "fig-room-robust"}} tags=["hide-input", "nbval-ignore-output"]
of = ["update", "architecture", "n_classes", "width"]
accuracies = analysis.over_radii(slopes.unattacked_for_both(each), of, "own")
explorer.accuracies(accuracies, "width", ["update", "architecture", "classes"])

# %% [markdown]
# Is the robustness real? Checks for {term}`gradient masking`, as [before](08_under_attack), of networks of seed 1 at the largest
# radius under the paper's update: the mean accuracies, and the share of networks that pass.

# %%
import pandas as pd

names = "adversarial_masking", "adversarial_resnet_masking"
checks = pd.concat([here.committed[name] for name in names])
checks = checks.query("architecture not in @analysis.DEEP")
for name, lost in analysis.lost_to_more_steps(checks).groupby("architecture"):
    told = f"{lost.max():.2f} ({len(lost)} network{'s' if len(lost) > 1 else ''})"
    print(f"{naming.word(name)}: five times the steps lower accuracy by at most {told}")
groups = checks.groupby(["architecture", "check"], sort=False)
means = groups[["accuracy", "passed"]].mean()
naming.shown(means.unstack("architecture"))

# %% [markdown]
# ## F against the radius

# %% mystnb={"figure": {"caption": "F of the hidden layer relative to its mean at ε = 0, one line a width, on clean images (solid) and on images attacked at the radius of training (dashed). Mean of the networks, bands their 95% t interval. The legend singles out a width.", "name": "fig-room-ratio"}} tags=["hide-input", "nbval-ignore-output"]
explorer.relative_features(
    analysis.ratios(full, of),
    charts.Axis("width", "width"),
    ["update", "architecture", "classes"],
)

# %% [markdown]
# ## Slopes
#
# One slope a condition, beside the paper's, which are read off its figure (its CNN of 3 and 5 classes is not among what we could
# read). NaN: not read, or not run.

# %%
paper = analysis.paper_h3()
print("networks a condition:", *sorted(conditions.n.unique()))
naming.shown(analysis.beside_paper(conditions, paper, *by, "width").sort_index())

# %% mystnb={"figure": {"caption": "Slope of relative F on ε against the width, one line a number of classes. The menus choose the network, and our slopes under the paper's update, under the corrected one, or the paper's own, which have no interval here. Bands: 95% t interval over networks.", "name": "fig-room-slopes"}} tags=["hide-input", "nbval-ignore-output"]
rises = analysis.rises_in_words(analysis.rises(conditions, "width", *by))
explorer.beside_paper(
    analysis.with_paper(conditions, paper, "update", "architecture", "n_classes", "width"),
    charts.Axis("width", "width: neurons, or channels", scale="log"),
    charts.Axis("classes", "classes"),
    ["update", "architecture"],
    f"From the narrowest to the widest network the slope of F rises in {rises}",
)

# %% [markdown]
# Is F on ε a line at all? For each condition under the paper's update the table has the *jump*, which is the relative change from
# ε = 0 to the smallest radius above it; the slope over the radii *above* 0; and the p of a test of whether one line holds for all
# radii, against the spread of networks of one radius. (This was added after the rows had been seen. The claims below are about
# the slope over all radii, as the paper's are.)

# %%
shapes = slopes.shapes(full)
print(naming.shown(analysis.shape_counts(shapes, "architecture", "update")).to_string())
shapes = shapes[shapes["update"] == "leak"].set_index([*by, "width"])
naming.shown(shapes[["jump", "above", "line_p"]].sort_index())

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/09_room_to_spare.yaml`, with what was changed after the rows were seen. For each number of
# classes a line through the slopes over ln(width), by inverse variances; these are pooled with {term}`random effects`. The paper
# gives one number for both networks and does not name the base of its logarithm, so that its sign is asked for, in each network
# by itself: it agrees if our interval lies above zero, differs if below, and is open while it holds zero. The corrected update
# decides nothing, nor does ResNet-18, whose trainings are far shorter than the paper's. MLPs and CNNs are short of the paper's
# too (the table of their sizes above); we let them decide, for the claim is about any such network. The figures draw the paper's
# 0.220 as if its base were e. What a verdict needs, and what would have been *differs*, stands beside each in
# {doc}`the table of verdicts </book/verdicts>`.

# %%
import math

base_2 = analysis.H3[0] / math.log(2)
print(f"the paper's {analysis.H3[0]:.3f} is {base_2:.2f} a unit of ln(width) for base 2")
print("read off the paper's figure, a unit of ln(width):")
print(naming.shown(analysis.paper_betas().unstack()).to_string(na_rep="not read"))
here.verdicts(claims.ROOM_TO_SPARE)

# %% [markdown]
# How much do the groups, each a number of classes, differ? Cochran's Q tests whether all are one, and $I^2$ is the share of the
# spread that is between them. The *mean* is by fixed effects, as if all had one slope; that of random effects stands beside it.

# %%
lines = analysis.lines(conditions)
naming.shown(analysis.pooled(lines, "claim"))

# %% [markdown]
# Here `corrected` pools both networks, as the rule was before the rows; the verdicts take each by itself. Each group, with its
# own 95% interval and the test (p of Q) of whether its slopes lie on a line in ln(width) at all. The variance of a slope holds
# what its own line leaves, so that where F on ε is bent a large p of Q says little. Where it is small the interval, which is of
# fixed effects, is too short:

# %%
of_lines = lines.set_index(["line", "update"])
naming.shown(of_lines[["slope", "low", "high", "q", "q_p", "n"]])

# %% mystnb={"figure": {"caption": "H3 for each number of classes (fixed effects), and pooled with random effects, under both updates: change of the slope with a unit of ln(width), and 95% intervals. Dashed: no change. The paper's number is 0.220; its bar is 1.96 standard errors, each 0.037, to either side.", "name": "fig-room-h3"}} tags=["hide-input", "nbval-ignore-output"]
says = f"With a unit of ln(width) the slope changes by {analysis.pooled_in_words(lines)}"
explorer.forest(analysis.forest(lines, *analysis.H3), "a unit of ln(width)", says, 420)

# %% [markdown]
# ## ResNet-18
#
# The path of the paper's largest networks {cite:p}`he2016deep`, first at a quarter of the width and barely trained: F of the last
# ReLU of each stage, over F at ε = 0. The images are CIFAR-10's re-encoded as JPEG, not the original pixels. Beside F stands
# accuracy (chance is 0.1) on training images, on test images, and on these attacked at the radius of training.

# %%
(large,) = here.rows("adversarial_resnet")
large, _ = slopes.without_silent(large)
naming.shown(analysis.resnet_table(large))

# %%
naming.shown(analysis.quality(large, "layer", "epsilon"))

# %% [markdown]
# The same at a quarter, a half and the whole of its width, trained longer on one GPU; the settings stand in a comment of
# `notebooks/full/09_room_to_spare.yaml` and in the rows. (The parameters `resnet` and `of_resnet` there are those of the first
# run.) These networks were not checked for masked gradients. In the paper's figure slopes go from −1.6 at a quarter to 44 at the
# whole.

# %%
(wide,) = here.rows("adversarial_resnet_wide")
wide, _ = slopes.without_silent(wide)
print(naming.shown(analysis.sizes(wide, "batch_size")).to_string())
naming.shown(analysis.resnet_table(wide))

# %%
import textwrap

print(textwrap.fill(analysis.resnet_in_words(wide), 88))
naming.shown(analysis.resnet_parts(wide))

# %% [markdown]
# ## Every choice at once
#
# Which update, which images, how layers are weighed, through which radii the line goes, what is measured, which networks count:
# each option combined with each, where three classes or widths are left {cite:p}`simonsohn2020specification`. First H2 of the
# chapter before, in each data set and network by itself; then H3, in each network. If the effective rank, which has no SAE, does
# what F does, the effect can be seen without features, and says nothing for superposition by itself. In a figure a choice matters
# where the bars of its options differ.

# %%
h2 = analysis.h2_specifications(here.committed)
h3 = analysis.h3_specifications(here.committed)
for name, found in (("H2", h2), ("H3", h3)):
    lost = found.estimate.isna().sum()
    print(f"{name}: {lost} of {len(found)} combinations have too few conditions")

# %% mystnb={"figure": {"caption": "H2: of all combinations that an option of a choice is part of, the share whose estimate lies on the paper's side of zero (the slope falls with the classes) or on the other, and the share whose 95% interval of random effects does (surely). Other SAEs read one network under the paper's update alone; they stand apart, beside the paper's recipe there.", "name": "fig-room-multiverse-h2"}} tags=["hide-input", "nbval-ignore-output"]
options = choices.by_option(h2, analysis.H2[0])
explorer.every_choice(options, f"H2: {choices.told(options)}")

# %% mystnb={"figure": {"caption": "The same for H3 (the slope rises with ln(width)). Other SAEs read MLPs under the paper's update alone, and not those of the largest width.", "name": "fig-room-multiverse-h3"}} tags=["hide-input", "nbval-ignore-output"]
options = choices.by_option(h3, analysis.H3[0])
explorer.every_choice(options, f"H3: {choices.told(options)}")

# %% [markdown]
# An interval of H2 rests on one condition for each number of classes that was run, one of H3 on four numbers of classes; both are
# by random effects. With so few degrees of freedom *surely* is rare even where an effect is there. The table has them by network,
# measure and update; here combinations that come to the same, since all networks are above chance, count once:

# %%
naming.shown(choices.sides(h2.dropna(), h3.dropna()))

# %% [markdown]
# H3 under one other choice at a time, by network; in brackets its interval, then how many conditions it is made of. Other SAEs
# read MLPs under the paper's update alone, and not those of the largest width.

# %%
naming.shown(choices.beside(choices.one_other_choice(h3)))

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs at the lowest and the highest radius, beside ψ:

# %%
quality = analysis.quality(full, "architecture", "width", "epsilon", "inputs")
naming.shown(quality[["psi", "fvu", "l0", "dead"]])

# %% [markdown]
# - **F on ε need not be a line** (the table of jumps counts where it is none): a slope over all radii mixes a jump with what
#   comes after it. Among the choices above is the line through the radii above 0 alone.
# - **PGD with 40 steps overstates robustness** where the checks for masking above say that five times the steps find more; F on
#   attacked images is read with that weaker attack.
# - **A wide network may also be a better trained one**, at one number of epochs. Width and how far training went are not told
#   apart here.
# - **λ weighs an absolute value against a squared one**: a layer of a larger scale feels less pressure, and width and attacks can
#   both change scales.
# - **ResNet-18 was trained briefly, and not at twice its width**, so that the claim on its widths is not decided.
# - **The two updates share their networks at ε = 0**, all conditions start from the same seeds, and the first two classes are
#   among the first three: the numbers of classes that are pooled are not independent.
#
# ## Exercises
#
# ```{exercise} The base of a logarithm
# :label: exercise-room-base
#
# If the paper's logarithm is log₂, what is our number for MLPs in its unit? Ours is the mean with random effects under the
# paper's update. Put your number below.
# ```

# %%
mine = None
chapter.check(mine, analysis.pooled(lines, "claim").mean_re["mlp"] * math.log(2))

# %% [markdown]
# ```{solution} exercise-room-base
# :class: dropdown
#
# A unit of ln is 1.44 doublings, so the number for log₂ is ours times ln 2 = 0.69.
# ```
#
# ```{exercise} Little room, or none at all?
# :label: exercise-room-chance
#
# Is the slope of a narrow network low because it has little room, or because it is at chance at large radii?
# ```
#
# ```{solution} exercise-room-chance
# :class: dropdown
#
# In the table at the top see where networks at chance are: where there are hardly any, “only networks above chance” in the table
# of H3 can hardly differ from “as above”. A narrow network with ten classes is the one to train at smaller radii.
# ```
