"""Results files: CSV that diffs, read with care. A damaged file is an error that names file, line and what was expected.

A run has one or several rows; `row` ("1/3": the first of three) tells whether they are all there. Cells hold text; a run is
identified by the cells of its parameters, which are the columns before `row`.
"""

import csv
import glob
import io
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from superpos.provenance import PROVENANCE

__all__ = [
    "Key",
    "Row",
    "Rows",
    "Table",
    "columns_of",
    "is_whole",
    "lines",
    "made_by",
    "numbers",
    "parse",
    "read",
    "write",
]

Row = dict[str, str]  # cells by column
Key = tuple[str, ...]
MARKS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")  # of a merge that was not ended


@dataclass
class Table:
    """A results file taken apart: its columns, the rows of each run that is whole, and the lines that were cut."""

    columns: list[str] = field(default_factory=list)
    runs: dict[Key, list[Row]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> list[str]:
        """Names of the columns that identify a run."""
        return self.columns[: self.columns.index("row")] if self.columns else []


def parse(path: str | Path) -> Table:
    """Take a results file apart; an empty table where there is none.

    Raises ValueError, naming file and line, for what is no text in UTF-8, marks of a merge, a cell too many, a quote that does
    not end, columns that repeat or lack `row`, and a run that is there twice with other cells. A row with too few cells, and
    the rows of a run that are not all there, are `cut`.
    """
    path = Path(path)
    return _taken_apart(path, _text_of(path)) if path.exists() else Table()


def _taken_apart(path: Path, text: str) -> Table:
    text, _, tail = text.rpartition("\n")
    records = list(_records(path, text))
    if not records:
        return Table(cut=[f"{tail}\n"] if tail else [])
    columns = records[0][1]
    if "row" not in columns or len(set(columns)) < len(columns):
        raise ValueError(
            f"{path}, line 1: expected the names of columns, each once and one of them 'row', got {columns}"
        )
    table, found = Table(columns, cut=[f"{tail}\n"] if tail else []), {}
    for line, cells in records[1:]:
        if len(cells) > len(columns):
            raise ValueError(f"{path}, line {line}: expected {len(columns)} cells, got {len(cells)}")
        if len(cells) < len(columns):
            table.cut.append(_joined(cells))
        else:
            _place(found, table, dict(zip(columns, cells, strict=True)), f"{path}, line {line}")
    for key, rows in found.items():
        if is_whole(rows):
            table.runs[key] = list(rows.values())
        else:
            table.cut += [_joined(row.values()) for row in rows.values()]
    return table


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: expected text in UTF-8, got byte {content[error.start]:#04x}") from None
    if "\0" in text:
        raise ValueError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: expected text, got a NUL byte")
    return text


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of each line and its cells."""
    reader, line = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{path}, line {line}: expected cells between commas, got {error}") from None
        if cells and cells[0].startswith(MARKS):
            raise ValueError(f"{path}, line {line}: expected a row, got the mark of an unended merge, {cells[0]!r}")
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _place(found: dict[Key, dict[str, Row]], table: Table, row: Row, where: str) -> None:
    """Put a row to those of its run. ValueError where it is there already and says something else."""
    key = tuple(row[name] for name in sorted(table.parameters))
    held = found.setdefault(key, {})
    if held.get(row["row"], row) != row:
        other = next(name for name in row if held[row["row"]][name] != row[name])
        raise ValueError(
            f"{where}: row {row['row']} of this run stands above with another {other} ({held[row['row']][other]!r}, here "
            f"{row[other]!r}): delete one of the two"
        )
    held[row["row"]] = row


def is_whole(rows: Mapping[str, Row]) -> bool:
    """rows: {"1/3": …}: are all there?"""
    total = next(iter(rows)).partition("/")[2]
    return total.isdigit() and set(rows) == {f"{i}/{total}" for i in range(1, int(total) + 1)}


def columns_of(first: Sequence[str], parameters: Iterable[str], rows: Iterable[Row]) -> list[str]:
    """The columns that hold some rows: those at first, then parameters, `row`, results, and last what made them."""
    names = dict.fromkeys([*first, *parameters, "row", *(name for row in rows for name in row)])
    return [*(name for name in names if name not in PROVENANCE), *PROVENANCE]


def lines(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Rows as lines of CSV, under their columns' names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _joined(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def write(path: str | Path, columns: Sequence[str], runs: Mapping[Key, list[Row]], parameters: Sequence[str]) -> None:
    """Put a results file in place, whole, in one move: runs in the order of their parameters, numbers by their size."""

    def order(rows: list[Row]) -> list[tuple[int, float, str]]:
        return [_rank(rows[0].get(name, "")) for name in parameters]

    path = Path(path)
    mine = f".{path.name}.{socket.gethostname()}."
    fresh = path.with_name(f"{mine}{os.getpid()}.new")
    for left in path.parent.glob(f"{glob.escape(mine)}*.new"):  # by writers of this machine that were killed
        pid = left.name.removeprefix(mine).removesuffix(".new")
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)
    try:
        with open(fresh, "w", newline="", encoding="utf-8") as file:
            file.write(lines(columns, (row for rows in sorted(runs.values(), key=order) for row in rows)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; the file is as it was", str(path)) from error
    finally:
        fresh.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # wait until the name lies on the disk, where a folder can be asked
        place = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _rank(cell: str) -> tuple[int, float, str]:
    try:
        return 0, float(cell), cell
    except ValueError:
        return 1, 0.0, cell


class Rows(Mapping):
    """The results files of a folder by name, each read when it is first asked for. A table is a copy of one's own."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tables: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The rows of `folder/name.csv`. Raises FileNotFoundError with the path if there is none."""
        if name not in self._tables:
            self._tables[name] = read(self.folder / f"{name}.csv")
        return self._tables[name].copy()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.folder.glob("*.csv")))

    def __len__(self) -> int:
        return len(list(iter(self)))

    __hash__ = object.__hash__  # so that what is computed from rows can be kept
    __eq__ = object.__eq__


def read(path: str | Path) -> pd.DataFrame:
    """All rows of a results file. Raises FileNotFoundError with the path if there is none, ValueError as `parse` does, and for
    rows that were cut.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"no results file at {path}")
    text = _text_of(Path(path))
    if not text.strip():
        raise ValueError(f"{path} is empty: expected rows under the names of columns")
    if "row" in text.partition("\n")[0].split(","):  # other tables lie in these folders too
        cut = _taken_apart(Path(path), text).cut
        if cut:
            raise ValueError(f"{path} holds {len(cut)} rows of runs that are not all there, as {cut[0].strip()!r}")
    return pd.read_csv(io.StringIO(text))


def numbers(text: str) -> list[int | float]:
    """The numbers of a list as papermill takes it, "1,2.5": those with a point are floats."""
    return [float(word) if "." in word else int(word) for word in text.split(",") if word.strip()]


def made_by(table: pd.DataFrame) -> str:
    """One line that says what made the rows of a results file: how many, how long, by which code and where."""
    runs = table[table.row.str.startswith("1/")]
    names = (", ".join(sorted(set(table[name]))) for name in ("revision", "versions", "device"))
    hours = f"{runs.seconds.sum() / 3600:.1f} process hours"
    return f"{len(table)} rows of {len(runs)} runs, {hours}, code {', '.join(names)}"
