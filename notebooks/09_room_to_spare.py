# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Room to spare
#
# *If attacks make a network keep more features where it has room, and fewer where it has none, then what matters is its
# width.*
#
# [The chapter before](08_under_attack) varies the task; this one varies the network. {cite:t}`bereska2025superposition` train
# one-layer networks of 8 to 512 neurons, or 8 to 64 channels, with attacks of growing radius ε.
#
# **The claim.** H3: the slope of F on ε rises with the logarithm of the width, by 0.220 ± 0.037 a unit (*scarcity* in narrow networks,
# *abundance* in wide ones). In ResNet-18 on CIFAR-10 it rises by 31.0 ± 2.0 a unit, from −1.6 at a quarter of the width to 78 at twice.
#
# **What would refute it.** A slope that does not rise with the width; one that does so only under one update, one SAE or one kind of
# input; or an effective rank, which has no SAE, that rises just as fast.

# %% tags=["remove-cell"]
import sys

if "google.colab" in sys.modules:
    get_ipython().system("git clone -q --depth 1 https://github.com/superpos/superpos")
    get_ipython().run_line_magic("cd", "-q superpos/notebooks")
    get_ipython().run_line_magic("pip", "install -q -e ..[charts,images]")

# %% [markdown]
# ## Parameters
#
# Stored are the quick ones, on the digits that come with scikit-learn, under a minute on two cores.
# `make full NAME=09_room_to_spare` runs the full scale and fills the committed rows that the figures are drawn from; it looks for the folder of
# CIFAR-10 images beside the notebook.

# %% tags=["parameters"]
dataset: str = "digits"  # digits, mnist, fashion-mnist, cifar10 or folder:PATH
classes: str = "2,5"  # numbers of classes (paper: 2, 3, 5, 10)
radii: str = "0.2"  # radii above 0 of training, in units of the pixel range (paper: 0.1, 0.2, 0.3)
n_networks: int = 2  # networks a condition and radius, seeds 1, 2, … (paper: 3)
mlp_widths: str = "4,16"  # neurons h of the MLPs (paper: 8, 32, 128, 512)
mlp_per_class: int = 100  # training images a class for the MLPs (paper: all, about 6,000)
mlp_epochs: int = 20  # epochs of the MLPs (paper: 100)
mlp_images: int = 128  # images on which the MLPs are read
mlp_test: int = 100  # test images on which accuracy is taken
cnn_widths: str = "2,4"  # channels c of the CNNs (paper: 8, 16, 32, 64)
cnn_per_class: int = 100  # the same four for the CNNs
cnn_epochs: int = 15
cnn_images: int = 64
cnn_test: int = 100
readings: str = "published, twice λ"  # other SAEs, of superpos.systems.adversarial.READINGS, separated by semicolons
reading_widths: str = "4"  # widths of the MLPs that are read by these too, under the paper's update
resnet_dataset: str = "digits"  # what ResNet-18 is trained on (paper: cifar10)
resnet_classes: str = "3"  # (paper: 10)
resnet_radii: str = "0.2"  # (paper: 0.01, 0.02, 0.03)
resnet_networks: int = 1
resnet_widths: str = "0.0625"  # widths, 1 has 64 channels in its first stage (paper: ¼, ½, 1, 2)
resnet_per_class: int = 60
resnet_epochs: int = 3  # (paper: 200)
resnet_images: int = 32
resnet_test: int = 60
resnet_steps: int = 2  # steps of the attack in training, as far together as the paper's 10
resnet_lr: float = 0.05  # (paper: 0.1)
resnet_decay: float = 5e-4  # weight decay of ResNet-18, the paper's; the others have its 1e-4
masking_classes: str = "2,3"  # classes whose networks of seed 1 and the largest radius are checked for masking
masking_test: int = 50  # test images of these checks
n_rows: int = 128  # rows of a layer for an SAE (paper: 10,000)
attack_steps: int = 3  # steps of the attack in training, as far together as the paper's 40
lr: float = 0.02  # step size of training, a tenth after 75% and 90% (paper: 0.01, after 50% and 75%)
batch_size: int = 32  # images a step (paper: 256)
products: str = "float32"  # of the attacks in training; bfloat16 is faster where the processor has it
networks: str = ""  # folder that keeps the trained weights; empty: a scratch one, on a cluster none
cluster: str = ""  # address of a Dask scheduler, tcp://HOST:8786; empty: the cores of this machine
results: str = ""  # folder of results to fill; empty: a scratch one
committed: str = "../book/results"  # folder of the committed rows
verdicts: str = ""  # table of claims to write to; empty: none

