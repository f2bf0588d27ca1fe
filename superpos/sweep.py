"""A grid of runs → rows in a results file: parallel, saved run by run, resumable, shared between processes.

A run is a function of settings (`superpos.settings`), or of keyword parameters, that returns a row (dict) or several
(list of dicts). Its rows carry the settings, flattened to columns, what it returned, `row` ("1/3": the first of three), and
what made them (provenance). The file is CSV, text that diffs. A run is done when all its rows are there, and a done run is
not run again. Rows are written whole under a lock, and a run is claimed while it is under way (the claim dies with its
process), so that any number of processes that see one folder may fill one file.
"""

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import os
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from joblib import Parallel, cpu_count, delayed, parallel_config

from superpos.progress import progress
from superpos.provenance import PROVENANCE, provenance
from superpos.settings import build, defaults, flat

__all__ = ["ResultsFile", "Rows", "expand", "made_by", "numbers", "read", "run"]

Row = dict[str, str]  # cells by column
Key = tuple[str, ...]

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
) -> pd.DataFrame:
    """Do every run that a results file does not hold yet. → rows of all `runs`, in their order

    function: called with one of `runs`, settings, or dicts of keyword parameters (numbers, strings, booleans, None);
    path: the results file, made with its folder if missing (None: a scratch file, gone afterwards); n_jobs: processes, by
    default one a core, each of `threads` torch threads; cluster: address of a Dask scheduler ("tcp://host:8786"),
    whose workers then do the runs, one at a time in each process; start them with one thread a process
    (`dask worker --nthreads 1 --nworkers -1`).
    Raises ValueError at once for runs that repeat, differ in their parameters or do not fit the file; RuntimeError
    at the end, with the first traceback, if runs failed (the others are saved).
    """
    if path is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(function, runs, Path(folder) / "rows.csv", n_jobs=n_jobs, cluster=cluster, threads=threads)
    runs = list(runs)
    table = ResultsFile(path, *_parameters(runs))
    call = functools.partial(_call, function, threads)
    errors = {}
    bar = progress(total=len(runs), initial=len(runs) - len(table.missing(runs)), desc=table.path.stem)
    with _parallel(n_jobs, cluster) as parallel:
        while todo := [one for one in table.missing(runs) if table.key(one) not in errors]:
            n_done = 0
            for one, rows, error in parallel(delayed(call)(claimed) for claimed in table.claim(todo)):
                if error:
                    errors[table.key(one)] = f"{flat(one)}:\n{error}"
                else:
                    table.append(one, rows)
                table.release(one)
                n_done += 1
                bar.update()
            if not n_done:
                time.sleep(0.5)  # what is left is claimed by other processes
    bar.close()
    table.close()
    if errors:
        raise RuntimeError(
            f"{len(errors)} of {len(runs)} runs failed, the others are saved; {next(iter(errors.values()))}"
        )
    return table.frame(runs)


class Rows(Mapping):
    """The results files of a folder by name, each read when it is first asked for. A table is a copy of one's own."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tables: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The rows of `folder/name.csv`. Raises FileNotFoundError with the path if there is none."""
        if name not in self._tables:
            self._tables[name] = read(self.folder / f"{name}.csv")
        return self._tables[name].copy()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.folder.glob("*.csv")))

    def __len__(self) -> int:
        return len(list(iter(self)))

    __hash__ = object.__hash__  # so that what is computed from rows can be kept
    __eq__ = object.__eq__


def read(path: str | Path) -> pd.DataFrame:
    """All rows of a results file. Raises FileNotFoundError with the path if there is none."""
    if not Path(path).exists():
        raise FileNotFoundError(f"no results file at {path}")
    return pd.read_csv(path)


def numbers(text: str) -> list[int | float]:
    """The numbers of a list as papermill takes it, "1,2.5": those with a point are floats."""
    return [float(word) if "." in word else int(word) for word in text.split(",") if word.strip()]


def made_by(table: pd.DataFrame) -> str:
    """One line that says what made the rows of a results file: how many, how long, by which code and where."""
    runs = table[table.row.str.startswith("1/")]
    names = (", ".join(sorted(set(table[name]))) for name in ("revision", "versions", "device"))
    hours = f"{runs.seconds.sum() / 3600:.1f} process hours"
    return f"{len(table)} rows of {len(runs)} runs, {hours}, code {', '.join(names)}"


