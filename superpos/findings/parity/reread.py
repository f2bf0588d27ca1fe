"""Networks on sparse parity, each read by several readings: where the paper reads them, after the ReLU, and before it."""

from typing import Any, Literal

import torch

from superpos import seeds
from superpos.findings.parity.task import hidden, parity, share_correct, train_networks
from superpos.readings import ALL, names_in, read_by
from superpos.settings import Count, Positive, Share, Whole, settings


@settings
class Reread:
    """A network of `width` hidden neurons trained with a `dropout` rate, and the readings of its hidden layer.

    readings: names of `superpos.readings`, with semicolons between; expansion: codes a neuron (None: each reading's own);
    n_rows: training samples that are read; length: of the training of what reads, 1 for the whole.
    """

    seed: Whole
    width: Count
    dropout: Share = 0.0
    site: Literal["pre", "post"] = "post"
    readings: str = ALL
    expansion: Positive | None = None
    n_rows: Count = 8_000
    net_epochs: Whole = 300
    length: Positive = 1.0

    def __post_init__(self) -> None:
        names_in(self.readings)


def reread_run(run: Reread) -> list[dict[str, Any]]:
    """A row a reading."""
    train, test = parity().split(0.2, seeds.seed("parity.split", run.seed))
    of = {"seeds": [seeds.seed("parity.networks", run.seed)], "dropout": [run.dropout]}
    (network,) = train_networks(train, **of, width=run.width, epochs=run.net_epochs)
    x = hidden(network, train, run.site)
    x = x[torch.randperm(len(x), generator=seeds.generator("parity.split", run.seed))[: run.n_rows]]
    about = {"accuracy": share_correct(network, test)}
    asked = {"seed": seeds.seed("parity.sae", run.seed), "label": f"hidden, {run.site}"}
    found = read_by(names_in(run.readings), x, **asked, expansion=run.expansion, length=run.length)
    return [about | row for row in found]
