"""The toy model of superposition of Elhage et al. 2022, trained as a stack of K models at once.

    x = W f,   f' = ReLU(Wᵀ x + b),   loss = Σ_i ω_i (f_i − f'_i)²,   ω_i = importance^i

f (n, M) holds M features, each zero with probability S (the sparsity), else uniform on [0, 1];
x (n, N) are the activations of the N-neuron bottleneck; W (N, M) is known, and so is the truth.
"""

import functools
from dataclasses import dataclass

import torch

from superpos import metrics, sae
from superpos.measurement import measure_rows
from superpos.progress import progress

__all__ = ["Toy", "sample_features", "sparsities", "toy_run", "train_toys"]

CONFIGS = {"published": sae.PUBLISHED, "protocol": sae.PROTOCOL}


@dataclass(frozen=True)
class Toy:
    """One trained toy model: W (N, M), b (M,), its sparsity S and its final mean training loss."""

    W: torch.Tensor
    b: torch.Tensor
    sparsity: float
    loss: float

    def activations(self, features):
        """Bottleneck activations x (n, N) of features (n, M)."""
        return features @ self.W.T

    def reconstruct(self, features):
        """f' (n, M) of features (n, M)."""
        return torch.relu(self.activations(features) @ self.W + self.b)

    def sample(self, n, seed):
        """n activations x (n, N) on fresh features of this model's own sparsity."""
        generator = torch.Generator().manual_seed(int(seed))
        return self.activations(sample_features(n, self.W.shape[1], self.sparsity, generator))


def sparsities(n_models, low=0.001, high=0.999, spacing="log"):
    """n_models sparsities S between low and high: evenly spaced, or with 1 − S in geometric steps ("log")."""
    if not 0 <= low < high < 1:
        raise ValueError(f"expected 0 <= low < high < 1, got low={low}, high={high}")
    if spacing == "linear":
        return torch.linspace(low, high, n_models, dtype=torch.float64)
    if spacing != "log":
        raise ValueError(f"spacing must be 'log' or 'linear', got {spacing!r}")
    return 1 - torch.logspace(
        *torch.log10(torch.tensor([1 - low, 1 - high], dtype=torch.float64)).tolist(), n_models, dtype=torch.float64
    )


def sample_features(n, n_features, sparsity, generator):
    """Features f (n, M): zero with probability `sparsity`, else uniform on [0, 1] (one draw serves both)."""
    u = torch.rand(n, n_features, generator=generator)
    return ((u - sparsity) / (1 - sparsity)).clamp_(min=0)


def train_toys(sparsity, *, seeds, n_features=20, n_neurons=5, importance=0.7, steps=5000, batch_size=512, lr=1e-3):
    """Train one toy model per sparsity. → list of Toy.

    sparsity: K values in [0, 1); seeds: K integers, each deciding its own model alone. Adam with step size
    `lr`, on fresh features every step. Raises ValueError if the lengths differ or a sparsity is out of range.
    """
    sparsity, seeds = [float(s) for s in sparsity], [int(s) for s in seeds]
    if len(sparsity) != len(seeds):
        raise ValueError(f"{len(sparsity)} sparsities for {len(seeds)} seeds: expected as many of each")
    if not all(0 <= s < 1 for s in sparsity):
        raise ValueError(f"sparsity must be at least 0 and below 1, got {sparsity}")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    W = torch.stack([torch.randn(n_neurons, n_features, generator=g) for g in generators])
    W *= (2 / (n_neurons + n_features)) ** 0.5
    b = torch.zeros(len(seeds), 1, n_features)
    omega = importance ** torch.arange(n_features)
    optimizer = torch.optim.Adam([W, b], lr=lr, fused=True)
    for features in _batches(generators, sparsity, n_features, batch_size, steps):
        loss, W.grad, b.grad = _loss_and_gradients(W, b, features, omega)
        optimizer.step()
    return [Toy(W[k], b[k, 0], sparsity[k], float(loss[k])) for k in range(len(seeds))]


