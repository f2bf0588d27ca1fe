"""What every chapter does at its top and at its bottom, so that its cells hold only what is its own."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import torch

from superpos import charts, sweep
from superpos.claims import Maker, compute, table
from superpos.sweep import Rows

__all__ = ["Chapter", "begin"]


class Chapter:
    """A chapter that runs: where its rows go, and where the committed ones lie.

    results: a folder to fill ("" for a scratch one, gone afterwards); committed: the folder of the committed rows; cluster:
    address of a Dask scheduler ("" for the cores of this machine).
    """

    def __init__(self, results: str, committed: str, cluster: str) -> None:
        self.results, self.committed, self.cluster = results, Rows(committed), cluster or None

    def run(self, function: Callable, runs: Iterable[Any], name: str) -> pd.DataFrame:
        """Do the runs that the results file `name` does not hold yet. → their rows (`superpos.sweep.run`)"""
        path = f"{self.results}/{name}.csv" if self.results else None
        with warnings.catch_warnings():
            # that codes are dead stands in the rows; in the processes of other workers the warning is not seen either
            warnings.filterwarnings("ignore", category=UserWarning, module=r"superpos\.(measurement|readings|usage)")
            return sweep.run(function, runs, path, cluster=self.cluster)

    def rows(self, *names: str) -> list[pd.DataFrame]:
        """Committed rows of some results files, after a line a file that says what made them."""
        for name in names:
            print(f"{name}.csv: {sweep.made_by(self.committed[name])}")
        return [self.committed[name] for name in names]

    def verdicts(self, makers: Iterable[Maker]) -> pd.DataFrame:
        """What the claims come to on the committed rows: a row a claim, by id; what a word rests on stands in verdicts.csv."""
        shown = ["id", "table", "paper", "ours", "low", "high", "n", "verdict"]
        return table(compute(makers, self.committed))[shown]


def begin(results: str, committed: str, cluster: str = "", *, digits: int = 2, threads: int = 1) -> Chapter:
    """Turn charts and the display of tables on, with so many decimals, and give torch so many threads.

    One thread adds in the same order on every machine, and leaves the other cores to other chapters.
    """
    charts.use()
    torch.set_num_threads(threads)
    pd.options.display.width = 160
    pd.options.display.float_format = f"{{:.{digits}f}}".format
    return Chapter(results, committed, cluster)
