"""A network that learns modular addition, read before and after the transition by several readings."""

from typing import Any

from superpos import seeds
from superpos.findings.grokking.task import Network, sites, train
from superpos.readings import ALL, names_in, read_by
from superpos.settings import Count, Positive, Whole, settings


@settings
class Reread:
    """A network read at step `first`, when it has memorised, and at its last, at the sites before and after the activation.

    readings: names of `superpos.readings`, with semicolons between; length: of the training of what reads, 1 for the whole.
    """

    network: Network
    first: Whole
    readings: str = ALL
    n_rows: Count = 8_000
    length: Positive = 1.0

    def __post_init__(self) -> None:
        names_in(self.readings)
        if self.first >= self.network.steps:
            raise ValueError(f"first must lie before the last step, {self.network.steps}, got {self.first}")


def reread_run(run: Reread) -> list[dict[str, Any]]:
    """A row a site, a step and a reading, with the network's scores there."""
    training, (inputs, _) = train(run.network, [run.first]), run.network.pairs()
    rows, seed = [], seeds.seed("grokking.sae", run.network.seed)
    for step in training.states:
        seen = sites(training.network(step), inputs)
        for site in ("pre", "post"):
            label = f"{site}, step {step}"
            found = read_by(names_in(run.readings), seen[site][: run.n_rows], seed=seed, label=label, length=run.length)
            rows += [{"step": step, "site": site} | training.scores(step) | row for row in found]
    return rows
