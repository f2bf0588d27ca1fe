"""One world read by the count: settings → a row of F, the truth, and the evidence."""

from typing import Any

from superpos import counting
from superpos.findings.trust import task
from superpos.settings import Count, Whole, settings


@settings
class Run:
    """The `number`-th world of a `kind` (see `task`), and how many rows of it are read."""

    kind: str
    number: Whole
    n_rows: Count = 8_000


def count_run(run: Run) -> dict[str, Any]:
    """F by the count beside the truth, and all that speaks for and against it."""
    drawn = task.draw(run.kind, run.number, run.n_rows)
    found = counting.find(drawn.x, seed=run.number)
    return {"truth": drawn.truth, "n_neurons": drawn.x.shape[1]} | counting.evidence(found)
