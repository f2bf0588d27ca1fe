"""The findings of the book, one wing each. Every wing has the same doors, and each door may use those before it:

task.py       the system under study: data, networks, training
runs.py       one run: settings → rows, and the grids of runs that a chapter does
analysis.py   rows → tidy tables, which charts draw and claims judge
claims.py     rows → claims; CLAIMS is the tuple of its functions

A wing is found by its folder: nothing is registered anywhere. Wings do not import each other.
"""

import importlib
from pathlib import Path

from superpos.claims import Claim, compute
from superpos.sweep import Rows

__all__ = ["every_claim", "names"]


def names() -> list[str]:
    """Names of all wings, in order."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))


def every_claim(rows: Rows) -> list[Claim]:
    """The claims of all findings, computed from committed rows. Raises ValueError for an id that stands twice."""
    made = [make for name in names() for make in _claims_of(name)]
    return compute(made, rows)


def _claims_of(name: str) -> tuple:
    """CLAIMS of a wing; none where it has no claims.py."""
    if not (Path(__file__).parent / name / "claims.py").exists():
        return ()
    return importlib.import_module(f"{__name__}.{name}.claims").CLAIMS
