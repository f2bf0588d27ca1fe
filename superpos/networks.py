"""Classifiers that name their layers, and how to name one: built in, torchvision's, or your own function.

Each built-in block ends in its ReLU, so that reading layer "conv1" reads post-ReLU activations.
"""

import importlib
import inspect
from collections import OrderedDict

import torch
from torch import nn

__all__ = ["NETWORKS", "build", "cnn", "cnn1", "mlp", "mlp1", "resnet18"]


def _named(layers, *blocks):
    network = nn.Sequential(OrderedDict(blocks))
    network.layers = layers
    return network


def _dense(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU())


def _convolution(n_in, n_out, size=3):
    return nn.Sequential(nn.Conv2d(n_in, n_out, size, padding=size // 2), nn.ReLU())


def mlp(shape, n_classes, width=32):
    """Three hidden layers of 4h, 2h and h neurons, h = `width` (Bereska 2025, appendix). Layers fc1, fc2, fc3."""
    n_inputs = torch.Size(shape).numel()
    return _named(
        ("fc1", "fc2", "fc3"),
        ("flatten", nn.Flatten()),
        ("fc1", _dense(n_inputs, 4 * width)),
        ("fc2", _dense(4 * width, 2 * width)),
        ("fc3", _dense(2 * width, width)),
        ("out", nn.Linear(width, n_classes)),
    )


def cnn(shape, n_classes, width=16):
    """Two 3×3 convolutions of h and 2h channels, each pooled by 2, then 4h neurons (Bereska 2025, appendix).

    Layers conv1, conv2 (before pooling) and fc1. shape (C, H, W) with H and W of at least 4.
    """
    channels, height, across = shape
    if min(height, across) < 4:
        raise ValueError(f"cnn needs images of at least 4×4, got {height}×{across}")
    network = _named(
        ("conv1", "conv2", "fc1"),
        ("conv1", _convolution(channels, width)),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", _convolution(width, 2 * width)),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", _dense(2 * width * (height // 4) * (across // 4), 4 * width)),
        ("out", nn.Linear(4 * width, n_classes)),
    )
    network.channels_last = True  # it takes that layout, in which training is faster
    return network


def mlp1(shape, n_classes, width=128):
    """One hidden layer of h = `width` neurons (Bereska 2025, appendix). Layer fc1."""
    return _named(
        ("fc1",),
        ("flatten", nn.Flatten()),
        ("fc1", _dense(torch.Size(shape).numel(), width)),
        ("out", nn.Linear(width, n_classes)),
    )


def cnn1(shape, n_classes, width=8):
    """One 5×5 convolution of h = `width` channels, pooled by 2 (Bereska 2025, appendix). Layer conv1, before pooling."""
    channels, height, across = shape
    network = _named(
        ("conv1",),
        ("conv1", _convolution(channels, width, 5)),
        ("pool1", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("out", nn.Linear(width * (height // 2) * (across // 2), n_classes)),
    )
    network.channels_last = True
    return network


def resnet18(shape, n_classes, width=1.0):
    """ResNet-18 for small images (He 2016): a 3×3 stem without pooling, four stages of two blocks, 64 · `width` channels
    in the first and twice as many in each next. Layers layer1 to layer4, each after its last ReLU.
    """
    from torchvision.models.resnet import BasicBlock

    def stage(n_in, n_out, stride):
        smaller = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        first = BasicBlock(n_in, n_out, stride, None if n_in == n_out and stride == 1 else smaller)
        return nn.Sequential(first, BasicBlock(n_out, n_out))

    c = round(64 * width)
    if c < 1:
        raise ValueError(f"width must leave at least one of 64 channels, got {width}")
    stem = nn.Sequential(nn.Conv2d(shape[0], c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU())
    network = _named(
        ("layer1", "layer2", "layer3", "layer4"),
        ("stem", stem),
        ("layer1", stage(c, c, 1)),
        ("layer2", stage(c, 2 * c, 2)),
        ("layer3", stage(2 * c, 4 * c, 2)),
        ("layer4", stage(4 * c, 8 * c, 2)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("out", nn.Linear(8 * c, n_classes)),
    )
    for module in network.modules():  # as torchvision's ResNet starts
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    network.channels_last = True
    return network


NETWORKS = {"mlp": mlp, "cnn": cnn, "mlp1": mlp1, "cnn1": cnn1, "resnet18": resnet18}


def build(name, shape, n_classes, *, seed=0, **options):
    """A freshly initialised network for images of `shape` (C, H, W). → torch.nn.Module

    name: one of NETWORKS (options: width), "torchvision:NAME" (untrained, first convolution as it is: three
    channels), or "module:function", called with (shape, n_classes) and the options; your module must be importable.
    `layers` of the result names what to measure: its direct children, unless it names its layers itself.
    The seed decides the initial weights; the global random state is left as it was.
    Raises ValueError for a name or an option that is not known.
    """
    make = _maker(name)
    try:
        inspect.signature(make).bind(shape, n_classes, **options)
    except TypeError as error:
        raise ValueError(f"network {name!r}: {error}") from error
    with torch.random.fork_rng():
        torch.manual_seed(int(seed))
        network = make(shape, n_classes, **options)
    if not hasattr(network, "layers"):
        network.layers = tuple(name for name, _ in network.named_children())
    return network


def _maker(name):
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


def _torchvision_maker(name):
    from torchvision import models

    if name not in models.list_models():
        raise ValueError(f"torchvision has no model {name!r}; torchvision.models.list_models() lists them")
    return lambda shape, n_classes, **options: models.get_model(name, weights=None, num_classes=n_classes, **options)
