"""Readers of F on the frozen worlds: `make counting ARGS="--reader module:function"`.

A reader is a function of activations (rows, neurons), a float32 tensor, that gives F; or (F, low, high); or None to refuse.
It is run on the worlds that no choice was made on and on rows without features, and stands in the table beside those whose
rows are committed.
"""

from benchmarks.material import Watch, threads
from superpos import PROTOCOL, measure_rows, sweep
from superpos.findings.trust import analysis, runs
from superpos.worlds import World

SIZES = {"full": 8, "small": 1}  # worlds of each kind
ROWS = {"full": 8_000, "small": 500}


def cost(*, n_neurons, n_features, n_rows=10_000, n_threads=2, short=1.0):
    """Seconds of the count and of the one SAE of PROTOCOL, which was the default, on the same rows, and their ratio."""
    x = World(n_features=n_features, n_neurons=n_neurons, seed=900).rows(n_rows)
    few = {"steps": max(1, round(PROTOCOL.steps * short))}
    with threads(n_threads):
        measure_rows(x[:500], sae=PROTOCOL.but(steps=20))
        with Watch() as former:
            measure_rows(x, sae=PROTOCOL.but(**few))
        with Watch() as counted:
            measure_rows(x, sae=runs.counting.COUNTING.but(steps=max(1, round(runs.counting.COUNTING.steps * short))))
    return {"former_wall": former.wall, "count_wall": counted.wall, "ratio": counted.wall / former.wall}


def add_arguments(parser):
    parser.add_argument("--cost", action="store_true", help="what a count costs beside one SAE, and nothing else")
    parser.add_argument("--reader", default="", help=f"module:function, or one of: {', '.join(runs.READERS)}")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--out", default="", help="a results file to fill, which resumes; nothing: not kept")


def compete(options):
    """Run the reader, if one was named, and print its scores beside the committed ones; or what a count costs."""
    if options.cost:
        short = 1.0 if options.size == "full" else 0.01
        grid = [{"n_neurons": N, "n_features": 2 * N, "short": short} for N in (16, 64, 128)]
        print(
            sweep.run(cost, grid, options.out or None, n_jobs=1, threads=2)[
                ["n_neurons", "former_wall", "count_wall", "ratio"]
            ]
        )
        return
    tables = {"committed rows, full size": analysis.answers(sweep.Rows("book/results"))}
    if options.reader:
        runs.reader(options.reader)  # a name that is none is told before anything runs
        length = 1.0 if options.size == "full" else 0.01
        asked = runs.frozen([options.reader], SIZES[options.size], n_rows=ROWS[options.size], length=length)
        words = f"{options.reader}, {options.size} size"
        tables = {words: sweep.run(runs.score_run, asked, options.out or None)} | tables
    for words, table in tables.items():
        print(f"\n{words}")
        print(analysis.scores(table).round(3).to_string())
