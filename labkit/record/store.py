"""Records on disk: one JSON file each, written whole or not at all, never changed afterwards.

A record is written to a temporary file, flushed to the disk, given its name, and its folder
flushed: a crash at any moment leaves every finished record as it was. A file that holds no record
harms no other, whatever it is, and is named on standard error by whoever leaves it out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from labkit import paths
from labkit.errors import BadInput, RecordDamaged, RecordNotFound
from labkit.escaping import visible
from labkit.record import codes
from labkit.record.codec import decode, encode
from labkit.record.index import MAX_UNINDEXED, Damaged, Index, stamps
from labkit.record.record import Note, Record
from labkit.spec.validation import AtLeastOne, did_you_mean, from_text, refusal

ENVIRONMENT = "LABKIT_STORE"
CEILING = "LABKIT_MAX_RECORD_BYTES"
# Larger files are not read, unless `LABKIT_MAX_RECORD_BYTES` allows it: decoding takes several
# times as much memory, and a record of the lab's own has a bounded size.
MAX_RECORD_BYTES = 64 << 20
# Age of a temporary file from which on its writer is taken to be dead.
STALE_S = 86_400
INDEX = ".index"
PROGRESS_EACH = 10_000
_SAFE = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")


def default_folder() -> Path:
    """Return `LABKIT_STORE`, else `data/runs` of the workspace, checkout or current folder."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named).expanduser() if named else paths.runs()


def readable(found: Iterable[Record | Damaged]) -> Iterator[Record]:
    """Yield the records; name each file that holds none on standard error, in a line."""
    for one in found:
        if isinstance(one, Record):
            yield one
        else:
            _say(one.why)


