"""Attacks on classifiers of images in [0, 1]: FGSM (Goodfellow 2015) and PGD (Madry 2018), in the ℓ∞ ball of radius ε.

    x_0     = clip(x + u),  u uniform on [−ε, ε]        (PGD; FGSM starts at x)
    x_{t+1} = clip(x_t + α · sign ∂loss/∂x_t)           clip: into [x − ε, x + ε] and [0, 1]

Only the input's gradient is computed; the parameters and their `.grad` are left alone, whatever they held before.
"""

from contextlib import nullcontext

import torch
from torch.nn import functional

__all__ = ["classification_loss", "fgsm", "pgd"]


def classification_loss(logits, labels):
    """Mean cross-entropy of logits (B, C) and labels (B,); for one logit (B, 1) the binary one, labels 0 and 1."""
    if logits.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
    return functional.cross_entropy(logits, labels)


def fgsm(model, x, labels, epsilon):
    """One step of length ε from x (B, C, H, W). → attacked images of the same shape. ValueError as `pgd`."""
    return pgd(model, x, labels, epsilon, steps=1, step_size=epsilon, random_start=False)


def pgd(
    model, x, labels, epsilon, *, steps=40, step_size=0.01, random_start=True, seed=0, products="float32", before=False
):
    """Projected gradient ascent on the loss of images x (B, C, H, W) in [0, 1]. → attacked images, detached

    labels (B,) as `classification_loss` takes them. `seed` draws the start. The model is run in the mode that it is in
    (in training mode, batch normalisation counts the attack's passes).
    products: "float32", or "bfloat16" for products that a processor with bfloat16 makes faster; signs
    of small gradients then differ, the page “What does a measurement cost?” compares the attacks' strength.
    before: also return the images as they were before the last step, where its gradient was taken. → (attacked, before)
    epsilon = 0 gives x itself. Raises ValueError for values out of range, and for images outside [0, 1].
    """
    _check(x, epsilon, steps, step_size, products)
    x = x.detach()
    if epsilon == 0:
        return (x.clone(), x.clone()) if before else x.clone()
    lowest, highest = (x - epsilon).clamp_(0, 1), (x + epsilon).clamp_(0, 1)
    attacked = x.clone()
    if random_start:
        generator = torch.Generator(x.device).manual_seed(int(seed))
        start = torch.rand(x.shape, generator=generator, device=x.device).mul_(2 * epsilon).sub_(epsilon)
        attacked = torch.clamp(attacked + start, lowest, highest)
    with _products(products, x.device), torch.enable_grad():
        for _ in range(steps):
            attacked.requires_grad_()
            loss = classification_loss(model(attacked).float(), labels)
            (gradient,) = torch.autograd.grad(loss, attacked)
            last = attacked.detach().clone() if before else None
            attacked = attacked.detach().add_(gradient.sign_(), alpha=step_size)
            torch.clamp(attacked, lowest, highest, out=attacked)
    return (attacked, last) if before else attacked


def _products(products, device):
    return torch.autocast(device.type, torch.bfloat16) if products == "bfloat16" else nullcontext()


def _check(x, epsilon, steps, step_size, products):
    for name, value, right, expected in (
        ("epsilon", epsilon, 0 <= epsilon <= 1, "between 0 and 1"),
        ("steps", steps, steps >= 1, "at least 1"),
        ("step_size", step_size, step_size > 0 or epsilon == 0, "above 0"),
        ("products", products, products in ("float32", "bfloat16"), "'float32' or 'bfloat16'"),
    ):
        if not right:
            raise ValueError(f"{name} must be {expected}, got {value!r}")
    if not len(x):
        raise ValueError("there is no image to attack: the batch is empty")
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"images must lie in [0, 1], got values from {x.min():g} to {x.max():g}")
