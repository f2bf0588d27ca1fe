"""The table of claims: each finding's number beside the paper's, written by the runs themselves."""

import csv
import os
from pathlib import Path

import pandas as pd
from filelock import FileLock

from superpos.statistics import verdict

__all__ = ["COLUMNS", "claim", "record"]

COLUMNS = ("id", "claim", "paper", "ours", "low", "high", "n", "verdict", "source")


def claim(id, text, *, paper, estimate, n, source, error=0.0, direction=0, within=None, than=0.0, nonzero=False):
    """One row of the table. → dict of COLUMNS

    paper: the paper's number, or None; estimate: (ours, low, high), a 95% interval; n: independent units behind it;
    source: results file; error, direction, within, than and nonzero: of the paper's number and claim, as `statistics.verdict`
    takes them.
    """
    ours, low, high = estimate
    return {
        "id": id, "claim": text, "paper": paper, "ours": ours, "low": low, "high": high, "n": n,
        "verdict": verdict(paper, low, high, error=error, direction=direction, within=within, than=than, nonzero=nonzero),
        "source": source,
    }  # fmt: skip


def record(claims, path=None):
    """The claims as a table; where `path` is given they also replace the rows of the same id there. → DataFrame"""
    table = pd.DataFrame(claims, columns=COLUMNS)
    if path:
        _merge(table, Path(path))
    return table


def _merge(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        rows = {}
        if path.exists():
            with open(path, newline="") as file:
                rows = {row["id"]: row for row in csv.DictReader(file)}
        rows |= {row["id"]: {name: _cell(value) for name, value in row.items()} for row in table.to_dict("records")}
        fresh = path.with_name(f".{path.name}.new")
        with open(fresh, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[name] for name in sorted(rows))
        os.replace(fresh, path)


def _cell(value):
    if value is None or value != value:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
