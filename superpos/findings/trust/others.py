"""Worlds of other generators, none of which was read before the count was fixed. All give rows and F*.

contexts      every row belongs to one of four contexts, each of which allows features of its own
tree          features stand in binary trees of depth three; each fires in half of the rows in which its parent does
sticky        rows follow each other; a feature that is on stays on with probability 0.8
categories    each row has one value of each of several categories, as tokens and positions have embeddings
sae_lens      SynthSAEBench's generator (sae_lens.synthetic): Zipf, hierarchies, correlations, folded normal magnitudes
digits_shuffled, digits_random   a layer of a network on handwritten digits, its columns shuffled; and a random network's
sphere        points of a three-dimensional sphere in a random space: smooth, without directions to count
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from superpos import activations, data, networks, seeds, training
from superpos.metrics import effective_features, shares

NEURONS = (16, 24, 32, 48, 64)
World = tuple[Tensor, float]  # activations (n, N), and F*


def _uniform(g: Generator, low: int | float, high: int | float) -> float:
    return low + (high - low) * torch.rand(1, generator=g).item()


def _written(on: Bool[Tensor, "n K"], rates: Float[Tensor, " K"], N: int, g: Generator) -> World:
    """Rows of features that are on, with directions, scales, amplitudes and noise drawn, and F* by the features' rates."""
    K = on.shape[1]
    directions = torch.randn(K, N, generator=g)
    directions /= directions.norm(dim=1, keepdim=True)
    scales = (_uniform(g, 0.0, 0.5) * torch.randn(K, generator=g)).exp()
    amplitudes = (1 + 0.3 * torch.randn(on.shape, generator=g)).abs()
    x = (on * amplitudes * scales) @ directions
    if torch.rand(1, generator=g).item() < 0.5:
        x = x + torch.randn(x.shape, generator=g) * (_uniform(g, 0.005, 0.1) * x.var(0).mean()).sqrt()
    return x, effective_features(shares(rates.double() * scales))


def contexts(n: int, N: int, g: Generator) -> World:
    """Features that only one or two of four contexts allow."""
    K = round(N * _uniform(g, 1.0, 4.0))
    allowed = torch.rand(4, K, generator=g).argsort(0) < torch.randint(1, 3, (1, K), generator=g)
    p = _uniform(g, 1.0, min(5.0, N / 6)) / allowed.float().sum(1).mean()
    own = allowed[torch.randint(4, (n,), generator=g)]
    return _written(own & (torch.rand(n, K, generator=g) < p), p * allowed.float().mean(0), N, g)


