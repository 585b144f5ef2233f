"""Reference results: a reproduction at paper scale, stored with its environment. Reading, writing.

One JSON file a benchmark in `data/reference/`: the records themselves, so that whatever is drawn or
tabled of them is computed as for the reader's own. Only the first repeat keeps its timeline.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from labkit import paths
from labkit.errors import BadInput, RecordDamaged
from labkit.record.record import Record, Timeline
from labkit.report.reproduction import Reproduction
from labkit.studies import published


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    benchmark: str
    scale: str
    records: list[Record]


def folder() -> Path:
    """`data/reference` of the checkout, or what the installed package carries of it."""
    return paths.data("reference")


def names() -> list[str]:
    """The benchmarks that have a reference."""
    return sorted(path.stem for path in folder().glob("*.json"))


def load(name: str) -> Reproduction:
    """The stored reference of a benchmark. Raises `BadInput` where there is none."""
    benchmark = published.named(name)
    path = folder() / f"{benchmark.id}.json"
    if not path.is_file():
        listed = ", ".join(names()) or "none"
        raise BadInput(f"benchmark {name!r} has no reference results; there are: {listed}")
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
    except msgspec.DecodeError as error:
        raise RecordDamaged(
            f"reference {path.name} is damaged ({error}): restore it from a copy"
        ) from None
    return Reproduction(benchmark, stored.scale, stored.records)


def save(reproduction: Reproduction, path: Path) -> None:
    """Store a reproduction as a reference."""
    records = [
        record if record.repeat == 0 else msgspec.structs.replace(record, timeline=Timeline())
        for record in reproduction.records
    ]
    stored = _Stored(benchmark=reproduction.benchmark.id, scale=reproduction.scale, records=records)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(stored), indent=0) + b"\n")
