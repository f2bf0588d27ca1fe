"""Adversarial training of classifiers, and F of their layers on clean and on attacked images.

    task      the first 2, 3, 5 or 10 classes of a data set; two classes are told apart by one logit
    training  ½ clean + ½ PGD at radius ε (superpos.training), SGD, the radius on a ramp (Bereska 2025, appendix)
    reading   for each layer an SAE on clean images and one on images attacked at the training's radius

Every run leaves, beside F, robustness, the SAE's quality, and the measures that need none.
"""

import hashlib
import itertools
import json
from dataclasses import replace
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from scipy import stats

from superpos import checkpoint as files
from superpos import data, networks, robustness, sae, training
from superpos.activations import read_activations, shuffle_columns
from superpos.attacks import classification_loss, pgd
from superpos.measurement import measure_rows

__all__ = [
    "CONDITION",
    "INPUTS",
    "MEASURES",
    "PARTS",
    "READINGS",
    "above_chance",
    "attack_run",
    "attacked_images",
    "for_both_updates",
    "for_masking",
    "layer_weights",
    "masking_run",
    "ordered",
    "own_accuracy",
    "paper_attack",
    "read_layers",
    "shapes",
    "slopes",
    "slopes_by_choice",
    "speaking",
    "task",
    "train_network",
]

RULE = 2  # of training: raise it when the same settings would give other weights
STREAMS = {"rows": 5 * 10**8, "order": 10**9, "weights": 2 * 10**9, "attack": 3 * 10**9}  # the SAE has the seed itself
INPUTS = ("clean", "attacked")
PARTS = ("train", "test")
READINGS = {  # four codes a neuron, as the paper has them; TopK keeps an eighth of the neurons' number
    "published": sae.PUBLISHED_FAST,
    "published, half λ": sae.PUBLISHED_FAST.but(l1=0.05),
    "published, twice λ": sae.PUBLISHED_FAST.but(l1=0.2),
    "protocol": sae.PROTOCOL,
    "protocol, half λ": sae.PROTOCOL.but(l1=0.25),
    "protocol, twice λ": sae.PROTOCOL.but(l1=1.0),
    "TopK": sae.PROTOCOL.but(activation="topk", k=1, loss="mse"),
    "columns shuffled": sae.PROTOCOL,
}
CONDITION = ["dataset", "n_classes", "network", "width", "update"]
# what all rows of a condition have in common
ONE_PROTOCOL = [
    "reading", "part", "n_images", "n_rows", "per_class", "epochs", "attack_steps", "batch_size", "lr", "milestones", "products",
    "keep", "weight_decay",
]  # fmt: skip
LAYERS, RADII = ("parameters", "equal"), ("all", "above 0")  # how layers are weighed, which radii a line goes through
MEASURES = {
    "F": "effective_features",
    "effective rank": "effective_rank",
    "participation ratio": "participation_ratio",
}
N_VALIDATION = 400
BEST_FROM = 0.5  # share of the epochs before any can be the best: the radius is whole then


def task(dataset, n_classes, per_class=None, *, root=None):
    """The first classes of a data set: images to train on, to choose by, to read and to test. → four LabelledImages

    A sixth of the training images, always the same, is set aside to choose by (at most 400 of them are used); all others are to
    be read, and the first `per_class` of each class among them, in a fixed random order, to train on (None: all), so that the
    data a class has does not depend on the number of classes. ValueError for too many classes or images.
    """
    train, test = data.load(dataset, root=root)
    if not 2 <= n_classes <= len(train.classes):
        raise ValueError(f"n_classes must be between 2 and {len(train.classes)}, got {n_classes}")
    train, test = (images.only(range(n_classes)) for images in (train, test))
    validation, read = train.split(1 / 6, seed=0)
    validation = validation.take(min(N_VALIDATION, len(validation)), seed=0)
    return (read if per_class is None else _first_of_each(read, per_class)), validation, read, test


def _first_of_each(images, n):
    fewest = int(images.labels.bincount(minlength=len(images.classes)).min())
    if not 1 <= n <= fewest:
        raise ValueError(f"per_class must be between 1 and {fewest}, got {n}")
    rows = torch.cat([(images.labels == c).nonzero()[:n, 0] for c in range(len(images.classes))]).sort().values
    return replace(images, images=images.images[rows], labels=images.labels[rows])