# %%
import math
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy import stats
from statsmodels.stats.multitest import multipletests

from superpos import charts, statistics, sweep
from superpos import networks as classifiers
from superpos.systems import adversarial
from superpos.verdicts import claim, record

charts.use()
torch.set_num_threads(1)
pd.options.display.width = 160
pd.options.display.float_format = "{:.2f}".format
F = "effective_features"

# %% [markdown]
# ## The method
#
# Training, attacks, reading and the slope of a condition are those of [the chapter before](08_under_attack): *leak* is the paper's update, with the
# gradient that its attack leaves behind, *corrected* the one without. *mlp1* has one hidden layer of $w$ neurons, *cnn1* one convolution of $w$ channels. A condition has its
# width $w$ too, and H3 is about $\beta$ in
#
# $$
# \text{slope}(w) = \alpha + \beta \ln w ,
# $$
#
# fitted for each number of classes by inverse variances, and pooled over them.
#
# ## A known answer first
#
# How many weights the widths stand for, counted by hand for ten classes of 28×28 images: 784h + h + 10h + 10 for the MLP, 25c + c + 196 · 10c + 10
# for the CNN.

# %%
for name, widths, by_hand in (
    ("mlp1", (8, 512), lambda h: 784 * h + h + 10 * h + 10),
    ("cnn1", (8, 64), lambda c: 25 * c + c + 196 * 10 * c + 10),
):
    for width in widths:
        network = classifiers.build(name, (1, 28, 28), 10, width=width, seed=0)
        print(f"{name}({width}): {sum(p.numel() for p in network.parameters()):,} weights, by hand {by_hand(width):,}")

# %% [markdown]
# ## Run it here

# %%
fixed = {
    "readings": "published", "n_sae": 1, "part": "train", "n_rows": n_rows, "batch_size": batch_size, "milestones": "0.75,0.9",
    "products": products,
}  # fmt: skip
small = {
    "dataset": dataset, "n_classes": sweep.numbers(classes), "seed": range(1, n_networks + 1), "attack_steps": attack_steps, "lr": lr,
}  # fmt: skip
mlp = {
    "network": "mlp1", "width": sweep.numbers(mlp_widths), "per_class": mlp_per_class, "epochs": mlp_epochs, "n_images": mlp_images,
    "n_test": mlp_test,
}  # fmt: skip
cnn = {
    "network": "cnn1", "width": sweep.numbers(cnn_widths), "per_class": cnn_per_class, "epochs": cnn_epochs, "n_images": cnn_images,
    "n_test": cnn_test,
}  # fmt: skip
resnet = {
    "dataset": resnet_dataset, "n_classes": sweep.numbers(resnet_classes), "seed": range(1, resnet_networks + 1),
    "attack_steps": resnet_steps, "lr": resnet_lr, "network": "resnet18", "width": sweep.numbers(resnet_widths),
    "per_class": resnet_per_class, "epochs": resnet_epochs, "n_images": resnet_images, "n_test": resnet_test,
    "weight_decay": resnet_decay,
}  # fmt: skip


def grid(radii, updates=("corrected", "leak"), **axes):
    """Networks at radius 0, which serve both updates, and at the radii above it."""
    above = sweep.numbers(radii)
    plain = sweep.expand(**fixed | axes, update="corrected", epsilon=0.0)
    return plain + sweep.expand(**fixed | axes, update=list(updates), epsilon=above)


def kept(name):
    return f"{results}/{name}.csv" if results else None


scratch = TemporaryDirectory()
folder = networks or (None if cluster else scratch.name)  # a network is trained once, however often it is read
run, cluster = partial(adversarial.attack_run, folder=folder), cluster or None
here = sweep.run(run, grid(radii, **small, **mlp) + grid(radii, **small, **cnn), kept("adversarial"), cluster=cluster)
others = grid(radii, ["leak"], **small, **mlp | {"width": sweep.numbers(reading_widths)})
again = sweep.run(run, [one | {"readings": readings} for one in others], kept("adversarial_readings"), cluster=cluster)
large = sweep.run(run, grid(resnet_radii, ["leak"], **resnet), kept("adversarial_resnet"), cluster=cluster)

check, to_check = partial(adversarial.masking_run, folder=folder), {}
of_one_layer = grid(radii, ["leak"], **small, **mlp) + grid(radii, ["leak"], **small, **cnn)
for name, runs in {"adversarial": of_one_layer, "adversarial_resnet": grid(resnet_radii, ["leak"], **resnet)}.items():
    to_check[f"{name}_masking"] = adversarial.for_masking(runs, sweep.numbers(masking_classes), masking_test)
