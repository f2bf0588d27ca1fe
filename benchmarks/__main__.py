"""Ours beside the peers, in one run, and what a measurement costs.

python -m benchmarks compare --peer CHECKOUT            # prints ratios; --out FILE keeps the rows, and resumes
python -m benchmarks compare --size small               # seconds, no checkout needed: what CI runs
python -m benchmarks costs --out book/results/costs.csv
python -m benchmarks counting --reader module:function  # a reader of F on worlds with a known answer
python -m benchmarks sweeps --out book/results          # runs an hour against workers, and the store's share
python -m benchmarks language                           # encoders of 32,768 codes, and the path for Pythia-70M, offline
"""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

from benchmarks import costs, counting, language, peers, sweeps, tasks
from superpos import sweep
from superpos.provenance import PROVENANCE

FIT_SETS = ["mlp", "cnn", "planted", "mlp fashion", "cnn fashion", "cnn conv1", "cnn fc1"]
SEEDS = [31, 32, 33]


def full_grid():
    """task: its runs, at full size. Tasks whose peer is missing are left out by `compare`, which says so."""
    fits = sweep.expand(set=FIT_SETS, peer="paper", seed=SEEDS)
    fits += sweep.expand(set="mlp", peer="plain", seed=SEEDS)
    fits += sweep.expand(set=["mlp fashion", "cnn fashion"], peer=["sae_lens", "dictionary_learning"], seed=SEEDS)
    return {
        "fit": fits,
        "whole": sweep.expand(reading=["published_fast", "protocol"], seed=SEEDS),
        "pgd_epoch": sweep.expand(architecture=["mlp", "cnn"], products=["float32", "bfloat16"]),
        "extract": [
            {"architecture": "mlp", "n": 10_000},
            {"architecture": "cnn", "n": 10_000},
            {"architecture": "resnet18", "n": 1_000},
        ],
        "way": sweep.expand(
            set=["mlp", "cnn"], seed=SEEDS, axes=["neurons", "mean"], lr=[1e-3, 5e-3], decay=[0.0, 0.3]
        ),
        "toys": [{"n_models": 100, "n_peer": 5}],
    }


def small_grid():
    """The same code in seconds, against the peers that are here."""
    grid = {"fit": sweep.expand(set="digits", peer=["plain", "paper"], seed=31, n=1_000, epochs=60)}
    grid["toys"] = [{"n_models": 4, "n_peer": 2, "toy_steps": 50, "n": 500}]
    return grid


def possible(task, run):
    """True if the peer of a run can run here."""
    peer = run.get("peer", "plain" if task in ("toys", "way") else "paper")
    return peers.available(peer)


def compare(options):
    """Run the comparison, one run after another in this process, and print it."""
    grid = {"full": full_grid, "small": small_grid}[options.size]()
    tables = {}
    for task, runs in grid.items():
        if options.only and task not in options.only:
            continue
        here = [run for run in runs if possible(task, run)]
        if len(here) < len(runs):
            missing = sorted({run.get("peer", "paper") for run in runs if not possible(task, run)})
            print(f"{task}: skipped {len(runs) - len(here)} runs, without {', '.join(missing)}", flush=True)
        if here:
            path = Path(options.out) / f"speed_{task}.csv" if options.out else None
            tables[task] = sweep.run(getattr(tasks, task), here, path, n_jobs=1)
            _print(task, tables[task])
    return tables


def _print(task, table):
    keys = [
        name for name in ("set", "peer", "architecture", "axes", "lr", "decay", "products", "reading") if name in table
    ]
    shown = [
        name
        for name in table
        if name.endswith(("_ratio", "_cpu", "_wall")) or name in ("loss", "reached", "difference")
    ]
    with pd.option_context("display.width", 200, "display.max_columns", 30, "display.precision", 3):
        print(f"\n{task}: means over {len(table)} runs")
        print(
            table.groupby(keys, sort=False)[shown].mean() if keys else table[shown].mean().to_frame("mean").T,
            flush=True,
        )


def costs_of(options):
    """Run the grid of costs and print it."""
    runs = {"full": costs.GRID, "small": costs.SMALL}[options.size]
    path = Path(options.out) / "costs.csv" if options.out else None
    table = sweep.run(costs.cost, runs, path, n_jobs=1, threads=2)
    print(
        table[
            ["n_rows", "n_neurons", "n_codes", "n_fits", "products", "threads", "step_seconds", "memory_mib", "gflops"]
        ]
    )
    return table


def language_of(options):
    """Rate of the encoders, and the whole path for a model of Pythia-70M's shape; print both."""
    kinds = sweep.expand(kind=["relu", "topk"], products=["float32", "bfloat16"])
    read = sweep.expand(
        dictionaries=["marks", "eleuther"], n_texts=200, context=128, products="bfloat16", size="pythia"
    )
    if options.size == "small":
        kinds = [run | {"n_codes": 1_024, "n_neurons": 64, "n": 600} for run in kinds]
        read = [run | {"n_texts": 5, "context": 32, "size": "small"} for run in read]
    tables = []
    for function, runs in ((language.encode, kinds), (language.path, read)):
        path = Path(options.out) / f"language_{function.__name__}.csv" if options.out else None
        tables.append(sweep.run(function, runs, path, n_jobs=1))
        print(tables[-1][[name for name in tables[-1] if name not in ("row", *PROVENANCE)]].to_string(), flush=True)
    return tables


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (
        ("compare", compare),
        ("costs", costs_of),
        ("sweeps", sweeps.sweeps_of),
        ("language", language_of),
    ):
        sub = commands.add_parser(name, help=function.__doc__)
        sub.set_defaults(function=function)
        sub.add_argument("--size", choices=("small", "full"), default="full")
        sub.add_argument("--out", help="folder for the rows (default: nothing is kept)")
        if name == "compare":
            sub.add_argument("--peer", help="a checkout of the paper's public code")
            sub.add_argument("--only", nargs="+", choices=list(full_grid()), help="some tasks only")
    entrants = commands.add_parser("counting", help=counting.compete.__doc__)
    entrants.set_defaults(function=counting.compete)
    counting.add_arguments(entrants)
    options = parser.parse_args(arguments)
    if getattr(options, "peer", None):
        os.environ["SUPERPOS_PEER"] = str(Path(options.peer).resolve())
        try:
            peers.paper_module("sae")
        except FileNotFoundError as error:
            sys.exit(str(error))
    return options.function(options)


if __name__ == "__main__":
    main()
