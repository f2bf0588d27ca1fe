"""Saved run by run, resumed after kill -9, shared by processes, honest about what failed."""

import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
from joblib import Parallel, delayed

from superpos import networks, store, sweep
from superpos.provenance import PROVENANCE
from superpos.settings import Count, Positive, settings


def square(x, name="a"):
    return {"square": x * x, "third": 1 / 3}


def layers(x):
    return [{"layer": f"l{i}", "value": x + i} for i in range(3)]


def fails_at_two(x):
    if x == 2:
        raise ValueError("two is refused")
    return {"y": x}


def forbidden(x, name="a"):
    raise AssertionError(f"run {x} was done before")


def runs(n):
    return sweep.expand(x=range(n), name="a")


def test_expand_gives_all_combinations_in_order():
    assert sweep.expand(a=[1, 2], b="c", d=[True, None]) == [
        {"a": 1, "b": "c", "d": True},
        {"a": 1, "b": "c", "d": None},
        {"a": 2, "b": "c", "d": True},
        {"a": 2, "b": "c", "d": None},
    ]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_rows_carry_parameters_results_and_provenance(tmp_path, n_jobs):
    table = sweep.run(square, runs(4), tmp_path / "deep" / "rows.csv", n_jobs=n_jobs)
    assert table.square.tolist() == [0, 1, 4, 9]
    assert table.third.tolist() == [0.33333333] * 4
    assert set(PROVENANCE) < set(table.columns)
    assert table.versions.str.contains("torch").all()
    pd.testing.assert_frame_equal(sweep.run(forbidden, runs(4), tmp_path / "deep" / "rows.csv"), table)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["rows.csv"]


def test_several_rows_a_run(tmp_path):
    table = sweep.run(layers, sweep.expand(x=[10, 20]), tmp_path / "rows.csv", n_jobs=1)
    assert table.value.tolist() == [10, 11, 12, 20, 21, 22]
    assert table.row.tolist() == ["1/3", "2/3", "3/3"] * 2


def test_a_longer_grid_does_only_what_is_new(tmp_path):
    sweep.run(square, runs(3), tmp_path / "rows.csv", n_jobs=1)
    before = (tmp_path / "rows.csv").read_text()
    table = sweep.run(square, runs(5), tmp_path / "rows.csv", n_jobs=1)
    assert (tmp_path / "rows.csv").read_text().startswith(before)
    assert table.x.tolist() == list(range(5))


def test_without_a_path_nothing_is_left():
    assert sweep.run(square, runs(2), n_jobs=1).square.tolist() == [0, 1]


def test_a_failed_run_is_named_and_the_others_are_saved(tmp_path):
    with pytest.raises(RuntimeError, match=r"1 of 4 runs failed(.|\n)*'x': 2(.|\n)*two is refused"):
        sweep.run(fails_at_two, sweep.expand(x=range(4)), tmp_path / "rows.csv", n_jobs=1)
    assert sorted(sweep.read(tmp_path / "rows.csv").x) == [0, 1, 3]


@pytest.mark.parametrize("cut", [1, 25, 60])
def test_a_file_cut_in_a_line_is_kept_reported_and_completed(tmp_path, cut):
    path = tmp_path / "rows.csv"
    whole = sweep.run(square, runs(5), path, n_jobs=1)
    text = path.read_text()
    path.write_text(text[:-cut])
    with pytest.warns(UserWarning, match="held 1 row of runs that are not all there, kept in rows.csv.cut"):
        again = sweep.run(square, runs(5), path, n_jobs=1)
    assert again.square.tolist() == whole.square.tolist()
    assert (tmp_path / "rows.csv.cut").read_text().strip() in text
    assert path.read_text().startswith(text[: text.rindex("\n", 0, -cut)])


def test_a_run_cut_between_its_rows_is_done_again(tmp_path):
    path = tmp_path / "rows.csv"
    sweep.run(layers, sweep.expand(x=[10, 20]), path, n_jobs=1)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.warns(UserWarning, match=r"held \d rows? of runs that are not all there"):
        table = sweep.run(layers, sweep.expand(x=[10, 20]), path, n_jobs=1)
    assert table.value.tolist() == [10, 11, 12, 20, 21, 22]
    assert len(sweep.read(path)) == 6


