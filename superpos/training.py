"""The one training loop of the classifiers, plain or adversarial, and their accuracy.

update      gradient that is applied, x' the attacked images, x'' what they were before the attack's last step
corrected   ½ ∇L(x) + ½ ∇L(x')
leak        ½ ∇L(x) + ½ ∇L(x') + ∇L(x''), as in the paper's code, whose attack leaves its last gradient behind
"""

import hashlib
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from superpos import checkpoint as files
from superpos.attacks import classification_loss, pgd
from superpos.progress import progress

__all__ = ["UPDATES", "accuracy", "fingerprint", "predicted", "train"]

UPDATES = ("corrected", "leak")

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
    milestones=(),
    epsilon=0.0,
    attack=None,
    update="corrected",
    ramp=False,
    validation=None,
    best_from=0.0,
    checkpoint=None,
):
    """Train `model` in place on LabelledImages by cross-entropy. → history (epoch, lr, epsilon, loss, accuracy[, validation])

    optimizer: "adam", or "sgd" with momentum 0.9; milestones: epochs after which the step size falls to a tenth. A network
    with one logit is trained as a binary classifier.
    epsilon > 0: adversarial training (Madry 2018), half the loss on clean images and half on `superpos.attacks.pgd`'s
    of radius epsilon, with the options `attack` (steps, step_size, …). update: one of UPDATES (module docstring).
    ramp: the radius is a third for the first fifth of the epochs, two thirds to the half, then whole (Bereska 2025).
    validation: LabelledImages on which accuracy, under the same attack where there is one, is taken after each epoch; the
    weights of the best epoch are put back at the end (of equals the latest; the last ones, if no epoch can be the best).
    best_from: share of the epochs after which one can be the best; choose one for all radii that are compared, and with a
    ramp at least a half, where the radius is whole.
    checkpoint: a safetensors file, written after each epoch, from which the same training goes on if it was stopped.
    The seed decides the order of the images, reshuffled every epoch, and the attacks' starts. A network with batch
    normalisation sees the attack's passes in its statistics, as in Madry's training; the pass that repeats the attack's last for
    the leak leaves them as they are. Batches that the
    network cannot take (a last single image under batch normalisation) are avoided by dropping an incomplete batch
    of one. Raises ValueError for an unknown optimizer or update, a seed among the attack's options, labels beyond 0 and 1
    for one logit, and a checkpoint of another training; FloatingPointError as soon as a loss is not finite.
    """
    attack = dict(attack or {})
    if "seed" in attack:
        raise ValueError(f"the attack's starts follow from the seed of the training; drop seed={attack['seed']!r}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    if update not in UPDATES:
        raise ValueError(f"update must be one of {', '.join(UPDATES)}, got {update!r}")
    generator = torch.Generator().manual_seed(int(seed))
    kept = [] if checkpoint is None else [fingerprint(images), fingerprint(validation)]
    settings = {
        "epochs": epochs, "lr": lr, "batch_size": batch_size, "weight_decay": weight_decay, "seed": int(seed),
        "optimizer": optimizer, "milestones": list(milestones), "epsilon": epsilon, "attack": attack, "update": update,
        "ramp": ramp, "best_from": best_from, "images": kept,
    }  # fmt: skip
    optimizer = OPTIMIZERS[optimizer](model.parameters(), lr, weight_decay)
    state = _State(model, optimizer, generator, settings, checkpoint)
    model.train()
    with _layout(model):
        state.resume()
        for epoch in progress(range(len(state.history) + 1, epochs + 1), desc="training"):
            radius = epsilon * _ramp(epoch, epochs) if ramp else epsilon
            rate = lr * 0.1 ** sum(epoch > milestone for milestone in milestones)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, share = _epoch(model, optimizer, images, batch_size, generator, radius, attack, update)
            if not loss < float("inf"):
                raise FloatingPointError(f"the training loss became {loss} in epoch {epoch}")
            line = {"epoch": epoch, "lr": rate, "epsilon": radius, "loss": loss, "accuracy": share}
            if validation is not None:
                line["validation"] = _validated(model, validation, radius, attack, seed)
            state.add(line, candidate=epoch - 1 >= best_from * epochs)
        state.restore()
    model.eval()
    return pd.DataFrame(state.history)


def _ramp(epoch, epochs):
    """Share of the radius in an epoch, counted from 1 (Bereska 2025, appendix)."""
    done = (epoch - 1) / epochs
    return 1 / 3 if done < 0.2 else 2 / 3 if done < 0.5 else 1.0


def _epoch(model, optimizer, images, batch_size, generator, epsilon, attack, update):
    """One pass over the images in a random order. → mean loss, share labelled correctly"""
    order = torch.randperm(len(images), generator=generator)
    batches = [rows for rows in order.split(batch_size) if len(rows) > 1 or batch_size == 1]
    total, right = 0.0, 0
    for rows in batches:
        start = int(torch.randint(2**31, (), generator=generator)) if epsilon else 0
        loss, labelled = _step(model, optimizer, images, rows, epsilon, {**attack, "seed": start}, update)
        total, right = total + loss * len(rows), right + labelled
    n = sum(map(len, batches))
    return total / n, right / n


def _validated(model, images, epsilon, attack, seed):
    """Accuracy in evaluation mode, under the attack where epsilon > 0; the training mode is put back."""
    model.eval()
    share = accuracy(model, images, epsilon=epsilon, attack={**attack, "seed": seed})
    model.train()
    return share


class _State:
    """What a training needs to go on after a stop: weights, optimizer, generator, history, and the best weights so far."""

    def __init__(self, model, optimizer, generator, settings, path):
        self.model, self.optimizer, self.generator = model, optimizer, generator
        self.settings, self.path = settings, None if path is None else Path(path)
        self.history, self.best, self.best_share = [], None, -1.0

    def add(self, line, candidate):
        self.history.append(line)
        if candidate and line.get("validation", -2.0) >= self.best_share:
            self.best_share = line["validation"]
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if self.path:
            self._save()

    def restore(self):
        """Put the weights of the best epoch back, where a validation named one."""
        if self.best:
            self.model.load_state_dict(self.best)

    def _save(self):
        tensors = files.state_of(self.model, self.optimizer, self.generator)
        tensors |= {f"best.{name}": value for name, value in (self.best or {}).items()}
        about = {"settings": self.settings, "history": self.history, "best_share": self.best_share}
        files.write(self.path, tensors, about)

    def resume(self):
        """Load the checkpoint, if there is one. ValueError if it is of another training."""
        if not (self.path and self.path.exists()):
            return
        tensors, about = files.read(self.path)
        other = [name for name, value in self.settings.items() if about.get("settings", {}).get(name) != value]
        if other:
            raise ValueError(
                f"{self.path} is a checkpoint of another training: {', '.join(other)} differ; name another file"
            )
        files.put_back(tensors, self.model, self.optimizer, self.generator)
        self.best = {n.removeprefix("best."): value for n, value in tensors.items() if n.startswith("best.")} or None
        self.history, self.best_share = about["history"], about["best_share"]


def fingerprint(images):
    """What tells one set of LabelledImages from another: 16 hexadecimal digits, or "" for None."""
    if images is None:
        return ""
    content = images.images.cpu().numpy().tobytes() + images.labels.cpu().numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def _layout(model):
    """`model` with channels last inside `with`, if it says that it takes that layout: the same values, sooner."""
    takes = getattr(model, "channels_last", False)
    try:
        yield model.to(memory_format=torch.channels_last) if takes else model
    finally:
        if takes:
            model.to(memory_format=torch.contiguous_format)


@contextmanager
def _statistics_kept(model):
    """Inside `with`, batch normalisation of `model` in training mode leaves its running statistics as they are."""
    layers = [
        m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    before = [(m.running_mean.clone(), m.running_var.clone(), m.num_batches_tracked.clone()) for m in layers]
    try:
        yield
    finally:
        for m, (mean, var, count) in zip(layers, before, strict=True):
            m.running_mean, m.running_var, m.num_batches_tracked = mean, var, count


def _step(model, optimizer, images, rows, epsilon, attack, update):
    """One update on some rows. → loss, and how many clean images were labelled correctly"""
    device = next(model.parameters()).device
    x, y = images.images[rows].to(device), images.labels[rows].to(device)
    logits = model(x)
    if logits.shape[-1] == 1 and int(y.max()) > 1:
        raise ValueError(f"a network of one logit takes the labels 0 and 1, got {int(y.max())}")
    loss = classification_loss(logits, y)
    leaked = 0.0
    if epsilon:
        attacked, before = pgd(model, x, y, epsilon, **attack, before=True)
        loss = (loss + classification_loss(model(attacked), y)) / 2
        if update == "leak":
            with _statistics_kept(model):  # the attack's own pass over these images has counted them
                leaked = classification_loss(model(before), y)
    optimizer.zero_grad()
    (loss + leaked).backward()
    optimizer.step()
    return loss.item(), int((predicted(logits) == y).sum())


def predicted(logits):
    """The labels (B,) that logits (B, C) name; one logit names 1 above zero."""
    return (logits[:, 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(1)


def accuracy(model, images, batch_size=128, *, epsilon=0.0, attack=None):
    """Share of LabelledImages that `model` labels correctly, in evaluation mode (its mode is put back).

    epsilon > 0: after an attack of that radius (`superpos.attacks.pgd`, with the options `attack`).
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right = 0
    for x, y in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True):
        x, y = x.to(device), y.to(device)
        x = pgd(model, x, y, epsilon, **(attack or {})) if epsilon else x
        with torch.no_grad():
            right += int((predicted(model(x)) == y).sum())
    model.train(was_training)
    return right / len(images)