def _batches(generators, sparsity, n_features, batch_size, steps, ahead=16):
    """Yield (K, B, M) features; each model's stream comes from its own generator, drawn `ahead` steps at a time."""
    bar = progress(total=steps, desc="toy models")
    for start in range(0, steps, ahead):
        n_steps = min(ahead, steps - start)
        pool = torch.stack(
            [sample_features(n_steps * batch_size, n_features, s, g) for s, g in zip(sparsity, generators, strict=True)]
        )
        yield from pool.split(batch_size, dim=1)
        bar.update(n_steps)
    bar.close()


def _loss_and_gradients(W, b, f, omega):
    """Loss per model (K,), mean over the batch, with its gradients for W (K, N, M) and b (K, 1, M) by hand."""
    x = f @ W.mT
    out = (x @ W).add_(b).relu_()
    error = out - f
    loss = (error.square() * omega).sum(-1).mean(-1)
    g = torch.ops.aten.threshold_backward(error * omega * (2 / f.shape[1]), out, 0)
    return loss, x.mT @ g + (g @ W.mT).mT @ f, g.sum(1, keepdim=True)


@functools.lru_cache(maxsize=4)
def _toys(n_models, spacing, n_neurons, steps, seed):
    """The models of a run; runs that differ only in the SAE share them within a process."""
    seeds = range(1000 * seed, 1000 * seed + n_models)
    return train_toys(sparsities(n_models, spacing=spacing), seeds=seeds, n_neurons=n_neurons, steps=steps)


def toy_run(
    *, config, spacing, n_models, seed, n_neurons=5, expansion=8.0, l1=None, n=10_000, toy_steps=5000, sae_seed=0
):
    """One run for `sweep`: n_models toys and an SAE on the activations of each. → a row per model

    config: "published" or "protocol"; l1: λ in that configuration's own unit (None: its default); n: rows to fit.
    Published reads F on the rows it fitted, protocol on as many fresh ones. Model m has seed 1000·seed + m, and its
    SAE that plus 10⁶·sae_seed.
    """
    base = CONFIGS[config].but(expansion=expansion)
    base = base if l1 is None else base.but(l1=l1)
    toys = _toys(n_models, spacing, n_neurons, toy_steps, seed)
    seeds = range(1000 * seed, 1000 * seed + n_models)
    x = torch.stack([toy.sample(n, _data_seed(s, 0)) for toy, s in zip(toys, seeds, strict=True)])
    fits = sae.fit_stack(x, base, seeds=[s + 10**6 * sae_seed for s in seeds], label=f"{config} SAEs")
    rows = []
    for m, (toy, fit, s) in enumerate(zip(toys, fits, seeds, strict=True)):
        read = x[m] if base.held_out == 0 else toy.sample(n, _data_seed(s, 1))
        rows.append({"model": m, **_truth(toy), **_reading(fit, read, n_neurons)})
    return rows


def _data_seed(seed, stream):
    """Seeds of the data streams, apart from each other and from those of the models."""
    return 10**9 + 2 * seed + stream


def _truth(toy):
    n_neurons = len(toy.W)
    return {
        "sparsity": toy.sparsity,
        "toy_loss": toy.loss,
        "psi_weights": metrics.superposition(metrics.weight_shares(toy.W), n_neurons),
        "psi_weights_norm": metrics.superposition(metrics.weight_shares(toy.W, power=1), n_neurons),
        "psi_frobenius": metrics.frobenius_superposition(toy.W),
    }


def _reading(fit, x, n_neurons):
    """F and its neighbours from the SAE's codes, from its weights, and from the activations alone."""
    seen = measure_rows(x, x, fit).iloc[0]
    names = ("effective_features", "psi", "fvu", "l0", "dead", "effective_rank", "participation_ratio")
    return {
        **{name: seen[name] for name in names},
        "psi_sae_weights": metrics.superposition(metrics.weight_shares(fit.dictionary.T), n_neurons),
        "psi_frobenius_sae": metrics.frobenius_superposition(fit.dictionary.T),
        "epochs": len(fit.history),
    }
