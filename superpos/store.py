"""Where the rows of a sweep lie while it runs: an SQLite file beside its results file, gone when all lies in that.

Tables: runs (the rows of finished runs, until they are exported), claims (runs under way, and the process that does them) and
failures (why a run failed). A finished run is one transaction, so that it is there whole or not at all, whatever is killed. Any
number of processes of one machine may share a store; a claim goes with its process. The file uses a write-ahead log, which
network file systems do not carry: processes of several machines share work through a cluster, whose driver alone writes.
"""

import json
import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from superpos import results
from superpos.results import Key, Row, Table

__all__ = ["Store"]

EXPORTED, SHARE = (
    30.0,
    20.0,
)  # seconds between exports while a sweep runs, and that in units of how long one takes, at least
WAIT = 60.0  # seconds that a process waits for another's transaction
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, rows TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, reason TEXT NOT NULL, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS token (value TEXT PRIMARY KEY);
"""


class Store:
    """The rows of a results file and of the sweeps that fill it. All that it says is true of both files together.

    `parameters` are the names of what the runs are asked for. Raises what `results.parse` does for a damaged results file. Rows
    that were cut are moved to a file beside, with a warning, and their runs are to be done again.
    """

    def __init__(self, path: str | Path, parameters: Iterable[str]) -> None:
        self.path, self.parameters = Path(path), list(parameters)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.with_name(f"{self.path.name}.sqlite")
        self._owner = f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}"
        self._seen: tuple[Any, Table] = (None, Table())
        self._connection, self._next = _connect(self.file), time.monotonic() + EXPORTED
        if self.table().cut:
            self._set_cut_rows_aside()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is done whole or not at all. OSError, with the file's name, where the disk is full."""
        try:
            with self._connection:  # commits, or rolls back
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except sqlite3.OperationalError as error:
            n = len(self.table().runs) + self._connection.execute("SELECT count(*) FROM runs").fetchone()[0]
            raise OSError(
                f"{self.file}: {error}; {n} finished runs are kept. Make room and start the sweep again: it goes on from there"
            ) from error

    def table(self) -> Table:
        """The results file as it is now."""
        at = _state(self.path)
        if at != self._seen[0]:
            self._seen = at, results.parse(self.path)
        return self._seen[1]

    def _own(self) -> dict[Key, list[Row]]:
        """Finished runs that are not in the results file yet."""
        return {_key(key): json.loads(rows) for key, rows in self._connection.execute("SELECT key, rows FROM runs")}

    def runs(self) -> dict[Key, list[Row]]:
        """The rows of all finished runs."""
        own = self._own()  # before the table: an export in between would hide them from both
        return {**own, **self.table().runs}

    def done(self) -> set[Key]:
        """The finished runs."""
        own = {_key(key) for (key,) in self._connection.execute("SELECT key FROM runs")}
        return own | set(self.table().runs)

    def failed(self) -> dict[Key, tuple[str, int]]:
        """Why runs failed that are not done, and how often."""
        found = self._connection.execute("SELECT key, reason, times FROM failures")
        return {_key(key): (reason, times) for key, reason, times in found}

    def claim(self, key: Key) -> bool:
        """Take a run to do, unless it is done or a living process has it. A run whose process died counts as failed."""
        with self._transaction() as connection:
            done = (
                key in self.table().runs
                or connection.execute("SELECT 1 FROM runs WHERE key = ?", [_text(key)]).fetchone()
            )
            held = connection.execute("SELECT owner FROM claims WHERE key = ?", [_text(key)]).fetchone()
            if done or (held and _lives(held[0])):
                return False
            if held and held[0] != self._owner:
                _note_failure(connection, key, "the process that did the run was killed")
            connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", [_text(key), self._owner])
        return True

    def save(self, key: Key, rows: list[Row]) -> None:
        """Keep the rows of a finished run, unless another process did, and give it back."""
        with self._transaction() as connection:
            if key not in self.table().runs:
                connection.execute("INSERT OR IGNORE INTO runs VALUES (?, ?)", [_text(key), json.dumps(rows)])
            connection.execute("DELETE FROM claims WHERE key = ?", [_text(key)])
            connection.execute("DELETE FROM failures WHERE key = ?", [_text(key)])
        if time.monotonic() > self._next:
            start = time.monotonic()
            self.export()
            self._next = time.monotonic() + max(EXPORTED, SHARE * (time.monotonic() - start))

    def fail(self, key: Key, reason: str) -> None:
        """Note why a run failed, and give it back."""
        with self._transaction() as connection:
            _note_failure(connection, key, reason)
            connection.execute("DELETE FROM claims WHERE key = ?", [_text(key)])

    def export(self) -> None:
        """Bring all finished runs into the results file. It is not touched where there is nothing to bring."""
        with self._transaction() as connection:
            own, table = self._own(), self.table()
            fresh = {key: rows for key, rows in own.items() if key not in table.runs}
            if fresh:
                both = {**table.runs, **fresh}
                columns = results.columns_of(
                    table.columns, self.parameters, (row for rows in both.values() for row in rows)
                )
                results.write(self.path, columns, both, self.parameters)
            connection.execute("DELETE FROM runs")

    def close(self) -> None:
        """Export, give back what this process claimed, and remove the file where nothing is left in it and nobody uses it."""
        try:
            self.export()
            with self._transaction() as connection:
                connection.execute("DELETE FROM claims WHERE owner = ?", [self._owner])
            self._remove()
        finally:
            self._connection.close()

    def _remove(self) -> None:
        try:
            (mode,) = self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            if mode != "delete":
                return
            self._connection.execute("BEGIN EXCLUSIVE")
            left = sum(
                self._connection.execute(f"SELECT count(*) FROM {of}").fetchone()[0]
                for of in ("runs", "claims", "failures")
            )
            if not left:
                self.file.unlink(missing_ok=True)
            self._connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return  # another process has it open

    def _set_cut_rows_aside(self) -> None:
        table = self.table()
        beside = self.path.with_name(f"{self.path.name}.cut")
        with open(beside, "a") as file:
            file.write("".join(table.cut))
        with self._transaction():
            if table.runs:
                results.write(self.path, table.columns, table.runs, table.parameters)
            else:
                self.path.write_text(",".join(table.columns) + "\n")
        n = len(table.cut)
        warnings.warn(
            f"{self.path} held {n} row{'s' * (n > 1)} of runs that are not all there, kept in {beside.name}; those runs will be "
            "done again",
            stacklevel=4,
        )


