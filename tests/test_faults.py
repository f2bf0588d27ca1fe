"""What is broken on purpose: what is lost (nothing that was finished), and what is said. `faults.md` is written from here.

Each test breaks one thing and gives what was said to `told`, whose table the last test compares with the committed page;
SUPERPOS_FAULTS=write in the environment writes it anew.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import psutil
import pytest
import torch
from safetensors.torch import save_file

from superpos import checkpoint, dictionaries, results, sae, store, sweep, workers

PAGE = Path(__file__).with_name("faults.md")
ALL = 32  # faults
TOLD: dict[str, tuple[str, str]] = {}  # fault: what was lost, what was said


def told(fault, lost, said, folder):
    """Note what was said, without what differs from machine to machine."""
    said = str(said).replace(f"{folder}/", "").replace(str(folder), "")
    said = re.sub(r"tcp://[\d.:]+", "tcp://HOST:PORT", said)
    TOLD[fault] = (lost, " ".join(said.split()))


def square(x):
    return {"y": x * x}


def runs(n):
    return sweep.expand(x=range(n))


def four_rows(path):
    sweep.run(square, runs(4), path, n_jobs=1)
    return path.read_text()


DAMAGES = {
    "a mark of a merge": lambda text: text.replace("\n1,", "\n<<<<<<< HEAD\n1,", 1),
    "a block of NUL bytes": lambda text: text.replace("\n2,", "\n\0\0\0\0,", 1),
    "a cell too many": lambda text: text.replace("\n2,", "\n2,2,", 1),
    "a quote that does not end": lambda text: text.replace("\n2,", '\n"2,', 1),
    "a column that is there twice": lambda text: text.replace("x,row,y", "x,row,row", 1),
    "a run that is there twice with other values": lambda text: (
        text + text.splitlines()[2].replace("1/1,1,", "1/1,7,") + "\n"
    ),
    "a byte of another encoding": lambda text: text.replace("\n2,", "\n\xe9,", 1).encode("latin-1"),
}


@pytest.mark.parametrize("fault", DAMAGES)
def test_a_damaged_results_file_is_an_error_that_names_the_line(tmp_path, fault):
    path = tmp_path / "rows.csv"
    damaged = DAMAGES[fault](four_rows(path))
    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"rows\.csv, line \d+: ") as one:
        sweep.read(path)
    with pytest.raises(ValueError, match=r"rows\.csv, line \d+: ") as other:
        sweep.run(square, runs(5), path, n_jobs=1)
    assert str(one.value) == str(other.value)
    assert path.read_bytes() == before
    told(f"results file: {fault}", "nothing: the file is as it was", one.value, tmp_path)


@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("a row short of cells", lambda text: text.replace(text.splitlines()[2], "1,1/1,1", 1)),
        ("a line cut in the middle", lambda text: text[:-40]),
    ],
)
def test_a_row_that_is_not_whole_is_no_row(tmp_path, fault, damage):
    path = tmp_path / "rows.csv"
    path.write_text(damage(four_rows(path)))
    with pytest.raises(ValueError, match=r"rows.csv holds 1 rows of runs that are not all there"):
        sweep.read(path)
    with pytest.warns(UserWarning, match=r"rows.csv.cut") as said:
        table = sweep.run(square, runs(4), path, n_jobs=1)
    assert table.y.tolist() == [0, 1, 4, 9]
    assert (tmp_path / "rows.csv.cut").read_text().count("\n") == 1
    told(f"results file: {fault}", "nothing: the row is kept aside, its run done again", said[0].message, tmp_path)


def test_a_store_that_is_none(tmp_path):
    (tmp_path / "rows.csv.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ValueError, match=r"rows.csv.sqlite is no SQLite file") as said:
        sweep.run(square, runs(2), tmp_path / "rows.csv", n_jobs=1)
    told("store: a file that is no database", "nothing: it is left as it is", said.value, tmp_path)


def raises(x):
    return square(x) if x != 1 else {"y": 1 / 0}


def exits(x):
    return square(x) if x != 1 else sys.exit("enough")


def dies(x):
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(x)


def hangs(x):
    if x == 1:
        time.sleep(60)
    return square(x)


@pytest.mark.parametrize(
    ("fault", "function", "asked", "words"),
    [
        ("a run raises", raises, {}, "ZeroDivisionError: division by zero"),
        ("a run calls sys.exit", exits, {}, "SystemExit: enough"),
        ("a run is killed, as where memory is short", dies, {}, "its process was ended by signal 9"),
        ("a run hangs", hangs, {"limit": 3.0}, "it took longer than the limit of 3 s"),
    ],
)
def test_one_bad_run_ends_alone_and_is_done_last_the_next_time(tmp_path, fault, function, asked, words):
    path = tmp_path / "rows.csv"
    with pytest.raises(RuntimeError, match=r"1 of 5 runs failed within \d+ s, the others are saved") as said:
        sweep.run(function, runs(5), path, n_jobs=2, **asked)
    assert words in str(said.value)
    assert "{'x': 1}: " in str(said.value)
    assert sorted(sweep.read(path).x) == [0, 2, 3, 4]
    told(f"run: {fault}", "nothing", re.sub(r"\d+ s,", "N s,", str(said.value).partition("\nThe first")[0]), tmp_path)
    order = []

    def again(x):
        order.append(x)
        return square(x)

    table = sweep.run(again, runs(7), path, n_jobs=1)
    assert order == [5, 6, 1]
    assert table.y.tolist() == [x * x for x in range(7)]
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


def test_a_full_disk_names_the_file_and_what_is_kept(tmp_path, monkeypatch):
    path, plain = tmp_path / "rows.csv", store._connect

    def small(file):
        connection = plain(file)
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    def long(x):
        return {"y": "long " * 3000}

    sweep.run(long, runs(2), path, n_jobs=1)
    monkeypatch.setattr(store, "_connect", small)
    with pytest.raises(OSError, match=r"rows.csv.sqlite: .* is full; 2 finished runs are kept. Make room") as said:
        sweep.run(long, runs(4), path, n_jobs=1)
    assert sweep.read(path).x.tolist() == [0, 1]
    told("disk: full while a run is saved", "the runs under way", said.value, tmp_path)
    monkeypatch.undo()
    assert sweep.run(long, runs(4), path, n_jobs=1).x.tolist() == [0, 1, 2, 3]


def test_a_disk_that_is_full_when_the_file_is_written(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    before = four_rows(path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; the file is as it was: .*rows.csv") as said:
        sweep.run(square, runs(6), path, n_jobs=1)
    assert path.read_text() == before
    told("disk: full while the results file is written", "nothing: rows stay in the store", said.value, tmp_path)
    monkeypatch.undo()

    def refused(x):
        raise AssertionError(f"{x} was done before")

    assert sweep.run(refused, runs(6), path, n_jobs=1).y.tolist() == [0, 1, 4, 9, 16, 25]


DRIVER = """
import os, sys, time
from superpos import sweep

