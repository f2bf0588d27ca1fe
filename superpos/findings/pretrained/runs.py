"""The layers of a published network, read by several readings."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from superpos import data, seeds, sweep
from superpos.activations import Rows, read_activations, shuffle_columns
from superpos.findings.pretrained.task import NETWORKS, Network, load
from superpos.lengths import lengths
from superpos.measurement import baselines
from superpos.readings import ALL, changed, names_in, read_layers
from superpos.settings import Count, Positive, Whole, one_of, settings
from superpos.top import top_rows

__all__ = ["Run", "Top", "grid", "pretrained_run", "top_run"]


@settings
class Run:
    """Some `layers` of a `network` (see `task`), whose features `readings` of `superpos.readings` find in `n_rows` rows each.

    layers: names with semicolons between, or "all". `state` is "trained", "untrained" (the twin), or "shuffled": the trained
    layer, each neuron's values in an order of its own. The rows come from `n_inputs` inputs, or from all their positions where
    these are fewer; `images` are "photographs" or a data set of `superpos.data`; the seed draws inputs, rows, the twin's
    weights and what reads. `length` is that of the training of what reads, 1 for the whole.
    """

    network: str
    layers: str = "all"
    state: Literal["trained", "untrained", "shuffled"] = "trained"
    readings: str = ALL
    n_inputs: Count = 600
    n_rows: Count = 8_000
    images: str = "cifar10"
    seed: Whole = 0
    length: Positive = 1.0

    def __post_init__(self) -> None:
        one_of("network", self.network, NETWORKS)
        if not self.images.startswith("folder:"):
            one_of("images", self.images, ("photographs", *data.DATASETS))
        names_in(self.readings)


def grid(networks: Iterable[dict[str, Any]]) -> list[Run]:
    """All combinations of what each of some dicts asks for, one after the other."""
    return [run for asked in networks for run in sweep.expand(Run, **asked)]


def pretrained_run(run: Run, *, each: Callable[..., Iterable[Any]] = map) -> list[dict[str, Any]]:
    """A row a layer and a reading: what it says (`superpos.readings.read_layers`, which `each` is for), and what needs none.

    layer; depth (its place among those of the network, from 0 to 1), quality (of the network, see `task`), n_samples,
    rows_read, length_ratio and mean_over_spread (`superpos.lengths`), effective_rank, participation_ratio and
    intrinsic_dimension. Raises ValueError for a layer that the network does not have.
    """
    drawn, quality, known = _drawn(
        run.network, run.state != "untrained", run.n_inputs, run.n_rows, run.images, run.seed
    )
    wanted = known if run.layers == "all" else [layer.strip() for layer in run.layers.split(";")]
    for layer in wanted:
        one_of(f"a layer of {run.network}", layer, known)
    layers: dict[str, tuple[Tensor, Tensor | None]] = {layer: (drawn[layer].x, drawn[layer].sample) for layer in wanted}
    if run.state == "shuffled":  # columns in an order of their own leave no sample whose rows could be alike
        order = seeds.seed("pretrained.columns", run.seed)
        layers = {layer: (shuffle_columns(x, order), None) for layer, (x, _) in layers.items()}
    asked = {"seed": seeds.seed("pretrained.sae", run.seed), "length": run.length, "each": each}
    found, rows = read_layers(names_in(run.readings), layers, **asked), []
    for layer, (x, _) in layers.items():
        long = lengths(x, layer)
        about = {"layer": layer, "depth": known.index(layer) / max(1, len(known) - 1), "quality": quality}
        about |= {"n_samples": len(drawn[layer].sample.unique()), "rows_read": len(x)}
        about |= {name: long[name] for name in ("length_ratio", "mean_over_spread")} | baselines(x, layer)
        rows += [about | row for row in found[layer]]
    return rows


@settings
class Top:
    """The middle layer of a `network` that reads texts, and how many codes of a TopK SAE and texts of each are shown."""

    network: Literal["minilm", "smollm2"]
    n_codes: Count = 8
    n_texts: Count = 4
    n_inputs: Count = 600
    n_rows: Count = 8_000
    seed: Whole = 0
    length: Positive = 1.0


def top_run(run: Top) -> list[dict[str, Any]]:
    """A row a code and text: layer, and the columns of `superpos.top_rows`."""
    found = load(run.network, True, run.n_inputs, run.seed)
    layer, sae = found.layers[len(found.layers) // 2], changed("TopK", length=run.length)
    asked = {"n_codes": run.n_codes, "n_rows": run.n_texts, "n_samples": run.n_rows, "tokenizer": found.tokenizer}
    seed = seeds.seed("pretrained.rows", run.seed)
    table = top_rows(found.model, found.data, layer, sae=sae, seed=seed, batch_size=32, **asked, **found.how)
    table["text"] = [" ".join(text.split()) for text in table.text]
    return [{"layer": layer} | row for row in table.to_dict("records")]


@functools.lru_cache(maxsize=1)
def _drawn(
    network: str, trained: bool, n_inputs: int, n_rows: int, images: str, seed: int
) -> tuple[dict[str, Rows], float, list[str]]:
    """Rows of all layers of a network, read in one pass; how good it is; and its layers. Kept for the next layer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: Network = load(network, trained, n_inputs, seed, images, device)
    asked = {"n_samples": n_rows, "seed": seeds.seed("pretrained.rows", seed), "batch_size": 32, "device": device}
    return read_activations(found.model, found.data, found.layers, **asked, **found.how), found.quality(), found.layers