def _say(sentence: str) -> None:
    """Write a line on standard error, if that is possible."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"labkit: {visible(sentence)}\n")


class Store:
    """The records in one folder, which is made when the first is written."""

    def __init__(self, folder: Path | str | None = None) -> None:
        try:
            self.folder = default_folder() if folder is None else Path(folder).expanduser()
        except RuntimeError:
            named = os.environ.get(ENVIRONMENT) if folder is None else str(folder)
            raise refusal("no-home", named=named) from None
        self._spare: Store | None = None

    def prepare(self) -> None:
        """Make the folder; raise `BadInput` where no record could be written into it later.

        Removes what writers that were killed left there, once it is a day old.
        """
        with self._temporary(b"probe"):
            for path in self.folder.glob(".*"):
                with contextlib.suppress(OSError):
                    is_stale = time.time() - path.lstat().st_mtime > STALE_S
                    if is_stale and path.suffix in (".tmp", ".probe"):
                        path.unlink()

    def add(self, record: Record) -> Path:
        """Store a record and return its file. Raises `BadInput` where its id is taken."""
        return self.put(record.id, encode(record) + b"\n")

    def put(self, name: str, data: bytes) -> Path:
        """Store a file of this id and return it. Raises `BadInput` where the id is taken."""
        path = self._path(name)
        with self._temporary(data) as temporary:
            try:
                _give_name(temporary, path)
            except FileExistsError:
                raise refusal("stored", id=name, file=path.name) from None
        return path

    def keep(self, record: Record) -> Record:
        """Store a record that was measured; return it, wherever it could be stored.

        Where this store cannot be written, that is a folder of the system's temporary files, and
        the record that is returned has the note `not-stored`, which standard error shows.
        """
        try:
            self.add(record)
            return record
        except BadInput as error:
            why = str(error).rpartition(": ")[0]
        try:
            self._spare = self._spare or Store(tempfile.mkdtemp(prefix="records-of-labkit-"))
            where = f"the record is in {self._spare.add(record)}"
        except (OSError, BadInput):
            where = "nor can the folder of temporary files: the record is in this result only"
        [note] = codes.with_advice([Note(code="not-stored", message=f"{why}; {where}")])
        _say(note.message)
        return msgspec.structs.replace(record, warnings=[*record.warnings, note])

    @contextlib.contextmanager
    def _temporary(self, data: bytes) -> Iterator[Path]:
        """Give a new file of the folder that holds these bytes, as `paths.new_file` does."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with paths.new_file(self.folder, data) as path:
                yield path
        except OSError as error:
            failed = f"the store {self.folder} cannot be written ({error.strerror})"
            raise BadInput(f"{failed}: set {ENVIRONMENT} to a folder that can") from None

    @property
    def plans(self) -> Store:
        """Return where the plans of studies are stored, each under the study's id."""
        return Store(self.folder / "plans")

    def get(self, record_id: str) -> Record:
        """Return the record with this id, or with the only id that starts with it.

        Raises `RecordNotFound` or `RecordDamaged`.
        """
        return self._read(self.whole_id(record_id))

    def whole_id(self, record_id: str) -> str:
        """Return this id, or the only one that starts with it. Raises `RecordNotFound`."""
        self._path(record_id)
        ids = self.ids()
        found = [one for one in ids if one.startswith(record_id)]
        found = [record_id] if record_id in found else found
        if not found:
            near = did_you_mean(record_id, ids)
            raise refusal("no-record", RecordNotFound, id=record_id, where=self.folder, near=near)
        if len(found) > 1:
            raise refusal("ids", RecordNotFound, number=len(found), id=record_id)
        return found[0]

    def ids(self) -> list[str]:
        """Return the ids of all records, in the order of the times in them."""
        return [name for name in self._names() if _SAFE.issuperset(name)]

    def records(self) -> Iterator[Record]:
        """Yield all readable records, oldest first; each file that is left out is named."""
        return readable(self.scan())

    def of_study(self, study: str) -> list[Record]:
        """Return the readable records of the study with this id, oldest first."""
        return list(readable(self.scan(self.index().select("name", study=study))))

    def scan(self, names: Iterable[str] | None = None) -> Iterator[Record | Damaged]:
        """Yield each file, or those `names`, oldest first: its record, or what is wrong with it."""
        for name in self._names() if names is None else names:
            try:
                yield self._read(name)
            except RecordNotFound:
                pass  # it was deleted since the folder was listed
            except RecordDamaged as error:
                yield Damaged(name.encode(errors="backslashreplace").decode(), str(error))

    def index(self, *, whole: bool = False) -> Index:
        """Return a row for each record as it is now; each file that holds none is named."""
        index, now_ns = Index(self.folder / INDEX, whole=whole), time.time_ns()
        missing = index.missing(stamps(self._files(), now_ns))
        if len(missing) + index.changes > MAX_UNINDEXED and not whole:
            return self.index(whole=True)  # as it is to be written
        try:
            for number, one in enumerate(missing, 1):
                for found in self.scan([one.rpartition(" ")[0]]):
                    index.put(one, found)
                if number % PROGRESS_EACH == 0:
                    _say(f"{number:,} of {len(missing):,} files read for the index of the store")
        finally:  # where a person stops it, what was read need not be read again
            if index.changes > MAX_UNINDEXED:
                try:
                    with self._temporary(index.image()) as temporary:
                        temporary.replace(self.folder / INDEX)
                except (BadInput, AttributeError) as error:
                    _say(f"without an index each file is read: {error}")
        list(readable(index.damaged))
        return index

    def _names(self) -> list[str]:
        """Return the names of the files that may be records, without their ending."""
        return sorted(file.name.removesuffix(".json") for file in self._files())

    def _files(self) -> list[os.DirEntry[str]]:
        """Return the files that may be records.

        Hidden files are temporary, the index, or an operating system's own.
        """
        try:
            found = list(os.scandir(self.folder))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self.folder.is_symlink():
                return []
            failed = f"the store {self.folder} cannot be read ({error.strerror})"
            instead = f"see to the folder, or set {ENVIRONMENT} to another"
            raise BadInput(f"{failed}: {instead}") from None
        return [one for one in found if one.name.endswith(".json") and one.name[0] != "."]

    def _read(self, name: str) -> Record:
        where = f"record {name if _SAFE.issuperset(name) else repr(name)}"
        record = decode(read_whole(self.folder / f"{name}.json", where), where)
        if record.id != name or not _SAFE.issuperset(name):
            raise refusal("other-id", RecordDamaged, where=where, id=record.id)
        return record

    def _path(self, record_id: str) -> Path:
        if not record_id or not _SAFE.issuperset(record_id):
            raise refusal("id", RecordNotFound, id=record_id)
        return self.folder / f"{record_id}.json"


def read_whole(path: Path, where: str) -> bytes:
    """Read a file that may be anything. Raises `RecordNotFound` or `RecordDamaged`."""
    most = from_text(CEILING, os.environ.get(CEILING) or f"{MAX_RECORD_BYTES}", AtLeastOne)
    try:
        found = path.stat()  # before it is opened: a FIFO would wait for a writer
        if not stat.S_ISREG(found.st_mode):
            raise RecordDamaged(f"{where} is no regular file: move it elsewhere")
        if found.st_size > most:
            raise refusal("too-large", RecordDamaged, where=where, size=found.st_size, most=most)
        with path.open("rb") as file:
            return file.read(found.st_size + 1)
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError) and not path.is_symlink()
        why = f"{where} cannot be read ({error.strerror}): see to its file"
        raise (RecordNotFound if is_gone else RecordDamaged)(why) from None


def _give_name(temporary: Path, path: Path) -> None:
    """Give a file a name that must be free, and flush its folder to the disk."""
    try:
        os.link(temporary, path)  # refuses a name that is taken, where a rename overwrites
    except FileExistsError:
        # The answer of a network's file system may be lost: asked again, it finds its own link.
        if not temporary.samefile(path):
            raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        # Some file systems flush no folder, and some folders may not be read: neither is a fault.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            path.unlink()
            raise
