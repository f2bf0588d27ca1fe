"""Multi-task sparse parity, a task whose number of possible features is bounded, and networks trained on it in a stack.

    x = (one-hot task, bits)  ∈ {0, 1}^(T + T·B)        label = parity of the active task's own B bits
    network:  h = W₁ x + b₁,   logit = w₂ · ReLU(dropout(h)) + b₂

There are T tasks of B bits each (Bereska et al. 2025: 3 of 4). Before its ReLU the hidden layer is an affine image of x, in
which T + T·B inputs span one dimension less; a bit on, a bit off and a task are T + 2·T·B different states.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from superpos import descent
from superpos.progress import progress
from superpos.settings import one_of

ENUMERABLE = 2**24  # inputs that are listed one by one
AHEAD = 16  # steps whose dropout masks are drawn at once


@dataclass(frozen=True)
class Parity:
    """Samples: the inputs as zeros and ones, the number of the active task, and the label, 0 or 1."""

    inputs: Float[Tensor, "n d"]
    task: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: Any) -> tuple[Tensor, Tensor]:
        return self.inputs[i], self.labels[i]

    def at(self, rows: Any) -> "Parity":
        """The samples at `rows`, which are indices, a mask or a slice."""
        return Parity(self.inputs[rows], self.task[rows], self.labels[rows])

    def split(self, held_out: float = 0.2, seed: int = 0) -> "tuple[Parity, Parity]":
        """Training and test samples; each task and label goes to the test samples by the share `held_out`.

        Raises ValueError where a task and label would be missing in one of the two.
        """
        from sklearn.model_selection import train_test_split

        strata = 2 * self.task + self.labels
        parts = train_test_split(np.arange(len(self)), test_size=held_out, random_state=seed, stratify=strata)
        return self.at(torch.from_numpy(parts[0])), self.at(torch.from_numpy(parts[1]))

    def shuffle_labels(self, seed: int) -> "Parity":
        """Control: the labels in a random order, so that they say nothing about the inputs."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return replace(self, labels=self.labels[order])


def parity(n_tasks: int = 3, n_bits: int = 4, *, n_rows: int | None = None, seed: int = 0) -> Parity:
    """Samples of T tasks of B bits each: all T·2^(T·B) in order, or `n_rows` different ones drawn at random by `seed`.

    Raises ValueError for more rows than there are, for all of more than 2²⁴, and for more than 56 bits in total.
    """
    if min(n_tasks, n_bits) < 1 or n_tasks * n_bits > 56:
        raise ValueError(f"expected at least one task of one bit, 56 bits in all, got {n_tasks} of {n_bits}")
    total = n_tasks << (n_tasks * n_bits)
    if n_rows is None and total > ENUMERABLE:
        raise ValueError(f"{n_tasks} tasks of {n_bits} bits have {total} inputs: say how many to draw (n_rows)")
    if n_rows is not None and not 1 <= n_rows <= total:
        raise ValueError(f"n_rows must be between 1 and {total}, got {n_rows}")
    drawn = np.arange(total) if n_rows is None else np.random.default_rng(seed).choice(total, n_rows, replace=False)
    index = torch.from_numpy(drawn)
    task, pattern = index % n_tasks, index // n_tasks
    bits = pattern[:, None] >> torch.arange(n_tasks * n_bits) & 1
    own = bits.view(-1, n_tasks, n_bits)[torch.arange(len(index)), task]
    return Parity(torch.cat([nn.functional.one_hot(task, n_tasks), bits], 1).float(), task, own.sum(1) % 2)


def possible_features(n_tasks: int = 3, n_bits: int = 4) -> dict[str, int]:
    """The number of features there can be in T tasks of B bits, by four ways to count.

    dimensions: of the inputs, whose tasks sum to one; inputs: T + T·B; states: a task, a bit on, a bit off; patterns: the
    values of the active task's bits, on which alone the label depends, T·2^B.
    """
    bits = n_tasks * n_bits
    counts = (n_tasks + bits - 1, n_tasks + bits, n_tasks + 2 * bits, n_tasks * 2**n_bits)
    return dict(zip(("dimensions", "inputs", "states", "patterns"), counts, strict=True))


