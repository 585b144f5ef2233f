"""Records on disk: one JSON file each, written whole or not at all, never changed afterwards.

A record is written to a temporary file, flushed to the disk, renamed, and its folder flushed: a
crash at any moment leaves every finished record as it was. A damaged file harms no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labkit import paths
from labkit.errors import BadInput, RecordDamaged, RecordNotFound
from labkit.record.record import Record, decode, encode
from labkit.spec import validation

ENVIRONMENT = "LABKIT_STORE"
_SAFE = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")


def default_folder() -> Path:
    """`LABKIT_STORE`, else `data/runs` of the workspace, the checkout or the current folder."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else paths.runs()


@dataclass(frozen=True)
class Damaged:
    """A file in the store that holds no readable record, and why."""

    id: str
    why: str


class Store:
    """The records in one folder, which is made when the first is written."""

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()

    def prepare(self) -> None:
        """Make the folder; raises `BadInput` where no record could be written into it later."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{os.getpid()}.probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise self._unwritable(error) from None

    def add(self, record: Record) -> Path:
        """Keep a record for good; its file. Raises `BadInput` where its id is taken."""
        path = self._path(record.id)
        self.prepare()
        try:
            _write(path, encode(record) + b"\n")
        except FileExistsError:
            raise BadInput(
                f"record {record.id} is in the store already ({path.name}): records are never "
                "overwritten; give it another id"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        return path

    def _unwritable(self, error: OSError) -> BadInput:
        return BadInput(
            f"the store {self.folder} cannot be written ({error.strerror}): "
            f"set {ENVIRONMENT} to a folder that can"
        )

    def get(self, record_id: str) -> Record:
        """The record with this id, or with the only id that starts so.

        Raises `RecordNotFound` or `RecordDamaged`.
        """
        self._path(record_id)
        ids = self.ids()
        found = [one for one in ids if one == record_id] or [
            one for one in ids if one.startswith(record_id) and record_id
        ]
        if not found:
            near = validation.did_you_mean(record_id, ids)
            raise RecordNotFound(
                f"no record has the id {record_id!r} in {self.folder}{near}; "
                "'labkit results list' shows those that there are"
            )
        if len(found) > 1:
            raise RecordNotFound(
                f"{len(found)} records have an id that starts with {record_id!r}: write more of it"
            )
        return self._read(found[0])

    def ids(self) -> list[str]:
        """The ids of all records, oldest first."""
        found = (path.stem for path in self.folder.glob("*.json") if path.is_file())
        return sorted(stem for stem in found if stem and _SAFE.issuperset(stem))

    def records(self) -> Iterator[Record]:
        """All readable records, oldest first."""
        return (found for found in self.scan() if isinstance(found, Record))

    def of_study(self, study: str) -> list[Record]:
        """The readable records of the study with this id, oldest first."""
        # Ids begin with a time, and a study has its id before it has records.
        later = (self._readable(one) for one in self.ids() if one >= study)
        return [found for found in later if found is not None and found.study == study]

    def _readable(self, record_id: str) -> Record | None:
        try:
            return self._read(record_id)
        except RecordDamaged:
            return None

    def scan(self) -> Iterator[Record | Damaged]:
        """All files, oldest first: each as its record, or as what is wrong with it."""
        for one in self.ids():
            try:
                yield self._read(one)
            except RecordDamaged as error:
                yield Damaged(one, str(error))

    def _read(self, record_id: str) -> Record:
        try:
            data = self._path(record_id).read_bytes()
        except OSError as error:
            raise RecordDamaged(
                f"record {record_id} cannot be read ({error.strerror}): see to its file"
            ) from None
        record = decode(data, f"record {record_id}")
        if record.id != record_id:
            raise RecordDamaged(
                f"record {record_id} is damaged (it holds the id {record.id!r}): "
                "a file is named by its record's id; rename it"
            )
        return record

    def _path(self, record_id: str) -> Path:
        if not record_id or not _SAFE.issuperset(record_id):
            raise RecordNotFound(
                f"record id is {record_id!r}: an id holds letters, digits, '-' and '_' only"
            )
        return self.folder / f"{record_id}.json"


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    _flush_folder(path.parent)


def _publish(temporary: Path, path: Path) -> None:
    """Give the file its name, which must be free: a link refuses where a rename would overwrite."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
