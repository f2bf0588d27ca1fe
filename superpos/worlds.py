"""Worlds with a known answer: activations whose number of features is known, and activations that have none.

    x = g (Σ_j a_j d_j + noise) + offset          a_j = s_j u  where feature j is active, else 0; E u = 1
    F* = exp(entropy of p*)                        p*_j ∝ P(a_j > 0) s_j ‖d_j‖,  ‖d_j‖ = 1

F* is the number that a perfect reading of the row-length shares gives. An offset is no feature, and neither is noise.
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from superpos import metrics, seeds
from superpos.settings import Count, NotNegative, Positive, Share, Whole, settings

__all__ = ["Featureless", "World"]


@settings
class World:
    """Planted features in `n_neurons` dimensions, of which `active` are active in a row on average.

    Frequencies fall with rank as a power law of exponent `zipf` (0: all alike), none above one half. The scales s_j are
    log-normal, with `spread` the standard deviation of their logarithm. `amplitude` is the distribution of u. Directions are
    random ("random"), random bases of orthogonal ones ("orthogonal"), drawn around centres that `group` features share at
    a cosine of `closeness` ("clustered"), without negative parts ("nonnegative"), or on an eighth of the neurons each
    ("local"). Features of a `group` fire "together" (their normal scores share half of their variance), "exclusive" (at
    most one of them), or "nested" (all others only where the first is active, each in half of these rows); "independent"
    ones do not mind each other. `noise` is the noise's variance over that of the features, and its spectrum falls as a
    power law of exponent `noise_slope`. `offset` is the length of a constant over the root mean square of the rows'
    lengths without it. A share `heavy` of the rows is `heavier` times as long. Raises ValueError for what cannot be.
    """

    n_features: Count
    active: Positive = 3.0
    n_neurons: Count = 64
    zipf: NotNegative = 0.0
    spread: NotNegative = 0.0
    amplitude: Literal["uniform", "exponential", "lognormal", "constant"] = "uniform"
    directions: Literal["random", "orthogonal", "clustered", "nonnegative", "local"] = "random"
    closeness: Share = 0.6
    dependence: Literal["independent", "together", "exclusive", "nested"] = "independent"
    group: Count = 4
    noise: NotNegative = 0.0
    noise_slope: NotNegative = 0.0
    offset: NotNegative = 0.0
    heavy: Share = 0.0
    heavier: Positive = 10.0
    seed: Whole = 0

    def __post_init__(self) -> None:
        if self.active > self.n_features / 2:
            raise ValueError(f"active must be at most half of the {self.n_features} features, got {self.active}")

    def frequencies(self) -> Float[Tensor, " K"]:
        """The probability of each feature to be active in a row; they add up to `active` unless one half caps them."""
        rank = torch.arange(self.n_features)
        if self.dependence == "nested":
            p = (1.0 + rank // self.group).double() ** -self.zipf
            p = torch.where(rank % self.group == 0, p, p / 2)
        else:
            p = (1.0 + rank).double() ** -self.zipf
        for _ in range(50):  # the cap takes from the frequent, the rest is scaled up
            p = (p * self.active / p.sum()).clamp_max(0.5)
        if self.dependence == "nested":
            parents = p[:: self.group].repeat_interleave(self.group)[: self.n_features]
            p = torch.where(rank % self.group == 0, p, parents / 2)
        if self.dependence == "exclusive":
            sums = torch.zeros(self._groups()).double().index_add_(0, self._group_of(), p)
            p = p / sums.clamp_min(1.0)[self._group_of()]
        return p

    def _groups(self):
        return math.ceil(self.n_features / self.group)

    def _group_of(self):
        """Which group each feature is of. Groups that exclude each other mix frequent and rare features."""
        rank = torch.arange(self.n_features)
        return rank % self._groups() if self.dependence == "exclusive" else rank // self.group

    def scales(self) -> Float[Tensor, " K"]:
        """The mean size s_j of each feature where it is active."""
        return (self.spread * torch.randn(self.n_features, generator=seeds.generator("worlds.scales", self.seed))).exp()

    def dictionary(self) -> Float[Tensor, "K N"]:
        """The direction of each feature, of length 1."""
        generator, shape = seeds.generator("worlds.directions", self.seed), (self.n_features, self.n_neurons)
        d = torch.randn(shape, generator=generator)
        if self.directions == "orthogonal":
            bases = torch.randn(math.ceil(shape[0] / shape[1]), shape[1], shape[1], generator=generator)
            d = torch.linalg.qr(bases).Q.reshape(-1, shape[1])[: shape[0]]
        elif self.directions == "clustered":
            centres = torch.randn(self._groups(), shape[1], generator=generator)
            unit = [v / v.norm(dim=1, keepdim=True) for v in (centres[torch.arange(shape[0]) // self.group], d)]
            d = self.closeness**0.5 * unit[0] + (1 - self.closeness) ** 0.5 * unit[1]
        elif self.directions == "nonnegative":
            d = d.relu()
        elif self.directions == "local":
            places = torch.rand(shape, generator=generator).argsort(1) < max(1, shape[1] // 8)
            d = d * places
        return d / d.norm(dim=1, keepdim=True)

    @property
    def truth(self) -> float:
        """F*, by the formula that heads this module."""
        return metrics.effective_features(metrics.shares(self.frequencies() * self.scales()))

    def codes(self, n: int, stream: int = 0) -> Float[Tensor, "n K"]:
        """The features' activations in n rows; `stream` tells sets of rows of one world apart."""
        generator = seeds.generator("worlds.rows", self.seed * 100 + stream)
        shape = (n, self.n_features)
        active = self._active(shape, generator)
        u = torch.rand(shape, generator=generator)
        u = {
            "uniform": lambda: u + 0.5,
            "constant": lambda: torch.ones(()),
            "exponential": lambda: -torch.log1p(-u),
            "lognormal": lambda: (0.5 * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)) - 0.125).exp(),
        }[self.amplitude]()
        return active * u * self.scales().float()

    def _active(self, shape, generator):
        """Which features are active in which rows."""
        p, u = self.frequencies().float(), torch.rand(shape, generator=generator)
        if self.dependence == "independent":
            return u < p
        first = torch.rand(shape[0], self._groups(), generator=generator)[:, self._group_of()]
        if self.dependence == "together":
            score = (
                torch.special.ndtri(first.clamp(1e-6, 1 - 1e-6)) + torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
            ) / 2**0.5
            return torch.special.ndtr(score) < p
        if self.dependence == "nested":
            leads = torch.arange(shape[1]) % self.group == 0
            parent = p[:: self.group].repeat_interleave(self.group)[: shape[1]]
            return (first < parent) & (leads | (u < 0.5))
        low = torch.zeros(shape[1])
        for one in range(self._groups()):
            of = self._group_of() == one
            low[of] = p[of].cumsum(0) - p[of]
        return (first >= low) & (first < low + p)

    def rows(self, n: int, stream: int = 0) -> Float[Tensor, "n N"]:
        """n activations."""
        x = self.codes(n, stream) @ self.dictionary()
        generator = seeds.generator("worlds.noise", self.seed * 100 + stream)
        variance = x.var(0).sum().item()
        if self.noise:
            basis = seeds.generator("worlds.basis", self.seed)
            x = x + coloured(n, self.n_neurons, self.noise_slope, basis, generator) * (self.noise * variance) ** 0.5
        if self.heavy:
            x = torch.where(torch.rand(n, 1, generator=generator) < self.heavy, self.heavier * x, x)
        towards = torch.randn(self.n_neurons, generator=seeds.generator("worlds.offset", self.seed))
        return x + self.offset * x.square().sum(1).mean().sqrt() * towards / towards.norm()


