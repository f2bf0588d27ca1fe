"""The one training loop of the classifiers, plain or adversarial, and their accuracy."""

from contextlib import contextmanager

import pandas as pd
import torch

from superpos.attacks import classification_loss, pgd
from superpos.progress import progress

__all__ = ["accuracy", "train"]

OPTIMIZERS = {
    "adam": lambda parameters, lr, decay: torch.optim.Adam(parameters, lr=lr, weight_decay=decay),
    "sgd": lambda parameters, lr, decay: torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=0.9),
}


def train(
    model,
    images,
    *,
    epochs,
    lr=1e-3,
    batch_size=64,
    weight_decay=0.0,
    seed=0,
    optimizer="adam",
    epsilon=0.0,
    attack=None,
):
    """Train `model` in place on LabelledImages by cross-entropy. → history (epoch, loss, accuracy)

    optimizer: "adam", or "sgd" with momentum 0.9. A network with one logit is trained as a binary classifier.
    epsilon > 0: adversarial training (Madry 2018), half the loss on clean images and half on `superpos.attacks.pgd`'s
    of radius epsilon, with the options `attack` (steps, step_size, …). The attack leaves no gradient behind.
    The seed decides the order of the images, reshuffled every epoch, and the attacks' starts. A network with batch
    normalisation sees the attack's passes in its statistics, as in Madry's training. Batches that the
    network cannot take (a last single image under batch normalisation) are avoided by dropping an incomplete batch
    of one. Raises ValueError for an unknown optimizer, a seed among the attack's options, and labels beyond 0 and 1
    for one logit; FloatingPointError as soon as a loss is not finite.
    """
    if "seed" in (attack or {}):
        raise ValueError(f"the attack's starts follow from the seed of the training; drop seed={attack['seed']!r}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    generator = torch.Generator().manual_seed(int(seed))
    optimizer = OPTIMIZERS[optimizer](model.parameters(), lr, weight_decay)
    history = []
    model.train()
    with _layout(model):
        for epoch in progress(range(1, epochs + 1), desc="training"):
            order = torch.randperm(len(images), generator=generator)
            batches = [rows for rows in order.split(batch_size) if len(rows) > 1 or batch_size == 1]
            total, right = 0.0, 0
            for rows in batches:
                start = int(torch.randint(2**31, (), generator=generator)) if epsilon else 0
                loss, labelled = _step(model, optimizer, images, rows, epsilon, {**(attack or {}), "seed": start})
                total, right = total + loss * len(rows), right + labelled
            n = sum(map(len, batches))
            if not total < float("inf"):
                raise FloatingPointError(f"the training loss became {total / n} in epoch {epoch}")
            history.append({"epoch": epoch, "loss": total / n, "accuracy": right / n})
    model.eval()
    return pd.DataFrame(history)


@contextmanager
def _layout(model):
    """`model` with channels last inside `with`, if it says that it takes that layout: the same values, sooner."""
    takes = getattr(model, "channels_last", False)
    try:
        yield model.to(memory_format=torch.channels_last) if takes else model
    finally:
        if takes:
            model.to(memory_format=torch.contiguous_format)


def _step(model, optimizer, images, rows, epsilon, attack):
    """One update on some rows. → loss, and how many clean images were labelled correctly"""
    device = next(model.parameters()).device
    x, y = images.images[rows].to(device), images.labels[rows].to(device)
    logits = model(x)
    if logits.shape[-1] == 1 and int(y.max()) > 1:
        raise ValueError(f"a network of one logit takes the labels 0 and 1, got {int(y.max())}")
    loss = classification_loss(logits, y)
    if epsilon:
        attacked = pgd(model, x, y, epsilon, **attack)
        loss = (loss + classification_loss(model(attacked), y)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), int((_labels(logits) == y).sum())


def _labels(logits):
    """The labels (B,) that logits (B, C) name; one logit names 1 above zero."""
    return (logits[:, 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(1)


@torch.no_grad()
def accuracy(model, images, batch_size=1000):
    """Share of LabelledImages that `model` labels correctly, in evaluation mode (its mode is put back)."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for x, y in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True):
        right += int((_labels(model(x.to(device))).cpu() == y).sum())
    model.train(was_training)
    return right / len(images)
