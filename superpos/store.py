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
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from superpos import results
from superpos.results import Key, Row, Table

try:
    import fcntl
except ImportError:  # on Windows, where a folder cannot be locked, a store stays where it is
    fcntl = None

__all__ = ["Store", "finished"]

EXPORTED = 30.0  # seconds between exports while a sweep runs, at least
SHARE = 20.0  # and at least so many times what an export takes
WAIT = 60.0  # seconds that a process waits for another's transaction
KILLED = "the process that did the run was killed"
CLOCK = 10.0  # seconds by which the start of a process may seem to move, as where the system's clock is set
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, rows TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, reason TEXT NOT NULL, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_OPEN: set[str] = set()  # the stores that this process has open, by owner


class Store:
    """The rows of a results file and of the sweeps that fill it. All that it says is true of both files together.

    `names` are those of what the runs are asked for, `usual` those that every run has at their default: a file that was filled
    before there was such a one lacks its column, and `parameters` are what identifies a run in this file. Rows that were cut are
    moved to a file beside, with a warning, and their runs are to be done again. Raises ValueError, and leaves everything as it
    was, for a damaged file (`results.parse`) and for one of runs with other parameters.
    """

    def __init__(self, path: str | Path, names: Iterable[str], usual: Iterable[str] = ()) -> None:
        self.path = Path(path).resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.with_name(f"{self.path.name}.sqlite")
        self._seen: tuple[Any, Table] = (None, Table())
        self._owner = f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()} {uuid.uuid4().hex}"
        with _alone(self.path.parent):
            self._connection = _connect(self.file)
            _OPEN.add(self._owner)
        try:
            self.parameters = self._known(list(names), set(usual))
            if self.table().cut:
                with self._transaction():
                    self._set_cut_rows_aside()
        except BaseException:
            self._leave()
            raise
        self._next = time.monotonic() + EXPORTED

    def _known(self, names: list[str], usual: set[str]) -> list[str]:
        with self._transaction() as connection:
            kept = connection.execute("SELECT value FROM about WHERE name = 'parameters'").fetchone()
            known = self.table().parameters or (json.loads(kept[0]) if kept else [])
            unsaid = {name for name in usual if known and name not in known}
            wanted = [name for name in names if name not in unsaid]
            if known and set(known) != set(wanted):
                raise ValueError(
                    f"{self.path} holds runs with parameters {', '.join(known)}; got {', '.join(wanted)}: "
                    "a file may lack only what all runs have at the default of their settings"
                )
            connection.execute("INSERT OR REPLACE INTO about VALUES ('parameters', ?)", [json.dumps(known or wanted)])
        return known or wanted

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is done whole or not at all. OSError, with the file's name, where the disk is full."""
        try:
            with self._connection:  # commits, or rolls back
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise OSError(f"{self.file}: {error}; what was finished before is kept") from error
            n = len(self.done())
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

    def done(self) -> set[Key]:
        """The finished runs."""
        own = {_key(key) for (key,) in self._connection.execute("SELECT key FROM runs")}
        return own | set(self.table().runs)

    def failed(self) -> dict[Key, tuple[str, int]]:
        """Why runs failed that are not done, and how often; those of a process that was killed are among them."""
        claims = self._connection.execute("SELECT key, owner FROM claims")
        killed = {_key(key): (KILLED, 1) for key, owner in claims if not _lives(owner)}
        found = self._connection.execute("SELECT key, reason, times FROM failures")
        return killed | {_key(key): (reason, times) for key, reason, times in found}

    def claim(self, key: Key) -> bool:
        """Take a run to do, unless it is done or another sweep that goes on has it. A run whose process died counts as failed."""
        with self._transaction() as connection:
            done = (
                key in self.table().runs
                or connection.execute("SELECT 1 FROM runs WHERE key = ?", [_text(key)]).fetchone()
            )
            held = connection.execute("SELECT owner FROM claims WHERE key = ?", [_text(key)]).fetchone()
            if done or (held and _lives(held[0])):
                return False
            if held:
                _note_failure(connection, key, KILLED)
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
            if self.table().cut:
                self._set_cut_rows_aside()
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
        """Give back what this sweep claimed, export, and remove the file where nothing is left in it and nobody uses it."""
        try:
            with self._transaction() as connection:
                connection.execute("DELETE FROM claims WHERE owner = ?", [self._owner])
            self.export()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Close the connection, and remove the file where it holds nothing and no other sweep has it open."""
        _OPEN.discard(self._owner)
        with _alone(self.path.parent) as alone:
            try:
                count = "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM claims) + (SELECT count(*) FROM failures)"
                (left,) = self._connection.execute(count).fetchone()
                # the mode changes only where no other connection is open, and none can be opened while we are alone
                if (
                    alone
                    and not left
                    and self._connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
                ):
                    self.file.unlink(missing_ok=True)
            except sqlite3.OperationalError:  # another sweep has it open
                pass
            finally:
                self._connection.close()

    def _set_cut_rows_aside(self) -> None:
        """Inside a transaction, so that no other process writes the file meanwhile."""
        table, beside = self.table(), self.path.with_name(f"{self.path.name}.cut")
        with open(beside, "a", encoding="utf-8") as file:
            file.write("".join(table.cut))
        results.write(self.path, table.columns, table.runs, table.parameters)
        n = len(table.cut)
        warnings.warn(
            f"{self.path} held {n} row{'s' * (n > 1)} of runs that are not all there, kept in {beside.name}; those runs will be "
            "done again",
            stacklevel=5,
        )


def finished(path: str | Path) -> dict[Key, list[Row]]:
    """The rows of all runs that a sweep has finished, be it under way, ended or killed. Raises as `results.parse` does."""
    path, own = Path(path).resolve(), {}
    file = path.with_name(f"{path.name}.sqlite")
    if file.exists():
        link = f"{file.as_uri()}?mode=ro"
        # it may be being made, or removed
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(link, uri=True, timeout=WAIT)) as connection:
            own = {_key(key): json.loads(rows) for key, rows in connection.execute("SELECT key, rows FROM runs")}
    return {**own, **results.parse(path).runs}  # read last: an export in between would hide runs from both


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Inside, no other process opens or removes a store of this folder. The lock is the folder's own, and leaves no file.

    Gives False where a folder cannot be locked.
    """
    if fcntl is None:
        yield False
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(place)


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=WAIT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)
    except sqlite3.DatabaseError as error:
        connection.close()
        if "malformed" in str(error) or "not a database" in str(error):
            raise ValueError(
                f"{file} is no SQLite file ({error}); move it away, and the runs that it held are done again"
            ) from error
        raise OSError(f"{file}: {error}") from error
    return connection


def _note_failure(connection: sqlite3.Connection, key: Key, reason: str) -> None:
    connection.execute(
        "INSERT INTO failures VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, times = times + 1",
        [_text(key), reason],
    )


def _lives(owner: str) -> bool:
    """Whether a sweep that claimed a run goes on. One of another machine does not: a store is not shared between machines."""
    host, pid, born, _ = owner.rsplit(" ", 3)
    if host != socket.gethostname():
        return False
    if int(pid) == os.getpid():
        return owner in _OPEN
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(born)) < CLOCK
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
