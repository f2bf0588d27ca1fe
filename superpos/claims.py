"""What a claim is, the rules that give it a word, and the table of verdicts.

A claim holds a number of the paper's (or none) against an estimate of ours. Its word is "agrees", "differs" or "open",
given by a rule that was fixed before the run. Every finding has its claims as functions of committed rows
(`superpos.findings`), so that all words can be computed again at any time.
"""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from superpos import statistics
from superpos.sweep import Rows

__all__ = [
    "COLUMNS", "Claim", "Estimate", "MeetsPaper", "NearZero", "OnSide", "Rule", "compute", "correlation_of", "exactly",
    "mean_of", "not_run", "table", "write",
]  # fmt: skip

COLUMNS = ("id", "claim", "paper", "ours", "low", "high", "n", "verdict", "source")


@dataclass(frozen=True)
class Estimate:
    """Our number with its interval: `kind` says how the interval was made, `n` counts the independent `unit`s behind it."""

    value: float
    low: float
    high: float
    kind: str
    unit: str
    n: int


@runtime_checkable
class Rule(Protocol):
    """Gives a claim its word, from the paper's number (None where it has none) and our estimate."""

    def __call__(self, paper: float | None, ours: Estimate) -> str: ...


@dataclass(frozen=True)
class MeetsPaper:
    """Agrees if the paper's interval, its number ± `error`, meets ours, and differs if it does not.

    Open without a number of the paper's. nonzero: the claim is also one of something, and open where our interval meets the
    paper's and holds zero.
    """

    error: float = 0.0
    nonzero: bool = False

    def __call__(self, paper: float | None, ours: Estimate) -> str:
        if paper is None:
            return "open"
        if not (ours.low <= paper + self.error and paper - self.error <= ours.high):
            return "differs"
        return "open" if self.nonzero and ours.low <= 0 <= ours.high else "agrees"


@dataclass(frozen=True)
class OnSide:
    """Agrees if our interval lies above `than` (direction +1) or below it (−1), differs on the other side, open else."""

    direction: int
    than: float = 0.0

    def __post_init__(self) -> None:
        if self.direction not in (-1, 1):
            raise ValueError(f"direction must be -1 or 1, got {self.direction!r}")

    def __call__(self, paper: float | None, ours: Estimate) -> str:
        low, high = sorted(self.direction * (end - self.than) for end in (ours.low, ours.high))
        return "agrees" if low > 0 else "differs" if high < 0 else "open"


@dataclass(frozen=True)
class NearZero:
    """Agrees if our interval lies within ± `within` of zero, differs if it lies outside, and is open else."""

    within: float

    def __call__(self, paper: float | None, ours: Estimate) -> str:
        if -self.within <= ours.low and ours.high <= self.within:
            return "agrees"
        return "differs" if ours.high < -self.within or self.within < ours.low else "open"


@dataclass(frozen=True)
class Claim:
    """One claim: its id, what it says, where its number comes from, and what we find.

    text: the claim in a sentence; source: the results file behind the estimate; paper: the paper's number, or None;
    where: the section or figure of the paper that says it, "" for a claim of our own. The word is open where our estimate
    has no interval.
    """

    id: str
    text: str
    source: str
    estimate: Estimate
    rule: Rule
    paper: float | None = None
    where: str = ""

    @property
    def word(self) -> str:
        """The verdict: "agrees", "differs" or "open"."""
        known = bool(np.isfinite([self.estimate.low, self.estimate.high]).all())
        return self.rule(self.paper, self.estimate) if known else "open"

    def row(self) -> dict[str, Any]:
        """The claim as a row of COLUMNS."""
        ours = self.estimate
        values = (self.id, self.text, self.paper, ours.value, ours.low, ours.high, ours.n, self.word, self.source)
        return dict(zip(COLUMNS, values, strict=True))


def mean_of(values: ArrayLike, unit: str) -> Estimate:
    """Mean of one value a unit, with Student's t interval at 95%."""
    return Estimate(*statistics.mean_interval(values), "Student t, 95%", unit, len(np.ravel(values)))


def correlation_of(x: ArrayLike, y: ArrayLike, unit: str) -> Estimate:
    """Pearson r of one pair a unit, with a bootstrap BCa interval at 95%."""
    return Estimate(*statistics.correlation_interval(x, y), "bootstrap BCa, 95%", unit, len(np.ravel(x)))


def exactly(value: float, unit: str, n: int) -> Estimate:
    """A number that has no error of its own: its interval is the number."""
    return Estimate(value, value, value, "none: an exact number", unit, n)


def not_run(unit: str, n: int = 0) -> Estimate:
    """The estimate of what was not run: NaN."""
    return Estimate(*(float("nan"),) * 3, "none: not run", unit, n)


Maker = Callable[[Rows], "Claim | Iterable[Claim]"]


def compute(makers: Iterable[Maker], rows: Rows) -> list[Claim]:
    """The claims that some functions of committed rows give, in their order. ValueError for an id that stands twice."""
    found: list[Claim] = []
    for make in makers:
        made = make(rows)
        found += [made] if isinstance(made, Claim) else list(made)
    ids = [claim.id for claim in found]
    twice = [name for i, name in enumerate(ids) if name in ids[:i]]
    if twice:
        raise ValueError(f"the claim {twice[0]} stands twice")
    return found


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Claims as a table of COLUMNS, a row each."""
    return pd.DataFrame([claim.row() for claim in claims], columns=COLUMNS)


def write(claims: Sequence[Claim], path: str | Path) -> None:
    """Write the table of verdicts, in the order of ids, in one move. Numbers have three decimals."""
    path = Path(path)
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        rows = sorted((claim.row() for claim in claims), key=lambda row: row["id"])
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    os.replace(fresh, path)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
