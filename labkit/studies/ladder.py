"""The ladder's rungs: TOML text -> `Ladder`; and `Reading`, what one of them gave once.

A rung is data: adding one takes a few lines in `data/ladder.toml` and no code, unless it is a
program of others that `rivals` does not know yet. Nothing is run here. Only `load` reads the disk.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from labkit import paths
from labkit.errors import BadInput
from labkit.record.record import Record, Verdict
from labkit.spec import validation
from labkit.spec.trial import Trial

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)]
Text = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(ge=0.01, le=60)]
SizeName = Literal["full", "short"]

_SOMEWHERE = "http://127.0.0.1"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the file consists of."""


class Rung(_Part, frozen=True, kw_only=True):
    """One way to send requests: `settings` of a trial, or a `program` of others.

    `why` says what this step changes. `rps` is a guess, from which the number of requests follows,
    `most_requests` at most. `depth` multiplies what is in flight on each connection. `needs` is the
    module without which the rung cannot run, `install` what brings it.
    """

    id: Name
    label: Text
    why: Text
    rps: Annotated[float, Meta(gt=0, le=1e8)]
    most_requests: Annotated[int, Meta(ge=1)] | None = None
    depth: Annotated[int, Meta(ge=1, le=1_024)] = 1
    settings: dict[str, str | int | float | bool] = {}
    program: Name | None = None
    peer: bool = False
    against: Name | None = None
    needs: Text | None = None
    install: Text | None = None

    def __post_init__(self) -> None:
        if bool(self.settings) == (self.program is not None):
            raise BadInput(f"rung {self.id!r} must have either settings or a program")

    @property
    def own(self) -> bool:
        """Whether it is a step of the lab's own, and not what others made."""
        return self.program is None and not self.peer

    def requests(self, seconds: float, connections: int) -> int:
        """How many requests make up about so many seconds: at least one in each place."""
        wanted = max(math.ceil(self.rps * seconds), connections * self.depth)
        return min(wanted, self.most_requests or wanted)

    def trial(self, seconds: float, connections: int, url: str = _SOMEWHERE) -> Trial:
        """The trial on the server at `url`; of a program of others it holds the workload only."""
        depth = {"transport.depth": self.depth} if self.depth > 1 else {}
        return Trial(
            **self.settings | depth,
            target=f"{url}/{{item}}",
            requests=self.requests(seconds, connections),
            limit=connections * self.depth,
        )


class Size(_Part, frozen=True, kw_only=True):
    """How often each rung is run, and for about how many seconds."""

    repeats: validation.Repeats
    seconds: Seconds


class Sizes(_Part, frozen=True, kw_only=True):
    """The two sizes that there are."""

    full: Size
    short: Size


class Ladder(_Part, frozen=True, kw_only=True):
    """All rungs, in the order in which they are shown."""

    about: Text
    connections: Annotated[int, Meta(ge=1, le=10_000)]
    size: Sizes
    rung: list[Rung]

    def __post_init__(self) -> None:
        ids = [rung.id for rung in self.rung]
        if not ids or len(set(ids)) < len(ids):
            raise BadInput("a ladder has at least one rung, and no two with one id")
        for rung in self.rung:
            if rung.against is not None and rung.against not in ids:
                raise validation.unknown(f"against of rung {rung.id!r}", rung.against, ids)
            rung.trial(0.01, self.connections)

    def chosen(self, ids: Sequence[str] | None) -> list[Rung]:
        """The rungs with these ids, or all; in the ladder's order. Raises `BadInput`."""
        if ids is None:
            return list(self.rung)
        names = [rung.id for rung in self.rung]
        for one in ids:
            if one not in names:
                raise validation.unknown("rungs", one, names)
        if not ids:
            raise BadInput(f"rungs is empty: name at least one of {', '.join(names)}")
        return [rung for rung in self.rung if rung.id in ids]


def load() -> Ladder:
    """The ladder of `data/ladder.toml`."""
    return parse(paths.file("ladder.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Ladder:
    """The ladder that this TOML describes. Raises `BadInput`."""
    try:
        return msgspec.convert(tomllib.loads(text), Ladder)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"the ladder cannot be read: {error}") from None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one rung gave in one repeat; None where it was not measured.

    `wall_s` is the time in which `requests` were answered and `failed` failed. The server waited
    for its core, which other processes had, for `server_waited_percent` of it. `says` is why there
    are no figures, `record` the id of the record that the store keeps of a trial of the lab's own.
    """

    rung: str
    repeat: int
    order: int
    requests: int = 0
    failed: int = 0
    wall_s: float | None = None
    throughput_rps: float | None = None
    cpu_us_per_request: float | None = None
    server_cpu_percent: float | None = None
    server_waited_percent: float | None = None
    verdict: Verdict = "valid"
    warnings: list[str] = []
    says: str = ""
    record: str | None = None


def of_record(record: Record) -> Reading:
    """The reading of a trial of the lab's own."""
    client, server = record.client, record.server
    return Reading(
        rung=record.axes["rung"],
        repeat=record.repeat,
        order=record.order,
        requests=record.counts.ok,
        failed=record.counts.failures,
        wall_s=record.wall_s,
        throughput_rps=record.throughput_rps,
        cpu_us_per_request=client.cpu_us_per_request if client else None,
        server_cpu_percent=server.cpu_percent if server else None,
        verdict=record.verdict,
        warnings=[note.code for note in record.warnings],
        says=record.warnings[0].message if record.throughput_rps is None else "",
        record=record.id,
    )
