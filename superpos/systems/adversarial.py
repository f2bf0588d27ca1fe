"""Adversarial training of classifiers, and F of their layers on clean and on attacked images.

    task      the first 2, 3, 5 or 10 classes of a data set; two classes are told apart by one logit
    training  ½ clean + ½ PGD at radius ε (superpos.training), SGD, the radius on a ramp (Bereska 2025, appendix)
    reading   for each layer an SAE on clean images and one on images attacked at the training's radius

Every run leaves, beside F, robustness, the SAE's quality, and the measures that need none.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy import stats

from superpos import data, networks, robustness, sae, training
from superpos.activations import read_activations
from superpos.attacks import pgd
from superpos.measurement import measure_rows

__all__ = [
    "CONDITION",
    "INPUTS",
    "PARTS",
    "READINGS",
    "attack_of",
    "attack_run",
    "attacked_images",
    "layer_weights",
    "read_layers",
    "slopes",
    "task",
    "train_network",
]

STREAM = 10**9  # data, weights and SAEs must not share a seed
INPUTS = ("clean", "attacked")
PARTS = ("train", "test")
READINGS = {  # four codes a neuron, as the paper has them, except where said
    "published": sae.PUBLISHED_FAST,
    "protocol": sae.PROTOCOL,
    "half λ": sae.PROTOCOL.but(l1=0.25),
    "twice λ": sae.PROTOCOL.but(l1=1.0),
    "TopK": sae.PROTOCOL.but(activation="topk", k=8, loss="mse"),
    "two codes a neuron": sae.PROTOCOL.but(expansion=2.0),
}
CONDITION = ["dataset", "n_classes", "network", "width", "update"]
STEPS, STEP_SIZE = 40, 0.01  # of the paper's PGD on 28×28 images


def task(dataset, n_classes, n_train=None, n_test=None, *, root=None):
    """Training, validation and test images of the first classes of a data set. → three LabelledImages

    A sixth of the training images, always the same, is the validation; n_train and n_test: that many of the rest and of the
    test images, always the same (None: all). ValueError for too many classes or images.
    """
    train, test = data.load(dataset, root=root)
    if not 2 <= n_classes <= len(train.classes):
        raise ValueError(f"n_classes must be between 2 and {len(train.classes)}, got {n_classes}")
    train, test = (images.only(range(n_classes)) for images in (train, test))
    validation, train = train.split(1 / 6, seed=0)
    train = train if n_train is None else train.take(n_train, seed=0)
    n_validation = len(validation) if n_train is None else min(len(validation), max(1, n_train // 5))
    test = test if n_test is None else test.take(min(n_test, len(test)), seed=0)
    return train, validation.take(n_validation, seed=0), test


def attack_of(steps):
    """The paper's attack in `steps` steps: as far as its 40 of 0.01 together. → options of `superpos.attacks.pgd`"""
    return {"steps": steps, "step_size": STEP_SIZE * STEPS / steps}


def train_network(
    network, width, images, validation, *, n_classes, epsilon, seed, update, epochs, attack, batch_size=256, lr=0.01,
    weight_decay=1e-4, checkpoint=None,
):  # fmt: skip
    """A network trained as the paper trains its MNIST networks: SGD, a tenth of the step size from half and three quarters
    on, the radius on a ramp, the best epoch of full radius put back. → (model, history)
    """
    n_outputs = 1 if n_classes == 2 else n_classes
    model = networks.build(network, images.shape, n_outputs, width=width, seed=2 * STREAM + seed)
    history = training.train(
        model, images, epochs=epochs, lr=lr, batch_size=batch_size, weight_decay=weight_decay, seed=STREAM + seed,
        optimizer="sgd", milestones=(round(epochs / 2), round(3 * epochs / 4)), epsilon=epsilon, attack=attack,
        update=update, ramp=epsilon > 0, validation=validation, checkpoint=checkpoint,
    )  # fmt: skip
    return model, history