def paper_attack(shape):
    """The paper's attack on images of a shape (C, H, W), and its radii above 0. → (options of `pgd`, tuple)"""
    if shape[0] == 1:
        return {"steps": 40, "step_size": 0.01}, (0.1, 0.2, 0.3)
    return {"steps": 10, "step_size": 2 / 255}, (0.01, 0.02, 0.03)


def train_network(
    network, width, images, validation, *, n_classes, epsilon, seed, update, epochs, attack, keep="last", batch_size=256,
    lr=0.01, weight_decay=1e-4, milestones="0.5,0.75", checkpoint=None,
):  # fmt: skip
    """A network trained as the paper trains its MNIST networks, but for what is given. → (model, history)

    SGD with momentum; milestones: shares of the epochs after which the step size falls to a tenth; the radius on a ramp.
    keep: "last", the weights that the paper's code keeps, or "best", those of the best validated epoch of the second half. epochs
    = 0 gives the untrained network. It is trained where torch sees a GPU on that, and stays there.
    """
    if keep not in ("last", "best"):
        raise ValueError(f"keep must be last or best, got {keep!r}")
    n_outputs = 1 if n_classes == 2 else n_classes
    model = networks.build(network, images.shape, n_outputs, width=width, seed=STREAMS["weights"] + seed).to(_device())
    history = training.train(
        model, images, epochs=epochs, lr=lr, batch_size=batch_size, weight_decay=weight_decay,
        seed=STREAMS["order"] + seed, optimizer="sgd", epsilon=epsilon, attack=attack, update=update, ramp=epsilon > 0,
        milestones=[round(float(share) * epochs) for share in milestones.split(",")], best_from=BEST_FROM,
        validation=validation if keep == "best" else None, checkpoint=checkpoint,
    )  # fmt: skip
    return model, history


def _device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def layer_weights(model):
    """Parameters of each layer of a network, by which the paper averages layers, and of its logits. → dict layer: int"""
    modules = dict(model.named_modules())
    return {layer: sum(p.numel() for p in modules[layer].parameters()) for layer in (*model.layers, "out")}


def attacked_images(model, images, epsilon, attack, seed, batch_size=128):
    """The images under PGD of radius epsilon, in evaluation mode. → LabelledImages, where the images are"""
    was_training, device, home = model.training, next(model.parameters()).device, images.images.device
    model.eval()
    parts = [
        pgd(model, x.to(device), y.to(device), epsilon, **attack, seed=STREAMS["attack"] + 10_000 * seed + i).to(home)
        for i, (x, y) in enumerate(zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True))
    ]
    model.train(was_training)
    return replace(images, images=torch.cat(parts))


def attack_run(
    dataset, n_classes, network, width, epsilon, seed, update, per_class, epochs, attack_steps, part, n_images, n_rows,
    readings, n_sae, *, batch_size=64, lr=0.01, milestones="0.5,0.75", keep="last", products="float32", weight_decay=1e-4,
    n_test=1000, folder=None, root=None,
):  # fmt: skip
    """A run for a sweep: one network trained, attacked and read. → rows, one a layer, kind of input, reading and SAE seed

    per_class: images of each class to train on; attack_steps: of the training's attack, as far together as the paper's;
    products: of that attack. Everything else is attacked as the paper attacks. part: which images are read, those on the
    training's side or the test images; n_images: how many; n_rows: rows of a layer, at most; readings: names of READINGS,
    separated by semicolons; n_sae: SAEs a reading, of different seeds; n_test: test images whose accuracies stand in every row.
    folder: where checkpoints lie, from which a stopped training goes on, and weights, which later runs of the same network read
    again. Raises ValueError for an unknown part or reading, and for numbers out of range, before anything is trained.
    """
    names = [name.strip() for name in readings.split(";")]
    for name in names:
        if name not in READINGS:
            raise ValueError(f"unknown reading {name!r}; expected one of {'; '.join(READINGS)}")
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    _check(
        network, width, epsilon, lr, milestones, epochs=epochs, attack_steps=attack_steps, batch_size=batch_size,
        n_images=n_images, n_rows=n_rows, n_sae=n_sae, n_test=n_test,
    )  # fmt: skip
    images, validation, read, test = task(dataset, n_classes, per_class, root=root)
    attack, radii = paper_attack(images.shape)
    options = _options(
        attack, attack_steps, products, n_classes=n_classes, epsilon=epsilon, seed=seed, update=update, epochs=epochs, keep=keep,
        batch_size=batch_size, lr=lr, milestones=milestones, weight_decay=weight_decay,
    )  # fmt: skip
    model, ended = _trained(network, width, images, validation, options, folder)
    tested = test.take(min(n_test, len(test)), seed=0)
    curve = robustness.curve(
        model, tested, sorted({0.0, *radii, epsilon}), {**attack, "seed": STREAMS["attack"] + seed}
    )
    about = {f"accuracy_{row.epsilon:g}": row.accuracy for row in curve.itertuples()} | ended
    shown = {"train": read, "test": test}[part]
    shown = shown.take(min(n_images, len(shown)), seed=0)
    weights = layer_weights(model)
    table = read_layers(model, shown, epsilon, attack, seed, n_rows, names, n_sae)
    return [about | row | {"parameters": weights[row["layer"]]} for row in table.to_dict("records")]


