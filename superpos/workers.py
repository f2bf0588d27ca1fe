"""Who does the runs of a sweep: this process, processes of this machine, or the workers of a Dask cluster. Futures either way.

Processes are Pebble's: one that dies or takes too long ends the run that it does, and no other. They are kept for the next sweep,
and end within seconds of the process that started them, however that ends.
"""

import atexit
import contextlib
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

from joblib import cpu_count

from superpos.provenance import revision, versions
from superpos.settings import whole_number

__all__ = ["Workers", "code", "local", "on_cluster", "reason_of", "workers"]

IDLE = 300.0  # seconds after which processes without work end
WATCHED = 1.0  # seconds between looks of a worker for the process that started it
JOINED = 60  # seconds that a cluster is waited for until it has a worker


@dataclass(frozen=True)
class Workers:
    """`submit` a function and its argument to get a future; `width()` is how many are worth having under way at once."""

    submit: Callable[[Callable[..., Any], Any], Future]
    width: Callable[[], int]


@contextlib.contextmanager
def workers(n_jobs: int | None, cluster: str | None, limit: float | None) -> Iterator[Workers]:
    """Those of a cluster where its address is given; this process for one job without a limit; else n processes.

    Raises ValueError for fewer jobs than one, and for a limit on a cluster, whose workers nobody here can end; and
    ConnectionError where the scheduler cannot be reached, has no worker, or whose workers have another superpos or torch.
    """
    if cluster is not None:
        if limit is not None:
            raise ValueError(f"a time limit is for processes of this machine, got {limit} s with the cluster {cluster}")
        with on_cluster(cluster) as found:
            yield found
        return
    n_jobs = cpu_count() if n_jobs is None else n_jobs
    whole_number("n_jobs", n_jobs, 1)
    if n_jobs == 1 and limit is None:
        yield Workers(_here, lambda: 1)
    else:
        with local(n_jobs, limit) as found:
            yield found


def _here(function: Callable[..., Any], one: Any) -> Future:
    """Done at once, in this process."""
    future: Future = Future()
    future.set_result(function(one))
    return future


class _Kept:
    """The pool of the last sweep, until the next takes it or it has been idle for IDLE seconds."""

    def __init__(self) -> None:
        self.pool, self.of, self.timer, self.lock = None, None, threading.Timer(0, self.end), threading.Lock()

    def take(self, of: tuple) -> Any:
        """The pool, where it is whole and was made for the same number of jobs and the same path of modules. Else None."""
        self.timer.cancel()
        with self.lock:
            (pool, self.pool), was = (self.pool, None), self.of
        if pool is not None and (was != of or not pool.active):
            _end(pool)
            return None
        return pool

    def give(self, pool: Any, of: tuple) -> None:
        """Keep a pool in place of the one that is kept."""
        self.end()
        with self.lock:
            self.pool, self.of = pool, of
        self.timer = threading.Timer(IDLE, self.end)
        self.timer.daemon = True
        self.timer.start()

    def end(self) -> None:
        """End the processes that are kept."""
        self.timer.cancel()
        with self.lock:
            pool, self.pool = self.pool, None
        if pool is not None:
            _end(pool)


def _end(pool: Any) -> None:
    pool.stop()
    pool.join()


_KEPT = _Kept()
atexit.register(_KEPT.end)


@contextlib.contextmanager
def local(n_jobs: int, limit: float | None) -> Iterator[Workers]:
    """n processes of this machine, each ended and replaced where a run takes more than `limit` seconds.

    They are those of the last sweep where that had as many, and so have the modules that it imported, as they were then.
    """
    import cloudpickle
    from pebble import ProcessPool

    of = (n_jobs, tuple(sys.path), os.getcwd())
    spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = _KEPT.take(of) or ProcessPool(n_jobs, initializer=_end_with, initargs=(os.getpid(),), context=spawn)

    def submit(function: Callable[..., Any], one: Any) -> Future:
        return pool.schedule(_unpacked, args=[cloudpickle.dumps((function, one))], timeout=limit)

    try:
        yield Workers(submit, lambda: n_jobs)
    finally:
        _KEPT.give(pool, of)


def _unpacked(packed: bytes) -> Any:
    import cloudpickle

    function, one = cloudpickle.loads(packed)
    return function(one)


def _end_with(parent: int) -> None:
    """Have this process end soon after its parent, also while it does a run."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCHED)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[Workers]:
    """The workers of a Dask cluster by its scheduler's address; who join later are used too."""
    from distributed import Client
    from distributed.comm import CommClosedError

    try:
        client = Client(address, timeout=JOINED, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(f"no scheduler answers at {address} ({error}); start one with: dask scheduler") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=JOINED)
        except TimeoutError as error:
            raise ConnectionError(
                f"the scheduler at {address} has no worker; start one with: dask worker {address}"
            ) from error
        _check_versions(client)
        _warn_of_threads(client, address)
        executor = client.get_executor(pure=False)
        try:
            yield Workers(executor.submit, lambda: max(1, 2 * sum(client.nthreads().values())))
        except (CancelledError, CommClosedError) as error:
            raise ConnectionError(f"the scheduler at {address} was lost; what was finished is kept") from error
        finally:
            executor.shutdown(wait=False)


def code() -> str:
    """What code this process has."""
    return f"{versions()}, code {revision()}"


def _check_versions(client: Any) -> None:
    """ConnectionError where a worker has not the code of this process, so that rows would be of several."""
    try:
        found = client.run(code)
    except Exception as error:  # whatever keeps a worker from saying what it has
        raise ConnectionError(
            f"a worker could not say which superpos it has: {type(error).__name__}: {error}"
        ) from error
    for worker, theirs in found.items():
        if theirs != code():
            raise ConnectionError(f"worker {worker} has {theirs}, this process {code()}: rows would not be of one code")


def _warn_of_threads(client: Any, address: str) -> None:
    threads = max(client.nthreads().values())
    if threads > 1:
        warnings.warn(
            f"workers at {address} have up to {threads} threads each, and do one run at a time; "
            "dask worker --nthreads 1 --nworkers -1 starts one for each core",
            stacklevel=5,
        )


def reason_of(error: BaseException, limit: float | None) -> str:
    """Why a worker did not bring a run to its end, in a sentence. Of a scheduler that was lost the error itself is raised."""
    from pebble import ProcessExpired

    if isinstance(error, ProcessExpired):
        status = error.exitcode
        how = f"by signal {-status}" if status < 0 else f"with exit status {status}"
        return f"its process was ended {how}" + (", as the system does where memory is short" if status == -9 else "")
    if isinstance(error, TimeoutError) and limit is not None:
        return f"it took longer than the limit of {limit:g} s"
    if isinstance(error, CancelledError):
        raise error
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
