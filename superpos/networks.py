"""Classifiers that name their layers, and how to name one: built in, torchvision's, or your own function.

Each built-in block ends in its ReLU, so that reading layer "conv1" reads post-ReLU activations.
"""

import importlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["NETWORKS", "build", "cnn", "cnn1", "mlp", "mlp1", "resnet18"]

Shape = Sequence[int]  # of one image: channels, height, width


def _named(layers: tuple[str, ...], channels_last: bool = False, **blocks: nn.Module) -> nn.Sequential:
    """Blocks one after the other; `channels_last`: it takes images in that layout, in which convolutions train faster."""
    network = nn.Sequential(OrderedDict(blocks))
    network.layers, network.channels_last = layers, channels_last
    return network


def _dense(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU())


def _convolution(n_in: int, n_out: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, size, padding=size // 2), nn.ReLU())


def mlp(shape: Shape, n_classes: int, width: int = 32) -> nn.Sequential:
    """Three hidden layers of 4h, 2h and h neurons, h = `width` (Bereska 2025, appendix). Layers fc1, fc2, fc3."""
    return _named(
        ("fc1", "fc2", "fc3"),
        flatten=nn.Flatten(),
        fc1=_dense(torch.Size(shape).numel(), 4 * width),
        fc2=_dense(4 * width, 2 * width),
        fc3=_dense(2 * width, width),
        out=nn.Linear(width, n_classes),
    )


def cnn(shape: Shape, n_classes: int, width: int = 16) -> nn.Sequential:
    """Two 3×3 convolutions of h and 2h channels, each pooled by 2, then 4h neurons (Bereska 2025, appendix).

    Layers conv1, conv2 (before pooling) and fc1. Raises ValueError for images below 4×4.
    """
    channels, height, across = shape
    if min(height, across) < 4:
        raise ValueError(f"cnn needs images of at least 4×4, got {height}×{across}")
    return _named(
        ("conv1", "conv2", "fc1"),
        channels_last=True,
        conv1=_convolution(channels, width),
        pool1=nn.MaxPool2d(2),
        conv2=_convolution(width, 2 * width),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=_dense(2 * width * (height // 4) * (across // 4), 4 * width),
        out=nn.Linear(4 * width, n_classes),
    )


def mlp1(shape: Shape, n_classes: int, width: int = 128) -> nn.Sequential:
    """One hidden layer of h = `width` neurons (Bereska 2025, appendix). Layer fc1."""
    fc1 = _dense(torch.Size(shape).numel(), width)
    return _named(("fc1",), flatten=nn.Flatten(), fc1=fc1, out=nn.Linear(width, n_classes))


def cnn1(shape: Shape, n_classes: int, width: int = 8) -> nn.Sequential:
    """One 5×5 convolution of h = `width` channels, pooled by 2 (Bereska 2025, appendix). Layer conv1, before pooling."""
    channels, height, across = shape
    return _named(
        ("conv1",),
        channels_last=True,
        conv1=_convolution(channels, width, 5),
        pool1=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        out=nn.Linear(width * (height // 2) * (across // 2), n_classes),
    )


def resnet18(shape: Shape, n_classes: int, width: float = 1.0) -> nn.Sequential:
    """ResNet-18 for small images (He 2016): a 3×3 stem without pooling, four stages of two blocks, 64 · `width` channels
    in the first and twice as many in each next. Layers layer1 to layer4, each after its last ReLU.

    Raises ValueError for a width that leaves no channel.
    """
    from torchvision.models.resnet import BasicBlock

    def stage(n_in: int, n_out: int, stride: int) -> nn.Sequential:
        smaller = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        first = BasicBlock(n_in, n_out, stride, None if n_in == n_out and stride == 1 else smaller)
        return nn.Sequential(first, BasicBlock(n_out, n_out))

    c = round(64 * width)
    if c < 1:
        raise ValueError(f"width must leave at least one of 64 channels, got {width}")
    network = _named(
        ("layer1", "layer2", "layer3", "layer4"),
        channels_last=True,
        stem=nn.Sequential(nn.Conv2d(shape[0], c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU()),
        layer1=stage(c, c, 1),
        layer2=stage(c, 2 * c, 2),
        layer3=stage(2 * c, 4 * c, 2),
        layer4=stage(4 * c, 8 * c, 2),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        out=nn.Linear(8 * c, n_classes),
    )
    for module in network.modules():  # as torchvision's ResNet starts
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


NETWORKS = {"mlp": mlp, "cnn": cnn, "mlp1": mlp1, "cnn1": cnn1, "resnet18": resnet18}


def build(architecture: str, shape: Shape, n_classes: int, *, seed: int = 0, **options: Any) -> nn.Module:
    """A freshly initialised network for images of a shape. Its `layers` name what to measure.

    architecture: one of NETWORKS (options: width), "torchvision:NAME" (untrained, first convolution as it is: three
    channels), or "module:function", called with (shape, n_classes) and the options; your module must be importable.
    The layers are the network's direct children, unless it names its layers itself.
    The seed decides the initial weights; the global random state is left as it was.
    Raises ValueError for an architecture or an option that is not known.
    """
    make = _maker(architecture)
    try:
        inspect.signature(make).bind(shape, n_classes, **options)
    except TypeError as error:
        raise ValueError(f"network {architecture!r}: {error}") from error
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make(shape, n_classes, **options)
    if not hasattr(network, "layers"):
        network.layers = tuple(child for child, _ in network.named_children())
    return network


def _maker(name: str) -> Callable[..., nn.Module]:
    if name in NETWORKS:
        return NETWORKS[name]
    if name.startswith("torchvision:"):
        return _torchvision_maker(name.removeprefix("torchvision:"))
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown network {name!r}; expected {', '.join(NETWORKS)}, torchvision:NAME or module:function"
        )
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"network {name!r} could not be imported: {error}") from error


def _torchvision_maker(name: str) -> Callable[..., nn.Module]:
    from torchvision import models

    if name not in models.list_models():
        raise ValueError(f"torchvision has no model {name!r}; torchvision.models.list_models() lists them")
    return lambda shape, n_classes, **options: models.get_model(name, weights=None, num_classes=n_classes, **options)
