"""Readers of F on the frozen worlds: `make counting ARGS="--reader module:function"`.

A reader is a function of activations (rows, neurons), a float32 tensor, that gives F; or (F, low, high); or None to refuse.
It is run on the worlds that no choice was made on and on rows without features, and stands in the table beside those whose
rows are committed.
"""

from superpos import sweep
from superpos.findings.trust import analysis, runs

SIZES = {"full": 8, "small": 1}  # worlds of each kind
ROWS = {"full": 8_000, "small": 500}


def add_arguments(parser):
    parser.add_argument("--reader", default="", help=f"module:function, or one of: {', '.join(runs.READERS)}")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--out", default="", help="a results file to fill, which resumes; nothing: not kept")


def compete(options):
    """Run the reader, if one was named, and print its scores beside the committed ones."""
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
