"""Classifiers trained with and without attacks (Bereska 2025, appendix on adversarial training).

task      the first 2, 3, 5 or 10 classes of a data set; two classes are told apart by one logit
training  ½ clean + ½ PGD at radius ε (superpos.training), SGD with momentum, the radius on a ramp
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from superpos import checkpoint as files
from superpos import data, networks, training
from superpos.attacks import Attack, classification_loss, pgd
from superpos.data import LabelledImages
from superpos.seeds import seed as seed_of
from superpos.settings import Count, NotNegative, Positive, Share, Whole, flat, settings

RULE = 2  # of training: raise it when the same settings would give other weights
N_VALIDATION = 400
SHARES = r"^(0|1|0?\.\d+|1\.0*)(,(0|1|0?\.\d+|1\.0*))*$"  # as 0.5,0.75
Folder = str | Path | None
BEST_FROM = 0.5  # share of the epochs before any can be the best: the radius is whole then


@settings
class Network:
    """One network: its task, its architecture and its training, by the paper's schedule but for what is given.

    per_class: training images of each of the first n_classes of the data set (None: all). architecture and width: as
    `superpos.networks` takes them. seed: of the weights, the order of the images and the attacks' starts.
    epsilon: radius of the attack in training, 0 for none; attack_steps: its steps, which together go as far as the paper's;
    products: what these steps are multiplied in; update: one of `superpos.training.UPDATES`.
    milestones: shares of the epochs after which the step size falls to a tenth. epochs = 0 leaves the network untrained.
    keep: "last", the weights that the paper's code keeps, or "best", those of the best validated epoch of the second half.
    """

    dataset: str
    n_classes: Annotated[int, Field(ge=2)]
    architecture: str
    width: Annotated[int | float, Field(gt=0)]
    epsilon: Share
    seed: Whole
    update: Literal["corrected", "leak"]
    per_class: Count | None
    epochs: Whole
    attack_steps: Count
    batch_size: Count = 64
    lr: Positive = 0.01
    milestones: Annotated[str, Field(pattern=SHARES)] = "0.5,0.75"
    keep: Literal["last", "best"] = "last"
    products: Literal["float32", "bfloat16"] = "float32"
    weight_decay: NotNegative = 1e-4

    def __post_init__(self) -> None:
        if self.architecture != "resnet18" and self.width != int(self.width):  # there it is a share of 64 channels
            raise ValueError(f"width must be a whole number, got {self.width!r}")

    def training(self, attack: Attack) -> training.Settings:
        """How it is trained: its attack goes as far as `attack`, in steps of its own number."""
        shared = {
            name: getattr(self, name) for name in ("epochs", "lr", "batch_size", "weight_decay", "epsilon", "update")
        }
        milestones = tuple(round(float(share) * self.epochs) for share in self.milestones.split(","))
        own = Attack(self.attack_steps, attack.step_size * attack.steps / self.attack_steps, products=self.products)
        after = {"ramp": self.epsilon > 0, "best_from": BEST_FROM}
        return training.Settings(**shared, optimizer="sgd", milestones=milestones, attack=own, **after)

    def untrained(self, shape: tuple[int, ...]) -> nn.Module:
        """The network as it starts, for images of a shape (C, H, W), on the GPU where torch sees one."""
        n_outputs = 1 if self.n_classes == 2 else self.n_classes
        seed = seed_of("adversarial.weights", self.seed)
        model = networks.build(self.architecture, shape, n_outputs, width=self.width, seed=seed)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")


def load(
    dataset: str, n_classes: int, per_class: int | None = None, *, root: Folder = None
) -> tuple[LabelledImages, ...]:
    """The first classes of a data set: images to train on, to choose by, to read and to test.

    A sixth of the training images, always the same, is set aside to choose by (at most 400 of them are used). All others are to
    be read, and the first `per_class` of each class among them, in a fixed random order, to train on (None: all), so that the
    data a class has does not depend on the number of classes. Raises ValueError for too many classes or images.
    """
    train, test = data.load(dataset, root=root)
    if not 2 <= n_classes <= len(train.classes):
        raise ValueError(f"n_classes must be between 2 and {len(train.classes)}, got {n_classes}")
    train, test = (images.only(range(n_classes)) for images in (train, test))
    validation, read = train.split(1 / 6, seed=0)
    validation = validation.take(min(N_VALIDATION, len(validation)), seed=0)
    return (read if per_class is None else _first_of_each(read, per_class)), validation, read, test


def _first_of_each(images: LabelledImages, n: int) -> LabelledImages:
    fewest = int(images.labels.bincount(minlength=len(images.classes)).min())
    if not 1 <= n <= fewest:
        raise ValueError(f"per_class must be between 1 and {fewest}, got {n}")
    rows = torch.cat([(images.labels == c).nonzero()[:n, 0] for c in range(len(images.classes))]).sort().values
    return replace(images, images=images.images[rows], labels=images.labels[rows])


def paper_attack(shape: tuple[int, ...]) -> tuple[Attack, tuple[float, ...]]:
    """The paper's attack on images of a shape (C, H, W), and its radii above 0."""
    if shape[0] == 1:
        return Attack(40, 0.01), (0.1, 0.2, 0.3)
    return Attack(10, 2 / 255), (0.01, 0.02, 0.03)