def layer_weights(model):
    """Parameters of each layer of a network, by which the paper averages layers. → dict layer: int"""
    modules = dict(model.named_modules())
    return {layer: sum(p.numel() for p in modules[layer].parameters()) for layer in model.layers}


def attacked_images(model, images, epsilon, attack, seed, batch_size=1000):
    """The images under PGD of radius epsilon, in evaluation mode. → LabelledImages"""
    was_training = model.training
    model.eval()
    parts = [
        pgd(model, x, y, epsilon, **attack, seed=STREAM + seed + i)
        for i, (x, y) in enumerate(zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True))
    ]
    model.train(was_training)
    return replace(images, images=torch.cat(parts))


def attack_run(
    dataset, n_classes, network, width, epsilon, seed, update, n_train, n_read, epochs, attack_steps, part, readings, n_sae, *,
    batch_size=256, lr=0.01, weight_decay=1e-4, radii="0.1,0.2,0.3", keep=None, root=None,
):  # fmt: skip
    """A run for a sweep: one network trained, attacked and read. → rows, one a layer, kind of input, reading and SAE seed

    part: which images are read, one of PARTS; n_read: rows of a layer (positions of convolutions), drawn over them; readings:
    names of READINGS, separated by commas; n_sae: SAEs a reading, of different seeds; radii: of the attacks on the test
    images whose accuracies stand in every row. keep: a folder for checkpoints, from which a stopped training goes on, and
    for weights, which later runs of the same network read again. Raises ValueError for an unknown part or reading before
    anything is trained.
    """
    names = [name.strip() for name in readings.split(",")]
    for name in names:
        if name not in READINGS:
            raise ValueError(f"unknown reading {name!r}; expected one of {', '.join(READINGS)}")
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    images, validation, test = task(dataset, n_classes, n_train, n_read, root=root)
    attack = attack_of(attack_steps)
    options = {
        "n_classes": n_classes, "epsilon": epsilon, "seed": seed, "update": update, "epochs": epochs, "attack": attack,
        "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay,
    }  # fmt: skip
    model, ended = _trained(network, width, images, validation, options, dataset, keep)
    curve = robustness.curve(
        model, test, [0.0, *(float(r) for r in radii.split(","))], {**attack, "seed": STREAM + seed}
    )
    about = {f"accuracy_{row.epsilon:g}": row.accuracy for row in curve.itertuples()} | ended
    weights = layer_weights(model)
    shown = {"train": images, "test": test}[part]
    table = read_layers(model, shown, epsilon, attack, seed, n_read, names, n_sae)
    return [about | row | {"parameters": weights[row["layer"]]} for row in table.to_dict("records")]


def _trained(network, width, images, validation, options, dataset, keep):
    """The network of a run, from `keep` if it is there, and how its training ended. → (model, dict)"""
    if keep is None:
        model, history = train_network(network, width, images, validation, **options)
        return model, _ended(history)
    settings = json.dumps({"dataset": dataset, "network": network, "width": width, "n_train": len(images), **options})
    path = Path(keep) / f"{hashlib.sha256(settings.encode()).hexdigest()[:20]}.safetensors"
    if path.exists():
        with safe_open(path, "pt") as file:
            about = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        n_outputs = 1 if options["n_classes"] == 2 else options["n_classes"]
        model = networks.build(network, images.shape, n_outputs, width=width)
        model.load_state_dict(weights)
        return model.eval(), json.loads(about["ended"])
    checkpoint = path.with_suffix(".checkpoint")
    model, history = train_network(network, width, images, validation, **options, checkpoint=checkpoint)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path, {"settings": settings, "ended": json.dumps(_ended(history))})
    checkpoint.unlink()
    return model, _ended(history)


def _ended(history):
    return {"accuracy_train": float(history.accuracy.iloc[-1]), "loss_train": float(history.loss.iloc[-1])}


