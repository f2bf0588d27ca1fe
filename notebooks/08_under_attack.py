# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Under attack: more features or fewer?
#
# *A network that is trained against attacks must not lean on fragile features. Does it end up with fewer features, or with
# more?*
#
# {cite:t}`bereska2025superposition` find both: F rises where the task is easy (*abundance*, room for redundancy) and falls
# where it is hard (*scarcity*). They take the number of classes for how hard a task is.
#
# **The claims.** H1, that adversarial training always lowers F, is rejected. H2: the slope of F on the radius ε of training,
# relative to F at ε = 0, falls by 0.745 ± 0.122 with each step of the number of classes (2, 3, 5, 10). On Fashion-MNIST it lies
# 1.47 ± 0.16 below MNIST's.
#
# **What would refute it.** For H1, all slopes surely below zero; for H2, slopes that do not fall with the classes; or an effect that goes away when
# clean and attacked images are read apart, when layers count equally, under another SAE or λ. And, for the
# reading of it, an effective rank, which has no SAE, that does the same.
#
# **Two updates.** The attack of the paper's code leaves its last gradient in the parameters, so that what is applied is
# $\tfrac12\nabla L(x) + \tfrac12\nabla L(x') + \nabla L(x'')$, with $x''$ one step before the attacked image $x'$. The *corrected*
# update is $\tfrac12\nabla L(x) + \tfrac12\nabla L(x')$. Networks are trained with both; other SAEs and SAE seeds are read
# on the paper's update alone.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system(
        "git clone -q --depth 1 https://github.com/superpos/superpos && pip install -q -e superpos[book]"
    )
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, on the digits that come with scikit-learn, under a minute on two cores.
# `make full NAME=08_under_attack` runs the full scale on MNIST and Fashion-MNIST and fills the committed rows that the figures
# are drawn from. A network learns from `per_class` images of each class (paper: all, about 6,000), is read on `n_images`, and its
# accuracy is taken on `n_test`; `seed` numbers the networks of a condition and radius (paper: 3).

# %% tags=["parameters"]
tasks: dict = {
    "dataset": ["digits"],  # one or more of digits, mnist, fashion-mnist, cifar10, folder:PATH
    "n_classes": [2, 5],  # (paper: 2, 3, 5, 10)
    "epsilon": [0.2],  # radii above 0 of training, in units of the pixel range (paper: 0.1, 0.2, 0.3)
    "seed": [1, 2],
}  # the conditions
mlp: dict = {"width": 4, "per_class": 100, "epochs": 30, "n_images": 128, "n_test": 100}  # paper: 32; 100 epochs
cnn: dict = {"n_classes": [2], "width": 4, "per_class": 60, "epochs": 15, "n_images": 128, "n_test": 100}  # paper: 16
common: dict = {
    "attack_steps": 3,  # steps of the attack in training, as far together as the paper's 40
    "lr": 0.02,  # step size (paper: 0.01)
    "milestones": "0.75,0.9",  # shares of the epochs after which it falls to a tenth (paper: 0.5, 0.75)
    "batch_size": 32,  # images a step (paper: 256)
    "products": "float32",  # of that attack; bfloat16 is faster where the processor has it
    "n_rows": 128,  # rows of a layer for an SAE (paper: 10,000)
    "sae_share": 0.25,  # of the epochs of its reading (paper: 1)
}  # what all networks share
others: dict = {
    "readings": "published, twice λ",  # other SAEs, of superpos.findings.adversarial.runs.READINGS, separated by semicolons
    "dataset": ["digits"],  # data sets on which the MLP is read by these too, under the paper's update
    "n_sae": 2,  # SAEs of different seeds a layer, for their spread, in the MLPs of seed 1 on the first data set
}  # what else reads
masking: dict = {"n_classes": [2], "n_test": 50}  # networks of seed 1 and the largest radius, checked for masking
networks: str = ""  # folder that keeps the trained weights; empty: a scratch one, on a cluster none
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows

# %%
from superpos import chapter, charts, sweep
from superpos.findings.adversarial import analysis, claims, runs, slopes

