"""The one training loop of the classifiers, plain or adversarial, and their accuracy.

update      gradient that is applied, x' the attacked images, x'' what they were before the attack's last step
corrected   ½ ∇L(x) + ½ ∇L(x')
leak        ½ ∇L(x) + ½ ∇L(x') + ∇L(x''), as in the paper's code, whose attack leaves its last gradient behind
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from superpos import checkpoint as files
from superpos.attacks import PGD40, Attack, classification_loss, pgd
from superpos.data import LabelledImages
from superpos.descent import finite_loss
from superpos.progress import progress
from superpos.settings import Count, NotNegative, Positive, Share, Whole, flat, settings

__all__ = ["UPDATES", "Settings", "accuracy", "fingerprint", "predicted", "train"]

UPDATES = ("corrected", "leak")
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": partial(torch.optim.SGD, momentum=0.9)}


@settings
class Settings:
    """All that decides a training but the network, the images and the seed.

    optimizer: "adam", or "sgd" with momentum 0.9. milestones: epochs after which the step size falls to a tenth.
    epsilon above 0: adversarial training (Madry 2018), half the loss on clean images and half on those that `attack` finds
    in that radius; update: one of UPDATES (the module's text). ramp: the radius is a third for the first fifth of the epochs,
    two thirds up to the half, then whole (Bereska 2025).
    best_from: share of the epochs after which one can be the best, where a validation chooses it. Let it be the same for all
    radii that are compared and, with a ramp, at least a half, where the radius is whole.
    """

    epochs: Whole
    lr: Positive = 1e-3
    batch_size: Count = 64
    weight_decay: NotNegative = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    milestones: tuple[int, ...] = ()
    epsilon: Share = 0.0
    attack: Attack = PGD40
    update: Literal["corrected", "leak"] = "corrected"
    ramp: bool = False
    best_from: Share = 0.0

    def rate(self, epoch: int) -> float:
        """Step size in an epoch, counted from 1."""
        return self.lr * 0.1 ** sum(epoch > milestone for milestone in self.milestones)

    def radius(self, epoch: int) -> float:
        """Radius of the attack in an epoch, counted from 1 (Bereska 2025, appendix)."""
        done = (epoch - 1) / self.epochs
        share = 1 / 3 if done < 0.2 else 2 / 3 if done < 0.5 else 1.0
        return self.epsilon * share if self.ramp else self.epsilon


def train(
    model: nn.Module,
    images: LabelledImages,
    settings: Settings,
    *,
    seed: int = 0,
    validation: LabelledImages | None = None,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """Train a network in place by cross-entropy. → a row an epoch: epoch, lr, epsilon, loss, accuracy[, validation]

    A network with one logit is trained as a binary classifier. The seed decides the order of the images, shuffled anew every
    epoch, and the attacks' starts. An incomplete batch of one image, which batch normalisation cannot take, is left out.
    validation: images on which the accuracy, under the same attack where there is one, is taken after each epoch. The weights
    of the best epoch are put back at the end: of equals the latest, and the last ones if no epoch can be the best.
    checkpoint: a safetensors file, written after each epoch, from which the same training goes on if it was stopped.
    A network with batch normalisation counts the attack's passes in its statistics, as in Madry's training; the pass that
    repeats the attack's last for the leak leaves them as they are.
    Raises ValueError for labels beyond 0 and 1 where there is one logit, and for a checkpoint of another training;
    FloatingPointError as soon as a loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = OPTIMIZERS[settings.optimizer](model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    named: dict[str, Any] = {}
    if checkpoint is not None:
        named = {**flat(settings), "milestones": list(settings.milestones), "seed": seed}
        named["images"] = [fingerprint(images), fingerprint(validation)]
    model.train()
    with _layout(model):
        state = _State((model, optimizer, generator), named, None if checkpoint is None else Path(checkpoint))
        for epoch in progress(range(len(state.history) + 1, settings.epochs + 1), desc="training"):
            rate, radius = settings.rate(epoch), settings.radius(epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, share = _epoch(model, optimizer, images, settings, radius, generator)
            finite_loss(loss, f"the training loss of epoch {epoch}")
            line = {"epoch": epoch, "lr": rate, "epsilon": radius, "loss": loss, "accuracy": share}
            if validation is not None:
                line["validation"] = accuracy(model, validation, epsilon=radius, attack=settings.attack, seed=seed)
            state.add(line, candidate=epoch - 1 >= settings.best_from * settings.epochs)
        if state.best:
            model.load_state_dict(state.best)
    model.eval()
    return pd.DataFrame(state.history)


def _epoch(
    model: nn.Module, optimizer: Any, images: LabelledImages, settings: Settings, radius: float, generator: Any
) -> tuple[float, float]:
    """One pass over the images in a random order. → mean loss, share labelled correctly"""
    order = torch.randperm(len(images), generator=generator)
    batches = [rows for rows in order.split(settings.batch_size) if len(rows) > 1 or settings.batch_size == 1]
    total, right = 0.0, 0
    for rows in batches:
        start = int(torch.randint(2**31, (), generator=generator)) if radius else 0
        loss, labelled = _step(model, optimizer, images, rows, settings, radius, start)
        total, right = total + loss * len(rows), right + labelled
    n = sum(map(len, batches))
    return total / n, right / n


def _step(model, optimizer, images, rows, settings, radius, seed):
    """One update on some rows. → loss, and how many clean images were labelled correctly"""
    device = next(model.parameters()).device
    x, y = images.images[rows].to(device), images.labels[rows].to(device)
    logits = model(x)
    if logits.shape[-1] == 1 and int(y.max()) > 1:
        raise ValueError(f"a network of one logit takes the labels 0 and 1, got {int(y.max())}")
    loss = classification_loss(logits, y)
    leaked = 0.0
    if radius:
        attacked, before = pgd(model, x, y, radius, settings.attack, seed=seed, before=True)
        loss = (loss + classification_loss(model(attacked), y)) / 2
        if settings.update == "leak":
            with _statistics_kept(model):  # the attack's own pass over these images has counted them
                leaked = classification_loss(model(before), y)
    optimizer.zero_grad()
    (loss + leaked).backward()
    optimizer.step()
    return loss.item(), int((predicted(logits) == y).sum())


class _State:
    """What a training needs to go on after a stop: weights, optimizer, generator, history, and the best weights so far."""

    def __init__(
        self, parts: tuple[nn.Module, Any, torch.Generator], settings: dict[str, Any], path: Path | None
    ) -> None:
        self.parts, self.path, self.best = parts, path, {}
        self.about = {"settings": settings, "history": [], "best_share": -1.0}
        if path is not None and path.exists():
            self._resume()
        self.history: list[dict[str, Any]] = self.about["history"]

    def _resume(self) -> None:
        """Load the checkpoint. ValueError if it is of another training."""
        tensors, about = files.read(self.path)
        held = about.get("settings", {})
        other = [name for name, value in self.about["settings"].items() if held.get(name) != value]
        if other:
            raise ValueError(
                f"{self.path} is a checkpoint of another training: {', '.join(other)} differ; name another file"
            )
        files.put_back(tensors, *self.parts)
        self.best = {n.removeprefix("best."): value for n, value in tensors.items() if n.startswith("best.")}
        self.about = about

    def add(self, line: dict[str, Any], candidate: bool) -> None:
        """Note an epoch, keep its weights if they are the best so far, and write the checkpoint."""
        self.history.append(line)
        if candidate and line.get("validation", -2.0) >= self.about["best_share"]:
            self.about["best_share"] = line["validation"]
            self.best = {name: value.detach().clone() for name, value in self.parts[0].state_dict().items()}
        if self.path is not None:
            best = {f"best.{name}": value for name, value in self.best.items()}
            files.write(self.path, files.state_of(*self.parts) | best, self.about)


def fingerprint(images: LabelledImages | None) -> str:
    """What tells one set of images from another: 16 hexadecimal digits, or "" for None."""
    if images is None:
        return ""
    content = images.images.cpu().numpy().tobytes() + images.labels.cpu().numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def _layout(model: nn.Module) -> Iterator[None]:
    """`model` with channels last inside `with`, if it says that it takes that layout: the same values, sooner."""
    takes = getattr(model, "channels_last", False)
    if takes:
        model.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        if takes:
            model.to(memory_format=torch.contiguous_format)


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Inside `with`, the running statistics of batch normalisation may change; after it they are as they were before."""
    before = [(m, {n: b.clone() for n, b in m.named_buffers(recurse=False)}) for m in model.modules()]
    try:
        yield
    finally:
        for m, buffers in before:
            for name, buffer in buffers.items():
                setattr(m, name, buffer)  # not in place: a gradient yet to be taken needs the others


def predicted(logits: Float[Tensor, "B C"]) -> Int[Tensor, " B"]:
    """The label that logits name for each image; one logit names 1 above zero."""
    return (logits[:, 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(1)


def accuracy(
    model: nn.Module,
    images: LabelledImages,
    batch_size: int = 128,
    *,
    epsilon: float = 0.0,
    attack: Attack = PGD40,
    seed: int = 0,
) -> float:
    """Share of images that `model` labels correctly, in evaluation mode; its mode is put back.

    epsilon above 0: after an attack of that radius (`superpos.attacks.pgd`).
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for x, y in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True):
        x, y = x.to(device), y.to(device)
        x = pgd(model, x, y, epsilon, attack, seed=seed) if epsilon else x
        with torch.no_grad():
            right += int((predicted(model(x)) == y).sum())
    model.train(was_training)
    return right / len(images)
