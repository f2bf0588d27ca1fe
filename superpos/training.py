"""The one training loop of the classifiers, and their accuracy."""

import pandas as pd
import torch
from torch.nn import functional

from superpos.progress import progress

__all__ = ["accuracy", "train"]


def train(model, images, *, epochs, lr=1e-3, batch_size=64, weight_decay=0.0, seed=0):
    """Train `model` in place on LabelledImages by Adam and cross-entropy. → history (epoch, loss, accuracy)

    The seed decides the order of the images, reshuffled every epoch. Batches that the network cannot take
    (a last single image under batch normalisation) are avoided by dropping an incomplete batch of one.
    Raises FloatingPointError as soon as a loss is not finite.
    """
    generator = torch.Generator().manual_seed(int(seed))
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    history = []
    model.train()
    for epoch in progress(range(1, epochs + 1), desc="training"):
        order = torch.randperm(len(images), generator=generator)
        batches = [rows for rows in order.split(batch_size) if len(rows) > 1 or batch_size == 1]
        total, right = 0.0, 0
        for rows in batches:
            x, y = images.images[rows].to(device), images.labels[rows].to(device)
            logits = model(x)
            loss = functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            right += int((logits.argmax(1) == y).sum())
        n = sum(map(len, batches))
        if not total < float("inf"):
            raise FloatingPointError(f"the training loss became {total / n} in epoch {epoch}")
        history.append({"epoch": epoch, "loss": total / n, "accuracy": right / n})
    model.eval()
    return pd.DataFrame(history)


@torch.no_grad()
def accuracy(model, images, batch_size=1000):
    """Share of LabelledImages that `model` labels correctly, in evaluation mode (its mode is put back)."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for x, y in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True):
        right += int((model(x.to(device)).argmax(1).cpu() == y).sum())
    model.train(was_training)
    return right / len(images)
