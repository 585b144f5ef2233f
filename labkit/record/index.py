"""The index of a store: a row for each record, so that a command need not read all its files.

Plan. The files are the truth: whatever became of one (new, deleted, replaced, edited, copied, by
whoever), the next command sees it. So each command lists the folder and asks the system for size,
times and inode of every file, and reads those alone whose stamp is not in the index. A change that
leaves the stamp as it was is too quick for the clock of the file system: what changed in the last
two seconds is read again, as by git. So is what holds no record: what one person may not read, or
what is too large today, another may read tomorrow.

Several write at once, in containers and over networks, where locks are in doubt: SQLite's journals
need such locks, and its WAL shared memory too. So its file is never written where it lies. It is
read whole, works in memory, and a new one takes its place at once, as records do: who reads has the
one or the other, the last who writes wins, and what the loser knew is read again. The file begins
with a digest of the code that makes its rows and a checksum: where they are not these it is of
another version, or damaged, and is made anew. Two versions that share a store do so in turn. As to
write it costs as much as to read some dozens of records, so many are read each time before it is
(`MAX_UNINDEXED`): a small store has none. Where it cannot be written, commands read more files, and
say so in a line.

It has two parts, as a list needs a fifth of it: of 100,000 records 25 of 125 MB. Rejected: the time
of the folder, which an edited file leaves as it was; an index in another folder, which all who
write into the store would have to find; rows compressed one by one, which took a fourth of the time
to make it and saved as much of its size.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import msgspec

from labkit import paths
from labkit.record.record import Record

MAX_UNINDEXED = 64
# Age from which on a later change to a file shows in its times, whatever the file system's clock.
SETTLED_NS = 2_000_000_000
_MADE, _RULES = itemgetter("made", "rules")(paths.table("tables.toml")["index"])
_OF_RECORD = ("id", "started_at", "study", "experiment", "repeat", "order", "verdict")
_OF_TRIAL: Mapping[str, str] = paths.table("tables.toml")["described"]
# What describes each record, before its axes.
DESCRIPTION = (*_OF_RECORD, "warnings", *_OF_TRIAL, "called")


@dataclass(frozen=True)
class Damaged:
    """A file in the store that holds no readable record, and why."""

    id: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that a record has at `path`, less the one at `minus`, in base units.

    `answers` is how many requests must have succeeded for it to mean anything, or what is counted
    at `among`: with fewer it counts as not measured.
    """

    name: str
    path: str
    minus: str | None = None
    answers: int = 0
    among: str = "counts.ok"

    def of(self, record: Record) -> float:
        """Return the value in base units; NaN where it was not measured."""
        if self.name in record.figures:
            return record.figures[self.name]
        paths = (self.path, self.minus or self.path, self.among)
        try:
            value, less, among = attrgetter(*paths)(record)
        except AttributeError:  # a part of the record that was not measured is None
            return math.nan
        # A record of an older labkit may not know how many there were: then it is shown.
        if value is None or less is None or (among is not None and among < self.answers):
            return math.nan
        return float(value - less if self.minus else value)


def describe(record: Record) -> dict[str, Any]:
    """Return what describes a record, by the names of columns: its own, and those of its axes."""
    settings = dict(flat(record.trial))
    return {
        **{name: getattr(record, name) for name in (*_OF_RECORD, "called")},
        "warnings": ", ".join(dict.fromkeys(note.code for note in record.warnings if note.code)),
        **{name: settings.get(path) for name, path in _OF_TRIAL.items()},
        **{f"strategy.{name}": value for name, value in flat(record.trial.get("options") or {})},
        **record.axes,
    }


def flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested plain data as dotted names and values; a list is one text."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            is_list = isinstance(value, list | tuple)
            yield f"{prefix}{name}", ", ".join(map(str, value)) if is_list else value


# How each figure is read, in the order of columns.
_FIGURES = [
    Figure(name=name, **{"path": name} | {k: row[k] for k in row.keys() & Figure.__annotations__})
    for name, row in paths.table("metrics.toml").items()
]


@cache
def _version() -> bytes:
    """Return a digest of the code and the tables that make rows."""
    tables = map(paths.data, ("metrics.toml", "tables.toml"))
    sources = [*sorted(Path(__file__).parent.glob("*.py")), *tables]
    return sha256(b"".join(one.read_bytes() for one in sources)).digest()


