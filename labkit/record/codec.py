"""Records, plans and saved results to their JSON and back, with a checksum.

Plan. One bit that the disk or a cable changed is to be seen, wherever in the file it is. So the
last member of the JSON is the SHA-256 of all bytes before it. Files of older versions have none and
stay readable: then a bit that changes the name of the checksum must not turn a file into one of
those. The first member says that there is a checksum. A changed bit is in one of the two
members at most, and a file that has either must have the right other. Rejected: a checksum from a
schema version on, since a record that comes from an older version has no checksum then; and a file
beside the record, which gets lost. By hand: `head -c -78 FILE | sha256sum`.
"""

from hashlib import sha256
from typing import TypeVar

import msgspec

from labkit.errors import RecordDamaged
from labkit.record.record import SCHEMA_VERSION, Record
from labkit.spec.validation import refusal

T = TypeVar("T")
_HEAD, _TAIL = b'{"checksum":"sha256",', b',"sha256":"'
_TAIL_BYTES = len(_TAIL) + 64 + len(b'"}')


class _Versioned(msgspec.Struct):
    schema_version: int | None = None


def encode(record: Record) -> bytes:
    """Encode a record as one line of JSON, with its checksum."""
    return sealed(msgspec.json.encode(record))


def sealed(data: bytes) -> bytes:
    """Return a JSON object that has members, with its checksum."""
    whole = _HEAD + data[1:-1]
    return whole + _tail(whole)


def decode(data: bytes, where: str = "the record") -> Record:
    """Decode a record, with or without a checksum.

    Raises `RecordDamaged` where `data` is truncated, edited, too new or no record.
    """
    version = parse(data, _Versioned, where).schema_version
    if version is None or version > SCHEMA_VERSION:
        which = "not-a-record" if version is None else "schema"
        raise refusal(which, RecordDamaged, where=where, version=version, most=SCHEMA_VERSION)
    return parse(data, Record, where)


def parse(data: bytes, type_: type[T], where: str) -> T:
    """Parse JSON that was stored, with or without a checksum, as a value of this type.

    Raises `RecordDamaged` where it is none, or other than it was.
    """
    line = data.removesuffix(b"\n")
    whole, tail = line[:-_TAIL_BYTES], line[-_TAIL_BYTES:]
    if (line.startswith(_HEAD) or tail.startswith(_TAIL)) and tail != _tail(whole):
        raise refusal("damaged", RecordDamaged, where=where, why="its checksum is of other bytes")
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal("damaged", RecordDamaged, where=where, why=error) from None


def _tail(whole: bytes) -> bytes:
    return _TAIL + sha256(whole).hexdigest().encode() + b'"}'