def test_a_new_result_column_joins_the_file(tmp_path):
    sweep.run(square, sweep.expand(x=[1]), tmp_path / "rows.csv", n_jobs=1)
    table = sweep.run(layers, sweep.expand(x=[2]), tmp_path / "rows.csv", n_jobs=1)
    assert table.value.tolist() == [2, 3, 4]
    assert len(sweep.read(tmp_path / "rows.csv")) == 4


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], "no runs"),
        ([{"x": 1}, {"x": 1}], "there twice"),
        ([{"x": 1}, {"y": 1}], "differ in their parameters"),
        ([{"x": [1]}], "parameter x must be a number"),
        ([{"seconds": 1.0}], "a parameter must not be called 'seconds'"),
        ([{"row": 1}], "a parameter must not be called 'row'"),
    ],
)
def test_bad_grids_are_named_before_work(tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        sweep.run(forbidden, grid, tmp_path / "rows.csv")


def test_a_file_of_other_parameters_is_refused(tmp_path):
    sweep.run(square, sweep.expand(x=[1]), tmp_path / "rows.csv", n_jobs=1)
    with pytest.raises(ValueError, match="holds runs with parameters x; got x, name"):
        sweep.run(square, runs(2), tmp_path / "rows.csv", n_jobs=1)
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "at least one row"),
        ({"row": 1}, "'row'"),
        ({"y": [1, 2]}, "must be a number"),
        ({"y": "a\nb"}, "one line"),
    ],
)
def test_results_that_no_file_can_hold_fail_their_run_only(tmp_path, result, message):
    def gives(x):
        return result if x == 1 else {"y": 0}

    with pytest.raises(RuntimeError, match=f"1 of 2 runs failed(.|\\n)*{message}"):
        sweep.run(gives, sweep.expand(x=[1, 2]), tmp_path / "rows.csv", n_jobs=1)
    assert sweep.read(tmp_path / "rows.csv").x.tolist() == [2]


def test_fewer_parameters_than_the_file_holds_are_refused(tmp_path):
    sweep.run(square, runs(2), tmp_path / "rows.csv", n_jobs=1)
    with pytest.raises(ValueError, match="holds runs with parameters x, name; got x"):
        sweep.run(square, sweep.expand(x=[1]), tmp_path / "rows.csv", n_jobs=1)


SLOW = """
import sys, time, os
from superpos import sweep

def slow(x):
    with open(sys.argv[2], "a") as log:
        log.write(f"start {x}\\n")
    time.sleep(0.15)
    with open(sys.argv[2], "a") as log:
        log.write(f"end {x}\\n")
    return {"y": 2 * x}

if __name__ == "__main__":
    sweep.run(slow, sweep.expand(x=range(12)), sys.argv[1], n_jobs=int(sys.argv[3]))
"""


def start(tmp_path, n_jobs):
    (tmp_path / "slow.py").write_text(SLOW)
    words = [sys.executable, tmp_path / "slow.py", tmp_path / "rows.csv", tmp_path / "log", str(n_jobs)]
    return subprocess.Popen([str(w) for w in words], start_new_session=True)


def stored(path):
    """When each run ended that a sweep has finished so far, by x."""
    return {int(rows[0]["x"]): rows[0]["finished"] for rows in store.finished(path).values()}


def wait_for_rows(path, n, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(stored(path)) >= n:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {n} rows within {seconds} s")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_kill_9_then_resume_loses_nothing_and_repeats_nothing(tmp_path, n_jobs):
    process = start(tmp_path, n_jobs)
    wait_for_rows(tmp_path / "rows.csv", 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    saved = stored(tmp_path / "rows.csv")
    assert 4 <= len(saved) < 12
    again = start(tmp_path, n_jobs)
    assert again.wait(timeout=90) == 0
    table = sweep.read(tmp_path / "rows.csv")
    assert sorted(table.x) == list(range(12))
    assert (table.y == 2 * table.x).all()
    finished = table.set_index("x").finished
    assert all(finished[x] == then for x, then in saved.items())
    started = [int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines() if "start" in line]
    assert all(started.count(x) == 1 for x in saved)  # what was saved was never run again


def test_two_processes_on_one_file_share_the_work(tmp_path):
    both = [start(tmp_path, 1) for _ in range(2)]
    assert [p.wait(timeout=90) for p in both] == [0, 0]
    table = sweep.read(tmp_path / "rows.csv")
    assert sorted(table.x) == list(range(12))
    started = (tmp_path / "log").read_text().count("start")
    assert started == 12


def test_a_dask_cluster_by_its_address(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        table = sweep.run(square, runs(6), tmp_path / "rows.csv", cluster=cluster.scheduler_address)
    assert table.square.tolist() == [0, 1, 4, 9, 16, 25]


def first_weight(seed):
    return {"weight": networks.build("mlp1", (1, 8, 8), 10, width=512, seed=seed).fc1[0].weight[0, 0].item()}


def here():
    return os.getpid(), threading.get_ident()


def parallel_inside(n):
    """Whether a run's own parallel calls are made where it is itself."""
    return {"in_its_own": set(Parallel(n_jobs=2)(delayed(here)() for _ in range(4))) == {here()}}


def test_what_a_run_does_in_parallel_stays_in_its_thread(tmp_path):
    """As Dask's tasks they would let the worker begin another run meanwhile."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        table = sweep.run(parallel_inside, [{"n": 1}], tmp_path / "rows.csv", cluster=cluster.scheduler_address)
    assert table.in_its_own.all()


def test_threads_of_a_worker_do_one_run_at_a_time(tmp_path):
    """Weights are drawn from torch's one random state, which two runs at once would draw from in turn."""
    distributed = pytest.importorskip("distributed")
    seeds = sweep.expand(seed=range(12))
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=":0") as cluster,
        pytest.warns(
            UserWarning, match=f"{cluster.scheduler_address} have up to 4 threads each, and do one run at a time"
        ),
    ):
        table = sweep.run(first_weight, seeds, tmp_path / "rows.csv", cluster=cluster.scheduler_address)
    alone = [first_weight(**one)["weight"] for one in seeds]
    assert table.weight.tolist() == pytest.approx(alone, rel=1e-6)


def test_numbers_keep_their_kind():
    assert sweep.numbers("1,2.5, 3") == [1, 2.5, 3]
    assert [type(v) for v in sweep.numbers("1,2.0")] == [int, float]
    assert sweep.numbers("") == []
    with pytest.raises(ValueError, match="two"):
        sweep.numbers("1,two")


def test_made_by_counts_a_run_once_however_many_rows_it_has():
    """Two runs of half an hour that end in the same second, of two rows and one."""
    columns = {"revision": "abc", "versions": "torch 2", "device": "a processor", "finished": "now", "seconds": 1800.0}
    table = pd.DataFrame([columns | {"row": row} for row in ("1/2", "2/2", "1/1")])
    assert sweep.made_by(table) == "3 rows of 2 runs, 1.0 process hours, code abc, torch 2, a processor"


def disagreeing_run(n):
    return {"n": n + 1}


def test_a_result_that_contradicts_a_parameter_of_its_name_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="n is 3 as a parameter and 4 as a result"):
        sweep.run(disagreeing_run, [{"n": 3}], tmp_path / "rows.csv", n_jobs=1)


