"""What both sides of a comparison get: networks, activations, and the figures by which they are judged."""

import contextlib
import functools
import time
from dataclasses import dataclass

import torch

from superpos import data, metrics, networks, training
from superpos.activations import read_activations
from superpos.systems.planted import planted

__all__ = ["Watch", "activations", "classifier", "gflops", "judge", "threads"]

NETWORK_SEED = 21
# set: (data, network, layer); the seeds of networks and data here were used for no choice of settings
LAYERS = {
    "mlp": ("mnist", "mlp", "fc1"),
    "mlp fashion": ("fashion-mnist", "mlp", "fc1"),
    "cnn": ("mnist", "cnn", "conv2"),
    "cnn fashion": ("fashion-mnist", "cnn", "conv2"),
    "cnn conv1": ("mnist", "cnn", "conv1"),
    "cnn fc1": ("mnist", "cnn", "fc1"),
    "digits": ("digits", "mlp", "fc2"),
}


@functools.cache
def classifier(name, network, epochs=3):
    """A trained classifier of the data set `name`, and the images to read it on: the larger part where the test set is
    small. → (module, LabelledImages)"""
    train, test = data.load(name)
    model = networks.build(network, train.shape, len(train.classes), seed=NETWORK_SEED)
    training.train(model, train.take(min(20_000, len(train)), NETWORK_SEED), epochs=epochs, batch_size=256)
    return model, test if len(test) >= 5_000 else train


@functools.cache
def activations(name, n=10_000):
    """Rows (n, N) of a set: a real layer, or 2,048 planted features in 512 dimensions, 20 of them in a row."""
    if name == "planted":
        return planted(n, 512, 2048, 20, 10**9 + NETWORK_SEED)
    if name not in LAYERS:
        raise ValueError(f"unknown set {name!r}; expected one of planted, {', '.join(LAYERS)}")
    source, network, layer = LAYERS[name]
    model, images = classifier(source, network)
    return read_activations(model, images, layer, n_samples=n, seed=NETWORK_SEED)[layer].x


@dataclass
class Watch:
    """Seconds of processor and of wall time spent inside `with`."""

    cpu: float = 0.0
    wall: float = 0.0

    def __enter__(self):
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.cpu, self.wall = time.process_time() - self._start[0], time.perf_counter() - self._start[1]


@contextlib.contextmanager
def threads(n):
    """torch on n threads inside `with`."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gflops(dtype=torch.float32, size=1024, repeats=10):
    """This machine's rate of square matrix products, in 10⁹ operations a second, on the threads set."""
    a = torch.randn(size, size).to(dtype)
    a @ a
    with Watch() as watch:
        for _ in range(repeats):
            a @ a
    return 2 * size**3 * repeats / watch.wall / 1e9


@torch.no_grad()
def judge(x, weights, l1, unit):
    """Loss and F of an SAE given by its weights, on all rows x: the same lines for every peer. → (loss, F)

    weights: dict of encoder (D, N), encoder_bias (D,), decoder (D, N), decoder_bias (N,). unit: "mean" is
    mean((x−x')²) + λ·mean(z); "sum" is ‖x−x'‖² + λ·Σ z_i ‖d_i‖ averaged over rows.
    """
    lengths = weights["decoder"].norm(dim=1)
    error, used, scaled = 0.0, torch.zeros(len(lengths), dtype=torch.float64), 0.0
    for part in x.split(2_000):
        z = torch.relu(part @ weights["encoder"].T + weights["encoder_bias"])
        error += (z @ weights["decoder"] + weights["decoder_bias"] - part).double().square().sum().item()
        used += z.double().sum(0)
        scaled += (z * lengths).double().sum().item()
    features = metrics.effective_features(metrics.shares(used))
    if unit == "mean":
        return error / x.numel() + l1 * used.sum().item() / (len(x) * len(lengths)), features
    return (error + l1 * scaled) / len(x), features
