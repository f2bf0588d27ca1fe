"""A grid of runs → rows in a results file: parallel, saved run by run, resumable, shared between processes.

A run is a function of settings (`superpos.settings`), or of keyword parameters, that returns a row (dict) or several
(list of dicts). Its rows carry the settings, flattened to columns, what it returned, `row` ("1/3": the first of three), and
what made them (provenance). A run is done when all its rows are there, and a done run is not run again. While a sweep runs, its
rows lie in a store (`superpos.store`) beside the results file (`superpos.results`); both together are what is done.
"""

import functools
import io
import itertools
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import parallel_config

from superpos import results
from superpos.progress import progress
from superpos.provenance import PROVENANCE, provenance
from superpos.results import Key, Row, Rows, made_by, numbers, read
from superpos.settings import build, defaults, flat
from superpos.store import Store
from superpos.workers import Workers, code, reason_of, workers

__all__ = ["Rows", "expand", "made_by", "numbers", "read", "run"]

LONGEST = 100_000  # characters of a cell
LOOKED = 0.5  # seconds after which it is looked again what other processes did or gave back

_ONE_AT_A_TIME = threading.RLock()  # in a process: threads share torch's random state and number of threads


def expand(make: Callable[..., Any] = dict, /, **axes: Any) -> list[Any]:
    """All combinations of the axes, in order, each as a dict or as settings of the class `make`.

    A value that is no list or range is constant. An axis may belong to settings that `make` holds.
    """
    lists = {name: list(v) if isinstance(v, list | tuple | range) else [v] for name, v in axes.items()}
    return [build(make, **dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]


def run(
    function: Callable[..., Any],
    runs: Iterable[Any],
    path: str | Path | None = None,
    *,
    n_jobs: int | None = None,
    cluster: str | None = None,
    threads: int = 1,
    limit: float | None = None,
) -> pd.DataFrame:
    """Do every run that a results file does not hold yet. → rows of all `runs`, in their order

    function: called with one of `runs`, settings, or dicts of keyword parameters (numbers, strings, booleans, None);
    path: the results file, made with its folder if missing (None: a scratch file, gone afterwards); n_jobs: processes, by
    default one a core, each of `threads` torch threads (1: this process does the runs itself); cluster: address of a Dask
    scheduler ("tcp://host:8786"), whose workers then do the runs, one at a time in each process; start them with one thread a
    process (`dask worker --nthreads 1 --nworkers -1`); limit: seconds after which a run is ended, and counts as failed.
    Runs that failed before come last. A program that calls this needs `if __name__ == "__main__":` around what it does.

    Raises ValueError at once for runs that repeat, differ in their parameters or do not fit the file, and for a damaged file;
    ConnectionError where a cluster is lost (`superpos.workers`); RuntimeError at the end, naming each run that failed and why,
    the first with its traceback. Whatever is raised, what was finished is kept.
    """
    if path is None:
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder) / "rows.csv"
            return run(function, runs, scratch, n_jobs=n_jobs, cluster=cluster, threads=threads, limit=limit)
    runs = list(runs)
    sweep = _Sweep(path, runs)
    try:
        with workers(n_jobs, cluster, limit) as at:
            sweep.go(at, functools.partial(_call, function, threads, code() if cluster else ""), limit)
    finally:
        sweep.store.close()
    sweep.complain()
    return sweep.frame()


class _Sweep:
    """Some runs on their way into a results file."""

    def __init__(self, path: str | Path, runs: list[Any]) -> None:
        names, usual = _parameters(runs)
        self.store = Store(path, names, usual)
        self.unsaid = set(names) - set(self.store.parameters)
        self.runs = {self.key(one): one for one in runs}
        self.errors: dict[Key, str] = {}
        self.start = time.monotonic()

    def key(self, one: Any) -> Key:
        """What identifies a run in this file: the text of its parameters."""
        values = flat(one)
        return tuple(_text(values[name]) for name in sorted(self.store.parameters))

    def _left(self) -> list[Key]:
        """Runs that are neither done nor failed now; those that failed before come last."""
        done, failed = self.store.done(), self.store.failed()
        left = [key for key in self.runs if key not in done and key not in self.errors]
        return sorted(left, key=lambda key: failed.get(key, ("", 0))[1])

    def go(self, at: Workers, call: Callable[[Any], Any], limit: float | None) -> None:
        """Do all runs that are left, and wait for those that other processes do."""
        left = self._left()
        with progress(total=len(self.runs), initial=len(self.runs) - len(left), desc=self.store.path.stem) as bar:
            while left:
                claimed = self._pass(left, at, call, limit, bar)
                left = self._left()
                if left and not claimed:
                    time.sleep(LOOKED)  # others do what is left
                bar.update(len(self.runs) - len(left) - bar.n)

    def _pass(self, left: list[Key], at: Workers, call: Callable[[Any], Any], limit: float | None, bar: Any) -> int:
        """Do those of some runs that no other process does. → how many"""
        todo, pending, claimed = iter(left), {}, 0
        try:
            while True:
                while len(pending) < at.width() and (key := next(todo, None)) is not None:
                    if self.store.claim(key):
                        pending[at.submit(call, self.runs[key])] = key
                        claimed += 1
                if not pending:
                    return claimed
                for future in wait(pending, return_when=FIRST_COMPLETED)[0]:
                    self._settle(pending.pop(future), future, limit)
                    bar.set_postfix(failed=len(self.errors), refresh=False)
                    bar.update()
        finally:
            for future in pending:  # something was raised here, as by Ctrl-C: what is under way is ended
                future.cancel()

    def _settle(self, key: Key, future: Future, limit: float | None) -> None:
        """Keep the rows of a run that ended, or why it failed."""
        error = future.exception()
        rows, reason = ([], reason_of(error, limit)) if error else future.result()
        if reason:
            self.errors[key] = reason
            self.store.fail(key, reason)
        else:
            self.store.save(
                key, [{name: cell for name, cell in row.items() if name not in self.unsaid} for row in rows]
            )

    def complain(self) -> None:
        """RuntimeError where runs failed: how many, which, and why."""
        if not self.errors:
            return
        said = [f"{flat(self.runs[key])}: {reason.strip().splitlines()[-1]}" for key, reason in self.errors.items()]
        seconds = time.monotonic() - self.start
        raise RuntimeError(
            f"{len(said)} of {len(self.runs)} runs failed within {seconds:.0f} s, the others are saved:\n"
            + "\n".join(said)
            + f"\nThe first:\n{next(iter(self.errors.values()))}"
        )

    def frame(self) -> pd.DataFrame:
        """The rows of the runs, in their order."""
        table = self.store.table()
        rows = [row for key in self.runs for row in table.runs[key]]
        return pd.read_csv(io.StringIO(results.lines(table.columns, rows)))