def slow(x):
    print("worker", os.getpid(), flush=True)
    time.sleep(float(sys.argv[2]))
    return {"y": x}

if __name__ == "__main__":
    sweep.run(slow, sweep.expand(x=range(40)), sys.argv[1], n_jobs=2)
"""


def test_workers_end_with_a_killed_sweep(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    words = [sys.executable, tmp_path / "driver.py", tmp_path / "rows.csv", "120"]
    driver = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, text=True, start_new_session=True)
    pids = {int(driver.stdout.readline().split()[1]) for _ in range(2)}
    assert len(pids) == 2
    start = time.monotonic()
    driver.kill()
    driver.wait()
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() - start < 20:
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert time.monotonic() - start < 10
    driver.stdout.close()
    told(
        "sweep: kill -9 while its workers are busy",
        "the runs under way",
        "(nothing; the workers end within seconds)",
        tmp_path,
    )


def test_a_run_that_was_under_way_when_its_process_was_killed_comes_last(tmp_path):
    path = tmp_path / "rows.csv"
    held = store.Store(path, ["x"])
    with held._transaction() as connection:
        connection.execute(
            "INSERT INTO claims VALUES (?, ?)", [json.dumps(["0"]), f"{socket.gethostname()} 999999999 1.0 a"]
        )
    held._connection.close()  # as where the process was killed
    order = []

    def noted(x):
        order.append(x)
        return square(x)

    assert sweep.run(noted, runs(3), path, n_jobs=1).y.tolist() == [0, 1, 4]
    assert order == [1, 2, 0]
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


def test_random_kills_lose_nothing_and_double_nothing(tmp_path):
    """The script does this at any number of moments; a few of them here."""
    script = Path(__file__).with_name("kill_sweeps.py")
    words = [sys.executable, str(script), str(tmp_path), "2", "--seed", "1"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "2 kills" in said.stdout
    assert "0 lost, 0 doubled" in said.stdout


def test_what_a_killed_writer_left_is_taken_away_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    gone = tmp_path / f".rows[1].csv.{host}.{ended.pid}.new"
    alive, elsewhere = (
        tmp_path / f".rows[1].csv.{name}.new" for name in (f"{host}.{os.getppid()}", f"another.{ended.pid}")
    )
    for path in (gone, alive, elsewhere):
        path.write_text("half a")
    results.write(tmp_path / "rows[1].csv", ["x", "row"], {("1",): [{"x": "1", "row": "1/1"}]}, ["x"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, elsewhere.name, "rows[1].csv"])


@pytest.fixture
def scheduler():
    """A scheduler started from the shell, and a way to give it workers. → its address and that function"""
    pytest.importorskip("distributed")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers from the shell do not see the tests
    started = []

    def shell(*words, until):
        environment = {**os.environ, "DASK_DISTRIBUTED__DASHBOARD__LINK": "", "PYTHONUNBUFFERED": "1"}
        words = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        started.append(process)
        for line in process.stderr:
            if until in line:
                return process, line
        raise AssertionError(f"{words} ended")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    process, _ = shell(
        "dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", until="Scheduler at"
    )

    def worker(*words):
        return shell("dask_worker", address, "--nthreads", "1", "--no-dashboard", *words, until="Registered to")[0]

    yield address, worker, process
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()
        one.stderr.close()


@pytest.fixture
def where(tmp_path):
    """A run that says which process did it, and notes that it was begun."""
    log = str(tmp_path / "log")

    def run(x):
        with open(log, "a") as file:
            file.write("begun\n")
        time.sleep(0.2)
        return {"pid": os.getpid()}

    return run


def kill_once_it_runs(process, log, n):
    """Kill a process when n runs were begun."""

    def watch():
        while not (log.exists() and log.read_text().count("begun") >= n):
            time.sleep(0.02)
        process.kill()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_cluster_of_one_worker_does_the_runs_itself(tmp_path, scheduler, where):
    address, worker, _ = scheduler
    process = worker("--no-nanny")
    table = sweep.run(where, runs(3), tmp_path / "rows.csv", cluster=address)
    assert set(table.pid) == {process.pid}


def test_runs_of_a_killed_worker_are_done_elsewhere(tmp_path, scheduler, where):
    address, worker, _ = scheduler
    first, second = worker("--no-nanny"), worker("--no-nanny")
    killer = kill_once_it_runs(first, tmp_path / "log", 10)
    table = sweep.run(where, sweep.expand(x=range(40)), tmp_path / "rows.csv", cluster=address)
    killer.join()
    assert table.x.tolist() == list(range(40))
    assert set(table.pid) == {first.pid, second.pid}
    told("cluster: a worker is killed", "nothing: its runs are done elsewhere", "(nothing)", tmp_path)


def test_a_lost_scheduler_ends_the_sweep_with_what_was_finished(tmp_path, scheduler, where, monkeypatch):
    monkeypatch.setattr(workers, "JOINED", 10)
    address, worker, process = scheduler
    worker("--no-nanny")
    killer = kill_once_it_runs(process, tmp_path / "log", 8)
    with pytest.raises(ConnectionError, match=r"the scheduler at tcp:.* was lost; what was finished is kept") as said:
        sweep.run(where, sweep.expand(x=range(200)), tmp_path / "rows.csv", cluster=address)
    killer.join()
    assert len(sweep.read(tmp_path / "rows.csv")) >= 3
    told("cluster: the scheduler is killed", "the runs under way", said.value, tmp_path)


def test_a_worker_of_another_version_is_refused_before_the_first_run(tmp_path, scheduler, monkeypatch):
    address, worker, _ = scheduler
    worker("--no-nanny")
    monkeypatch.setattr(workers, "versions", lambda: "superpos 9, torch 9")
    with pytest.raises(ConnectionError, match=r"has superpos .*, this process superpos 9, torch 9, code") as said:
        sweep.run(square, runs(2), tmp_path / "rows.csv", cluster=address)
    assert not (tmp_path / "rows.csv").exists()
    words = re.sub(r"superpos [0-8].*?, this", "superpos A, torch B, code C, this", str(said.value))
    told(
        "cluster: a worker has other code",
        "nothing: no run is begun",
        re.sub(r"code \w+\+?:", "code D:", words),
        tmp_path,
    )


def test_a_cluster_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "JOINED", 1)
    with pytest.raises(
        ConnectionError, match=r"no scheduler answers at tcp://127.0.0.1:9 .*start one with: dask scheduler"
    ) as said:
        sweep.run(square, runs(2), tmp_path / "rows.csv", cluster="tcp://127.0.0.1:9")
    told("cluster: no scheduler", "nothing", re.sub(r"\(.*?\);", "(…);", str(said.value)), tmp_path)
    with pytest.raises(ValueError, match="a time limit is for processes of this machine, got 5 s"):
        sweep.run(square, runs(2), tmp_path / "rows.csv", cluster="tcp://127.0.0.1:9", limit=5)


def weights(path):
    fitted = sae.fit(torch.randn(200, 4), sae.PROTOCOL.but(steps=5))
    fitted.save(path)
    return path.read_bytes()


def header_of(content, change):
    """A safetensors file with another header."""
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    change(header)
    made = json.dumps(header).encode()
    return len(made).to_bytes(8, "little") + made + content[8 + n :]


def wider(header):
    header["encoder"]["shape"][0] *= 1000


TAMPERED = {
    "a header of two exabytes": lambda content: (2**61).to_bytes(8, "little") + content[8:],
    "a shape that lies": lambda content: header_of(content, wider),
    "half of the file": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"",
}


@pytest.mark.parametrize("fault", TAMPERED)
def test_a_tampered_file_of_weights_is_refused_by_name(tmp_path, fault):
    path = tmp_path / "sae.safetensors"
    path.write_bytes(TAMPERED[fault](weights(path)))
    before = psutil.Process().memory_info().rss
    with pytest.raises(ValueError, match=r"sae.safetensors") as said:
        sae.SparseAutoencoder.load(path)
    assert psutil.Process().memory_info().rss - before < 2**28
    told(f"weights: {fault}", "nothing", said.value, tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    path = tmp_path / "sae.safetensors"
    fitted = sae.fit(torch.randn(200, 4), sae.PROTOCOL.but(steps=5))
    fitted.encoder[0, 0] = float("nan")
    fitted.save(path)
    with pytest.raises(ValueError, match=r"sae.safetensors: encoder holds 1 of 64 values that are not finite") as said:
        sae.SparseAutoencoder.load(path)
    told("weights: a NaN", "nothing", said.value, tmp_path)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("code-of-a-pickle-ran",)


@pytest.mark.parametrize("name", ["sae.safetensors", "sae_weights.safetensors", "ae.pt", "model.bin"])
def test_a_pickle_is_not_read_under_any_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sae"
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"d_in": 4, "d_sae": 8}))
    torch.save({"W_enc": Harmful()}, folder / name)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(name)) as said:
        dictionaries.load(folder)
    assert not (tmp_path / "code-of-a-pickle-ran").exists()
    told(f"weights: a pickle called {name}", "nothing: no code runs", said.value, tmp_path)


def test_a_zip_bomb_called_weights(tmp_path):
    import zipfile

    path = tmp_path / "sae.safetensors"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("data.pkl", bytes(2**28))
    before = psutil.Process().memory_info().rss
    with pytest.raises(ValueError, match=r"sae.safetensors") as said:
        checkpoint.read(path)
    assert psutil.Process().memory_info().rss - before < 2**27
    told("weights: a zip bomb", "nothing: it is not unpacked", said.value, tmp_path)


def test_tensors_of_other_programs_are_named(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"other.safetensors is a file of another kind") as said:
        sae.SparseAutoencoder.load(path)
    told("weights: those of another program", "nothing", said.value, tmp_path)


def test_two_sweeps_that_open_and_close_one_store_meet_in_one_file(tmp_path):
    """A store is neither opened nor removed while another process does the one or the other."""
    code = "import sys; from superpos.store import Store\nfor _ in range(40): Store(sys.argv[1], ['x']).close()"
    words = [sys.executable, "-c", code, str(tmp_path / "rows.csv")]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(one.communicate()[1], one.returncode) for one in both] == [("", 0)] * 3
    assert list(tmp_path.iterdir()) == []
    first = store.Store(tmp_path / "rows.csv", ["x"])
    second = store.Store(tmp_path / "rows.csv", ["x"])
    assert first.claim(("1",))
    first._leave()
    assert not (tmp_path / "rows.csv").exists()
    assert second.claim(("1",)), "the first has gone"
    second.save(("1",), [{"x": "1", "row": "1/1"}])
    second.close()
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


def test_a_store_knows_whose_runs_it_holds(tmp_path):
    path = tmp_path / "rows.csv"
    killed = store.Store(path, ["x"])
    killed.save(("0",), [{"x": "0", "row": "1/1"}])
    killed._connection.close()
    with pytest.raises(ValueError, match=r"rows.csv holds runs with parameters x; got z"):
        sweep.run(lambda z: {"y": z}, sweep.expand(z=[0, 1]), path, n_jobs=1)
    assert not path.exists()
    assert sweep.run(square, runs(2), path, n_jobs=1).x.tolist() == [0, 1]


def test_rows_cut_while_a_sweep_runs_are_kept_aside(tmp_path):
    path = tmp_path / "rows.csv"
    four_rows(path)
    held = store.Store(path, ["x"])
    path.write_text(path.read_text() + "9,1/1,8")
    held.save(("5",), [{"x": "5", "row": "1/1", "y": "25"}])
    with pytest.warns(UserWarning, match=r"held 1 row of runs that are not all there"):
        held.close()
    assert (tmp_path / "rows.csv.cut").read_text() == "9,1/1,8\n"
    assert sweep.read(path).x.tolist() == [0, 1, 2, 3, 5]


def test_a_file_damaged_while_a_sweep_runs_blocks_no_later_sweep(tmp_path):
    path = tmp_path / "rows.csv"
    good = four_rows(path)

    def damages(x):
        path.write_text(good.replace("\n1,", "\n<<<<<<< HEAD\n1,", 1))
        return square(x)

    with pytest.raises(ValueError, match=r"the mark of an unended merge"):
        sweep.run(damages, runs(6), path, n_jobs=1)
    path.write_text(good)
    assert sweep.run(square, runs(6), path, n_jobs=1).y.tolist() == [x * x for x in range(6)]


def test_workers_that_were_killed_idle_are_replaced(tmp_path):
    sweep.run(square, runs(2), n_jobs=2)
    for worker in psutil.Process().children():
        if "spawn_main" in " ".join(worker.cmdline()):
            worker.kill()
    time.sleep(1)
    assert sweep.run(square, runs(4), n_jobs=2).y.tolist() == [0, 1, 4, 9]


def test_small_asks(tmp_path, monkeypatch):
    assert sweep.run(lambda: {"y": 1}, [{}], n_jobs=1).y.tolist() == [1]
    with pytest.raises(ValueError, match="n_jobs must be at least 1, got -1"):
        sweep.run(square, runs(2), n_jobs=-1)
    for value, words in (
        ("a\0b", "one line of text"),
        ("\ud800", "one line of text"),
        ("a" * 100_001, "at most 100,000"),
    ):
        with pytest.raises(RuntimeError, match=words):
            sweep.run(lambda x, value=value: {"y": value}, runs(1), n_jobs=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def moves(x):
        os.chdir(tmp_path / "elsewhere")
        return square(x)

    sweep.run(moves, runs(2), "rows.csv", n_jobs=1)
    assert (tmp_path / "rows.csv").exists()
    (tmp_path / "link.csv").symlink_to(tmp_path / "rows.csv")
    sweep.run(square, runs(3), tmp_path / "link.csv", n_jobs=1)
    assert (tmp_path / "link.csv").is_symlink()
    assert len(sweep.read(tmp_path / "rows.csv")) == 3
    (tmp_path / "rows.csv").write_text("\ufeff" + (tmp_path / "rows.csv").read_text())
    assert len(sweep.run(square, runs(3), tmp_path / "rows.csv", n_jobs=1)) == 3
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=r"empty.csv is empty"):
        sweep.read(tmp_path / "empty.csv")


def test_the_page_of_faults_says_what_was_said():
    """Only where all of them were tried."""
    if len(TOLD) < ALL:
        pytest.skip(f"{len(TOLD)} of {ALL} faults were tried in this process")
    head = (
        "# What was broken on purpose\n\nWritten by `tests/test_faults.py`: each line is a test that breaks something, "
        "what was lost, and what was said.\n\n"
    )
    table = "".join(
        f"| {fault} | {lost} | {said.replace('|', chr(92) + '|')} |\n" for fault, (lost, said) in sorted(TOLD.items())
    )
    text = f"{head}| fault | lost | said |\n|---|---|---|\n{table}"
    if os.environ.get("SUPERPOS_FAULTS") == "write":
        PAGE.write_text(text)
    assert PAGE.read_text() == text
