"""How one call is made to a database: its drivers as transports."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from labkit.errors import BadInput
from labkit.spec.transports import Transport
from labkit.spec.types import Connections, PoolLeast, PoolMost, Seconds

BATCH_DELAY_S = 0.01


class AsyncpgTransport(Transport, frozen=True, kw_only=True, tag="asyncpg"):
    """asyncpg, the asynchronous driver of PostgreSQL: one row by its key, in each call.

    `mode`: connect (a connection for each query), single (one connection, on which queries wait for
    each other: asyncpg raises where two are made at a time) or pool, whose settings the others are.
    `min_size` None is all `max_size` from the start; `max_inactive_s` 0 keeps idle ones for ever.
    With a `batch` above 1 up to so many calls become one query for many rows, which is sent once
    they are that many or `batch_delay_s` after the first of them.
    """

    mode: Literal["connect", "single", "pool"] = "pool"
    min_size: PoolLeast | None = None
    max_size: PoolMost = 10
    acquire_timeout_s: Seconds | None = 30.0
    command_timeout_s: Seconds | None = 60.0
    connect_timeout_s: Seconds = 30.0
    max_inactive_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    overcommit: bool = False
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 1
    batch_delay_s: Annotated[float, Meta(ge=0, le=60)] = BATCH_DELAY_S

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch == 1 and self.batch_delay_s != BATCH_DELAY_S:
            raise BadInput(
                f"transport.batch_delay_s is {self.batch_delay_s!r} with transport.batch 1: "
                "nothing waits to be sent together; set a batch of 2 or more"
            )
        if self.min_size is not None and self.min_size > self.max_size:
            raise BadInput(
                f"transport.min_size is {self.min_size} with transport.max_size {self.max_size}: "
                "a pool cannot start with more connections than it may have; lower it"
            )

    @property
    def queues(self) -> bool:
        """Whether requests are meant to wait inside for a connection."""
        return self.mode != "connect"

    def connections_at(self, in_flight: int) -> int:
        """One for each request, or those that are shared."""
        most = {"single": 1, "pool": self.max_size}
        return min(in_flight, most.get(self.mode, in_flight))

    def sent_at(self, in_flight: int) -> int:
        """As many on each connection as a batch holds."""
        return min(in_flight, self.connections_at(in_flight) * self.batch)


class PsycopgTransport(Transport, frozen=True, kw_only=True, tag="psycopg"):
    """psycopg, a synchronous driver of PostgreSQL, in `threads` threads with a connection each."""

    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    command_timeout_s: Seconds | None = 60.0
    connect_timeout_s: Seconds = 30.0
    overcommit: bool = False

    @property
    def queues(self) -> bool:
        """They wait for a thread."""
        return True

    def connections_at(self, in_flight: int) -> int:
        """One for each thread."""
        return min(in_flight, self.threads)


_DEPTH, _POOL_TIMEOUT_S = 16, 20.0


class RedisTransport(Transport, frozen=True, kw_only=True, tag="redis"):
    """redis-py's asyncio client, without retries: one GET is one call, and is counted once.

    `mode`: client (a client and a connection for each call), pool (a `ConnectionPool`, which raises
    when all of its connections are in use), blocking (a `BlockingConnectionPool`, which lets the
    call wait up to `pool_timeout_s`) or pipeline (calls made in the same turn of the loop share a
    round trip, up to `depth` of them, over a blocking pool). `max_connections=0` is no limit; a
    client of one call has it to itself. `timeout_s` is for each write and each read.
    """

    mode: Literal["client", "pool", "blocking", "pipeline"] = "pool"
    max_connections: Connections = 0
    pool_timeout_s: Seconds | None = _POOL_TIMEOUT_S
    depth: Annotated[int, Meta(ge=1, le=10_000)] = _DEPTH
    timeout_s: Seconds | None = 300.0
    connect_timeout_s: Seconds | None = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth != _DEPTH and self.mode != "pipeline":
            raise self._unheeded("depth", "pipeline")
        if self.pool_timeout_s != _POOL_TIMEOUT_S and not self.queues:
            raise self._unheeded("pool_timeout_s", "blocking or pipeline")

    def _unheeded(self, name: str, modes: str) -> BadInput:
        return BadInput(
            f"transport.{name} is {getattr(self, name)!r} with transport.mode {self.mode!r}, "
            f"which does not heed it: leave it out, or set the mode to {modes}"
        )

    @property
    def queues(self) -> bool:
        """Whether requests are meant to wait inside for a connection."""
        return self.mode in ("blocking", "pipeline")

    def connections_at(self, in_flight: int) -> int:
        """A pool's limit holds for all of its calls, whatever they do when they meet it."""
        alone = self.mode == "client" or not self.max_connections
        return in_flight if alone else min(in_flight, self.max_connections)

    def sent_at(self, in_flight: int) -> int:
        """In the blocking modes the rest waits; in the others nothing does."""
        if not self.queues:
            return in_flight
        depth = self.depth if self.mode == "pipeline" else 1
        return min(in_flight, self.connections_at(in_flight) * depth)
