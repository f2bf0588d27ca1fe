"""How robust a classifier is to attacks, and whether the attack or the network is to thank for it.

Gradient masking makes a network look robust because the attack's gradient leads nowhere (Athalye 2018). Its signs
(Carlini 2019, section 3): one step or noise does as well as many steps, more steps or starts find more, and
an attack without bounds does not reach chance.
"""

import pandas as pd
import torch

from superpos.attacks import pgd
from superpos.training import accuracy, predicted

__all__ = ["curve", "masking_checks"]


def curve(model, images, epsilons, attack=None):
    """Accuracy on LabelledImages under PGD of several radii, with the options `attack`. → DataFrame (epsilon, accuracy)"""
    return pd.DataFrame(
        {"epsilon": epsilon, "accuracy": accuracy(model, images, epsilon=epsilon, attack=attack)}
        for epsilon in epsilons
    )


def masking_checks(model, images, epsilon, *, steps=40, step_size=0.01, seed=0, tolerance=0.03):
    """Does PGD with these settings find what there is to find? → DataFrame (check, accuracy, limit, passed), a row a check

    The first row is PGD itself. Stronger attacks (five times the steps, the worst of five starts) must stay within
    `tolerance` of it, weaker ones (one step, uniform noise) must not lie below it by more; with a radius of 1 accuracy
    must fall to a tenth over that of always naming the commonest label.
    """
    options = {"steps": steps, "step_size": step_size, "seed": seed}
    usual = accuracy(model, images, epsilon=epsilon, attack=options)
    commonest = images.labels.bincount().max().item() / len(images)
    rows = [
        (
            "more steps",
            accuracy(model, images, epsilon=epsilon, attack={**options, "steps": 5 * steps}),
            usual - tolerance,
        ),
        ("more starts", _worst_of(model, images, epsilon, options, 5), usual - tolerance),
        ("one step", accuracy(model, images, epsilon=epsilon, attack=_one_step(epsilon)), usual - tolerance),
        ("noise", _under_noise(model, images, epsilon, seed), usual - tolerance),
    ]
    table = pd.DataFrame(rows, columns=["check", "accuracy", "limit"])
    table["passed"] = table.accuracy >= table.limit
    without_bounds = accuracy(model, images, epsilon=1.0, attack={**options, "step_size": max(step_size, 2.0 / steps)})
    last = {
        "check": "no bounds",
        "accuracy": without_bounds,
        "limit": 1.1 * commonest,
        "passed": without_bounds <= 1.1 * commonest,
    }
    first = {"check": "PGD", "accuracy": usual, "limit": float("nan"), "passed": True}
    return pd.concat([pd.DataFrame([first]), table, pd.DataFrame([last])], ignore_index=True)


def _one_step(epsilon):
    return {"steps": 1, "step_size": epsilon, "random_start": False}


def _right(model, x, labels):
    """Which images (B,) are labelled correctly, in evaluation mode."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train(was_training)
    return predicted(logits) == labels.to(logits.device)


def _worst_of(model, images, epsilon, options, n_starts):
    """Accuracy when an image counts only if no start of the attack fools the network on it."""
    device = next(model.parameters()).device
    x, labels = images.images.to(device), images.labels.to(device)
    held = torch.ones(len(x), dtype=torch.bool, device=device)
    was_training = model.training
    model.eval()
    for start in range(n_starts):
        held &= _right(model, pgd(model, x, labels, epsilon, **{**options, "seed": options["seed"] + start}), labels)
    model.train(was_training)
    return held.double().mean().item()


def _under_noise(model, images, epsilon, seed):
    noise = torch.rand(images.images.shape, generator=torch.Generator().manual_seed(int(seed))) * 2 - 1
    x = (images.images.cpu() + epsilon * noise).clamp(0, 1).to(next(model.parameters()).device)
    return _right(model, x, images.labels).double().mean().item()
