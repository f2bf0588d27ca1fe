"""Attacks on classifiers of images in [0, 1]: FGSM (Goodfellow 2015) and PGD (Madry 2018), in the ℓ∞ ball of radius ε.

    x_0     = clip(x + u),  u uniform on [−ε, ε]        (PGD; FGSM starts at x)
    x_{t+1} = clip(x_t + α · sign ∂loss/∂x_t)           clip: into [x − ε, x + ε] and [0, 1]

Only the input's gradient is computed; the parameters and their `.grad` are left alone, whatever they held before.
"""

from contextlib import nullcontext
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from superpos.settings import Count, Positive, settings

__all__ = ["PGD40", "Attack", "classification_loss", "fgsm", "pgd"]


@settings
class Attack:
    """How an attack goes up the loss: so many `steps`, each of length `step_size`, from a random start in the ball or from x.

    products: "bfloat16" multiplies in that format, which some processors do sooner. Signs of small gradients then differ;
    the page “Can an SAE be fitted faster and still read the same number?” compares the strength of both.
    """

    steps: Count = 40
    step_size: Positive = 0.01
    random_start: bool = True
    products: Literal["float32", "bfloat16"] = "float32"


PGD40 = Attack()


def classification_loss(logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of a batch; the binary one, of labels 0 and 1, where there is one logit an image."""
    if logits.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
    return functional.cross_entropy(logits, labels)


def fgsm(
    model: nn.Module, x: Float[Tensor, "B ..."], labels: Int[Tensor, " B"], epsilon: float
) -> Float[Tensor, "B ..."]:
    """Images after one step of length ε from x. Raises ValueError as `pgd` does."""
    return pgd(model, x, labels, epsilon, Attack(steps=1, step_size=epsilon or 1.0, random_start=False))


def pgd(
    model: nn.Module,
    x: Float[Tensor, "B ..."],
    labels: Int[Tensor, " B"],
    epsilon: float,
    attack: Attack = PGD40,
    *,
    seed: int = 0,
    before: bool = False,
) -> Any:
    """Images after projected gradient ascent on the loss, detached; x itself where ε is 0.

    The start is drawn from `seed`. The model is run in the mode that it is in: in training mode, batch normalisation
    counts the attack's passes. before: give a pair, the attacked images and what they were before the last step, which
    is where its gradient was taken. Raises ValueError for ε outside [0, 1], an empty batch, and images outside [0, 1].
    """
    _check(x, epsilon)
    x = x.detach()
    if epsilon == 0:
        return (x.clone(), x.clone()) if before else x.clone()
    lowest, highest = (x - epsilon).clamp_(0, 1), (x + epsilon).clamp_(0, 1)
    attacked = last = x.clone()
    if attack.random_start:
        generator = torch.Generator(x.device).manual_seed(seed)
        start = torch.rand(x.shape, generator=generator, device=x.device).mul_(2 * epsilon).sub_(epsilon)
        attacked = torch.clamp(attacked + start, lowest, highest)
    fast = torch.autocast(x.device.type, torch.bfloat16) if attack.products == "bfloat16" else nullcontext()
    with fast, torch.enable_grad():
        for _ in range(attack.steps):
            attacked.requires_grad_()
            loss = classification_loss(model(attacked).float(), labels)
            (gradient,) = torch.autograd.grad(loss, attacked)
            last = attacked.detach().clone() if before else last
            attacked = attacked.detach().add_(gradient.sign_(), alpha=attack.step_size)
            torch.clamp(attacked, lowest, highest, out=attacked)
    return (attacked, last) if before else attacked


def _check(x: Tensor, epsilon: float) -> None:
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be between 0 and 1, got {epsilon!r}")
    if not len(x):
        raise ValueError("there is no image to attack: the batch is empty")
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"images must lie in [0, 1], got values from {x.min():g} to {x.max():g}")
