"""Arithmetic modulo a prime, a task on which networks first memorise and then, all at once, generalise (grokking).

    input (a, b) with 0 ≤ a, b < p        label (a ∘ b) mod p,  ∘ one of +, −, ×, a² + b
    mlp:   h = W_l E[a] + W_r E[b] + c,   logits = U · GELU(h) + d          (E shared by both paths)
    transformer:  one layer without normalisation on the tokens a, b, =, read at the last (Nanda et al. 2023)

K networks of one kind train at once, full batch, by AdamW.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from superpos.progress import progress

__all__ = ["NETWORKS", "OPERATIONS", "Modular", "Training", "build", "modular", "per_network", "train_networks"]

STREAM = 10**9  # data, weights and SAEs must not share a seed
OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "a2+b": lambda a, b: a * a + b,
}


@dataclass(frozen=True)
class Modular:
    """Pairs (n, 2) of integers below the modulus p, and their labels (n,)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    modulus: int

    def __len__(self):
        return len(self.inputs)

    def split(self, share=0.4, seed=0):
        """A random `share` of the pairs to train on, and the rest. → (Modular, Modular)"""
        if not 0 < share < 1:
            raise ValueError(f"share must be above 0 and below 1, got {share}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(STREAM + int(seed)))
        n = max(1, round(share * len(self)))
        return tuple(Modular(self.inputs[rows], self.labels[rows], self.modulus) for rows in (order[:n], order[n:]))


def modular(modulus=53, operation="+"):
    """All p² pairs of an operation modulo a prime p. → Modular. ValueError for another operation, or no prime."""
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")
    if modulus < 2 or any(modulus % i == 0 for i in range(2, math.isqrt(modulus) + 1)):
        raise ValueError(f"modulus must be a prime, got {modulus}")
    a, b = torch.meshgrid(torch.arange(modulus), torch.arange(modulus), indexing="ij")
    pairs = torch.stack([a.flatten(), b.flatten()], 1)
    return Modular(pairs, OPERATIONS[operation](*pairs.T) % modulus, modulus)


class MLP(nn.Module):
    """The two-path network. Layers to read: embedding (n, 2, e), pre (n, h) and post (n, h), around the GELU."""

    def __init__(self, modulus, embed=12, hidden=48):
        super().__init__()
        self.embedding = nn.Embedding(modulus, embed)
        self.left, self.right = nn.Linear(embed, hidden, bias=False), nn.Linear(embed, hidden)
        self.pre, self.post = nn.Identity(), nn.GELU()
        self.out = nn.Linear(hidden, modulus)

    def forward(self, pairs):
        a, b = self.embedding(pairs).unbind(1)
        return self.out(self.post(self.pre(self.left(a) + self.right(b))))


class Transformer(nn.Module):
    """One layer, no normalisation, read at the token "=" (Nanda et al. 2023, section 3). Layers: embedding, pre, post.

    width d, of `heads` heads; an MLP of 4d neurons with ReLU; tokens 0 … p−1 and "=".
    """

    def __init__(self, modulus, width=128, heads=4):
        super().__init__()
        self.heads, self.equals = heads, modulus
        self.embedding, self.position = nn.Embedding(modulus + 1, width), nn.Embedding(3, width)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.into, self.pre, self.post = nn.Linear(width, 4 * width), nn.Identity(), nn.ReLU()
        self.outof, self.out = nn.Linear(4 * width, width), nn.Linear(width, modulus, bias=False)

    def forward(self, pairs):
        tokens = nn.functional.pad(pairs, (0, 1), value=self.equals)
        r = self.embedding(tokens) + self.position.weight
        r = r[:, -1] + self._attended(r)
        return self.out(r + self.outof(self.post(self.pre(self.into(r)))))

    def _attended(self, r):
        """What the attention adds to the last position (n, d)."""
        n, n_tokens, width = r.shape
        keys, values = (f(r).view(n, n_tokens, self.heads, -1) for f in (self.key, self.value))
        query = self.query(r[:, -1]).view(n, self.heads, -1)
        weights = (torch.einsum("nhd,nthd->nth", query, keys) / (width // self.heads) ** 0.5).softmax(1)
        return self.mix(torch.einsum("nth,nthd->nhd", weights, values).reshape(n, width))


NETWORKS = {"mlp": MLP, "transformer": Transformer}


def build(kind, modulus, seed, **options):
    """An untrained network as torch initialises it, from a seed of its own stream. ValueError for an unknown kind."""
    if kind not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2 * STREAM + int(seed))
        return NETWORKS[kind](modulus, **options)


def per_network(network, states, pairs):
    """Logits (K, n, p) of K networks of one kind: `states` is a dict of their parameters (K, …).

    pairs: (n, 2), shared by all, or (K, n, 2).
    """
    shared = None if pairs.ndim == 2 else 0
    return vmap(lambda state, x: functional_call(network, state, (x,)), in_dims=(0, shared))(states, pairs)


@dataclass(frozen=True)
class Training:
    """K networks at each step that was kept: `states` is a dict step: {name: (K, …)}, `seeds` their seeds."""

    kind: str
    data: tuple
    seeds: tuple
    states: dict
    options: dict

    def network(self, seed, step):
        """One network as a torch module, in evaluation mode."""
        place = self.seeds.index(seed)
        network = build(self.kind, self.data[0].modulus, seed, **self.options)
        network.load_state_dict({name: values[place] for name, values in self.states[step].items()})
        return network.eval()

    @torch.no_grad()
    def scores(self, step):
        """Loss and accuracy of every network at a step, on training and test pairs. → list of dict, one a seed"""
        rows = [{"seed": seed, "step": step} for seed in self.seeds]
        template = build(self.kind, self.data[0].modulus, 0, **self.options).eval()
        for part, data in zip(("train", "test"), self.data, strict=True):
            logits = per_network(template, self.states[step], data.inputs)
            right = (logits.argmax(-1) == data.labels).double().mean(1)
            for row, loss, share in zip(rows, _losses(logits, data.labels), right, strict=True):
                row |= {f"loss_{part}": float(loss), f"accuracy_{part}": float(share)}
        return rows


def _losses(logits, labels):
    """Mean cross-entropy of each network (K,), from logits (K, n, p)."""
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), labels.expand(len(logits), -1), reduction="none")
    return losses.mean(1)


def train_networks(data, *, seeds, kind="mlp", steps=4000, keep=(), lr=3e-3, weight_decay=1.0, **options):
    """Train one network per seed on all training pairs at every step. → Training

    data: (train, test) of Modular; keep: steps to keep besides the last (0: before training); options: of the network.
    AdamW decays all parameters. A seed decides its own network alone. FloatingPointError if a loss is not finite.
    """
    train, _ = data
    seeds, keep = tuple(int(seed) for seed in seeds), {*keep, steps}
    networks = [build(kind, train.modulus, seed, **options) for seed in seeds]
    states = {name: values.detach().clone() for name, values in stack_module_state(networks)[0].items()}
    states = OrderedDict((name, values.requires_grad_()) for name, values in states.items())
    optimizer = torch.optim.AdamW(states.values(), lr=lr, weight_decay=weight_decay, fused=True)
    kept = {}
    for step in progress(range(steps + 1), desc="modular networks"):
        if step in keep:
            kept[step] = {name: values.detach().clone() for name, values in states.items()}
        if step == steps:
            break
        losses = _losses(per_network(networks[0], states, train.inputs), train.labels)
        if not torch.isfinite(losses).all():
            raise FloatingPointError(f"the losses became {losses.tolist()} in step {step}")
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    return Training(kind, tuple(data), seeds, kept, dict(options))