def _seal(image: bytes) -> bytes:
    return _version() + zlib.crc32(image).to_bytes(4, "big") + len(image).to_bytes(8, "big")


def stamps(files: Iterable[os.DirEntry[str]], now_ns: int) -> Iterator[str]:
    """Yield of each file its name and what changes whenever it does: this moment if in doubt."""
    for file in files:
        name = file.name[: -len(".json")]
        try:
            of = file.stat()
            if of.st_ctime_ns >= now_ns - SETTLED_NS:
                raise OSError("its next change may leave it the same times")
            yield f"{name} {of.st_size}.{of.st_mtime_ns}.{of.st_ctime_ns}.{of.st_ino}"
        except OSError:
            yield f"{name} {now_ns}"


class Index:
    """The rows of a store, in memory, and its damaged files.

    `changes` counts the rows that are other than in its file. What frames show is there where it is
    `whole`: it is four fifths of the file.
    """

    def __init__(self, file: Path, *, whole: bool) -> None:
        import sqlite3  # here: few commands need it

        self.damaged, self.changes, self._whole = list[Damaged](), 0, whole
        self._rows = sqlite3.connect(":memory:", isolation_level=None)
        self._rows.execute("ATTACH ':memory:' AS wide")
        images = dict[str, bytes]()
        with suppress(OSError, AttributeError), file.open("rb") as opened:
            for name in ("main", "wide") if whole else ("main",):
                seal = opened.read(len(_seal(b"")))
                size = min(int.from_bytes(seal[-8:], "big"), file.stat().st_size)
                images[name] = opened.read(size)
                if seal != _seal(images[name]):  # damaged, or of another version
                    images.clear()
                    break
            for name, image in images.items():
                self._rows.deserialize(image, name=name)  # the SQLite of some Pythons cannot
        self._rows.executescript(_MADE)

    def image(self) -> bytes:
        """Return the bytes of its file."""
        self._rows.execute("DELETE FROM wide.rows WHERE id NOT IN (SELECT rowid FROM records)")
        images = [self._rows.serialize(name=name) for name in ("main", "wide")]
        return b"".join(part for one in images for part in (_seal(one), one))

    def missing(self, stamps: Iterable[str]) -> list[str]:
        """Forget what is no longer so; return the stamps of files without a row, in order."""
        (text,) = self.select("group_concat(stamp, char(10))")  # faster than so many rows
        there, known = {*stamps}, {*text.split("\n")} if text else set()
        gone = [(one,) for one in known - there]
        self._rows.executemany("DELETE FROM records WHERE stamp = ?", gone)
        self.changes = len(gone)
        return sorted(there - known)

    def put(self, stamp: str, found: Record | Damaged) -> None:
        """Add the row of a record. A damaged file has none: it is read again each time."""
        if isinstance(found, Damaged):
            self.damaged.append(found)
            return
        arm = [f"{axis}={value}" for axis, value in found.axes.items()]
        words = " ".join([found.experiment or "run", found.ran, found.called, *arm])
        known = {k: v for k, v in describe(found).items() if v is not None or k not in DESCRIPTION}
        row = [stamp, found.id, found.study, found.verdict, found.started_at, words]
        place = self._rows.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
        if self._whole:
            figures = struct.pack(f"<{len(_FIGURES)}d", *(one.of(found) for one in _FIGURES))
            wide = [place.lastrowid, msgspec.json.encode(known), figures]
            self._rows.execute("INSERT OR REPLACE INTO wide.rows VALUES (?, ?, ?)", wide)
        self.changes += 1

    def select(self, column: str, last: int | None = None, **asked: str | None) -> list[Any]:
        """Return a column of the records that are as asked, oldest first: of the `last` ones."""
        given = {_RULES[name]: value for name, value in asked.items() if value is not None}
        rules = " AND ".join(["true", *given])
        of = "records LEFT JOIN wide.rows ON records.rowid = wide.rows.id"
        query = f"SELECT {column} FROM {of} WHERE {rules} ORDER BY stamp DESC LIMIT coalesce(?, -1)"  # noqa: S608
        rows = self._rows.execute(query, [*given.values(), last]).fetchall()
        return [one for (one,) in reversed(rows)]