def train_network(
    network: Network, images: LabelledImages, validation: LabelledImages, *, checkpoint: Folder = None
) -> tuple[nn.Module, pd.DataFrame]:
    """A network trained on some images, and its history (`superpos.training.train`); it stays where it was trained.

    validation: images by which the best epoch is chosen, where that is kept; checkpoint: a file to go on from after a stop.
    """
    model = network.untrained(images.shape)
    history = training.train(
        model,
        images,
        network.training(paper_attack(images.shape)[0]),
        seed=seed_of("adversarial.order", network.seed),
        validation=validation if network.keep == "best" else None,
        checkpoint=checkpoint,
    )
    return model, history


def trained(
    network: Network, images: LabelledImages, validation: LabelledImages, folder: Folder = None
) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network, and how its training ended: accuracy and loss on its images, and the epoch that was kept.

    folder: where weights lie, so that a network is trained once however often it is read, and checkpoints, from which a
    stopped training goes on (None: nowhere).
    """
    about = {"rule": RULE, "images": training.fingerprint(images), **flat(network)}
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    path = None if folder is None else Path(folder) / f"{name}.safetensors"
    kept = path and _kept(path)
    if kept:
        model = network.untrained(images.shape)
        model.load_state_dict(kept[0])
        return model.eval(), kept[1]["ended"]
    checkpoint = path and path.with_suffix(".checkpoint")
    model, history = train_network(network, images, validation, checkpoint=checkpoint)
    ended = _ended(model, images, history)
    if path:
        files.write(path, model.state_dict(), {"settings": about, "ended": ended})
        checkpoint.unlink(missing_ok=True)
    return model, ended


def _kept(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    try:
        return files.read(path, needed=["ended"])
    except (FileNotFoundError, ValueError):  # not there, cut short, or of another kind
        return None


@torch.no_grad()
def _ended(model: nn.Module, images: LabelledImages, history: pd.DataFrame) -> dict[str, Any]:
    device = next(model.parameters()).device
    logits = torch.cat([model(x.to(device)) for x in images.images.split(1000)])
    loss = classification_loss(logits, images.labels.to(device))
    late = history[history.epoch - 1 >= BEST_FROM * len(history)] if "validation" in history else history[:0]
    kept = len(history) if late.empty else int(late.epoch[late.validation[::-1].idxmax()])
    return {"accuracy_train": training.accuracy(model, images), "loss_train": float(loss), "epoch_kept": kept}


def layer_weights(model: nn.Module) -> dict[str, int]:
    """Parameters of each layer of a network, by which the paper averages layers, and of its logits ("out")."""
    modules = dict(model.named_modules())
    return {layer: sum(p.numel() for p in modules[layer].parameters()) for layer in (*model.layers, "out")}


def attacked_images(
    model: nn.Module, images: LabelledImages, epsilon: float, attack: Attack, seed: int, batch_size: int = 128
) -> LabelledImages:
    """The images under an attack of radius epsilon on the network in evaluation mode; they stay on their device."""
    was_training, device, home = model.training, next(model.parameters()).device, images.images.device
    model.eval()
    batches = zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True)
    starts = (seed_of("adversarial.attack", 10_000 * seed + i) for i in range(len(images)))
    parts = [pgd(model, x.to(device), y.to(device), epsilon, attack, seed=next(starts)).to(home) for x, y in batches]
    model.train(was_training)
    return replace(images, images=torch.cat(parts))


def some(images: LabelledImages, n: int) -> LabelledImages:
    """At most n images, always the same."""
    return images.take(min(n, len(images)), seed=0)