def _connect(file: Path) -> sqlite3.Connection:
    """A connection to a file that is still there once it is set up: another process may be removing it meanwhile."""
    while True:
        connection = sqlite3.connect(file, timeout=WAIT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(SCHEMA)
            connection.execute("INSERT INTO token SELECT hex(randomblob(8)) WHERE NOT EXISTS (SELECT 1 FROM token)")
            token = connection.execute("SELECT value FROM token").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            if "malformed" in str(error) or "not a database" in str(error):
                raise ValueError(
                    f"{file} is no SQLite file ({error}); move it away, and the runs that it held are done again"
                ) from error
            raise OSError(f"{file}: {error}") from error
        if file.exists():
            with sqlite3.connect(file, timeout=WAIT) as other:
                try:
                    there = other.execute("SELECT value FROM token").fetchone()
                except sqlite3.OperationalError:
                    there = None
            other.close()
            if there == token:
                return connection
        connection.close()


def _note_failure(connection: sqlite3.Connection, key: Key, reason: str) -> None:
    connection.execute(
        "INSERT INTO failures VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, times = times + 1",
        [_text(key), reason],
    )


def _lives(owner: str) -> bool:
    """Whether the process of a claim is alive. One of another machine is not: a store is not shared between machines."""
    host, pid, born = owner.rsplit(" ", 2)
    if host != socket.gethostname():
        return False
    try:
        return psutil.Process(int(pid)).create_time() == float(born)
    except psutil.NoSuchProcess:
        return False


def _text(key: Key) -> str:
    return json.dumps(key)


def _key(text: str) -> Key:
    return tuple(json.loads(text))


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another."""
    if not path.exists():
        return None
    at = path.stat()
    return at.st_mtime_ns, at.st_size, at.st_ino
