"""How many runs an hour a sweep does against its workers, and where its store becomes the limit."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from superpos import results, store, sweep

FULL = {
    "n_workers": [1, 2, 4],
    "kind": ["processes", "cluster"],
    "busy_seconds": [0.5],
    "n_runs": 40,
    "seed": [1, 2, 3],
}
SMALL = {"n_workers": [1, 2], "kind": ["processes"], "busy_seconds": [0.01], "n_runs": 4, "seed": [1]}
HELD = {"full": [100, 10_000, 100_000], "small": [100]}  # runs that the files hold already
TIMED = 200  # runs saved to time it


def busy(k, busy_seconds):
    """A run that keeps one core busy for so many seconds of its processor."""
    start, x = time.process_time(), torch.ones(64, 64)
    while time.process_time() - start < busy_seconds:
        x = (x @ x).clamp(0, 1)
    return {"value": float(x.mean())}


@contextlib.contextmanager
def cluster(n_workers):
    """A scheduler and n workers of one thread, started as from the shell. → its address"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    parts = [["dask_scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]]
    parts += [["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]] * n_workers
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *words],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        for name, *words in parts
    ]
    try:
        from distributed import Client

        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=60)
        yield address
    finally:
        for process in started:
            process.kill()
            process.wait()


def throughput(n_workers, kind, busy_seconds, n_runs, seed):
    """A sweep of runs that last some processor seconds: its wall seconds, once its workers are there."""
    warm, grid = (
        sweep.expand(k=range(first, first + n), busy_seconds=s)
        for first, n, s in ((-9, n_workers, 0.0), (0, n_runs, busy_seconds))
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster(n_workers) if kind == "cluster" else contextlib.nullcontext() as address,
    ):
        asked = {"cluster": address} if address else {"n_jobs": n_workers}
        sweep.run(busy, warm, Path(folder) / "warm.csv", **asked)
        start = time.perf_counter()
        sweep.run(busy, grid, Path(folder) / "rows.csv", **asked)
        wall = time.perf_counter() - start
    return {"wall": wall, "runs_per_hour": 3600 * n_runs / wall, "cores": os.cpu_count()}


def saving(n_held):
    """Milliseconds to claim and to save a run in a store beside a file of n runs, and seconds to export them all."""
    made = {
        "square": "1.0",
        "revision": "0" * 10,
        "versions": "superpos 0, torch 2",
        "device": "cpu",
        "seconds": "1",
        "finished": "now",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        rows = {(str(k),): [{"k": str(k), "row": "1/1", **made}] for k in range(n_held)}
        results.write(path, ["k", "row", *made], rows, ["k"])
        held = store.Store(path, ["k"])
        start = time.perf_counter()
        for k in range(n_held, n_held + TIMED):
            held.claim((str(k),))
            held.save((str(k),), [{"k": str(k), "row": "1/1", **made}])
        saved = time.perf_counter()
        held.close()
        exported = time.perf_counter()
    return {"save_ms": 1000 * (saved - start) / TIMED, "export_seconds": exported - saved}


def sweeps_of(options):
    """Runs an hour against workers, and what saving one costs; print both."""
    size = {"full": FULL, "small": SMALL}[options.size]
    tables = []
    for function, runs in ((throughput, sweep.expand(**size)), (saving, sweep.expand(n_held=HELD[options.size]))):
        path = Path(options.out) / f"sweep_{function.__name__}.csv" if options.out else None
        tables.append(sweep.run(function, runs, path, n_jobs=1))
        print(tables[-1].drop(columns=["row", "revision", "versions", "device", "finished"]).to_string(), flush=True)
    return pd.concat(tables)