checks = {name: sweep.run(check, runs, kept(name), cluster=cluster) for name, runs in to_check.items() if runs}

# %%
mine, silent = adversarial.speaking(here)
at_zero = mine[mine.epsilon == 0].groupby("network")["accuracy_0"].mean()
print(len(here), "rows; clean accuracy at radius 0 above 0.8 in both networks:", bool((at_zero > 0.8).all()))
print(
    len(adversarial.slopes(mine)),
    "slopes;",
    len(again),
    "rows of other SAEs;",
    len(large),
    "rows of ResNet-18, layers:",
)
print(*large.layer.unique())
print("checks for masking:", {name: len(table) for name, table in checks.items()})

# %% [markdown]
# That is your machine at quick scale. What follows is drawn from the committed rows of the full scale.

# %%
every = sweep.read(f"{committed}/adversarial.csv")
task_rows, _ = adversarial.speaking(every[every.network.isin(["mlp", "cnn"])])
every = every[every.network.isin(["mlp1", "cnn1"])]
print("adversarial.csv:", sweep.made_by(every))
size = every.drop_duplicates("network").set_index("network")
print(size[["per_class", "epochs", "n_images", "n_rows", "attack_steps"]].to_string())
full, silent = adversarial.speaking(every)
print(f"networks left out, for a layer that says nothing: {len(silent)}")

# %% [markdown]
# ## The networks
#
# Networks above chance under attack at their own radius, of all with a radius above 0:

# %%
each = every.drop_duplicates([*adversarial.CONDITION, "epsilon", "seed"]).copy()
each["above chance"] = adversarial.above_chance(each)
each["own"] = adversarial.own_accuracy(each)
learned = each[each.epsilon > 0].groupby(["network", "width", "update", "n_classes"])["above chance"]
learned.agg(["sum", "count"]).apply(lambda row: f"{row['sum']} of {row['count']}", axis=1).unstack("n_classes")


# %% mystnb={"figure": {"caption": "Test accuracy under attack at the radius of training (PGD, 40 steps), one line a width; the menus choose network, classes and update. Mean of the networks, bands their 95% t interval.", "name": "fig-room-robust"}} tags=["hide-input", "nbval-ignore-output"]
by = ["update", "network", "n_classes", "width", "epsilon"]
lines = adversarial.ordered(statistics.summarize(adversarial.for_both_updates(each), by, "own"), *by)
lines = lines.assign(classes=lines.n_classes.astype(str), width=lines.width.map("{:g}".format))
charts.lines(
    lines, "epsilon", "own", low="low", high="high", color="width", x_title="radius ε of training", y_title="accuracy under attack",
    y_domain=(0, 1), choose=["update", "network", "classes"], tooltip=("count",), title="Robust to its own radius",
    description="Lines of accuracy under attack against the radius of training for four widths, with menus.",
)  # fmt: skip

# %% [markdown]
# Checks for masked gradients, as [before](08_under_attack), of networks of seed 1 at the largest radius under the paper's update: the share of networks that pass,
# and the accuracies.

# %%
masking = sweep.read(f"{committed}/adversarial_masking.csv")
masking = masking[masking.network.isin(["mlp1", "cnn1"])]
masking = pd.concat([masking, sweep.read(f"{committed}/adversarial_resnet_masking.csv")])
network_of = ["network", "width", "n_classes"]
accuracy = masking.set_index([*network_of, "check"]).accuracy.unstack("check")
if len(masking):
    lost = accuracy["PGD"] - accuracy["more steps"]
    for network, values in lost.groupby("network", sort=False):
        print(
            f"{network}: five times the steps lower accuracy by {values.max():.2f} at most, of {len(values)} networks"
        )
masking.groupby(["network", "check"], sort=False)[["accuracy", "passed"]].mean().unstack("network")

# %% [markdown]
# ## F against the radius