here = chapter.begin(results, committed, cluster)

# %% [markdown]
# ## The method
#
# Networks are trained on ½ clean and ½ attacked images, by PGD of radius ε {cite:p}`madry2018towards` that grows to its whole size
# over the first half of the epochs. For each layer one SAE reads F on clean images and another on images attacked at
# the radius of training, by the reading of the paper's code, which reads the rows that it was fitted to. With $F_\ell(\varepsilon)$ the mean of the two, a network is one number,
#
# $$
# r(\varepsilon) = \sum_\ell \frac{w_\ell}{\sum_k w_k} \cdot \frac{F_\ell(\varepsilon)}{\langle F_\ell(0) \rangle},
# \qquad w_\ell \text{ the parameters of layer } \ell,
# $$
#
# and the *slope* of a condition (data set, classes, architecture, update) is that of $r$ on ε over its networks. A slope of 1 is a
# tenth more features at ε = 0.1. Its variance is that of a regression, with the uncertainty of $\langle F_\ell(0) \rangle$ in it.
#
# ## A known answer first
#
# For a linear network the worst image in the ball is known: the logit $w \cdot x + b$ of class 1 falls by $\varepsilon \lVert w \rVert_1$, as long as
# no pixel leaves [0, 1].

# %%
import torch

from superpos import attacks

linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1)).requires_grad_(False)
linear[1].weight.copy_(torch.linspace(-1, 1, 64)[None])
grey = torch.full((5, 1, 8, 8), 0.5)
attacked = attacks.pgd(linear, grey, torch.ones(5, dtype=torch.long), 0.1, attacks.Attack(steps=40, step_size=0.01))
fall, worst = float((linear(grey) - linear(attacked)).mean()), 0.1 * float(linear[1].weight.abs().sum())
moved = float((attacked - grey).abs().max())
print(f"logit falls by {fall:.4f}, the worst case is {worst:.4f}; pixels moved by {moved:.1f} at most")

# %% [markdown]
# That PGD takes the steps of the adversarial robustness toolbox, and that the two updates are what they are called, is
# tested in `tests/test_attacks.py` and `tests/test_training.py`.
#
# ## Run it here

# %%
mlps = runs.grid(**tasks | common | mlp, architecture="mlp")
cnns = runs.grid(**tasks | common | cnn, architecture="cnn")
other_saes = [one.but(readings=others["readings"]) for one in runs.under_leak(mlps, dataset=others["dataset"])]
first = runs.under_leak(mlps, dataset=tasks["dataset"][:1], seed=[1])
work = {
    "adversarial": mlps + cnns,
    "adversarial_readings": other_saes + [one.but(n_sae=others["n_sae"]) for one in first],
    "adversarial_masking": runs.masking_runs(mlps + cnns, **masking),
}
done = runs.run_all(here, work, networks)

# %%
mine, silent = slopes.without_silent(done["adversarial"])
at_zero = mine[mine.epsilon == 0].groupby("architecture")["accuracy_0"].mean()
print(
    len(done["adversarial"]),
    "rows; clean accuracy at radius 0 above 0.8 in both networks:",
    bool((at_zero > 0.8).all()),
)
print("slopes of", len(slopes.slopes(mine)), "conditions;", len(done["adversarial_readings"]), "rows of other SAEs")
if "adversarial_masking" in done:
    print("checks for masking:", " · ".join(done["adversarial_masking"].check.unique()))

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
every = here.committed["adversarial"]
every = every[every.architecture.isin(analysis.DEEP)]
print("adversarial.csv:", sweep.made_by(every))
size = every.drop_duplicates("architecture").set_index("architecture")
print(size[["width", "per_class", "epochs", "n_images", "n_rows", "attack_steps"]].to_string())
full, silent = slopes.without_silent(every)
print(f"networks left out, for a layer that says nothing: {len(silent)}")

# %%
silent.groupby(slopes.CONDITION).size().rename("networks").reset_index() if len(silent) else "none"

