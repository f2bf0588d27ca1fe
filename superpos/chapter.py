"""What every chapter does at its top and at its bottom, so that its cells hold only what is its own."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import torch

from superpos import answers, charts, sweep
from superpos.claims import Maker, compute
from superpos.sweep import Rows

__all__ = ["Chapter", "answer", "begin", "check"]


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
        """What the claims come to on the committed rows, a row a claim, in words; what a word rests on stands in verdicts.csv."""
        lines = [
            {
                "claim": claim.text,
                "paper": "" if claim.paper is None else answers.number(claim.paper),
                "ours, and its interval": answers.said(claim.estimate),
                "n": claim.estimate.n,
                "verdict": claim.word,
            }
            for claim in compute(makers, self.committed)
        ]
        return pd.DataFrame(lines).set_index("claim")


def begin(results: str, committed: str, cluster: str = "", *, digits: int = 2, threads: int = 1) -> Chapter:
    """Turn charts and the display of tables on, with so many decimals, and give torch so many threads.

    One thread adds in the same order on every machine, and leaves the other cores to other chapters.
    """
    charts.use()
    torch.set_num_threads(threads)
    pd.options.display.width, pd.options.display.max_colwidth = 160, 200
    pd.options.display.float_format = f"{{:.{digits}f}}".format
    return Chapter(results, committed, cluster)


def answer(make: answers.Maker, committed: str = "../book/results") -> answers.Box:
    """The box at the top of a chapter: question, answer, how sure, what it rests on, what a rerun takes, and links."""
    return answers.box(make, committed)


def check(mine: Any, right: float, within: float = 0.02) -> str:
    """Whether the number that a reader found for an exercise is the right one, within a share of it (of 1 where it is 0).

    None is no answer yet. Raises TypeError for what is no number.
    """
    if mine is None:
        return "Put your number in place of None, and run this cell again."
    if isinstance(mine, bool) or not isinstance(mine, int | float):
        raise TypeError(f"an answer must be a number, got {mine!r}")
    if math.isclose(mine, right, rel_tol=within, abs_tol=within if right == 0 else 0):
        return "Right."
    return f"Not yet: {answers.number(mine)} is too {'high' if mine > right else 'low'}."
