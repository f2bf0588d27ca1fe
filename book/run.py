"""Run chapters: all at quick scale in place, one with parameters, one at full scale.

    python -m book.run book
    python -m book.run all
    python -m book.run chapter 02_toy_models -p n_models 20
    python -m book.run full 02_toy_models
    python -m book.run pair
    python -m book.run verdicts
    python -m book.run intervals
    python -m book.run minutes

A chapter is executed in a scratch copy and moved into place only when it succeeded, so that a failed run never
spoils a good one. What says the same as before is left as it was (`book.drift`). Chapters do not need each other, so there
are as many at a time as there are cores, each on one.
"""

import argparse
import ast
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import papermill
import yaml
from joblib import cpu_count
from jupytext.compare import compare_notebooks
from nbclient import NotebookClient
from papermill.inspection import inspect_notebook

from benchmarks import analysis as benchmarks
from book import drift
from superpos import answers, claims, findings, intervals
from superpos.findings import statements
from superpos.findings.trust import analysis
from superpos.sweep import Rows

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "book" / "results"
BUILD = ROOT / "_build"
SECONDS = BUILD / "seconds.json"  # what each chapter took last time: the longest is begun first
MINUTES = ROOT / "book" / "minutes.csv"
UNDER_WAY = {}  # the event loop of each chapter that is being executed: its task
ONE_CORE = {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}


def chapter_names():
    """Names of all chapters, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))


def source(name):
    """The .py of a chapter. SystemExit that lists the chapters if there is none of that name."""
    path = NOTEBOOKS / f"{Path(name).stem}.py"
    if not name or not path.exists():
        sys.exit(f"no chapter {name!r}; NAME is one of {', '.join(chapter_names())}")
    return path


def pair(path):
    """The notebook of a percent file, with the outputs that its .ipynb holds for unchanged cells."""
    notebook = jupytext.read(path)
    old_path = path.with_suffix(".ipynb")
    if old_path.exists():
        notebook = jupytext.combine.combine_inputs_with_outputs(notebook, nbformat.read(old_path, 4), fmt="py:percent")
    return _clean(notebook)


def _clean(notebook):
    """Cell ids by position and only the metadata we mean, so that a re-run changes no byte."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in ("tags", "mystnb") and value}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def in_step(path):
    """True if the .py and the .ipynb of a pair hold the same cells."""
    try:
        compare_notebooks(nbformat.read(path.with_suffix(".ipynb"), 4), jupytext.read(path), fmt="py:percent")
    except (FileNotFoundError, jupytext.compare.NotebookDifference):
        return False
    return True


def execute(path, **environment):
    """Execute a chapter with the parameters it stores, and save its notebook if it succeeded and says anything new.

    environment: variables to set for it. Raises nbclient's CellExecutionError, with the cell, if a cell failed.
    """
    notebook, target = _clean(jupytext.read(path)), path.with_suffix(".ipynb")
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": NOTEBOOKS}},
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors; sockets on this machine need no warning
    )
    # in an event loop of its own, closed at the end: execute() would leave one open in each thread
    asyncio.run(_executed(client, {**os.environ, **environment}))
    notebook = _clean(notebook)
    if target.exists():
        drift.merge(notebook, nbformat.read(target, 4))
    _write(notebook, target)


async def _executed(client, environment):
    loop = asyncio.get_running_loop()
    UNDER_WAY[loop] = asyncio.current_task()
    try:
        await client.async_execute(env=environment)
    finally:
        del UNDER_WAY[loop]


