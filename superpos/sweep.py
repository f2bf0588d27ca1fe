"""A grid of runs → rows in a results file: parallel, saved run by run, resumable, shared between processes.

A run is a function of keyword parameters that returns a row (dict) or several (list of dicts). Its rows carry the
parameters, what it returned, `row` ("1/3": the first of three), and what made them (provenance). The file is CSV,
text that diffs. A run is done when all its rows are there, and a done run is not run again. Rows are written whole
under a lock, and a run is claimed while it is under way (the claim dies with its process), so that any number of
processes that see one folder may fill one file.
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
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed, parallel_config

from superpos.progress import progress
from superpos.provenance import PROVENANCE, provenance

__all__ = ["expand", "made_by", "numbers", "read", "run"]

_ONE_AT_A_TIME = threading.RLock()  # in a process: threads share torch's random state and number of threads


def expand(**axes):
    """All combinations of the axes, in order. → list of dicts. A value that is no list or range is constant."""
    lists = {name: list(v) if isinstance(v, list | tuple | range) else [v] for name, v in axes.items()}
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def run(function, runs, path=None, *, n_jobs=None, cluster=None, threads=1):
    """Do every run that `path` does not hold yet. → DataFrame of the rows of all `runs`, in their order

    function: called with one of `runs`, dicts of keyword parameters (numbers, strings, booleans, None); path: the
    results file, made with its folder if missing (None: a scratch file, gone afterwards); n_jobs: processes, by
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
    table = ResultsFile(path, _parameter_names(runs))
    call = functools.partial(_call, function, threads)
    errors = {}
    bar = progress(total=len(runs), initial=len(runs) - len(table.missing(runs)), desc=table.path.stem)
    with _parallel(n_jobs, cluster) as parallel:
        while todo := [r for r in table.missing(runs) if _key(r) not in errors]:
            claimed = table.claim(todo)
            n_done = 0
            for parameters, rows, error in parallel(delayed(call)(r) for r in claimed):
                if error:
                    errors[_key(parameters)] = f"{parameters}:\n{error}"
                else:
                    table.append(parameters, rows)
                table.release(parameters)
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


def read(path):
    """All rows of a results file. → DataFrame. FileNotFoundError with the path if there is none."""
    if not Path(path).exists():
        raise FileNotFoundError(f"no results file at {path}")
    return pd.read_csv(path)


def numbers(text):
    """The numbers of a list as papermill takes it, "1,2.5": those with a point are floats. → list"""
    return [float(word) if "." in word else int(word) for word in text.split(",") if word.strip()]


def made_by(table):
    """One line that says what made the rows of a results file: how many, how long, by which code and where."""
    runs = table[table.row.str.startswith("1/")]
    names = (", ".join(sorted(set(table[name]))) for name in ("revision", "versions", "device"))
    hours = f"{runs.seconds.sum() / 3600:.1f} process hours"
    return f"{len(table)} rows of {len(runs)} runs, {hours}, code {', '.join(names)}"


def _call(function, threads, parameters):
    """One run in a worker. → (parameters, its rows as cells, error)"""
    # in sequence: what a library runs in parallel within a run would be Dask's, which starts another run meanwhile
    with _ONE_AT_A_TIME, parallel_config("sequential"):
        return _called(function, threads, parameters)


def _called(function, threads, parameters):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    try:
        rows = function(**parameters)
        rows = [rows] if isinstance(rows, dict) else list(rows)
        return parameters, _cells(parameters, rows, time.perf_counter() - start), ""
    except Exception:  # the boundary of a worker: what failed is named by `run`, and the other runs go on
        return parameters, [], traceback.format_exc()
    finally:
        torch.set_num_threads(before)


def _cells(parameters, rows, seconds):
    """A run's rows as text: parameters, `row`, results, and the provenance of the process that did it."""
    if not rows:
        raise ValueError("a run must return at least one row, got none")
    reserved = [name for row in rows for name in row if name == "row" or name in PROVENANCE]
    if reserved:
        raise ValueError(f"a result must not be called {reserved[0]!r}: that column is the sweep's own")
    asked = {name: _text(value) for name, value in parameters.items()}
    made = {name: _text(value) for name, value in provenance(seconds).items()}
    for row in rows:
        other = [name for name in parameters.keys() & row.keys() if _text(row[name]) != asked[name]]
        if other:
            raise ValueError(
                f"a result must not be called as a parameter of another value: {other[0]} is {asked[other[0]]} "
                f"as a parameter and {row[other[0]]} as a result"
            )
    results = [{name: _measured(value) for name, value in row.items() if name not in parameters} for row in rows]
    return [asked | {"row": f"{i}/{len(rows)}"} | result | made for i, result in enumerate(results, 1)]


@contextlib.contextmanager
def _parallel(n_jobs, cluster):
    """A joblib Parallel that yields results as they come: local processes, or the workers of a Dask cluster."""
    n_jobs = n_jobs or os.cpu_count()
    if cluster is None:
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


def _text(value):
    """A cell, exact. ValueError for a string of several lines."""
    if value is None:
        return ""
    if isinstance(value, str):
        if any(c in value for c in "\r\n"):
            raise ValueError(f"a value in a results file must be one line, got {value!r}")
        return value
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float | bool):
        raise ValueError(f"a value in a results file must be a number, string, boolean or None, got {value!r}")
    return repr(value)


def _measured(value):
    """A cell of a result: floats to eight significant digits."""
    value = value.item() if hasattr(value, "item") else value
    return f"{value:.8g}" if isinstance(value, float) else _text(value)


def _key(parameters):
    """What identifies a run in a file: the text of its parameters."""
    return tuple((name, _text(value)) for name, value in sorted(parameters.items()))