def _call(function: Callable[..., Any], threads: int, expected: str, one: Any) -> tuple[list[Row], str]:
    """One run, where it is done, by the code that is expected ("": any). → its rows as cells, or why it failed"""
    if expected and expected != code():
        return [], f"its worker has {code()}, the driver {expected}"
    # in sequence: what a library runs in parallel within a run would be Dask's, which starts another run meanwhile
    with _ONE_AT_A_TIME, parallel_config("sequential"):
        before, start = torch.get_num_threads(), time.perf_counter()
        torch.set_num_threads(threads)
        try:
            rows = function(**one) if isinstance(one, dict) else function(one)
            rows = [rows] if isinstance(rows, dict) else list(rows)
            return _cells(flat(one), rows, time.perf_counter() - start), ""
        except (Exception, SystemExit):  # the boundary of a run: the others go on
            return [], traceback.format_exc()
        finally:
            torch.set_num_threads(before)


def _cells(parameters: dict[str, Any], rows: list[dict[str, Any]], seconds: float) -> list[Row]:
    """A run's rows as text: parameters, `row`, results, and the provenance of the process that did it."""
    if not rows:
        raise ValueError("a run must return at least one row, got none")
    asked = {name: _text(value) for name, value in parameters.items()}
    made = {name: _text(value) for name, value in provenance(seconds).items()}
    for name, value in itertools.chain.from_iterable(row.items() for row in rows):
        if name == "row" or name in PROVENANCE:
            raise ValueError(f"a result must not be called {name!r}: that column is the sweep's own")
        if name in asked and _text(value) != asked[name]:
            raise ValueError(
                f"a result must not be called as a parameter of another value: {name} is {asked[name]} "
                f"as a parameter and {value} as a result"
            )
    results = [{name: _measured(value) for name, value in row.items() if name not in asked} for row in rows]
    return [asked | {"row": f"{i}/{len(rows)}"} | result | made for i, result in enumerate(results, 1)]


def _text(value: Any, what: str = "a value in a results file") -> str:
    """A cell, exact. ValueError for what no cell can hold, and for a string of several lines."""
    value = value.item() if hasattr(value, "item") else value
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"{what} must be a number, string, boolean or None, got {value!r}")
    if isinstance(value, str):
        if any(c in value for c in "\r\n\0") or (
            not value.isascii() and value.encode(errors="replace").decode() != value
        ):
            raise ValueError(f"{what} must be one line of text, got {value[:200]!r}")
        if len(value) > LONGEST:
            raise ValueError(f"{what} must be at most {LONGEST:,} characters long, got {len(value):,}")
    return value if isinstance(value, str) else "" if value is None else repr(value)


def _measured(value: Any) -> str:
    """A cell of a result: floats to eight significant digits."""
    value = value.item() if hasattr(value, "item") else value
    return f"{value:.8g}" if isinstance(value, float) else _text(value)


def _parameters(runs: list[Any]) -> tuple[list[str], set[str]]:
    """Names of what the runs are asked for, and of those settings that every run has at their default."""
    if not runs:
        raise ValueError("there are no runs to do")
    asked, seen = [flat(one) for one in runs], set()
    for name in asked[0]:
        if name == "row" or name in PROVENANCE:
            raise ValueError(f"a parameter must not be called {name!r}: that column is the sweep's own")
    for values in asked:
        if values.keys() != asked[0].keys():
            raise ValueError(f"runs differ in their parameters: {sorted(asked[0])} and {sorted(values)}")
        key = tuple(_text(values[name], f"parameter {name}") for name in asked[0])
        if key in seen:
            raise ValueError(f"a run is there twice: {values}")
        seen.add(key)
    plain = [defaults(type(one)) if is_dataclass(one) else {} for one in runs]
    usual = set(asked[0])
    for values, default in zip(asked, plain, strict=True):
        usual &= {name for name, value in default.items() if values[name] == value}
    return list(asked[0]), usual