def _network(n_inputs: int, width: int, dropout: float, generator: torch.Generator) -> nn.Sequential:
    """An untrained network as torch.nn.Linear initialises it, from a generator of its own."""
    layers = {"hidden": nn.Linear(n_inputs, width), "dropout": nn.Dropout(dropout), "relu": nn.ReLU()}
    network = nn.Sequential(OrderedDict(layers, out=nn.Linear(width, 1)))
    for layer in (network.hidden, network.out):
        for p in layer.parameters():
            p.data = (torch.rand(p.shape, generator=generator) * 2 - 1) * layer.in_features**-0.5
    return network.requires_grad_(False).eval()


def train_networks(
    data: Parity,
    *,
    seeds: Sequence[int],
    dropout: Sequence[float],
    width: int = 64,
    epochs: int = 300,
    batch_size: int = 64,
    lr: float = 1e-3,
) -> list[nn.Sequential]:
    """Train a stack of K networks at once, one for each of the K seeds and dropout rates. They come in evaluation mode.

    A seed decides initial weights, the order of the samples and the dropout of its own network, so that a network does not
    depend on its neighbours. The loss is binary cross-entropy, the optimiser Adam with step size `lr`; 0 epochs give
    untrained networks. Their layers are called hidden, dropout, relu and out.
    Raises ValueError for as many seeds as rates not being given, and for a rate outside [0, 1).
    """
    if len(seeds) != len(dropout):
        raise ValueError(f"{len(seeds)} seeds for {len(dropout)} dropout rates: expected as many of each")
    if not all(0 <= rate < 1 for rate in dropout):
        raise ValueError(f"dropout must be at least 0 and below 1, got {list(dropout)}")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    networks = [_network(data.inputs.shape[1], width, p, g) for p, g in zip(dropout, generators, strict=True)]
    stacked = {name: torch.stack([n.state_dict()[name] for n in networks]) for name in networks[0].state_dict()}
    adam = descent.Adam(stacked)
    adam.aim(stacked, [lr] * len(seeds))
    for _ in progress(range(epochs), desc="parity networks"):
        for x, y, mask in _batches(data, generators, dropout, width, batch_size):
            adam.step(_gradients(stacked, x, y, mask))
    for k, network in enumerate(networks):
        network.load_state_dict({name: values[k].clone() for name, values in stacked.items()})
    return networks


def _batches(data, generators, dropout, width, batch_size) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """An epoch of inputs (K, B, d), labels (K, B) and dropout masks (K, B, h): 0 with the network's rate p, else 1/(1−p)."""
    inputs, labels = data.inputs, data.labels.float()
    order = torch.stack([torch.randperm(len(data), generator=g) for g in generators])
    for chunk in order.split(AHEAD * batch_size, dim=1):
        masks = torch.ones(*chunk.shape, width)
        for mask, g, p in zip(masks, generators, dropout, strict=True):
            if p:
                mask.bernoulli_(1 - p, generator=g).div_(1 - p)
        for index, mask in zip(chunk.split(batch_size, 1), masks.split(batch_size, 1), strict=True):
            yield inputs[index], labels[index], mask


def _gradients(weights, x, y, mask) -> dict[str, Tensor]:
    """Gradients of each network's mean binary cross-entropy, by hand: ∂logit = (σ(logit) − y) / B."""
    first, second = weights["hidden.weight"], weights["out.weight"]
    h = torch.baddbmm(weights["hidden.bias"][:, None], x, first.mT).mul_(mask).relu_()
    logit = torch.baddbmm(weights["out.bias"][:, None], h, second.mT)
    g = logit.sigmoid_().sub_(y[..., None]).div_(y.shape[1])
    back = torch.ops.aten.threshold_backward(g @ second, h, 0).mul_(mask)
    written = {"hidden.weight": back.mT @ x, "hidden.bias": back.sum(1)}
    return written | {"out.weight": g.mT @ h, "out.bias": g.sum(1)}


@torch.no_grad()
def hidden(network: nn.Sequential, data: Parity, site: str = "pre") -> Float[Tensor, "n h"]:
    """Hidden activations of a network, without dropout: before ("pre") or after ("post") the ReLU."""
    one_of("site", site, ("pre", "post"))
    h = network.hidden(data.inputs)
    return h if site == "pre" else network.relu(h)


@torch.no_grad()
def share_correct(network: nn.Sequential, data: Parity) -> float:
    """The share of the samples that a network in evaluation mode labels correctly."""
    return ((network(data.inputs)[:, 0] > 0) == data.labels.bool()).double().mean().item()
