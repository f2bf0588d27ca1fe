"""How robust a classifier is to attacks, and whether the attack or the network is to thank for it.

Gradient masking makes a network look robust because the attack's gradient leads nowhere (Athalye 2018). Its signs
(Carlini 2019, section 3): one step or noise does as well as many steps, more steps or starts find more, and
an attack without bounds does not reach chance.
"""

from collections.abc import Iterable

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from superpos.attacks import PGD40, Attack, pgd
from superpos.data import LabelledImages
from superpos.training import accuracy, predicted


def curve(
    model: nn.Module, images: LabelledImages, epsilons: Iterable[float], attack: Attack = PGD40, *, seed: int = 0
) -> pd.DataFrame:
    """Accuracy on some images under an attack of several radii: columns epsilon and accuracy."""
    return pd.DataFrame(
        {"epsilon": epsilon, "accuracy": accuracy(model, images, epsilon=epsilon, attack=attack, seed=seed)}
        for epsilon in epsilons
    )


def masking_checks(
    model: nn.Module,
    images: LabelledImages,
    epsilon: float,
    attack: Attack = PGD40,
    *,
    seed: int = 0,
    tolerance: float = 0.03,
) -> pd.DataFrame:
    """Does an attack find what there is to find? A row a check: check, accuracy, limit, passed.

    The first row is the attack itself. Stronger attacks (five times the steps, the worst of five starts) must stay within
    `tolerance` of it, weaker ones (one step, uniform noise) must not lie below it by more; with a radius of 1 accuracy
    must fall to 1.1 times that of always naming the commonest label.
    """
    longer, one_step = attack.but(steps=5 * attack.steps), Attack(1, epsilon, random_start=False)
    unbounded = attack.but(step_size=max(attack.step_size, 2.0 / attack.steps))
    found = {
        "PGD": accuracy(model, images, epsilon=epsilon, attack=attack, seed=seed),
        "more steps": accuracy(model, images, epsilon=epsilon, attack=longer, seed=seed),
        "more starts": _worst_of(model, images, epsilon, attack, range(seed, seed + 5)),
        "one step": accuracy(model, images, epsilon=epsilon, attack=one_step),
        "noise": _under_noise(model, images, epsilon, seed),
        "no bounds": accuracy(model, images, epsilon=1.0, attack=unbounded, seed=seed),
    }
    table = pd.DataFrame({"check": list(found), "accuracy": list(found.values())})
    commonest = images.labels.bincount().max().item() / len(images)
    table["limit"] = [float("nan"), *[found["PGD"] - tolerance] * 4, 1.1 * commonest]
    table["passed"] = (table.accuracy >= table.limit) | table.limit.isna()
    table.loc[table.check == "no bounds", "passed"] = found["no bounds"] <= 1.1 * commonest
    return table


def _right(model: nn.Module, x: Float[Tensor, "n C H W"], labels: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which images are labelled correctly, in evaluation mode."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train(was_training)
    return predicted(logits) == labels.to(logits.device)


def _worst_of(model: nn.Module, images: LabelledImages, epsilon: float, attack: Attack, starts: range) -> float:
    """Accuracy when an image counts only if no start of the attack fools the network on it."""
    device = next(model.parameters()).device
    x, labels = images.images.to(device), images.labels.to(device)
    was_training = model.training
    model.eval()
    held = [_right(model, pgd(model, x, labels, epsilon, attack, seed=start), labels) for start in starts]
    model.train(was_training)
    return torch.stack(held).all(0).double().mean().item()


def _under_noise(model: nn.Module, images: LabelledImages, epsilon: float, seed: int) -> float:
    noise = torch.rand(images.images.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    x = (images.images.cpu() + epsilon * noise).clamp(0, 1).to(next(model.parameters()).device)
    return _right(model, x, images.labels).double().mean().item()
