"""Kill a sweep with two workers at random moments, and count what was lost and what was done twice.

    python tests/kill_sweeps.py FOLDER KILLS --seed 0

After each kill everything that had been reported as saved must still be there, and never be done again; when the last sweep has
ended, every run must be there once. Prints what it found; the exit status is 1 where anything was lost, doubled or left behind.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from superpos import results

DRIVER = """
import os, sys, time
from superpos import store, sweep

def tiny(x):
    with open(sys.argv[2], "a") as log:
        log.write(f"{x}\\n")
    time.sleep(0.02)
    return [{"y": 2 * x}, {"y": 2 * x + 1}]

if __name__ == "__main__":
    store.EXPORTED, store.SHARE = 0.3, 1.0  # so that kills fall into exports too
    sweep.run(tiny, sweep.expand(x=range(int(sys.argv[3]))), sys.argv[1], n_jobs=2)
"""


def saved(path):
    """What is finished by now: {x: when}. Raises AssertionError for a run that is there twice or in part."""
    found = {int(rows[0]["x"]): rows[0]["finished"] for rows in results.parse(path).runs.values()}
    file = path.with_name(f"{path.name}.sqlite")
    if file.exists():
        with (
            contextlib.closing(sqlite3.connect(file, timeout=60)) as connection,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            for (rows,) in connection.execute("SELECT rows FROM runs"):
                rows = json.loads(rows)
                assert len(rows) == 2, rows
                x = int(rows[0]["x"])
                assert found.get(x, rows[0]["finished"]) == rows[0]["finished"], f"{x} was done twice"
                found[x] = rows[0]["finished"]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, path, log = random.Random(asked.seed), asked.folder / "rows.csv", asked.folder / "log"
    (asked.folder / "driver.py").write_text(DRIVER)
    log.touch()
    n, lost, before, marks = 40 * asked.kills, 0, {}, []
    words = [sys.executable, str(asked.folder / "driver.py"), str(path), str(log), str(n)]
    while len(marks) < asked.kills:
        done = log.read_text().count("\n")
        driver = subprocess.Popen(words, start_new_session=True)
        while driver.poll() is None and log.read_text().count("\n") == done:  # until its workers work
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.6))
        if driver.poll() is not None:
            raise SystemExit("the sweep ended before it could be killed: raise the number of runs")
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        now = saved(path)
        lost += sum(now.get(x) != when for x, when in before.items())
        before = now
        marks.append((len(log.read_text().split()), set(now)))
    assert subprocess.run(words, check=False).returncode == 0
    end = saved(path)
    lost += sum(end.get(x) != when for x, when in before.items()) + n - len(end)
    begun = log.read_text().split()
    doubled = sum(int(x) in done for mark, done in marks for x in begun[mark:])  # begun though it was saved
    leftover = sorted(one.name for one in asked.folder.iterdir())
    print(
        f"{len(marks)} kills, {n} runs, {len(begun)} begun: {lost} lost, {doubled} doubled; left: {', '.join(leftover)}"
    )
    sys.exit(bool(lost or doubled or leftover != ["driver.py", "log", "rows.csv"]))


if __name__ == "__main__":
    main()