def read_layers(model, images, epsilon, attack, seed, n_read, readings, n_sae):
    """F of every layer on clean and on attacked images by some of READINGS. → DataFrame

    At epsilon = 0 there is nothing to attack at, and clean stands for both, as in the paper.
    """
    layers = list(model.layers)
    rows = {"clean": read_activations(model, images, layers, n_samples=n_read, seed=STREAM + seed)}
    if epsilon:
        attacked = attacked_images(model, images, epsilon, attack, seed)
        rows["attacked"] = read_activations(model, attacked, layers, n_samples=n_read, seed=STREAM + seed)
    tables = []
    for kind, by_layer in rows.items():
        for layer in layers:
            for name in readings:
                config = READINGS[name]
                fitted, read = by_layer[layer].split(config.held_out, STREAM // 2 + seed)
                label = f"{layer}, {kind}, {name}"
                table = measure_rows(fitted, read, config, seeds=[seed + 1000 * i for i in range(n_sae)], label=label)
                tables.append(table.rename(columns={"seed": "sae_seed"}).assign(layer=layer, inputs=kind, reading=name))
    return pd.concat(tables, ignore_index=True)


def slopes(table, *, inputs="both", layers="parameters", column="effective_features"):
    """How fast a measure changes with the radius of training, relative to radius 0. → DataFrame: CONDITION, slope, variance, n

    table: rows of `attack_run` of one reading; networks at radius 0 serve every update. In each condition and layer the
    column, over its mean at radius 0, is regressed on the radius; layers are averaged by their `parameters` or "equal"ly
    (Bereska 2025, appendix). inputs: "clean", "attacked", or "both", pooled as the paper does; radius 0 has clean rows, which
    stand for both. variance: that of the regressions; n: networks at radii above 0.
    Raises ValueError for another choice, a condition without radius 0 or with fewer than 3 points, and NaN.
    """
    kinds = {"both": list(INPUTS), "clean": ["clean"], "attacked": ["attacked"]}
    if inputs not in kinds or layers not in ("parameters", "equal"):
        raise ValueError(
            f"inputs must be one of {', '.join(kinds)} and layers parameters or equal; got {inputs!r}, {layers!r}"
        )
    if table[column].isna().any():
        raise ValueError(f"{column} holds {int(table[column].isna().sum())} NaN; drop those rows by name first")
    lines, plain = [], table[table.epsilon == 0]
    for key, attacked in table[table.epsilon > 0].groupby(CONDITION, sort=False):
        same = (plain[CONDITION[:-1]] == list(key[:-1])).all(axis=1)
        attacked = attacked[attacked.inputs.isin(kinds[inputs])]
        found = [
            _layer_slope(plain[same & (plain.layer == layer)], rows, column, len(kinds[inputs]), key)
            for layer, rows in attacked.groupby("layer", sort=False)
        ]
        weights = [weight if layers == "parameters" else 1.0 for *_, weight in found]
        slope = sum(w * b for w, (b, _, _) in zip(weights, found, strict=True)) / sum(weights)
        variance = sum(w**2 * v for w, (_, v, _) in zip(weights, found, strict=True)) / sum(weights) ** 2
        n = attacked.groupby(["epsilon", "seed"]).ngroups
        lines.append(dict(zip(CONDITION, key, strict=True)) | {"slope": slope, "variance": variance, "n": n})
    return pd.DataFrame(lines)


def _layer_slope(plain, attacked, column, copies, key):
    """Relative slope of one layer, its variance, and the layer's parameters."""
    points = pd.concat([*[plain] * copies, attacked])
    if plain.empty or len(points) < 3:
        raise ValueError(
            f"condition {key} has {len(plain)} rows at radius 0 and {len(attacked)} above; a slope needs both"
        )
    fit = stats.linregress(points.epsilon, points[column] / plain[column].mean())
    return fit.slope, fit.stderr**2, float(attacked.parameters.iloc[0])