def _parameter_names(runs):
    if not runs:
        raise ValueError("there are no runs to do")
    names = list(runs[0])
    for r in runs:
        if set(r) != set(names):
            raise ValueError(f"runs differ in their parameters: {sorted(names)} and {sorted(r)}")
        for name, value in r.items():
            if not (value is None or isinstance(value, str | int | float | bool) or hasattr(value, "item")):
                raise ValueError(f"parameter {name} must be a number, string, boolean or None, got {value!r}")
    keys = [_key(r) for r in runs]
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"a run is there twice: {dict(twice)}")
    return names


class ResultsFile:
    """The CSV behind `run`. Every change is made under the lock; a cut line or run is set aside, never lost."""

    def __init__(self, path, parameters):
        self.path, self.parameters = Path(path), list(parameters)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{self.path}.lock")
        self._claims = {}
        with self._lock:
            self._set_cut_rows_aside()
            header = self._header()
        known = header[: header.index("row")] if "row" in header else header
        if header and set(known) != set(self.parameters):
            raise ValueError(
                f"{self.path} holds runs with parameters {', '.join(known)}; got {', '.join(self.parameters)}"
            )

    def _header(self):
        with open(self.path, newline="") if self.path.exists() else io.StringIO() as file:
            return next(csv.reader(file), [])

    def _rows(self):
        with open(self.path, newline="") if self.path.exists() else io.StringIO() as file:
            return list(csv.DictReader(file))

    def _row_key(self, row):
        return tuple((name, row[name]) for name in sorted(self.parameters))

    def _done(self):
        """Keys of the runs whose rows are all there, each with its rows in order."""
        done = {}
        for row in self._rows():
            done.setdefault(self._row_key(row), {})[row["row"]] = row
        return {key: list(rows.values()) for key, rows in done.items() if _is_whole(rows)}

    def missing(self, runs):
        """Those of `runs` that are not done."""
        with self._lock:
            done = self._done()
        return [r for r in runs if _key(r) not in done]

    def frame(self, runs):
        """The rows of `runs`, in their order. → DataFrame"""
        with self._lock:
            done = self._done()
        with io.StringIO() as text:
            writer = csv.DictWriter(text, self._header())
            writer.writeheader()
            writer.writerows(row for r in runs for row in done[_key(r)])
            text.seek(0)
            return pd.read_csv(text)

    def claim(self, runs):
        """Yield those of `runs` that no other process has done or is doing, each claimed until `release`."""
        for r in runs:
            claim = self._claim_lock(r)
            try:
                claim.acquire(blocking=False)
            except Timeout:
                continue
            self._claims[_key(r)] = claim
            if self.missing([r]):
                yield r
            else:
                self.release(r)

    def _claim_lock(self, parameters):
        name = hashlib.sha256(repr(_key(parameters)).encode()).hexdigest()[:16]
        folder = self.path.with_name(f"{self.path.name}.claims")
        folder.mkdir(exist_ok=True)
        return FileLock(folder / name, thread_local=False)

    def release(self, parameters):
        """Give a claimed run back, done or not."""
        claim = self._claims.pop(_key(parameters))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(claim.lock_file)
        claim.release()

    def close(self):
        """Remove the folder of claims, unless other processes hold some."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path.with_name(f"{self.path.name}.claims"))

    def append(self, parameters, rows):
        """Save the rows (cells, as `_cells` gives them) of one finished run, unless another process did."""
        with self._lock:
            if _key(parameters) in self._done():
                return
            header = self._header()
            columns = _columns(header, rows, self.parameters)
            if columns != header:
                self._rewrite(self._rows(), columns)
            self._write(rows, columns)

    def _write(self, rows, columns):
        text = io.StringIO()
        csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
        with open(self.path, "a", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self, rows, columns):
        fresh = self.path.with_name(f".{self.path.name}.new")
        with open(fresh, "w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)

    def _set_cut_rows_aside(self):
        """Move a half-written last line, and the rows of a half-written run, to a file beside, and say so."""
        if not self.path.exists():
            return
        text = self.path.read_bytes()
        whole, cut = text[: text.rfind(b"\n") + 1], text[text.rfind(b"\n") + 1 :]
        if cut:
            self._set_aside(cut.decode(errors="replace") + "\n", "a line cut in the middle")
            fresh = self.path.with_name(f".{self.path.name}.new")
            fresh.write_bytes(whole)
            os.replace(fresh, self.path)
        rows, header = self._rows(), self._header()
        if not header or any(name not in header for name in (*self.parameters, "row")):
            return
        done = self._done()
        partial = [row for row in rows if self._row_key(row) not in done]
        if partial:
            self._set_aside("".join(f"{','.join(row.values())}\n" for row in partial), "a run without all its rows")
            self._rewrite([row for row in rows if self._row_key(row) in done], header)

    def _set_aside(self, text, what):
        beside = self.path.with_name(f"{self.path.name}.cut")
        with open(beside, "a") as file:
            file.write(text)
        warnings.warn(
            f"{self.path} held {what}; it is kept in {beside.name}, and that run will be done again", stacklevel=4
        )


def _is_whole(rows):
    """rows: {"1/3": …}: are all there?"""
    total = next(iter(rows)).partition("/")[2]
    return total.isdigit() and set(rows) == {f"{i}/{total}" for i in range(1, int(total) + 1)}


def _columns(header, rows, parameters):
    """Columns of the file: what it has, then what is new, provenance last."""
    found = [*header, *parameters, "row", *itertools.chain.from_iterable(rows)]
    return [*dict.fromkeys(name for name in found if name not in PROVENANCE), *PROVENANCE]