def _write(notebook, path):
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        nbformat.write(notebook, file)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def execute_all(names, at_a_time):
    """Execute chapters, so many at a time, and say how each went. → {name: error} of those that failed"""
    known = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
    names, start, took, failed = sorted(names, key=lambda name: -known.get(name, 0)), time.perf_counter(), {}, {}
    with ThreadPoolExecutor(at_a_time) as pool:
        under_way = {pool.submit(_timed, name, **(ONE_CORE if at_a_time > 1 else {})): name for name in names}
        try:
            for done in as_completed(under_way):
                name, error = under_way[done], done.exception()
                if error:
                    failed[name] = error
                else:
                    took[name] = done.result()
                words = f"failed\n{error}" if error else f"executed in {took[name]:.0f} s"
                print(f"[{len(took) + len(failed)}/{len(names)}] {name}: {words}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # those that have not begun do not begin
            for loop, task in list(UNDER_WAY.items()):  # those under way end now, and their kernels with them
                loop.call_soon_threadsafe(task.cancel)
            raise
    BUILD.mkdir(exist_ok=True)
    SECONDS.write_text(json.dumps({**known, **took}, indent=1))
    print(f"{len(took)} of {len(names)} chapters executed in {time.perf_counter() - start:.0f} s", flush=True)
    return failed


def _timed(name, **environment):
    start = time.perf_counter()
    execute(source(name), **environment)
    return time.perf_counter() - start


def run_all(_):
    """Every chapter at quick scale, in place."""
    if failed := execute_all(chapter_names(), cpu_count()):
        sys.exit(f"failed: {', '.join(sorted(failed))}")


def run_book(_):
    """Every chapter at quick scale, then the site of all that can be published, whichever failed."""
    from book import site

    failed = execute_all(chapter_names(), cpu_count())
    left_out = site.build(partial=bool(failed))
    if failed or left_out:
        words = f"; not in the site: {', '.join(left_out)}" if left_out else ""
        sys.exit(f"failed: {', '.join(sorted(failed))}{words}")


KINDS = {  # what a chapter says of a parameter: what it may be, and how that is written
    "int": (int, "a whole number, as 3"), "float": ((int, float), "a number, as 0.5"), "bool": (bool, "true or false"),
    "str": (str, "a text"), "list": (list, "a list, as '[1, 2]'"), "dict": (dict, "a mapping, as '{name: value}'"),
}  # fmt: skip


def check_parameters(notebook, parameters):
    """SystemExit, before anything runs, for a parameter that the chapter does not have and for a value of another kind than its
    own, or, in a list, than those that stand there (papermill itself only logs the first)."""
    known = inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in known:
            listing = "\n".join(f"  {n} = {p['default']}   {p['help']}" for n, p in known.items())
            sys.exit(f"unknown parameter {name!r}; {notebook.stem} has\n{listing}")
        kind = known[name]["inferred_type_name"]
        own, words = KINDS.get(kind, (object, ""))
        if not isinstance(value, own) or (isinstance(value, bool) and kind in ("int", "float")):
            sys.exit(f"parameter {name!r} of {notebook.stem} must be {words}, got {value!r}")
        stored = ast.literal_eval(known[name]["default"]) if kind == "list" else []
        numbers = bool(stored) and all(isinstance(one, int | float) for one in stored)
        if numbers and not all(isinstance(one, int | float) for one in value):
            sys.exit(f"parameter {name!r} of {notebook.stem} must be a list of numbers, as {stored}, got {value!r}")


def _papermill(name, parameters, out):
    path = source(name)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / f"{path.stem}.ipynb"
        nbformat.write(_clean(jupytext.read(path)), start)
        check_parameters(start, parameters)
        done = Path(folder) / "done.ipynb"
        papermill.execute_notebook(
            start, done, parameters=parameters, kernel_name="python3", cwd=NOTEBOOKS, log_output=False
        )
        _write(nbformat.read(done, 4), out / f"{path.stem}.ipynb")
    print(f"written: {os.path.relpath(out / path.stem)}.ipynb")


def run_chapter(options):
    """One chapter with parameters, to _build/chapters."""
    _papermill(options.name, _parsed(options.p), BUILD / "chapters")


def run_full(options):
    """One chapter with the parameters of notebooks/full, to _build/full; its rows go to book/results, then all verdicts."""
    path = NOTEBOOKS / "full" / f"{source(options.name).stem}.yaml"
    if not path.exists():
        sys.exit(f"{options.name} has no full scale: {os.path.relpath(path)} is missing")
    _papermill(options.name, {**yaml.safe_load(path.read_text()), **_parsed(options.p)}, BUILD / "full")
    run_verdicts(options)


def answers_of(rows):
    """What every chapter comes to on some rows, a row a chapter."""
    made = [*findings.every_answer(rows), *(make(rows) for make in (statements.answer, benchmarks.answer))]
    quick = pd.read_csv(MINUTES).set_index("chapter").minutes.to_dict()
    table = pd.read_csv(RESULTS / "statements.csv", keep_default_na=False)
    return answers.table(sorted(made, key=lambda one: one.chapter), table, rows, quick)


def run_verdicts(_):
    """Compute all claims from the committed rows, and the statements by readings, and write them to book/results."""
    rows = Rows(RESULTS)
    found = findings.every_claim(rows)
    claims.write(found, RESULTS / "verdicts.csv")
    print(f"written: {len(found)} claims to {os.path.relpath(RESULTS / 'verdicts.csv')}")
    statements.write(statements.cells(rows, found), RESULTS)
    print(f"written: statements to {os.path.relpath(RESULTS / 'statements.csv')} and statements.txt")
    told = answers_of(rows)
    told.to_csv(RESULTS / "answers.csv", index=False, lineterminator="\n", float_format="%.3f")
    print(f"written: {len(told)} answers to {os.path.relpath(RESULTS / 'answers.csv')}")


def run_minutes(_):
    """Write what each chapter took when it was last executed to book/minutes.csv, which the boxes of the chapters read."""
    took = json.loads(SECONDS.read_text())
    lines = [f"{name},{math.ceil(took[name] / 60)}" for name in chapter_names() if name in took]
    MINUTES.write_text("\n".join(["chapter,minutes", *lines, ""]))
    print(f"written: {len(lines)} chapters to {os.path.relpath(MINUTES)}")


def run_intervals(_):
    """Compute the calibration errors of the count from the committed rows, and write superpos/intervals.csv."""
    n = analysis.write_intervals(Rows(RESULTS))
    print(f"written: {n} calibration errors to {os.path.relpath(intervals.ERRORS)}")


def _parsed(pairs):
    """{"n": "3"} → {"n": 3}: values are YAML."""
    return {name: yaml.safe_load(value.strip()) for name, value in pairs}


def run_pair(_):
    """Bring every .ipynb in step with its .py; a changed cell loses its output until it is executed."""
    for name in chapter_names():
        path = source(name)
        if not in_step(path):
            _write(pair(path), path.with_suffix(".ipynb"))
            print(f"{name}: notebook brought in step")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m book.run")
    commands = parser.add_subparsers(required=True)
    named = {
        "book": run_book,
        "all": run_all,
        "pair": run_pair,
        "chapter": run_chapter,
        "full": run_full,
        "verdicts": run_verdicts,
        "intervals": run_intervals,
        "minutes": run_minutes,
    }
    for command, function in named.items():
        sub = commands.add_parser(command, help=function.__doc__)
        sub.set_defaults(function=function)
        if command in ("chapter", "full"):
            sub.add_argument("name")
            sub.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = list(sys.argv[1:] if arguments is None else arguments)
    for i in range(2, len(given)):  # a value may begin with a minus, which argparse would take for an option
        if given[i - 2] == "-p" and given[i].startswith("-"):
            given[i] = f" {given[i]}"
    options = parser.parse_args(given)
    options.function(options)


if __name__ == "__main__":
    main()
