"""What a fit costs against rows, neurons, codes and number of fits: one function for `superpos.sweep`, and its grid."""

import multiprocessing
import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks import material
from superpos import PROTOCOL, descent, sae, sweep
from superpos.findings.planted.task import planted

__all__ = ["GRID", "SMALL", "cost"]

ONE = {"n_rows": 10_000, "n_neurons": 128, "expansion": 4, "n_fits": 1, "products": "float32", "threads": 1}
AXES = {
    "n_rows": [2_000, 10_000, 50_000, 250_000, 1_000_000],
    "n_neurons": [16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
    "expansion": [1, 2, 4, 8, 16, 32, 64],
    "n_fits": [1, 4, 16, 64],
    "threads": [1, 2],
}


def _around(axes, ones):
    """Every axis varied alone, around each starting point. → list of different dicts"""
    runs = [one | {name: value} for one in ones for name, values in axes.items() for value in values]
    return list({tuple(run.items()): run for run in runs}.values())


GRID = _around(AXES, [ONE]) + sweep.expand(**(ONE | {"n_neurons": AXES["n_neurons"][2:], "products": "bfloat16"}))
SMALL = _around({"n_neurons": [8, 16], "n_fits": [1, 3]}, [ONE | {"n_rows": 500}])


def cost(**run):
    """Seconds a step and peak memory of a fit under PROTOCOL to n rows of N neurons, in a fresh process. → row

    Seconds are processor seconds on one thread, wall seconds on several; memory is what the process holds at most
    beyond what it held before the activations were made, without mapped files (NaN where /proc is missing).
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_cost, **run).result()


def _cost(*, n_rows, n_neurons, expansion, n_fits, products, threads):
    settings = PROTOCOL.but(expansion=float(expansion), products=products, decay=0.0)
    wide = n_neurons * n_neurons * expansion * n_fits
    descent.SILENT = 10**9  # no code leaves: the time is that of the whole dictionary
    descent.ROUND = 10  # two fits that differ by whole rounds give the time of a step: rounds as short as may be
    per_round = settings.but(steps=1).rounds_for(n_rows)[1]
    steps = per_round + int(min(3_000, max(10, 2e8 / wide)))
    with material.threads(threads):
        sae.fit(planted(512, 8, 8, 4, 10**9), settings.but(steps=1))
        with _Peak() as peak:
            x = torch.cat([planted(min(n_rows, 10_000), n_neurons, n_neurons, 4, 10**9)] * -(-n_rows // 10_000))[
                :n_rows
            ]
            start, watch = (_timed(x, settings.but(steps=count), n_fits) for count in (1, steps))
        step = (watch - start) / ((settings.but(steps=steps).rounds_for(n_rows)[0] - 1) * per_round)
        sgemm = material.gflops()
    return {
        "n_codes": settings.codes_for(n_neurons),
        "step_seconds": step,
        "start_seconds": max(0.0, start - step * per_round),
        "memory_mib": peak.mib,
        "gflops": 10 * settings.batch_size * wide / step / 1e9,
        "sgemm": sgemm,
    }


def _timed(x, settings, n_fits):
    with material.Watch() as watch:
        sae.fit_stack(x, settings, seeds=range(n_fits))
    return watch.cpu if torch.get_num_threads() == 1 else watch.wall


class _Peak:
    """Most memory held inside `with` beyond what was held before, in MiB."""

    def __enter__(self):
        self.mib, self._before, self._going = float("nan"), _held(), True
        self._most = self._before
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self):
        while self._going:
            self._most = max(self._most, _held())
            time.sleep(0.05)

    def __exit__(self, *_):
        self._going = False
        self._thread.join()
        self.mib = max(self._most, _held()) - self._before


def _held():
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(re.search(r"RssAnon:\s+(\d+)", status.read_text())[1]) / 1024