def _check(network, width, epsilon, lr, milestones, **counts):
    """ValueError, with its name, for what nothing can be trained or read with."""
    for name, value in {"width": width, "epsilon": epsilon, "lr": lr, **counts}.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{name} must be a number, got {value!r}")
    if not isinstance(milestones, str):
        raise ValueError(f"milestones must be shares of the epochs, as 0.5,0.75; got {milestones!r}")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be between 0 and 1, got {epsilon!r}")
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be above 0, got {lr!r}")
    if network == "resnet18":  # a share of its 64 channels
        if not width > 0:
            raise ValueError(f"width must be above 0, got {width!r}")
    else:
        counts["width"] = width
    for name, value in counts.items():
        least = 0 if name == "epochs" else 1
        if not least <= value < float("inf") or value != int(value):
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    try:
        right = all(0 <= float(share) <= 1 for share in milestones.split(","))
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"milestones must be shares of the epochs, as 0.5,0.75; got {milestones!r}")


def _options(attack, steps, products, **options):
    """Options of `train_network`, its attack going as far as the paper's in fewer steps."""
    shorter = {"steps": steps, "step_size": attack["step_size"] * attack["steps"] / steps, "products": products}
    return {**options, "attack": shorter}


def _trained(network, width, images, validation, options, folder):
    """The network of a run, from `folder` if it is there, and how its training ended. → (model, dict)"""
    if folder is None:
        model, history = train_network(network, width, images, validation, **options)
        return model, _ended(model, images, history)
    fingerprint = training.fingerprint(images)
    settings = json.dumps(
        {"rule": RULE, "images": fingerprint, "network": network, "width": width, **options}, sort_keys=True
    )
    path = Path(folder) / f"{hashlib.sha256(settings.encode()).hexdigest()[:20]}.safetensors"
    kept = _kept(path)
    if kept:
        weights, ended = kept
        model = networks.build(
            network, images.shape, 1 if options["n_classes"] == 2 else options["n_classes"], width=width
        )
        model.load_state_dict(weights)
        return model.to(_device()).eval(), ended
    checkpoint = path.with_suffix(".checkpoint")
    model, history = train_network(network, width, images, validation, **options, checkpoint=checkpoint)
    ended = _ended(model, images, history)
    files.write(path, model.state_dict(), {"settings": json.loads(settings), "ended": ended})
    checkpoint.unlink(missing_ok=True)
    return model, ended


def _kept(path):
    """Weights and the end of a training from a file; None if there is none that can be read."""
    if not path.exists():
        return None
    try:
        weights, about = files.read(path)
        return (weights, about["ended"]) if "ended" in about else None
    except SafetensorError:  # cut short
        return None


@torch.no_grad()
def _ended(model, images, history):
    """Accuracy and loss of the weights that are read, on the clean images of their training, and the epoch they are of."""
    device = next(model.parameters()).device
    logits = torch.cat([model(x.to(device)) for x in images.images.split(1000)])
    loss = classification_loss(logits, images.labels.to(device))
    late = history[history.epoch - 1 >= BEST_FROM * len(history)] if "validation" in history else history[:0]
    kept = len(history) if late.empty else int(late.epoch[late.validation[::-1].idxmax()])
    return {"accuracy_train": training.accuracy(model, images), "loss_train": float(loss), "epoch_kept": kept}