def _call(function: Callable[..., Any], threads: int, one: Any) -> tuple[Any, list[Row], str]:
    """One run in a worker. → the run, its rows as cells, error"""
    # in sequence: what a library runs in parallel within a run would be Dask's, which starts another run meanwhile
    with _ONE_AT_A_TIME, parallel_config("sequential"):
        before, start = torch.get_num_threads(), time.perf_counter()
        torch.set_num_threads(threads)
        try:
            rows = function(**one) if isinstance(one, dict) else function(one)
            rows = [rows] if isinstance(rows, dict) else list(rows)
            return one, _cells(flat(one), rows, time.perf_counter() - start), ""
        except Exception:  # the boundary of a worker: what failed is named by `run`, and the other runs go on
            return one, [], traceback.format_exc()
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


@contextlib.contextmanager
def _parallel(n_jobs: int | None, cluster: str | None) -> Iterator[Any]:
    """A joblib Parallel that yields results as they come: local processes, or the workers of a Dask cluster."""
    if cluster is None:
        n_jobs = n_jobs or cpu_count()
        with (
            warnings.catch_warnings(),
            Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch="n_jobs + 1") as parallel,
        ):
            # joblib replaces a worker whose memory has grown, as it does where a run imports a large library
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            yield parallel
        return
    from distributed import Client

    with Client(cluster) as client, parallel_config("dask", client=client, wait_for_workers_timeout=60):
        threads = max(client.nthreads().values(), default=1)
        if threads > 1:
            warnings.warn(
                f"workers at {cluster} have up to {threads} threads each, and do one run at a time; "
                "dask worker --nthreads 1 --nworkers -1 starts one for each core",
                stacklevel=2,
            )
        yield Parallel(n_jobs=-1, return_as="generator_unordered")


def _text(value: Any, what: str = "a value in a results file") -> str:
    """A cell, exact. ValueError for what no cell can hold, and for a string of several lines."""
    value = value.item() if hasattr(value, "item") else value
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"{what} must be a number, string, boolean or None, got {value!r}")
    if isinstance(value, str) and any(c in value for c in "\r\n"):
        raise ValueError(f"{what} must be one line, got {value!r}")
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