# %% mystnb={"figure": {"caption": "F of the hidden layer relative to its mean at ε = 0, one line a width, on clean images and on images attacked at the radius of training; the menus choose. Mean of the networks, bands their 95% t interval.", "name": "fig-room-ratio"}} tags=["hide-input", "nbval-ignore-output"]
rows = adversarial.for_both_updates(full[full.layer != "out"])
rows = pd.concat([rows, rows[rows.epsilon == 0].assign(inputs="attacked")])
keys = ["update", "network", "n_classes", "width"]
base = rows[(rows.epsilon == 0) & (rows.inputs == "clean")].groupby(keys)[F].mean().rename("base")
ratios = rows.join(base, on=keys).assign(ratio=lambda table: table[F] / table.base)
lines = adversarial.ordered(
    statistics.summarize(ratios, [*keys, "inputs", "epsilon"], "ratio"), *keys, "inputs", "epsilon"
)
lines = lines.assign(classes=lines.n_classes.astype(str), width=lines.width.map("{:g}".format))
charts.lines(
    lines, "epsilon", "ratio", low="low", high="high", color="width", dash="inputs", rule=1, choose=["update", "network", "classes"],
    x_title="radius ε of training", y_title="F over F at ε = 0", tooltip=("count",), title="More features or fewer?",
    description="Lines of relative effective features against the radius of training for four widths, clean and attacked, with menus.",
)  # fmt: skip

# %% [markdown]
# ## Slopes
#
# One slope a condition, beside the paper's (read off its figure; its CNN of 3 and 5 classes is not among what we could read). NaN: not read,
# or not run.

# %%
slopes = adversarial.slopes(full)
slopes["log_width"] = np.log(slopes.width)
reach = stats.t.ppf(0.975, slopes.n - 2) * slopes.variance**0.5
slopes["low"], slopes["high"] = slopes.slope - reach, slopes.slope + reach
published = {
    ("mlp1", 2): [-0.1, 0.1, 0.25, 1.2], ("mlp1", 3): [-0.3, 0.1, 0.4, 1.2], ("mlp1", 5): [-0.9, -1.0, -0.45, 0.3],
    ("mlp1", 10): [-0.7, -1.15, -0.75, -0.2], ("cnn1", 2): [0.25, 0.5, 0.6, 0.75], ("cnn1", 10): [-0.65, -0.6, -0.5, -0.2],
}  # fmt: skip
widths = {"mlp1": [8, 32, 128, 512], "cnn1": [8, 16, 32, 64]}
paper = pd.DataFrame(
    {"update": "paper", "network": network, "n_classes": n, "width": width, "slope": value}
    for (network, n), values in published.items()
    for width, value in zip(widths[network], values, strict=True)
)
wide = pd.concat([paper, slopes]).pivot_table(
    index=["network", "n_classes", "width"], columns="update", values="slope", sort=False
)
other = slopes[slopes.n != slopes.n.max()]
other = [f"{c.network}({c.width}), {c.n_classes} classes, {c.n}" for c in other.itertuples()]
print(f"conditions of other than {slopes.n.max()} networks:", " · ".join(other) or "none")
run_at = slopes.groupby(["network", "update"]).width.unique()
print("widths that were run:", {", ".join(key): sorted(values.tolist()) for key, values in run_at.items()})
wide[["paper", *(update for update in ("leak", "corrected") if update in wide)]].sort_index()

# %% mystnb={"figure": {"caption": "Slope of relative F on ε against the width, one line a number of classes; the menus choose the network and our slopes under the paper's update (leak), under the corrected one, or the paper's. Bands: 95% t interval over networks.", "name": "fig-room-slopes"}} tags=["hide-input", "nbval-ignore-output"]
shown = pd.concat([slopes, paper.assign(low=paper.slope, high=paper.slope)])
shown = shown.assign(
    classes=shown.n_classes.astype(str), place=shown["update"].map({"leak": 0, "corrected": 1, "paper": 2})
)
shown = shown.sort_values(
    ["place", "network", "n_classes", "width"], ascending=[True, False, True, True], kind="stable"
)
charts.lines(
    shown[["update", "network", "classes", "width", "slope", "low", "high"]], "width", "slope", low="low", high="high", color="classes",
    choose=["update", "network"], x_scale="log", rule=0, x_title="width: neurons, or channels", y_title="slope of F on ε",
    title="Scarcity below zero, abundance above",
    description="Lines of the slope of relative effective features on the radius against width for four numbers of classes, with menus.",
)  # fmt: skip

# %% [markdown]
# Is F on ε a line at all? For each condition the *jump*, its relative change from ε = 0 to the smallest radius above it, the slope over the radii
# *above* 0, and the p of a test of whether one line holds for all radii, against the spread of networks of one radius. (Added after the rows had been
# seen; the claims below are about the slope over all radii, as the paper's are.)