def coloured(
    n: int, n_neurons: int, slope: int | float, fixed: torch.Generator, generator: torch.Generator
) -> Float[Tensor, "n N"]:
    """Gaussian rows of total variance 1, whose eigenvalues fall as a power law of the rank in a basis drawn from `fixed`."""
    values = (1.0 + torch.arange(n_neurons)) ** (-slope / 2)
    basis = torch.linalg.qr(torch.randn(n_neurons, n_neurons, generator=fixed)).Q
    return torch.randn(n, n_neurons, generator=generator) * (values / values.norm()) @ basis


@settings
class Featureless:
    """Activations of `n_neurons` neurons that hold no countable features; a reading should refuse them.

    "white" and "coloured" are Gaussian, the latter with eigenvalues that fall as a power law of exponent `slope`;
    "elliptical" is coloured with row lengths of Student's t of 4 degrees of freedom; "random_network" is the hidden layer
    of ReLUs with random weights on Gaussian inputs of N/2 dimensions; "shuffled" is a planted world with the columns
    shuffled; "circle" and "torus" are smooth closed curves and surfaces in a random plane or space, with a little noise.
    """

    kind: Literal["white", "coloured", "elliptical", "random_network", "shuffled", "circle", "torus"]
    n_neurons: Count = 64
    slope: NotNegative = 1.0
    seed: Whole = 0

    def rows(self, n: int, stream: int = 0) -> Float[Tensor, "n N"]:
        """n activations."""
        generator, N = seeds.generator("worlds.rows", self.seed * 100 + stream), self.n_neurons
        fixed = seeds.generator("worlds.directions", self.seed)
        if self.kind in ("white", "coloured", "elliptical"):
            x = coloured(n, N, 0.0 if self.kind == "white" else self.slope, fixed, generator)
            chi = torch.randn(n, 4, generator=generator).square().mean(1, keepdim=True)
            return x / chi.sqrt() if self.kind == "elliptical" else x
        if self.kind == "random_network":
            W = torch.randn(N // 2, N, generator=fixed) / (N // 2) ** 0.5
            bias = torch.randn(N, generator=fixed) / 2
            return (torch.randn(n, N // 2, generator=generator) @ W + bias).relu()
        if self.kind == "shuffled":
            x = World(n_features=2 * N, n_neurons=N, directions="local", seed=self.seed).rows(n, stream)
            return torch.stack([c[torch.randperm(n, generator=generator)] for c in x.T], dim=1)
        return self._curved(n, fixed, generator)

    def _curved(self, n: int, fixed: Any, generator: Any) -> Float[Tensor, "n N"]:
        angles = 2 * np.pi * torch.rand(n, 1 if self.kind == "circle" else 2, generator=generator)
        flat = torch.cat([angles.cos(), angles.sin()], dim=1)
        basis = torch.linalg.qr(torch.randn(self.n_neurons, flat.shape[1], generator=fixed)).Q
        return flat @ basis.T + 0.02 * torch.randn(n, self.n_neurons, generator=generator)