class ResultsFile:
    """The CSV behind `run`. Every change is made under the lock; a cut line or run is set aside, never lost.

    parameters: names of what the runs are asked for; usual: names of the settings that every run has at their default. A
    file that lacks the column of such a one was filled before there was that setting, and holds it at its default.
    Raises ValueError for a file of runs with other parameters.
    """

    def __init__(self, path: str | Path, parameters: Iterable[str], usual: Iterable[str] = ()) -> None:
        self.path, self.parameters = Path(path), list(parameters)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{self.path}.lock")
        self._claims: dict[Key, Any] = {}
        with self._lock:
            self._set_cut_line_aside()
            header, _ = self._read()
            known = header[: header.index("row")] if "row" in header else header
            self._unsaid = {name for name in usual if header and name not in known}
            self.parameters = [name for name in self.parameters if name not in self._unsaid]
            if header and set(known) != set(self.parameters):
                raise ValueError(
                    f"{self.path} holds runs with parameters {', '.join(known)}; got {', '.join(self.parameters)}: "
                    f"a file may lack only what all runs have at the default of their settings"
                )
            self._set_cut_runs_aside()

    def _read(self) -> tuple[list[str], list[Row]]:
        """Header and rows, none where there is no file."""
        with open(self.path, newline="") if self.path.exists() else io.StringIO() as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(reader)

    def key(self, one: Any) -> Key:
        """What identifies a run in this file: the text of its parameters."""
        values = flat(one)
        return tuple(_text(values[name]) for name in sorted(self.parameters))

    def _row_key(self, row: Row) -> Key:
        return tuple(row[name] for name in sorted(self.parameters))

    def _done(self, rows: list[Row]) -> dict[Key, list[Row]]:
        """Keys of the runs whose rows are all there, each with its rows in order."""
        done: dict[Key, dict[str, Row]] = {}
        for row in rows:
            done.setdefault(self._row_key(row), {})[row["row"]] = row
        return {key: list(found.values()) for key, found in done.items() if _is_whole(found)}

    def missing(self, runs: Iterable[Any]) -> list[Any]:
        """Those of `runs` that are not done."""
        with self._lock:
            done = self._done(self._read()[1])
        return [one for one in runs if self.key(one) not in done]

    def frame(self, runs: Iterable[Any]) -> pd.DataFrame:
        """The rows of `runs`, in their order."""
        with self._lock:
            header, rows = self._read()
        done = self._done(rows)
        return pd.read_csv(io.StringIO(_lines(header, [row for one in runs for row in done[self.key(one)]])))

    def claim(self, runs: Iterable[Any]) -> Iterator[Any]:
        """Yield those of `runs` that no other process has done or is doing, each claimed until `release`."""
        folder = self.path.with_name(f"{self.path.name}.claims")
        for one in runs:
            folder.mkdir(exist_ok=True)
            name = hashlib.sha256(repr(self.key(one)).encode()).hexdigest()[:16]
            claim = FileLock(folder / name, thread_local=False)
            try:
                claim.acquire(blocking=False)
            except Timeout:
                continue
            self._claims[self.key(one)] = claim
            if self.missing([one]):
                yield one
            else:
                self.release(one)

    def release(self, one: Any) -> None:
        """Give a claimed run back, done or not."""
        claim = self._claims.pop(self.key(one))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(claim.lock_file)
        claim.release()

    def close(self) -> None:
        """Remove the folder of claims, unless other processes hold some."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path.with_name(f"{self.path.name}.claims"))

    def append(self, one: Any, rows: list[Row]) -> None:
        """Save the rows (cells, as `_cells` gives them) of one finished run, unless another process did."""
        with self._lock:
            header, held = self._read()
            if self.key(one) in self._done(held):
                return
            rows = [{name: cell for name, cell in row.items() if name not in self._unsaid} for row in rows]
            names = dict.fromkeys([*header, *self.parameters, "row", *itertools.chain.from_iterable(rows)])
            columns = [*(name for name in names if name not in PROVENANCE), *PROVENANCE]
            if columns != header:
                self._replace(_lines(columns, held))
            with open(self.path, "a", newline="") as file:
                _save(file, _lines(columns, rows, names=False))

    def _replace(self, text: str) -> None:
        """Put another file in this one's place, in one move."""
        fresh = self.path.with_name(f".{self.path.name}.new")
        with open(fresh, "w", newline="") as file:
            _save(file, text)
        os.replace(fresh, self.path)

    def _set_cut_line_aside(self) -> None:
        """Move a half-written last line to a file beside, and say so."""
        whole, end, cut = self.path.read_bytes().rpartition(b"\n") if self.path.exists() else (b"", b"", b"")
        if cut:
            self._set_aside(cut.decode(errors="replace") + "\n", "a line cut in the middle")
            self._replace((whole + end).decode())

    def _set_cut_runs_aside(self) -> None:
        """Move the rows of a half-written run to a file beside, and say so."""
        header, rows = self._read()
        done = self._done(rows)
        partial = [row for row in rows if self._row_key(row) not in done]
        if partial:
            self._set_aside(_lines(header, partial, names=False), "a run without all its rows")
            self._replace(_lines(header, [row for row in rows if self._row_key(row) in done]))

    def _set_aside(self, text: str, what: str) -> None:
        beside = self.path.with_name(f"{self.path.name}.cut")
        with open(beside, "a") as file:
            file.write(text)
        warnings.warn(
            f"{self.path} held {what}; it is kept in {beside.name}, and that run will be done again", stacklevel=4
        )


def _is_whole(rows: dict[str, Row]) -> bool:
    """rows: {"1/3": …}: are all there?"""
    total = next(iter(rows)).partition("/")[2]
    return total.isdigit() and set(rows) == {f"{i}/{total}" for i in range(1, int(total) + 1)}


def _lines(columns: list[str], rows: Iterable[Row], names: bool = True) -> str:
    """Rows as lines of CSV, under one of the columns' names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    if names:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _save(file: Any, text: str) -> None:
    """Write text, and wait until it lies on the disk."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