# %%
shapes = adversarial.shapes(full)
bent = shapes[shapes.line_p < 0.05].groupby(["network", "update"]).size().rename("no line (p < .05)")
opposed = (
    shapes[shapes.jump * shapes.above < 0].groupby(["network", "update"]).size().rename("jump, then the other way")
)
of_all = shapes.groupby(["network", "update"]).size().rename("conditions")
print(pd.concat([bent, opposed, of_all], axis=1).fillna(0).astype(int).to_string())
shapes[shapes["update"] == "leak"].set_index(["network", "n_classes", "width"])[
    ["jump", "above", "line_p"]
].sort_index()

# %% [markdown]
# ## Verdict
#
# The rules stand in `notebooks/full/09_room_to_spare.yaml`. For each number of classes the slopes on ln(width) by inverse variances, pooled with
# random effects. A number agrees if our interval meets the paper's and excludes zero, differs if it misses it, and is open if it meets it and
# holds zero, or where fewer than two groups of three widths were run. The paper does not name the base of its logarithm; e is what its slopes in
# its figure, on ln(width), are compared with below. The claim under the corrected update pools both networks; each by itself stands in the figure below.

# %%
claims, trends, nothing = [], {}, (math.nan,) * 3


def of_h3(name, text, table):
    groups, pooled = trends[name] = statistics.trend(table, "log_width", ["network", "n_classes"])
    used = table.merge(groups[["network", "n_classes"]])
    ran = "; ".join(
        f"{network} {', '.join(map(str, sorted(part.width.unique())))}"
        for network, part in used.groupby("network", sort=False)
    )
    estimate = (pooled["mean_re"], pooled["low_re"], pooled["high_re"]) if pooled else nothing
    p = 2 * stats.norm.sf(abs(groups.slope) / groups.variance**0.5)
    surely = multipletests(p, method="holm")[0] if len(p) else np.zeros(0, bool)
    sides = []
    for network, part in groups.assign(surely=surely).groupby("network", sort=False):
        rise, fall = (int((part.surely & (part.slope * sign > 0)).sum()) for sign in (1, -1))
        sides.append(f"{network}: of {len(part)} numbers of classes {rise} surely rise, {fall} surely fall")
    sides = "; ".join(sides)
    text = f"Slope of F on ε rises with ln(width){text}: {ran}; {sides}" if ran else f"Slope of F on ε{text}: not run"
    about = {"n": int(used.n.sum()), "source": "adversarial.csv"}
    of_paper = {"paper": 0.220, "error": 1.96 * 0.037, "nonzero": True}
    claims.append(claim(f"adversarial.h3_slope_{name}", text, estimate=estimate, **of_paper, **about))


leak, corrected = (slopes[slopes["update"] == update] for update in ("leak", "corrected"))
of_h3("mlp", "", leak[leak.network == "mlp1"])
of_h3("cnn", "", leak[leak.network == "cnn1"])
of_h3("corrected", ", corrected update", corrected)
of_resnet, _ = adversarial.speaking(sweep.read(f"{committed}/adversarial_resnet.csv"))
resnet_slopes, source = adversarial.slopes(of_resnet), "adversarial_resnet.csv"
images = of_resnet[of_resnet.dataset.str.contains("cifar10") & (of_resnet.n_classes == 10)].dataset.min()
of_claim = resnet_slopes[(resnet_slopes.dataset == images) & (resnet_slopes.n_classes == 10)]
plain = of_resnet[(of_resnet.epsilon == 0) & (of_resnet.dataset == images) & (of_resnet.n_classes == 10)]
accuracy = plain.drop_duplicates(["width", "seed"]).accuracy_0.mean()
which = f"ResNet-18, CIFAR-10{'' if images == 'cifar10' else ' (JPEG copy)'}"
which += "".join(
    f", {size[0]} epochs on {size[1]} images a class" for size in plain.groupby(["epochs", "per_class"]).groups
)
which = f"{which}, test accuracy {accuracy:.2f}" if len(plain) else "ResNet-18, CIFAR-10: not run"
estimate, run_at = nothing, ", ".join(map("{:g}".format, of_claim.width)) or "none"
if of_claim.width.nunique() >= 3:
    fit = statistics.meta_slope(np.log(of_claim.width), of_claim.slope, of_claim.variance)
    estimate = (fit["slope_re"], fit["low_re"], fit["high_re"])
text = f"{which}: slope of F on ε rises with ln(width); run at {run_at}"
about = {"n": int(of_claim.n.sum()), "source": source}
claims.append(claim("adversarial.resnet_width_slope", text, paper=31.0, error=1.96 * 2.0, estimate=estimate, **about))
quarter, estimate = of_claim[of_claim.width == 0.25], nothing
for row in quarter.itertuples():  # one, or none
    reach = stats.t.ppf(0.975, row.n - 2) * row.variance**0.5
    estimate = (row.slope, row.slope - reach, row.slope + reach)