# %% [markdown]
# ## The networks
#
# The size is what two CPU cores can do, not the paper's: fewer images, fewer epochs, shorter attacks in training. First, then, whether the
# networks learned to withstand their own radius at all.

# %%
each = analysis.each_network(every)
analysis.learned(each, ["update", "dataset", "architecture"])

# %% mystnb={"figure": {"caption": "Test accuracy under attack at the radius of training (PGD, 40 steps), one line a number of classes; the menus choose data set, architecture and update. Mean of the networks, bands their 95% t interval.", "name": "fig-attack-robust"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.over_radii(slopes.unattacked_for_both(each), ["update", "dataset", "architecture", "n_classes"], "own"),
    charts.Axis("epsilon", "radius ε of training"),
    charts.Axis("own", "accuracy under attack", domain=(0, 1)),
    color="classes",
    choose=["update", "dataset", "architecture"],
).properties(
    title="Accuracy under attack at the radius of training",
    description="Lines of accuracy under attack against the radius of training for 2, 3, 5 and 10 classes, with menus.",
)

# %% [markdown]
# Is the robustness real? Gradient masking would show: stronger attacks would find much more than ours, or one step or noise
# more; without bounds no network may stay above guessing {cite:p}`carlini2019evaluating`. A network is *above chance* if its accuracy
# under attack at its own radius is more than 0.1 above 1 over the number of classes. It passes a check if it loses at most 0.03
# of accuracy to it, and without bounds if it falls to 1.1 times the share of the commonest label. The share that pass, and the accuracies:

# %%
checks = here.committed["adversarial_masking"]
checks = checks[checks.architecture.isin(analysis.DEEP)]
which = ["dataset", "architecture", "n_classes", "seed", "update", "epsilon"]
print(*(f"{name}: {', '.join(map(str, checks[name].unique()))}" for name in which), sep="; ")
checks.groupby(["check", "update"], sort=False)[["accuracy", "passed"]].mean().unstack("update")

# %%
lost = analysis.lost_to_more_steps(checks)
print(
    f"five times the steps lower accuracy by {lost.mean():.2f} on average, {lost.max():.2f} at most, of {len(lost)} networks"
)
for row in checks[~checks.passed].itertuples():
    print(
        f"fails {row.check!r}: {row.dataset}, {row.architecture}, {row.n_classes} classes, {row.update}, {row.accuracy:.2f}"
    )

# %% [markdown]
# ## F against the radius
#
# Each layer by itself, clean and attacked apart, relative to the same layer at ε = 0.

# %% mystnb={"figure": {"caption": "F of each layer relative to its mean at ε = 0, on clean images and on images attacked at the radius of training; the menus choose. Mean of the networks, bands their 95% t interval.", "name": "fig-attack-ratio"}} tags=["hide-input", "nbval-ignore-output"]
charts.lines(
    analysis.ratios(full, ["update", "dataset", "architecture", "n_classes", "layer"]),
    charts.Axis("epsilon", "radius ε of training"),
    charts.Axis("ratio", "F over F at ε = 0"),
    color="layer",
    dash="inputs",
    rule=1,
    choose=["update", "dataset", "architecture", "classes"],
).properties(
    title="More features or fewer?",
    description="Lines of relative effective features against the radius of training for each layer, clean and attacked, with menus.",
)

# %% [markdown]
# ## Slopes
#
# One slope a condition, over its networks at all radii, beside the paper's (read off its figure). Conditions with fewer networks than others
# are named.

# %%
conditions, paper = analysis.h2_slopes(here.committed), analysis.paper_h2()
other = conditions[conditions.n != conditions.n.max()]
names = other.line + ", " + other.n_classes.astype(str)
print(f"conditions of other than {conditions.n.max()} networks:", " · ".join(names) or "none")
analysis.beside_paper(conditions, paper, "line", "n_classes")

# %% mystnb={"figure": {"caption": "Slope of relative F on ε against the number of classes, one line a data set and architecture; the menu chooses our slopes under the paper's update (leak), under the corrected one, or the paper's. Bands: 95% t interval over networks.", "name": "fig-attack-slopes"}} tags=["hide-input", "nbval-ignore-output"]
import pandas as pd

