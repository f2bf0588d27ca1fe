"""The findings of the book, one wing each. Every wing has the same doors, and each door may use those before it:

task.py       the system under study: data, networks, training
runs.py       one run: settings → rows, and the grids of runs that a chapter does
analysis.py   rows → tidy tables, which charts draw and claims judge
claims.py     rows → claims and answers; CLAIMS and ANSWERS are the tuples of its functions; CHAPTERS, what ids are about

A wing is found by its folder: nothing is registered anywhere. Wings do not import each other.
"""

import importlib
from pathlib import Path
from typing import Any

from superpos.answers import Answer
from superpos.claims import Claim, compute
from superpos.sweep import Rows

__all__ = ["chapter_of", "every_answer", "every_claim", "names"]


def names() -> list[str]:
    """Names of all wings, in order."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))


def every_claim(rows: Rows) -> list[Claim]:
    """The claims of all findings, computed from committed rows. Raises ValueError for an id that stands twice."""
    return compute(_all("CLAIMS"), rows)


def chapter_of(claim: str) -> str:
    """The chapter about a claim, by how its id begins: CHAPTERS of the wings. ValueError for an id that no chapter is about."""
    known = dict(_all("CHAPTERS"))
    begins = [one for one in known if claim.startswith(one)]
    if not begins:
        raise ValueError(f"no chapter is about the claim {claim!r}; ids begin with {', '.join(known)}")
    return known[max(begins, key=len)]


def every_answer(rows: Rows) -> list[Answer]:
    """The answers of all findings' chapters, computed from committed rows, in the order of chapters."""
    return sorted((make(rows) for make in _all("ANSWERS")), key=lambda one: one.chapter)


def _all(name: str) -> list[Any]:
    """The members of a tuple, or the items of a dict, in the claims.py of every wing that has one."""
    folder = Path(__file__).parent
    doors = [
        importlib.import_module(f"{__name__}.{wing}.claims")
        for wing in names()
        if (folder / wing / "claims.py").exists()
    ]
    held = [getattr(door, name, ()) for door in doors]
    return [member for one in held for member in (one.items() if isinstance(one, dict) else one)]