of_paper = {"paper": -1.6, "error": 1.0, "nonzero": True}
text, about = f"{which}: slope of F on ε at a quarter of the width", {"n": int(quarter.n.sum()), "source": source}
claims.append(claim("adversarial.resnet_quarter", text, estimate=estimate, **of_paper, **about))
for (network, n), part in paper.groupby(["network", "n_classes"], sort=False):
    beta = np.polyfit(np.log(part.width.astype(float)), part.slope.astype(float), 1)[0]
    print(f"read off the paper's figure: {network}, {n} classes, {beta:.2f} a unit of ln(width)")
record(claims, verdicts or None)[["id", "paper", "ours", "low", "high", "n", "verdict"]]

# %% [markdown]
# How much the groups differ: Cochran's Q, the share $I^2$ of the spread that is between them, the fixed-effect mean beside that of random effects.

# %%
table = pd.DataFrame({name: pooled for name, (_, pooled) in trends.items() if pooled}).T
table.reindex(columns=["mean", "low", "high", "mean_re", "low_re", "high_re", "q", "p", "i2", "n"])

# %% [markdown]
# Each group by itself, with its own 95% interval (how many *surely* rise or fall is counted above by Holm's test over the groups of a claim), and the
# test (`q_p`) of whether its slopes lie on a line in ln(width) at all. The variance of a slope holds what its own line
# leaves, so that where F on ε is bent a large `q_p` says little:

# %%
lines = slopes.assign(line=slopes.network + ", " + slopes.n_classes.astype(str) + " classes")
lines, _ = statistics.trend(lines, "log_width", ["network", "line", "update"])
lines[["line", "update", "slope", "low", "high", "q", "q_p", "n"]]

# %% mystnb={"figure": {"caption": "H3 for each number of classes (fixed effects), and pooled with random effects, under both updates: change of the slope with a unit of ln(width), and 95% intervals. Dashed: no change. The paper's: 0.220 and 1.96 of its standard errors, 0.037.", "name": "fig-room-h3"}} tags=["hide-input", "nbval-ignore-output"]
pooled = []
for (network, update), part in lines.groupby(["network", "update"], sort=False):
    if len(part) > 1:
        of_all = statistics.pool(part.slope, part.variance)
        pooled.append((f"{network}, pooled", update, of_all["mean_re"], of_all["low_re"], of_all["high_re"]))
pooled.append(("paper", "leak", 0.22, 0.22 - 1.96 * 0.037, 0.22 + 1.96 * 0.037))
names = ["line", "update", "slope", "low", "high"]
forest = pd.concat([lines[names], pd.DataFrame(pooled, columns=names)])
parts = ("2 classes", "3 classes", "5 classes", "10 classes", "pooled")
order = {
    name: i
    for i, name in enumerate([*(f"{network}, {words}" for network in ("mlp1", "cnn1") for words in parts), "paper"])
}
charts.intervals(
    forest.sort_values("line", key=lambda line: line.map(order), kind="stable"), "slope", "line", low="low", high="high", color="update",
    rule=0, x_title="change of the slope with a unit of ln(width)", title="Does room raise the slope?", height=420,
    description="Dots with intervals: change of slope with the logarithm of width by classes, pooled and in the paper, for both updates.",
)  # fmt: skip

# %% [markdown]
# ## ResNet-18
#
# The path of the paper's largest networks {cite:p}`he2016deep`, run for real at the width that two cores can train: F of the last ReLU of each stage, over F at ε = 0. The
# images are CIFAR-10's re-encoded as JPEG, not the original pixels, and these networks are barely trained, as their accuracy beside says (chance is 0.1),
# on training images, on test images, and on these attacked at the radius of training.

