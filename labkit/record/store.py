"""Records on disk: one JSON file each, written whole or not at all, never changed afterwards.

A record is written to a temporary file, flushed to the disk, renamed, and its folder flushed: a
crash at any moment leaves every finished record as it was. A damaged file harms no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit import paths
from labkit.errors import BadInput, RecordDamaged, RecordNotFound
from labkit.record.record import Record, decode, encode
from labkit.spec import validation

ENVIRONMENT = "LABKIT_STORE"
_SAFE = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")


def default_folder() -> Path:
    """Return `LABKIT_STORE`, else `data/runs` of the workspace, checkout or current folder."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named).expanduser() if named else paths.runs()


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
        """Make the folder; raise `BadInput` where no record could be written into it later."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{os.getpid()}.probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise self._unwritable(error) from None

    def add(self, record: Record) -> Path:
        """Store a record and return its file. Raises `BadInput` where its id is taken."""
        path = self._path(record.id)
        self.prepare()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(encode(record) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            _give_name(temporary, path)
        except FileExistsError:
            raise BadInput(
                f"record {record.id} is in the store already ({path.name}): records are never "
                "overwritten; give it another id"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def _unwritable(self, error: OSError) -> BadInput:
        return BadInput(
            f"the store {self.folder} cannot be written ({error.strerror}): "
            f"set {ENVIRONMENT} to a folder that can"
        )

    def get(self, record_id: str) -> Record:
        """Return the record with this id, or with the only id that starts with it.

        Raises `RecordNotFound` or `RecordDamaged`.
        """
        self._path(record_id)
        ids = self.ids()
        found = [one for one in ids if one.startswith(record_id)]
        found = [record_id] if record_id in found else found
        if not found:
            near = validation.did_you_mean(record_id, ids)
            raise RecordNotFound(
                f"no record has the id {record_id!r} in {self.folder}{near}; "
                "'labkit results list' shows all"
            )
        if len(found) > 1:
            raise RecordNotFound(
                f"{len(found)} records have an id that starts with {record_id!r}: write more of it"
            )
        return self._read(found[0])

    def ids(self) -> list[str]:
        """Return the ids of all records, oldest first."""
        found = (path.stem for path in self.folder.glob("*.json") if path.is_file())
        return sorted(stem for stem in found if stem and _SAFE.issuperset(stem))

    def records(self) -> Iterator[Record]:
        """Return all readable records, oldest first."""
        return (found for found in self.scan() if isinstance(found, Record))

    def of_study(self, study: str) -> list[Record]:
        """Return the readable records of the study with this id, oldest first."""
        # Ids begin with a time, and a study has its id before it has records.
        later = self.scan(since=study)
        return [one for one in later if isinstance(one, Record) and one.study == study]

    def scan(self, since: str = "") -> Iterator[Record | Damaged]:
        """Yield each file from the id `since` on, oldest first: its record, or what is wrong."""
        for record_id in self.ids():
            if record_id >= since:
                try:
                    yield self._read(record_id)
                except RecordDamaged as error:
                    yield Damaged(record_id, str(error))

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


def _give_name(temporary: Path, path: Path) -> None:
    """Rename a file to a name that must be free, and flush its folder to the disk."""
    try:
        os.link(temporary, path)  # refuses a name that is taken, where a rename overwrites
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