shown = analysis.paper_first(pd.concat([conditions, paper]), "update", "line", "x")
charts.lines(
    shown[["update", "line", "n_classes", "x", "slope", "low", "high"]],
    charts.Axis("x", "classes, coded 1 (two), 2 (three), 3 (five), 4 (ten)"),
    charts.Axis("slope", "slope of F on ε"),
    color=charts.Axis("line", "data set, architecture"),
    choose="update",
    rule=0,
    tooltip=("n_classes",),
).properties(
    title="Slope of F on ε, by number of classes",
    description="Lines of the slope of relative effective features on the radius against the number of classes, with a menu.",
)

# %% [markdown]
# Is F on ε a line at all? For each condition the *jump*, its relative change from ε = 0 to the smallest radius above it, the slope over the radii
# *above* 0, and the p of a test of whether one line holds for all radii, against the spread of networks of one radius. (This table was added after the
# rows had been seen; the claims below are about the slope over all radii, as the paper's are.)

# %%
shapes = analysis.for_h2(slopes.shapes(full))
print(analysis.shape_counts(shapes, "update").to_string())
shapes.pivot(index=["line", "n_classes"], columns="update", values=["jump", "above", "line_p"])

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/08_under_attack.yaml`, with what was changed after the rows were seen. H1: how many slopes are above zero; its interval runs
# from how many surely lie above, by Holm's test over all conditions of an update, to how many do not surely lie below, one-sided, 5% each. H2: in each data set and architecture the slopes on the code of the classes
# by inverse variances, these pooled with random effects {cite:p}`dersimonian1986meta`. A number agrees if our interval meets the paper's,
# excludes zero and is, from end to end, no longer than the size of the paper's number; it differs if it misses it, and is open else. The unit are the groups whose slopes are pooled, not
# the networks. The corrected update is not the paper's, and decides nothing. What a verdict needs, and what would have been *differs*, stands beside each in {doc}`the table of verdicts </book/verdicts>`.

# %%
print(analysis.sides_in_words(conditions, "fashion-mnist", "mnist"))
here.verdicts(claims.UNDER_ATTACK)

# %% [markdown]
# How much the groups, each a line, differ: Cochran's Q over them (the paper's is 8.05, p = .045), the share $I^2$ of the spread that is between them, and the
# fixed-effect mean beside that of random effects. The two updates share their networks at ε = 0.

# %%
lines = analysis.lines(conditions)
analysis.pooled(lines, "update")

# %% [markdown]
# Each group by itself, with the test (`q_p`) of whether its slopes lie on a line in the code at all. The variance of a slope holds what its own line leaves,
# so that where F on ε is bent a large `q_p` says little; and where `q_p` is small the interval, which is of fixed effects, is too short:

# %%
lines[["line", "update", "slope", "low", "high", "q", "q_p", "n"]]

# %% mystnb={"figure": {"caption": "H2 in each data set and architecture (fixed effects), and pooled with random effects, under both updates: change of the slope with each step of the code of the classes, and 95% intervals. Dashed: no change. The paper's: −0.745 and 1.96 of its standard errors, 0.122.", "name": "fig-attack-h2"}} tags=["hide-input", "nbval-ignore-output"]
charts.intervals(
    analysis.forest(lines, *analysis.H2),
    charts.Axis("slope", "change of the slope with a step of the classes' code"),
    "line",
    color="update",
    rule=0,
).properties(
    title="Do more classes lower the slope?",
    height=300,
    description="Dots with intervals: change of slope with classes in each group, pooled and in the paper, for both updates.",
)

# %% [markdown]
# ## What else could have been chosen
#
# H1 first: how many conditions surely lie above zero where clean and attacked images are read apart, or layers count equally.

# %%
by_choice = analysis.h1_by_choice(full)
apart = by_choice[(by_choice.inputs == "clean") & (by_choice.layers == "parameters")]
for row in apart.itertuples():
    print(
        f"{row.update}, clean images alone: {row[5]} of {row.conditions} conditions surely above zero, {row[6]} below"
    )
by_choice

# %% [markdown]
# H2 under one other choice at a time, both updates: clean and attacked apart, layers counted equally, the line through the radii above 0 alone, the effective rank and the
# participation ratio in place of F, networks not above chance left out; in brackets its interval, then how many conditions it is made of.
# [The next chapter](09_room_to_spare) shows all combinations at once.

# %%
choices = analysis.one_other_choice(analysis.specifications(analysis.for_h2(slopes.slopes_by_choice(full))))
for (which, side), part in choices.groupby(["which", "side"]):
    print(f"{which}, {side}: {' · '.join(part.choice)}")
choices.pivot(index="choice", columns="which", values="words").reindex(choices.choice.unique())

# %% [markdown]
# Where the effective rank, which has no SAE, does what F does, the effect can be seen without features, and says nothing for superposition by itself.
#
# Other SAEs on the same networks, of the MLP on MNIST under the paper's update, as far as they were run: our protocol (rows of unit length, scaled
# input), TopK, λ halved and doubled. H2 there is the slope over its conditions, with its fixed-effect interval; at its side how many networks were
# left out because a layer, or a dictionary, was silent.

# %%
again = here.committed["adversarial_readings"]
again = again[again.architecture == "mlp"]
by_leak = every[
    every.dataset.eq("mnist") & every.architecture.eq("mlp") & (every["update"].eq("leak") | every.epsilon.eq(0))
]
analysis.by_reading(by_leak, again[again.n_sae == 1])

# %% [markdown]
# Is the effect larger than the spread between SAE seeds? SAEs of different seeds on each layer of the MLPs on MNIST of seed 1: the standard deviation
# over them of a network's relative F, beside the change of F from ε = 0 to the largest radius.

# %%
analysis.spread_of_saes(again[again.n_sae > 1]).round(3)

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs at the lowest and the highest radius (variance left unexplained, active codes a row, dead codes), and the ψ that goes with them.

# %%
analysis.quality(full, "architecture", "layer", "epsilon", "inputs")[["psi", "fvu", "l0", "dead"]]

# %%
analysis.n_updates(every).add_prefix("updates of a network, ")

# %% [markdown]
# - **The scale is not the paper's.** Networks see a part of the images, and fewer updates, as above. We let them decide all the same, for the claims
#   are about any such network.
# - **This leak is not quite the paper's.** It is $\nabla L$ one step before the attacked image, and a step of training's attack here is longer than
#   the paper's, as fewer go as far together. It also makes steps longer, at ε > 0 only, while the networks at ε = 0 serve both updates.
# - **F on ε need not be a line** (the table of jumps counts where it is none), and the slope over all radii, which the claims are about, mixes a jump with what comes after it.
# - **PGD with 40 steps overstates robustness** where the checks above say that five times the steps find more; F on attacked images is read
#   with that weaker attack.
# - **λ weighs an absolute value against a squared one**: a layer of a larger scale feels less pressure, and training with attacks can change
#   scales. Our protocol, among the other SAEs above, divides by the mean length of a row.
# - **Conditions are not wholly independent**: their networks start from the same seeds, and the first two classes are among the first three.
#
# ## Exercises
#
# 1. The leak adds $\nabla L(x'')$ to the update. With short steps, is it anything but a larger step, more of it on attacked images?
#
# ```{dropdown} A solution
# Nearly not: if $x''$ is close to $x'$, the update is about $\tfrac12\nabla L(x) + \tfrac32\nabla L(x')$, a step twice as long of which three quarters are
# on attacked images in place of a half. Train with the corrected update, twice the step size, and a weight of ¾ on the attacked half, and compare.
# ```
#
# 2. Why does the slope of a condition count a network once, and not once a layer and kind of input?
#
# ```{dropdown} A solution
# Layers and inputs of a network share its weights: if its F is high by chance, it is high in all of them. Counting each as
# one would make intervals too narrow. `tests/findings/test_adversarial.py` plants such a shared part and compares the stated variance with that over repetitions.
# ```