# %%
print("adversarial_resnet.csv:", sweep.made_by(sweep.read(f"{committed}/adversarial_resnet.csv")))
which = ["dataset", "n_classes", "width"]
several = [name for name in which if of_resnet[name].nunique() > 1]
print(*(f"{name}: {of_resnet[name].iloc[0]}" for name in which if name not in several), sep=", ")
layers = of_resnet[of_resnet.layer != "out"]
zero = layers[layers.epsilon == 0].groupby([*which, "layer"])[F].mean().rename("zero")
relative = layers.join(zero, on=[*which, "layer"]).assign(ratio=lambda t: t[F] / t.zero)
own = of_resnet.drop_duplicates([*which, "update", "epsilon", "seed"]).assign(attacked=adversarial.own_accuracy)
names = {"accuracy_train": "training", "accuracy_0": "test", "attacked": "attacked"}
accuracies = own.groupby([*several, "epsilon"])[list(names)].mean().rename(columns=names)
ratios = relative.groupby([*several, "epsilon", "inputs", "layer"]).ratio.mean().unstack("layer")
ratios.join(accuracies, on=[*several, "epsilon"])

# %%
edges = layers[layers.epsilon.isin([0.0, layers.epsilon.max()])]
edges.groupby([*several, "layer", "epsilon"])[["rows_fitted", "psi", "fvu", "l0", "dead"]].mean()

# %% [markdown]
# ## Every choice at once
#
# Which update, which inputs, how layers are weighed, through which radii the line goes, what is measured, which networks count: each combined with each, where
# three classes or widths are left {cite:p}`simonsohn2020specification`. First H2, in each data set and network by itself; then H3, in each network. If the effective rank,
# which has no SAE, does what F does, then that is not about features in superposition.


# %%
CODE = {2: 1, 3: 2, 5: 3, 10: 4}


def estimate(part):
    """Slope of the slopes on x, pooled over lines if there are several, with random effects. → (estimate, low, high, conditions)"""
    groups, pooled = statistics.trend(part, "x", "line")
    if pooled:
        return pooled["mean_re"], pooled["low_re"], pooled["high_re"], groups.n.sum()
    if groups.empty:
        return *nothing, 0
    if part.line.nunique() > 1:  # a single line of several is not pooled
        return *nothing, 0
    fit = statistics.meta_slope(part.x, part.slope, part.variance)
    return fit["slope_re"], fit["low_re"], fit["high_re"], len(part)


def estimates(table, *by):
    choices = [*by, "update", "inputs", "radii", "measure", "counted"]
    lines = [(*key, *estimate(part)) for key, part in table.groupby(choices, sort=False)]
    found = pd.DataFrame(lines, columns=[*choices, "estimate", "low", "high", "conditions"])
    lost = found[found.estimate.isna()]
    print(f"{len(lost)} of {len(found)} combinations have too few conditions", lost.groupby("measure").size().to_dict())
    return found.astype(dict.fromkeys(["estimate", "low", "high"], float)).dropna(ignore_index=True)


def with_other_saes(rows, others):
    """`slopes_by_choice` of the usual reading, and of F by every other that was run."""
    tables = [adversarial.slopes_by_choice(rows)]
    for reading, part in others.groupby("reading", sort=False):
        spoken, _ = adversarial.speaking(part)
        tables.append(adversarial.slopes_by_choice(spoken, {f"F, {reading}": F}))
    return pd.concat(tables, ignore_index=True)


others = sweep.read(f"{committed}/adversarial_readings.csv")
others = others[others.n_sae == 1]
for_h2 = with_other_saes(task_rows, others[others.network == "mlp"])
for_h2 = for_h2.assign(x=for_h2.n_classes.map(CODE), group=for_h2.dataset + ", " + for_h2.network, line="all")
for_h3 = with_other_saes(full, others[others.network == "mlp1"])
for_h3 = for_h3[for_h3["layers"] == "equal"].assign(x=lambda t: np.log(t.width), line=lambda t: t.n_classes.astype(str))
h2, h3 = estimates(for_h2, "group", "layers"), estimates(for_h3, "network")  # one hidden layer there
both = pd.concat(
    {"H2": h2.rename(columns={"group": "where"}), "H3": h3.rename(columns={"network": "where"})}, names=["claim"]
)
both = both.reset_index("claim").sort_values("counted", key=lambda counted: counted != "all", kind="stable")
both = both.drop_duplicates(
    ["claim", "where", "update", "measure", "estimate", "low", "high"]
)  # all may be above chance
sign = both.claim.map({"H2": -1, "H3": 1}).astype(float)
both["right side"], both["surely"] = both.estimate * sign > 0, np.minimum(both.low * sign, both.high * sign) > 0
shares = both.groupby(["claim", "where", "measure", "update"])
shares[["right side", "surely"]].mean().join(shares.agg(combinations=("estimate", "size"), mean=("estimate", "mean")))

