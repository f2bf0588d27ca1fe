"""What both sides of a comparison get: networks, activations, and the figures by which they are judged."""

import contextlib
import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from superpos import data, metrics, networks, training
from superpos.activations import read_activations
from superpos.dictionaries import SAELENS, SPARSIFY, Dictionary
from superpos.findings.planted.task import planted

__all__ = ["Watch", "activations", "classifier", "gflops", "judge", "save_saelens", "save_sparsify", "threads"]

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
    shown = train.take(min(20_000, len(train)), NETWORK_SEED)
    training.train(model, shown, training.Settings(epochs=epochs, batch_size=256))
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


def save_saelens(dictionary: Dictionary, folder: str | Path, hook: str | None = None) -> None:
    """Write a dictionary in SAELens's format. ValueError for one that subtracts something else than its own bias."""
    one = dictionary
    weights = {"W_enc": one.encoder.T, "b_enc": one.encoder_bias, "W_dec": one.dictionary, "b_dec": one.bias}
    about = {
        "architecture": "standard" if one.k is None else "topk",
        "d_in": one.n_neurons,
        "d_sae": one.n_codes,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": _subtracts_bias(one),
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0"} | ({"hook_name": hook} if hook else {}),
    }
    _write(Path(folder), SAELENS, weights, about | ({} if one.k is None else {"k": one.k}))


def save_sparsify(dictionary: Dictionary, folder: str | Path) -> None:
    """Write a TopK dictionary in sparsify's format. ValueError for one without k, or that does not subtract its bias."""
    one = dictionary
    if one.k is None or not _subtracts_bias(one):
        raise ValueError("sparsify's format is for TopK dictionaries that subtract the decoder's bias")
    weights = {
        "encoder.weight": one.encoder,
        "encoder.bias": one.encoder_bias,
        "W_dec": one.dictionary,
        "b_dec": one.bias,
    }
    about = {
        "activation": "topk",
        "expansion_factor": one.n_codes // one.n_neurons,
        "normalize_decoder": True,
        "num_latents": one.n_codes,
        "k": one.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": one.n_neurons,
    }
    _write(Path(folder), SPARSIFY, weights, about)


def _subtracts_bias(dictionary: Dictionary) -> bool:
    if dictionary.subtracted is not None and not torch.equal(dictionary.subtracted, dictionary.bias):
        raise ValueError("the published formats can subtract the decoder's bias before encoding, or nothing")
    return dictionary.subtracted is not None


def _write(folder: Path, file: str, weights: dict[str, torch.Tensor], about: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: w.clone(memory_format=torch.contiguous_format) for name, w in weights.items()}, folder / file)
    (folder / "cfg.json").write_text(json.dumps(about))
