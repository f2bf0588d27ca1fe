"""Named streams of randomness: every draw of a finding has a stream of its own; no two meet but those that MEETING names.

A stream is a stretch of integers, from which the seeds of torch's generators are taken: the k-th seed of a stream is its
start + k. A stream's length bounds k, so that streams which lie apart stay apart. Streams of different findings may share
integers, because no run draws from two findings. The starts are those that the committed rows were made with.
"""

import torch

__all__ = ["MEETING", "STREAMS", "generator", "seed"]

STREAMS: dict[str, tuple[int, int]] = {  # name: (start, length)
    "trust.worlds": (13 * 10**8, 10**6),
    "trust.rows": (14 * 10**8, 10**6),
    "trust.networks": (15 * 10**8, 10**6),
    "worlds.scales": (10**9, 10**6),
    "worlds.directions": (11 * 10**8, 10**6),
    "worlds.basis": (16 * 10**8, 10**6),
    "worlds.offset": (12 * 10**8, 10**6),
    "worlds.rows": (2 * 10**9, 10**8),
    "worlds.noise": (3 * 10**9, 10**8),
    "planted.sae": (0, 10**6),
    "planted.rows": (10**9, 10**6),
    "toy.models": (0, 10**6),
    "toy.sae": (0, 10**9),
    "toy.rows": (10**9, 10**9),
    "parity.networks": (0, 10**6),
    "parity.sae": (10**6, 10**8),
    "parity.split": (10**9, 10**6),
    "parity.labels": (2 * 10**9, 10**6),
    "parity.columns": (3 * 10**9, 10**6),
    "algorithms.sae": (0, 10**6),
    "algorithms.compression": (0, 10**6),
    "algorithms.split": (0, 10**6),
    "algorithms.batches": (10**9, 10**6),
    "algorithms.rows": (10**9, 10**6),
    "algorithms.columns": (10**9, 10**6),
    "algorithms.scratch": (2 * 10**9, 10**6),
    "grokking.sae": (0, 10**6),
    "grokking.rows": (5 * 10**8, 10**6),
    "grokking.columns": (5 * 10**8, 10**6),
    "grokking.split": (10**9, 10**6),
    "grokking.weights": (2 * 10**9, 10**6),
    "grokking.labels": (3 * 10**9, 10**6),
    "grokking.hot": (4 * 10**9, 10**6),
    "grokking.cold": (4 * 10**9 + 10**8, 10**6),
    "language.sae": (0, 10**6),
    "language.windows": (11 * 10**8, 10**6),
    "language.shuffle": (12 * 10**8, 10**6),
    "language.weights": (13 * 10**8, 10**6),
    "language.batches": (14 * 10**8, 10**6),
    "language.texts": (15 * 10**8, 10**6),
    "language.rows": (16 * 10**8, 10**6),
    "language.fit_rows": (18 * 10**8, 10**6),
    "language.fit_windows": (28 * 10**8, 10**6),
    "language.fit_shuffle": (29 * 10**8, 10**6),
    "adversarial.sae": (0, 10**6),
    "adversarial.rows": (5 * 10**8, 10**6),
    "adversarial.order": (10**9, 10**6),
    "adversarial.weights": (2 * 10**9, 10**6),
    "adversarial.attack": (3 * 10**9, 10**9),
    "pretrained.sae": (0, 10**6),
    "pretrained.inputs": (10**9, 10**6),
    "pretrained.rows": (11 * 10**8, 10**6),
    "pretrained.columns": (12 * 10**8, 10**6),
    "pretrained.weights": (13 * 10**8, 10**6),
}
MEETING = {  # streams that share seeds in committed rows, to be parted when those rows are made again
    ("toy.models", "toy.sae"): "the first SAE of a toy model has the model's own seed",
    ("grokking.rows", "grokking.columns"): "the rows to read and the first shuffled column are drawn in one order",
    ("algorithms.sae", "algorithms.compression"): "the SAE of a stream has the seed of its compression",
    ("algorithms.sae", "algorithms.split"): "the SAE of a stream has the seed of its rows held out",
    ("algorithms.compression", "algorithms.split"): "the rows held out of a stream have the seed of its compression",
    ("algorithms.batches", "algorithms.rows"): "the rows of a stream have the seed of the batches of its training",
    ("algorithms.batches", "algorithms.columns"): "as rows: no run draws both",
    ("algorithms.rows", "algorithms.columns"): "the columns of a control are shuffled by the seed of its rows",
}


def seed(stream: str, k: int) -> int:
    """The k-th seed of a stream. Raises KeyError for an unknown stream, ValueError for a k beyond its length."""
    start, length = STREAMS[stream]
    if not 0 <= int(k) < length:
        raise ValueError(f"stream {stream} holds {length} seeds from 0 on, got number {k}")
    return start + int(k)


def generator(stream: str, k: int) -> torch.Generator:
    """torch's generator on the processor, at the k-th seed of a stream. Raises as `seed` does."""
    return torch.Generator().manual_seed(seed(stream, k))