# %% [markdown]
# *Right side*: the share of combinations whose estimate lies on the paper's side of zero; *surely*: whose interval does. Combinations that come to the
# same, since all networks are above chance, count once. H2's intervals are of as many conditions as numbers of classes were
# run, H3's of four numbers of classes, both with random effects.
#
# H3 under one other choice at a time, by network; in brackets its interval, then how many conditions it is made of. Other SAEs read MLPs under the
# paper's update alone, and not those of all widths; elsewhere they are NaN.

# %%
usual = {"inputs": "both", "radii": "all", "measure": "F", "counted": "all"}
lines = []
for other in [{}, *({name: value} for name in usual for value in h3[name].unique() if value != usual[name])]:
    chosen = pd.Series(usual | other)
    for row in h3[(h3[chosen.index] == chosen).all(axis=1)].to_dict("records"):
        words = "{estimate:.2f} [{low:.2f}, {high:.2f}], {conditions}".format(**row)
        side = "rises" if row["low"] > 0 else "falls" if row["high"] < 0 else "neither surely"
        lines.append(
            (": ".join(*other.items()) if other else "as above", f"{row['network']}, {row['update']}", words, side)
        )
lines = pd.DataFrame(lines, columns=["choice", "which", "h3", "side"])
for (which, side), part in lines.groupby(["which", "side"]):
    print(f"{which}, {side}: {' · '.join(part.choice)}")
lines.pivot(index="choice", columns="which", values="h3").reindex(lines.choice.unique())

# %% mystnb={"figure": {"caption": "H2 under every combination of choices, in order of size, with 95% intervals of random effects; below, the choices behind each. The legend picks a measure. Intervals of fewer conditions than others may be longer than the axis, and are cut.", "name": "fig-room-multiverse-h2"}} tags=["hide-input", "nbval-ignore-output"]
style, whole = {"low": "low", "high": "high", "color": "measure"}, h2[h2.conditions == h2.conditions.max()]
charts.specification_curve(
    h2, "estimate", **style, choices=["group", "update", "inputs", "layers", "radii", "measure", "counted"], marks={"paper": -0.745},
    estimate_title="change of slope, a step of the classes", domain=(whole.low.min(), whole.high.max()), title="H2 under every choice",
    description="Estimates of H2 under every combination of choices in order of size, with the choices marked below.",
)  # fmt: skip

# %% mystnb={"figure": {"caption": "H3 under every combination of choices, in order of size, with 95% intervals of random effects; below, the choices behind each. The legend picks a measure.", "name": "fig-room-multiverse-h3"}} tags=["hide-input", "nbval-ignore-output"]
charts.specification_curve(
    h3, "estimate", **style, choices=["network", "update", "inputs", "radii", "measure", "counted"], marks={"paper": 0.22},
    estimate_title="change of slope, a unit of ln(width)", title="H3 under every choice",
    description="Estimates of H3 under every combination of choices in order of size, with the choices marked below.",
)  # fmt: skip

# %% [markdown]
# ## Where it breaks
#
# Quality of the SAEs at the lowest and the highest radius: variance left unexplained, active codes a row, dead codes, beside ψ.

# %%
edges = full[full.epsilon.isin([0.0, full.epsilon.max()]) & (full.layer != "out")]
edges.groupby(["network", "width", "epsilon", "inputs"])[["psi", "fvu", "l0", "dead"]].mean()

# %% [markdown]
# - **F on ε is often no line.** It jumps where training is attacked at all, and may fall from there; a slope over all radii mixes the two. Among the choices
#   above is the line through the radii above 0 alone.
# - **PGD with 40 steps overstates robustness** where the checks for masking above say that five times the steps find more.
# - **A wide network is also a better trained one**, at one number of epochs. Width and how far training went are not told apart here.
# - **λ weighs an absolute value against a squared one**: a layer of a larger scale feels less pressure, and width and attacks can both change scales.
# - **ResNet-18 was run at a quarter of its width** for the few updates that two cores can do, and the claim on its widths stays open.
# - **The two updates share their networks at ε = 0**, all conditions start from the same seeds, and the first two classes are among the first three: the
#   numbers of classes that are pooled are not independent.
#
# ## Exercises
#
# 1. If the paper's logarithm is log₂, what is our number in its unit?
#
# ```{dropdown} A solution
# A unit of ln is 1.44 doublings, so the number for log₂ is ours times ln 2 = 0.69.
# ```
#
# 2. Is the slope of a narrow network low because it has little room, or because it is at chance at large radii?
#
# ```{dropdown} A solution
# In the table of H3 under one other choice at a time, compare “as above” with “counted: above chance”; and see in the table at the top where networks at
# chance are.
# ```
