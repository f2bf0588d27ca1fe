"""One layer of a published network, read by several readings. And which layers a chapter reads."""

import functools
from typing import Any, Literal

import torch

from superpos import seeds
from superpos.activations import Rows, read_activations, shuffle_columns
from superpos.findings.pretrained.task import Network, load
from superpos.lengths import lengths
from superpos.measurement import baselines
from superpos.readings import ALL, names_in, read_by
from superpos.settings import Count, Positive, Whole, settings

__all__ = ["Run", "layers_of", "pretrained_run"]


@settings
class Run:
    """A `layer` of a `network` (see `task`), whose features `readings` of `superpos.readings` find in `n_rows` rows.

    `state` is "trained", "untrained" (the twin), or "shuffled": the trained layer, each neuron's values in an order of its own.
    The rows come from `n_inputs` inputs, or from all their positions where these are fewer; `images` are one of
    `task.IMAGES`; the seed draws inputs, rows, the twin's weights and what reads. `length` is that of the training of what
    reads, 1 for the whole.
    """

    network: str
    layer: str
    state: Literal["trained", "untrained", "shuffled"] = "trained"
    readings: str = ALL
    n_inputs: Count = 600
    n_rows: Count = 8_000
    images: str = "cifar10"
    seed: Whole = 0
    length: Positive = 1.0

    def __post_init__(self) -> None:
        names_in(self.readings)


def layers_of(network: str, every: int = 1) -> list[str]:
    """The layers of a network from the first to the last, or every so many of them and the last."""
    layers = load(network, False, 2, 0, "photographs").layers
    return [layer for i, layer in enumerate(layers) if i % every == 0 or i == len(layers) - 1]


def pretrained_run(run: Run) -> list[dict[str, Any]]:
    """A row a reading: what it says of the layer (`superpos.readings.read_by`), and what needs no reading.

    depth (place of the layer among those of the network, from 0 to 1), quality (of the network, see `task`), n_samples,
    length_ratio and mean_over_spread (`superpos.lengths`), effective_rank, participation_ratio and intrinsic_dimension. Raises
    ValueError for a layer that the network does not have.
    """
    drawn, quality, layers = _drawn(
        run.network, run.state != "untrained", run.n_inputs, run.n_rows, run.images, run.seed
    )
    if run.layer not in drawn:
        raise ValueError(f"layer must be one of {', '.join(layers)} for {run.network}, got {run.layer!r}")
    rows, label = drawn[run.layer], f"{run.network}, {run.layer}"
    x = rows.x
    if run.state == "shuffled":
        x = shuffle_columns(x, seeds.seed("pretrained.columns", run.seed))
    about = {"depth": layers.index(run.layer) / (len(layers) - 1), "quality": quality}
    about |= {"n_samples": len(rows.sample.unique()), "rows_read": len(x)}
    about |= {name: value for name, value in lengths(x, label).items() if name in ("length_ratio", "mean_over_spread")}
    about |= baselines(x, label)
    # columns in an order of their own leave no sample whose rows could be alike
    sample = None if run.state == "shuffled" else rows.sample
    asked = {"seed": seeds.seed("pretrained.sae", run.seed), "label": label, "sample": sample, "length": run.length}
    return [row | about for row in read_by(names_in(run.readings), x, **asked)]


@functools.lru_cache(maxsize=1)
def _drawn(
    network: str, trained: bool, n_inputs: int, n_rows: int, images: str, seed: int
) -> tuple[dict[str, Rows], float, list[str]]:
    """Rows of all layers of a network, read in one pass; how good it is; and its layers. Kept for the next layer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: Network = load(network, trained, n_inputs, seed, images, device)
    asked = {"n_samples": n_rows, "seed": seeds.seed("pretrained.rows", seed), "batch_size": 32, "device": device}
    return read_activations(found.model, found.data, found.layers, **asked, **found.how), found.quality(), found.layers