@settings
class Inner:
    lr: Positive = 0.5
    kind: str = "plain"


@settings
class Run:
    n: Count
    inner: Inner = Inner(lr=2.0)


@settings
class Longer:
    """`Run` after it was given two more settings."""

    n: Count
    inner: Inner = Inner(lr=2.0)
    power: Count = 1
    note: str | None = None


def powered(run):
    power = getattr(run, "power", 1)
    return [{"value": run.n**power * run.inner.lr, "layer": layer} for layer in ("a", "b")]


def refused(run):
    raise AssertionError(f"{run} was done before")


def test_settings_are_the_columns_of_their_rows(tmp_path):
    grid = sweep.expand(Run, n=[1, 2], kind=["plain", "other"])
    assert grid[1] == Run(1, Inner(lr=2.0, kind="other"))
    table = sweep.run(powered, grid, tmp_path / "rows.csv", n_jobs=2)
    assert list(table)[:5] == ["n", "lr", "kind", "row", "value"]
    assert table.n.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert table.value.tolist() == [2, 2, 2, 2, 4, 4, 4, 4]
    pd.testing.assert_frame_equal(sweep.run(refused, grid, tmp_path / "rows.csv", n_jobs=1), table)


def test_a_file_without_a_later_setting_holds_it_at_its_default(tmp_path):
    path = tmp_path / "rows.csv"
    before = sweep.run(powered, sweep.expand(Run, n=[1, 2]), path, n_jobs=1)
    text = path.read_text()
    later = sweep.expand(Longer, n=[1, 2])
    pd.testing.assert_frame_equal(sweep.run(refused, later, path, n_jobs=1), before)
    assert path.read_text() == text
    table = sweep.run(powered, sweep.expand(Longer, n=[1, 2, 3]), path, n_jobs=1)
    assert path.read_text().startswith(text), "the header is as it was"
    assert table.value.tolist() == [2, 2, 4, 4, 6, 6]
    for grid in (sweep.expand(Longer, n=1, power=2), sweep.expand(Longer, n=[1, 2], note=[None, "new"])):
        with pytest.raises(ValueError, match=r"n, lr, kind; got n, lr, kind, (power|note): a file may lack only what"):
            sweep.run(refused, grid, path, n_jobs=1)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.warns(UserWarning, match=r"held \d rows? of runs that are not all there"):
        sweep.run(powered, sweep.expand(Longer, n=[1, 2, 3]), path, n_jobs=1)
    assert len(sweep.read(path)) == 6


def test_settings_pass_to_the_workers_of_a_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    grid = sweep.expand(Longer, n=range(1, 4), power=2)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        table = sweep.run(powered, grid, tmp_path / "rows.csv", cluster=cluster.scheduler_address)
    assert table.value.tolist() == [2, 2, 8, 8, 18, 18]
    assert table.power.tolist() == [2] * 6


def test_settings_that_repeat_or_hold_what_no_cell_can_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a run is there twice: \{'n': 1, 'lr': 2\.0, 'kind': 'plain'\}"):
        sweep.run(refused, [Run(1), Run(1, Inner(lr=2))], tmp_path / "rows.csv")
    with pytest.raises(ValueError, match="runs differ in their parameters"):
        sweep.run(refused, [Run(1), Longer(2)], tmp_path / "rows.csv")
