"""How the process of a target is started."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from labkit.errors import BadInput
from labkit.spec import delays
from labkit.spec.addresses import is_loopback
from labkit.spec.types import Bytes, EchoApi, Loop, Part, Port, StallSeconds


class Process(Part, frozen=True, kw_only=True):
    """How the process of a target is started, whatever it does."""

    role: ClassVar[str] = "serve"

    die_with_stdin: bool = False
    core: int | None = None


class TargetProcess(Process, frozen=True, kw_only=True):
    """How one is started that serves by itself."""

    host: str = "127.0.0.1"
    port: Port = 0
    loop: Loop = "uvloop"


class EchoServer(TargetProcess, frozen=True, kw_only=True):
    """How the target `echo` is started."""

    api: EchoApi = "protocol"


class PostgresServer(Process, frozen=True, kw_only=True):
    """How the target `postgres` is started."""

    rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    query_s: Annotated[float, Meta(ge=0, le=60)] = 0.0
    max_connections: Annotated[int, Meta(ge=1, le=1_000)] = 100
    auth: Literal["trust", "scram-sha-256"] = "trust"


class ValkeyServer(Process, frozen=True, kw_only=True):
    """How the target `valkey` is started."""

    keys: int = 1_000
    value_bytes: int = 64
    maxclients: int = 10_000


class Server(TargetProcess, frozen=True, kw_only=True):
    """How one synthetic HTTP server is started: `labkit serve`, or the target of a trial.

    `keep_log` is how many requests `/-/log` shows; in `counters_folder` several workers share what
    they count.
    """

    delay: str = "0"
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    body_bytes: Bytes | None = None
    client_max_size: Bytes = 1 << 20
    stall_at: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    stall_s: StallSeconds = 1.0
    keep_log: Annotated[int, Meta(ge=0, le=100_000)] = 0
    counters_folder: str | None = None
    announce_json: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        delays.parse(self.delay)
        if self.keep_log and self.workers > 1:
            raise BadInput(
                f"serve.keep_log is {self.keep_log:,} with serve.workers {self.workers}: each "
                "would know its own requests only; keep a log of one worker"
            )


def check_listening(host: str, allow_remote: str | None) -> None:
    """Raise `BadInput` unless `host` is loopback or the one that the user named."""
    if not is_loopback(host) and host != allow_remote:
        raise BadInput(
            f"serve.host is {host!r}: the server listens on loopback only (127.0.0.1, ::1, "
            f"localhost); where others may reach it, say so with --allow-remote {host}"
        )