def read_layers(model, images, epsilon, attack, seed, n_rows, readings, n_sae):
    """F of every layer, and of the logits ("out"), on clean and on attacked images by some of READINGS. → DataFrame

    At epsilon = 0 there is nothing to attack at, and clean stands for both, as in the paper. A layer that says the same of all
    images has a row of NaN, and `trouble` "constant".
    """
    layers = [*model.layers, "out"]
    rows = {"clean": read_activations(model, images, layers, n_samples=n_rows, seed=STREAMS["rows"] + seed)}
    if epsilon:
        attacked = attacked_images(model, images, epsilon, attack, seed)
        rows["attacked"] = read_activations(model, attacked, layers, n_samples=n_rows, seed=STREAMS["rows"] + seed)
    tables = []
    for kind, by_layer in rows.items():
        for layer in layers:
            for name in readings:
                table = _read(by_layer[layer], name, seed, n_sae, f"{layer}, {kind}, {name}")
                tables.append(table.assign(layer=layer, inputs=kind, reading=name))
    return pd.concat(tables, ignore_index=True)


def _read(rows, name, seed, n_sae, label):
    """One layer by one reading: a row an SAE seed."""
    constant = float((rows.x == rows.x[0]).all(0).double().mean())
    n_neurons = rows.x.shape[1]
    config = READINGS[name]
    config = config.but(k=max(1, n_neurons // 8)) if config.activation == "topk" else config
    x = shuffle_columns(rows.x, STREAMS["rows"] + seed) if name == "columns shuffled" else rows.x
    fitted, read = replace(rows, x=x).split(config.held_out, STREAMS["rows"] + seed)
    if any(bool((part == part[0]).all()) for part in (fitted, read)):
        return pd.DataFrame([{"sae_seed": seed, "n_neurons": n_neurons, "constant": constant, "trouble": "constant"}])
    table = measure_rows(fitted, read, config, seeds=[seed + 1000 * i for i in range(n_sae)], label=label)
    table = table.rename(
        columns={"seed": "sae_seed", "n_read": "rows_read", "n_fitted": "rows_fitted", "epochs": "rounds"}
    )
    return table.assign(constant=constant, trouble=np.where(table.effective_features.isna(), "dead dictionary", ""))


def masking_run(
    dataset, n_classes, network, width, epsilon, seed, update, per_class, epochs, attack_steps, n_test, *,
    batch_size=64, lr=0.01, milestones="0.5,0.75", keep="last", products="float32", weight_decay=1e-4, folder=None, root=None,
):  # fmt: skip
    """A run for a sweep: `superpos.robustness.masking_checks` of the network that `attack_run` trains. → a row a check

    Raises ValueError for numbers out of range before anything is trained.
    """
    _check(
        network, width, epsilon, lr, milestones, epochs=epochs, attack_steps=attack_steps, batch_size=batch_size, n_test=n_test,
    )  # fmt: skip
    images, validation, _, test = task(dataset, n_classes, per_class, root=root)
    attack, _ = paper_attack(images.shape)
    options = _options(
        attack, attack_steps, products, n_classes=n_classes, epsilon=epsilon, seed=seed, update=update, epochs=epochs, keep=keep,
        batch_size=batch_size, lr=lr, milestones=milestones, weight_decay=weight_decay,
    )  # fmt: skip
    model, _ = _trained(network, width, images, validation, options, folder)
    tested = test.take(min(n_test, len(test)), seed=0)
    table = robustness.masking_checks(model, tested, epsilon, **attack, seed=STREAMS["attack"] + seed)
    return table.to_dict("records")


def slopes(table, *, inputs="both", layers="parameters", column="effective_features", radii="all", logits=False):
    """How fast a measure changes with the radius of training, relative to radius 0. → DataFrame: CONDITION, slope, variance, n

    table: rows of `attack_run` of one reading; networks at radius 0 serve every update. In each network the column of every layer
    is averaged over SAE seeds and kinds of input, taken relative to the layer's mean at radius 0, and averaged over layers by
    their `parameters` (Bereska 2025, appendix) or "equal"ly; those numbers, one a network, are regressed on the radius. inputs:
    "clean", "attacked", or "both", as the paper pools them; radius 0 has clean rows, which stand for both. radii: "all", or those
    "above 0", through which the line then goes, whatever the jump from radius 0. logits: count the layer "out" too. variance:
    of the slope, that of the mean at radius 0 in it, and what is left of the line too; n: networks.
    Raises ValueError for another choice, rows of several protocols in a condition, a condition without radius 0 or with too few
    networks or radii for the line, a network without a row of every layer and kind of input, and NaN.
    """
    if layers not in LAYERS or radii not in RADII:
        raise ValueError(
            f"layers must be one of {', '.join(LAYERS)} and radii of {', '.join(RADII)}; got {layers!r}, {radii!r}"
        )
    found = _networks(table, inputs, [column], logits)[column]
    for key, by_layer, _ in found:
        if not _enough(by_layer, radii):
            raise ValueError(
                f"condition {key} has too few networks or radii for a line through the radii {radii}: {len(by_layer)}"
            )
    return _slopes(found, layers, radii)


def shapes(table, *, inputs="both", layers="parameters", column="effective_features", logits=False):
    """What the line of `slopes` passes over. → DataFrame: CONDITION, jump, above, line_p

    jump: relative change from radius 0 to the smallest radius above it; above: slope over the radii above 0, in the unit of
    `slopes`; line_p: p of the classical test of lack of fit of one line to all radii, against the spread of networks of one
    radius (Draper and Smith 1998, section 2.1), NaN for fewer than three radii or without that spread.
    """
    found = []
    for key, by_layer, parameters in _networks(table, inputs, [column], logits)[column]:
        radii = by_layer.index.get_level_values("epsilon").to_numpy()
        weights = _weights(parameters, layers)
        relative = (by_layer / by_layer[radii == 0].mean()).to_numpy() @ weights
        means = pd.Series(relative).groupby(radii).transform("mean").to_numpy()
        line = np.poly1d(np.polyfit(radii, relative, 1))(radii)
        m, n = len(set(radii)), len(radii)
        within = ((relative - means) ** 2).sum()
        p = np.nan
        if m > 2 and n > m and within > 0:
            p = stats.f.sf(((means - line) ** 2).sum() / (m - 2) / (within / (n - m)), m - 2, n - m)
        jump = relative[radii == radii[radii > 0].min()].mean() - 1
        rest = _relative_slope(by_layer, weights, "above 0")["slope"] if _enough(by_layer, "above 0") else np.nan
        found.append(dict(zip(CONDITION, key, strict=True)) | {"jump": jump, "above": rest, "line_p": p})
    return pd.DataFrame(found)


def _networks(table, inputs, columns, logits=False):
    """What each condition's networks read. → {column: [(CONDITION, DataFrame: (epsilon, seed) × layers, their parameters)]}"""
    kinds = {"both": list(INPUTS), "clean": ["clean"], "attacked": ["attacked"]}
    if inputs not in kinds:
        raise ValueError(f"inputs must be one of {', '.join(kinds)}; got {inputs!r}")
    protocol = [name for name in ONE_PROTOCOL if name in table]
    of_condition = table[[*CONDITION[:-1], *protocol]].drop_duplicates().groupby(CONDITION[:-1])
    for name in protocol:
        for several in (kind for kind in of_condition[name].unique() if len(kind) > 1):
            raise ValueError(
                f"the rows of a condition are of several protocols: {name} is {', '.join(map(str, several))}"
            )
    table = table[[*CONDITION, "epsilon", "seed", "layer", "inputs", "parameters", *columns]]
    table = table if logits else table[table.layer != "out"]
    for column, holes in table[columns].isna().sum().items():
        if holes:
            raise ValueError(f"{column} holds {holes} NaN; drop those conditions by name first")
    table = table[(table.epsilon == 0) | table.inputs.isin(kinds[inputs])]
    _check_whole(table)
    plain, found = dict(iter(table[table.epsilon == 0].groupby(CONDITION[:-1]))), {column: [] for column in columns}
    for key, attacked in table[table.epsilon > 0].groupby(CONDITION, sort=False):
        if key[:-1] not in plain:
            raise ValueError(f"condition {key} has no network at radius 0, which a slope is relative to")
        networks_of = pd.concat([plain[key[:-1]], attacked])
        if set(networks_of.layer[networks_of.epsilon == 0]) != set(networks_of.layer):
            raise ValueError(f"condition {key}: its networks at radius 0 have not the layers of the others")
        means = networks_of.groupby(["epsilon", "seed", "layer"])[columns].mean()
        parameters = networks_of.groupby("layer").parameters.first().to_numpy()
        for column in columns:
            found[column].append((key, means[column].unstack("layer"), parameters))
    return found


def _check_whole(table):
    """ValueError for networks that lack a row of a layer or kind of input that others of their condition have."""
    keys = [*CONDITION, "above"]
    there = table.assign(above=table.epsilon > 0).drop_duplicates([*keys, "epsilon", "seed", "layer", "inputs"])
    expected = there.drop_duplicates([*keys, "layer", "inputs"]).groupby(keys).size().rename("expected")
    found = there.groupby([*keys, "epsilon", "seed"]).size().rename("found").reset_index().join(expected, on=keys)
    for key, part in found[found.found < found.expected].groupby(CONDITION):
        lacking = list(zip(part.epsilon, part.seed, strict=True))
        raise ValueError(
            f"condition {key}: networks (epsilon, seed) without a row of every layer and kind of input: {lacking}"
        )


def _weights(parameters, layers):
    weights = parameters if layers == "parameters" else np.ones(len(parameters))
    return weights / weights.sum()


def _enough(by_layer, used):
    """Whether networks of a condition determine a line and leave something to take its variance from."""
    radii = by_layer.index.get_level_values("epsilon")
    through_all = used == "all"
    return radii[radii > 0].nunique() >= (1 if through_all else 2) and len(radii) > (2 if through_all else 3)


def _slopes(found, layers, radii):
    lines = [
        (key, _relative_slope(by_layer, _weights(parameters, layers), radii)) for key, by_layer, parameters in found
    ]
    lines = [dict(zip(CONDITION, key, strict=True)) | line for key, line in lines]
    return pd.DataFrame(lines, columns=[*CONDITION, "slope", "variance", "n"])


def _relative_slope(by_layer, weights, used="all"):
    """Slope on the radius of the layers' mean relative to radius 0, and its variance. → dict slope, variance, n

    by_layer: a row a network, indexed by epsilon and seed. The mean at radius 0 is data too: by the delta method a network with
    residuals e moves the slope by Σ w (k − s·z) e over layers: w their weights, k the network's weight in a regression, s the
    layer's slope, and z one over the number of networks at radius 0 for these, else 0. e has one covariance, of n − 2, or of
    n − 3 where the line goes through the radii above 0 and those at 0 have a level of their own.
    """
    radii = by_layer.index.get_level_values("epsilon").to_numpy()
    at_zero = (radii == 0) / (radii == 0).sum()
    relative = by_layer.to_numpy() / (at_zero @ by_layer.to_numpy())
    line = np.stack([np.ones_like(radii), radii], 1)
    design = line if used == "all" else np.column_stack([line * (radii > 0)[:, None], radii == 0])
    solve = np.linalg.pinv(design)
    k, s = solve[1], solve[1] @ relative
    residuals = relative - design @ (solve @ relative)
    covariance = residuals.T @ residuals / (len(radii) - design.shape[1])
    moves = weights * (k[:, None] - np.outer(at_zero, s))
    return {"slope": s @ weights, "variance": np.einsum("il,lm,im->", moves, covariance, moves), "n": len(radii)}


def speaking(table):
    """Rows of the networks all of whose layers, logits aside, say something. → (rows, CONDITION, epsilon and seed of the others)

    A layer that gives one row for all images, or a dictionary without a live code, has no F (see `read_layers`). Where all
    networks of radius 0 are so, nothing is left that a slope is relative to, and the others are those of all radii.
    """
    network = [*CONDITION, "epsilon", "seed"]
    silent = table[(table.layer != "out") & table.effective_features.isna()][network].drop_duplicates()
    of_silence = _among(table, silent, network)
    level = table[~of_silence & (table.epsilon == 0)]
    lost = silent[(silent.epsilon == 0) & ~_among(silent, level, CONDITION[:-1])]
    left_out = of_silence | _among(table, lost, CONDITION[:-1])
    return table[~left_out], table[left_out][network].drop_duplicates(ignore_index=True)


def _among(table, others, names):
    """Which rows have the values of another table's rows in some columns. → bool (n,)"""
    return pd.MultiIndex.from_frame(table[names]).isin(pd.MultiIndex.from_frame(others[names]))


def for_masking(runs, classes, n_test):
    """Parameters of `masking_run` for those of some `attack_run`s with seed 1 and their largest radius. → list of dicts

    classes: numbers of classes, of which others are left out; n_test: test images of the checks.
    """
    of_reading = ("part", "n_images", "n_rows", "readings", "n_sae")
    asked = {"seed": 1, "epsilon": max(one["epsilon"] for one in runs)}
    chosen = [one for one in runs if one | asked == one and one["n_classes"] in classes]
    return [
        {name: value for name, value in one.items() if name not in of_reading} | {"n_test": n_test} for one in chosen
    ]


def own_accuracy(table):
    """Accuracy of the network of each row under attack at the radius that it was trained at. → Series

    ValueError where it was not taken: no column accuracy_RADIUS, or NaN in it.
    """
    rows = table.to_dict("records")
    found = pd.Series([row.get(f"accuracy_{row['epsilon']:g}", np.nan) for row in rows], table.index, dtype=float)
    lacking = found.isna().to_numpy()
    if lacking.any():
        radii = ", ".join(f"{epsilon:g}" for epsilon in sorted(set(table.epsilon[lacking])))
        raise ValueError(f"{lacking.sum()} rows have no accuracy at the radius of their training, {radii}")
    return found


def above_chance(table, margin=0.1):
    """Which rows are of networks that do better than guessing, by `margin`, under attack at their own radius. → bool Series"""
    return own_accuracy(table) > 1 / table.n_classes + margin


def slopes_by_choice(table, measures=MEASURES):
    """`slopes` under every combination of the choices that rows of one reading leave open. → DataFrame: slopes' and the choices

    Choices: inputs (both, clean, attacked), layers (parameters, equal), radii (all, above 0), measure (of `measures`, {name:
    column}) and counted (all networks, or those above chance); the update is one of CONDITION. A condition that is left
    with fewer than two radii above 0 under a choice, or too few networks for its line, is left out there.
    """
    tables = []
    for counted, rows in {"all": table, "above chance": table[above_chance(table)]}.items():
        plain, above = rows[rows.epsilon == 0], rows[rows.epsilon > 0]
        radii = above.groupby(CONDITION, as_index=False).epsilon.nunique()
        whole = radii.loc[radii.epsilon >= 2, CONDITION].merge(plain[CONDITION[:-1]].drop_duplicates())
        rows = pd.concat([plain, above.merge(whole)])
        for inputs in ("both", *INPUTS):
            found = _networks(rows, inputs, list(measures.values()))
            for (measure, column), layers, used in itertools.product(measures.items(), LAYERS, RADII):
                choice = {"inputs": inputs, "layers": layers, "radii": used, "measure": measure, "counted": counted}
                enough = [one for one in found[column] if _enough(one[1], used)]
                tables.append(_slopes(enough, layers, used).assign(**choice))
    return pd.concat(tables, ignore_index=True)


def for_both_updates(table):
    """Rows at radius 0, which serve every update, under the name of each that was run in their condition. → DataFrame"""
    above, plain = table[table.epsilon > 0], table[table.epsilon == 0]
    plain = plain.drop(columns="update").merge(above[CONDITION].drop_duplicates(), on=CONDITION[:-1])
    return pd.concat([above, plain], ignore_index=True)


def ordered(table, *columns):
    """Rows in the order of some columns, the paper's update, MNIST, MLPs and clean images first. → DataFrame"""
    first = ("leak", "mnist", "mlp", "mlp1", "clean")
    places = {name: sorted(table[name].unique(), key=lambda value: (value not in first, value)) for name in columns}
    return table.sort_values(list(columns), key=lambda column: column.map(places[column.name].index), kind="stable")
