"""What every part of a trial is: frozen, valid once constructed; and the types of its settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from labkit.spec import validation

Loop = Literal["asyncio", "uvloop"]
EchoApi = Literal["sockets", "streams", "protocol"]
Coding = Literal["identity", "gzip", "deflate", "br", "zstd"]
Bytes = Annotated[int, Meta(ge=0, le=1 << 30)]
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Connections = Annotated[int, Meta(ge=0, le=1_000_000)]
StallSeconds = Annotated[float, Meta(ge=0, le=60)]
PoolLeast = Annotated[int, Meta(ge=0, le=1_000)]
PoolMost = Annotated[int, Meta(ge=1, le=1_000)]
LookupSeconds = Annotated[float, Meta(ge=0, le=60)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a trial; `role` is the name that errors and dotted names give it."""

    role: ClassVar[str]

    def __post_init__(self) -> None:
        validation.check_all(self, self.role)
