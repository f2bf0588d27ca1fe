"""The toy model of superposition (Elhage et al. 2022), trained as a stack of K models at once.

    x = W f,   f' = ReLU(Wᵀ x + b),   loss = Σ_i ω_i (f_i − f'_i)²,   ω_i = 0.7^i

f (n, M) holds M = 20 features, each zero with probability S (the sparsity), else uniform on [0, 1]; x (n, N) are the activations
of the bottleneck of N neurons. W (N, M) is known, and so is the truth that a measure of x is held against.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from superpos import metrics
from superpos.descent import finite_loss
from superpos.progress import progress
from superpos.settings import one_of

N_FEATURES, IMPORTANCE, BATCH_SIZE = 20, 0.7, 512
LOW, HIGH = 0.001, 0.999  # sparsities (Bereska et al. 2025, toy models)
AHEAD = 16  # steps whose features are drawn at once


@dataclass(frozen=True)
class Toy:
    """One trained toy model, the sparsity of its features, and its loss on the last batch."""

    W: Float[Tensor, "N M"]
    b: Float[Tensor, " M"]
    sparsity: float
    loss: float

    def sample(self, n: int, generator: Generator) -> Float[Tensor, "n N"]:
        """Activations of n rows of fresh features."""
        return sample_features(n, self.W.shape[1], self.sparsity, generator) @ self.W.T


def truth(W: Float[Tensor, "N M"]) -> dict[str, float]:
    """ψ of known weights, from shares by ‖W_i‖² and by ‖W_i‖ ("norm"), and as ‖W‖²_F / N ("frobenius", Elhage et al. 2022)."""
    squares, norms = (metrics.superposition(metrics.weight_shares(W, power), len(W)) for power in (2, 1))
    return {"psi_weights": squares, "psi_weights_norm": norms, "psi_frobenius": metrics.frobenius_superposition(W)}


def sparsities(n_models: int, spacing: str = "log") -> Float[Tensor, " K"]:
    """Sparsities S from LOW to HIGH, evenly spaced ("linear") or with 1 − S in geometric steps ("log").

    Raises ValueError for another spacing.
    """
    one_of("spacing", spacing, ("log", "linear"))
    if spacing == "linear":
        return torch.linspace(LOW, HIGH, n_models, dtype=torch.float64)
    return 1 - torch.logspace(math.log10(1 - LOW), math.log10(1 - HIGH), n_models, dtype=torch.float64)


def sample_features(n: int, n_features: int, sparsity: float, generator: Generator) -> Float[Tensor, "n M"]:
    """Features of n rows: zero with probability `sparsity`, else uniform on [0, 1]. One draw serves both."""
    u = torch.rand(n, n_features, generator=generator)
    return ((u - sparsity) / (1 - sparsity)).clamp_(min=0)


def train_toys(
    sparsity: Sequence[float], *, seeds: Sequence[int], n_neurons: int = 5, steps: int = 5000, lr: float = 1e-3
) -> list[Toy]:
    """Train one toy model for each sparsity, by Adam with step size `lr` on fresh features every step.

    Each of the `seeds` decides its own model alone. Raises ValueError where there are not as many of them as sparsities, and
    for a sparsity below 0 or not below 1; FloatingPointError for a loss that is not finite.
    """
    if len(sparsity) != len(seeds):
        raise ValueError(f"{len(sparsity)} sparsities for {len(seeds)} seeds: expected as many of each")
    if not all(0 <= s < 1 for s in sparsity):
        raise ValueError(f"sparsity must be at least 0 and below 1, got {sparsity}")
    generators = [Generator().manual_seed(seed) for seed in seeds]
    W = torch.stack([torch.randn(n_neurons, N_FEATURES, generator=g) for g in generators])
    W *= (2 / (n_neurons + N_FEATURES)) ** 0.5
    b, omega = torch.zeros(len(seeds), 1, N_FEATURES), IMPORTANCE ** torch.arange(N_FEATURES)
    optimizer = torch.optim.Adam([W, b], lr=lr, fused=True)
    for f in progress(_batches(sparsity, generators, steps), total=steps, desc="toy models"):
        loss, W.grad, b.grad = _loss_and_gradients(W, b, f, omega)
        optimizer.step()
    finite_loss(loss, "loss of toy models")
    return [Toy(W[k], b[k, 0], sparsity[k], float(loss[k])) for k in range(len(seeds))]


def _batches(sparsity, generators, steps):
    """Yield the features (K, B, M) of each step; those of each model come from its own generator."""
    for start in range(0, steps, AHEAD):
        n = BATCH_SIZE * min(AHEAD, steps - start)
        drawn = [sample_features(n, N_FEATURES, s, g) for s, g in zip(sparsity, generators, strict=True)]
        yield from torch.stack(drawn).split(BATCH_SIZE, dim=1)


def _loss_and_gradients(W, b, f, omega):
    """Loss of each model (K,), mean over the batch, with its gradients for W (K, N, M) and b (K, 1, M) by hand."""
    x = f @ W.mT
    out = (x @ W).add_(b).relu_()
    error = out - f
    loss = (error.square() * omega).sum(-1).mean(-1)
    g = torch.ops.aten.threshold_backward(error * omega * (2 / f.shape[1]), out, 0)
    return loss, x.mT @ g + (g @ W.mT).mT @ f, g.sum(1, keepdim=True)