def tree(n: int, N: int, g: Generator) -> World:
    """Binary trees of seven features."""
    n_trees = max(2, round(N * _uniform(g, 0.7, 3.0) / 7))
    p = _uniform(g, 1.0, min(5.0, N / 6)) / (3 * n_trees)
    u = torch.rand(n, n_trees, 7, generator=g)
    on = u < 0.5
    on[..., 0] = u[..., 0] < min(p, 0.5)
    for one in range(1, 7):
        on[..., one] &= on[..., (one - 1) // 2]
    rates = torch.tensor([1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]).repeat(n_trees)
    return _written(on.flatten(1), rates, N, g)


def sticky(n: int, N: int, g: Generator) -> World:
    """Features that stay on for five rows on average."""
    K = round(N * _uniform(g, 0.7, 4.0))
    p = min(0.3, _uniform(g, 1.0, min(5.0, N / 6)) / K)
    begin, u = p * 0.2 / (1 - p), torch.rand(n, K, generator=g)
    on = torch.zeros(n, K, dtype=torch.bool)
    on[0] = u[0] < p
    for row in range(1, n):
        on[row] = torch.where(on[row - 1], u[row] < 0.8, u[row] < begin)
    return _written(on, torch.full((K,), p), N, g)


def categories(n: int, N: int, g: Generator) -> World:
    """One value each of two to four categories, the values of a category unequally frequent."""
    on, rates = [], []
    for _ in range(int(torch.randint(2, 5, (1,), generator=g))):
        values = int(torch.randint(max(4, N // 4), N + 1, (1,), generator=g))
        p = (1.0 + torch.arange(values)) ** -_uniform(g, 0.0, 1.0)
        p /= p.sum()
        chosen = torch.multinomial(p, n, replacement=True, generator=g)
        on.append(torch.nn.functional.one_hot(chosen, values).bool())
        rates.append(p)
    return _written(torch.cat(on, 1), torch.cat(rates), N, g)


def sae_lens(n: int, N: int, g: Generator) -> World:
    """A small model of SynthSAEBench; F* from the features of 100,000 further rows."""
    from sae_lens import synthetic
    from sae_lens.synthetic.synthetic_model import LowRankCorrelationConfig, SyntheticModel, SyntheticModelConfig

    K, seed = round(N * _uniform(g, 1.0, 4.0)), int(torch.randint(2**30, (1,), generator=g))
    active = _uniform(g, 1.0, min(5.0, N / 6))
    rank = (1.0 + torch.arange(K)) ** -_uniform(g, 0.3, 1.0)
    largest = float(min(0.5, active * (rank / rank.sum())[0]))
    trees = synthetic.HierarchyConfig(
        total_root_nodes=max(1, K // 12), branching_factor=3, max_depth=1, compensate_probabilities=True,
        mutually_exclusive_portion=0.5,
    )  # fmt: skip
    config = SyntheticModelConfig(
        num_features=K,
        hidden_dim=N,
        firing_probability=synthetic.ZipfianFiringProbabilityConfig(max_prob=largest, min_prob=max(largest / 50, 1e-3)),
        hierarchy=trees if torch.rand(1, generator=g).item() < 0.5 else None,
        correlation=LowRankCorrelationConfig(rank=4) if torch.rand(1, generator=g).item() < 0.5 else None,
        std_firing_magnitudes=0.3,
        bias=1.0,
        seed=seed,
    )
    with torch.random.fork_rng(devices=[]):  # it draws from torch's global state
        torch.manual_seed(seed + 1)
        model = SyntheticModel(config)
        x, _ = model.sample_with_features(n)
        totals = sum(model.sample_with_features(10_000)[1].double().abs().sum(0) for _ in range(10))
    return x.float(), effective_features(shares(totals * model.feature_dict.feature_vectors.norm(dim=1)))


def _digits(trained: bool, N: int, seed: int) -> Float[Tensor, "n N"]:
    train, _ = data.load("digits")
    model = networks.build("mlp", shape=train.shape, n_classes=len(train.classes), width=N // 4, seed=seed)
    if trained:
        training.train(model, train, training.Settings(epochs=10), seed=seed)
    layer = next(iter(model.layers))
    return activations.read_activations(model, train, layer)[layer].x


def digits_shuffled(n: int, N: int, g: Generator) -> World:
    """Every neuron's values in an order of its own; as many rows as there are images, at most n."""
    seed = int(torch.randint(10**5, (1,), generator=g))
    return activations.shuffle_columns(_digits(True, N, seed), seed=seed)[:n], math.nan


def digits_random(n: int, N: int, g: Generator) -> World:
    """The hidden layer of an untrained network."""
    return _digits(False, N, int(torch.randint(10**5, (1,), generator=g)))[:n], math.nan


def sphere(n: int, N: int, g: Generator) -> World:
    """Points of a sphere in four of the dimensions, with a little noise."""
    points = torch.randn(n, 4, generator=g)
    basis = torch.linalg.qr(torch.randn(N, 4, generator=g)).Q
    return points / points.norm(dim=1, keepdim=True) @ basis.T + 0.02 * torch.randn(n, N, generator=g), math.nan


KINDS: dict[str, Callable[[int, int, Generator], World]] = {
    "contexts": contexts, "tree": tree, "sticky": sticky, "categories": categories, "sae_lens": sae_lens,
    "digits_shuffled": digits_shuffled, "digits_random": digits_random, "sphere": sphere,
}  # fmt: skip
WITHOUT = ("digits_shuffled", "digits_random", "sphere")


def draw(kind: str, number: int, n_rows: int) -> tuple[Any, float]:
    """Rows and F* of the number-th world of a kind."""
    g = seeds.generator("trust.rows", number)
    N = NEURONS[int(torch.randint(len(NEURONS), (1,), generator=g))]
    return KINDS[kind](n_rows, N, g)
