"""What a claim is, the rules that give it a word, and the table of verdicts.

A claim stands in one of three tables, and its word comes from a rule that was fixed before the run:

PAPER      what the paper says: agrees, differs or open; "another protocol" where ours is not the paper's, which decides nothing
CHECK      our own checks and controls: pass, fail or open
ELSEWHERE  what we found in other networks or by other measures than the paper's: a value, and no word

Where the paper's protocol is not known (UNKNOWN), and where the interval is over SAEs of one network, a claim of the paper's
is open. Every finding has its claims as functions of committed rows (`superpos.findings`), so that all words can be
computed again at any time.
"""

import csv
import math
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
    "CHECK", "COLUMNS", "ELSEWHERE", "PAPER", "SAE_SEED", "TABLES", "UNKNOWN", "Claim", "Estimate", "MeetsPaper", "NearZero",
    "OnSide", "Rule", "compute", "correlation_of", "exactly", "mean_of", "not_run", "table", "write",
]  # fmt: skip

PAPER, CHECK, ELSEWHERE = TABLES = ("paper", "check", "elsewhere")
UNKNOWN = "the paper's protocol is not known"
SAE_SEED = "SAE seed of one network"  # a unit that says nothing about networks
CHECKED = {"agrees": "pass", "differs": "fail", "open": "open"}
COLUMNS = (
    "id", "table", "claim", "paper", "error", "ours", "low", "high", "interval", "n", "unit", "protocol", "verdict", "agrees",
    "differs", "source",
)  # fmt: skip


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

    def agrees(self, paper: float | None) -> str:
        """What our interval must be for "agrees", in words."""
        ...

    def differs(self, paper: float | None) -> str:
        """What our interval must be for "differs", in words."""
        ...


@dataclass(frozen=True)
class MeetsPaper:
    """Differs if the paper's interval, its number ± `error`, does not meet ours; agrees if it does, and ours is no wider than
    the paper's number: an interval so wide would have met almost anything, and is open.

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
        wide = ours.high - ours.low > abs(paper)
        return "open" if wide or (self.nonzero and ours.low <= 0 <= ours.high) else "agrees"

    def agrees(self, paper: float | None) -> str:
        """What our interval must be for "agrees", in words."""
        if paper is None:
            return "never: the paper gives no number"
        zero = ", and does not hold zero" if self.nonzero else ""
        ends = f"{paper - self.error:.3g} to {paper + self.error:.3g}"
        return f"our interval meets {ends}, and is no wider than {abs(paper):.3g}{zero}"

    def differs(self, paper: float | None) -> str:
        """What our interval must be for "differs", in words."""
        if paper is None:
            return "never: the paper gives no number"
        return f"our interval lies outside {paper - self.error:.3g} to {paper + self.error:.3g}"


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

    def agrees(self, paper: float | None) -> str:
        """What our interval must be for "agrees", in words."""
        return f"our interval lies {'above' if self.direction > 0 else 'below'} {self.than:g}"

    def differs(self, paper: float | None) -> str:
        """What our interval must be for "differs", in words."""
        return f"our interval lies {'below' if self.direction > 0 else 'above'} {self.than:g}"


@dataclass(frozen=True)
class NearZero:
    """Agrees if our interval lies within ± `within` of zero, differs if it lies outside, and is open else."""

    within: float

    def __call__(self, paper: float | None, ours: Estimate) -> str:
        if -self.within <= ours.low and ours.high <= self.within:
            return "agrees"
        return "differs" if ours.high < -self.within or self.within < ours.low else "open"

    def agrees(self, paper: float | None) -> str:
        """What our interval must be for "agrees", in words."""
        return f"our interval lies within ±{self.within:g}"

    def differs(self, paper: float | None) -> str:
        """What our interval must be for "differs", in words."""
        return f"our interval lies outside ±{self.within:g}"


@dataclass(frozen=True)
class Claim:
    """One claim: its id, what it says, where its number comes from, and what we find.

    text: the claim in a sentence; source: the results file behind the estimate; paper: the paper's number, or None;
    where: the section or figure of the paper that says it, "" for a claim of our own. table: one of TABLES (see the head of
    the module). protocol: "" where ours is the paper's, at whatever scale; else what is other, or UNKNOWN. possible: the
    values that such an estimate can take at all. Raises ValueError for a table that is none.
    """

    id: str
    text: str
    source: str
    estimate: Estimate
    rule: Rule
    paper: float | None = None
    where: str = ""
    table: str = PAPER
    protocol: str = ""
    possible: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        if self.table not in TABLES:
            raise ValueError(f"{self.id}: table must be one of {', '.join(TABLES)}, got {self.table!r}")

    @property
    def decides(self) -> bool:
        """Whether the rule has a say: in a check of ours, and where ours is the paper's protocol and speaks of networks."""
        return self.table == CHECK or (self.table == PAPER and not self.protocol and self.estimate.unit != SAE_SEED)

    @property
    def word(self) -> str:
        """The verdict, as the head of the module has it; open where the estimate has no interval."""
        if self.table == ELSEWHERE:
            return ""
        if not self.decides:
            return "open" if self.protocol in ("", UNKNOWN) else "another protocol"
        known = bool(np.isfinite([self.estimate.low, self.estimate.high]).all())
        said = self.rule(self.paper, self.estimate) if known else "open"
        return CHECKED[said] if self.table == CHECK else said

    @property
    def agrees(self) -> str:
        """What our interval must be for "agrees" or "pass", in words; "" where nothing is decided."""
        return self.rule.agrees(self.paper) if self.decides else ""

    @property
    def differs(self) -> str:
        """What our interval must be for "differs" or "fail", in words; "" where nothing is decided."""
        return self.rule.differs(self.paper) if self.decides else ""

    def row(self) -> dict[str, Any]:
        """The claim as a row of COLUMNS."""
        ours = self.estimate
        error = None if self.paper is None else getattr(self.rule, "error", 0.0) or None
        about = (
            self.id,
            self.table,
            self.text,
            self.paper,
            error,
            ours.value,
            ours.low,
            ours.high,
            ours.kind,
            ours.n,
            ours.unit,
        )
        return dict(
            zip(COLUMNS, (*about, self.protocol, self.word, self.agrees, self.differs, self.source), strict=True)
        )


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
    """Write the table of verdicts, in the order of ids, in one move. Numbers have six significant digits."""
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
    return f"{value:.6g}" if isinstance(value, float) else str(value)
