"""The transports of a trial, which make its calls: HTTP clients, echo, drivers of databases."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from labkit.spec.validation import Connections, Part, Seconds, ShortSeconds, by_kind, refusal

MaxBodyBytes = Annotated[int, Meta(ge=0, le=1 << 40)] | None
MAX_THREADS = 1_000
BATCH_DELAY_S, PIPELINE_DEPTH, POOL_TIMEOUT_S = 0.01, 16, 20.0


class Transport(Part, frozen=True, kw_only=True, tag_field="kind"):
    """How one call is made."""

    role: ClassVar[str] = "transport"
    # The settings that limit its connections (0: they are not) and what each has on its way; and
    # the modes in which requests wait inside for a connection: "" where there are no modes.
    limited_by: ClassVar[str] = ""
    shared_by: ClassVar[str] = ""
    queueing: ClassVar[tuple[str, ...]] = ()

    @property
    def queues(self) -> bool:
        """Return True if requests are meant to wait inside for a connection, as in a pool."""
        return getattr(self, "mode", "") in self.queueing

    def connections_at(self, in_flight: int) -> int:
        """Return how many connections serve so many requests in flight: one each, up to a limit."""
        return min(in_flight, getattr(self, self.limited_by, 0) or in_flight)

    def sent_at(self, in_flight: int) -> int:
        """Return how many of them are really sent; the rest wait inside the transport."""
        return min(in_flight, self.connections_at(in_flight) * getattr(self, self.shared_by, 1))


class LibraryTransport(Transport, frozen=True, kw_only=True):
    """A client that others wrote, for HTTP: what its settings have in common.

    `limit` is how many connections it may have; 0 is as many as the workload needs. Only aiohttp
    limits a whole call: `timeout_s` of the others is for each wait (for room, to connect, to write,
    for a piece of the answer). `max_body_bytes`, `ca` and `verify` are as of aiohttp's; without a
    `ca` requests and niquests trust whom they bring with them. The workload says whether redirects
    are followed, and not what is usual with a library (requests follows them, httpx does not).
    """

    limited_by = "limit"

    limit: Connections = 0
    timeout_s: Seconds | None = 300.0
    max_body_bytes: MaxBodyBytes = 1 << 26
    ca: str | None = None
    verify: bool = True


class AiohttpTransport(LibraryTransport, frozen=True, kw_only=True, tag="aiohttp"):
    """aiohttp's client, with one session for all calls unless `session_per_request` is set.

    Names and meanings of the connector's settings are `TCPConnector`'s own.
    `limit=0` is no limit (aiohttp's own default is 100). `retry_dropped` is aiohttp's habit of
    sending an idempotent request again on a reused connection that was dropped; it is off, because
    the lab counts each request once. `resolve_s` gives the synthetic server a name, which a
    resolver of the lab's own looks up in so many seconds; None: it is called by its address.
    `trace` records the phases of each request, which costs CPU. `accept_encoding` is the one coding
    that is asked for, and `read_bufsize` from how many bytes on a body that nobody reads is paused
    (twice as many are buffered); None is aiohttp's own choice. A body that is larger than
    `max_body_bytes`, unpacked, is a failure, held or streamed; None is no ceiling. A server that
    sends interim answers (1xx) for ever is ended by `timeout_s` alone: each is read in time. Over
    TLS it trusts what the system trusts and the lab's own certificate, or instead whoever is in the
    file `ca`; with `verify` off anybody.
    """

    limit_per_host: Connections = 0
    keepalive_timeout: Annotated[float, Meta(ge=0, le=86_400)] = 15.0
    force_close: bool = False
    ttl_dns_cache: Annotated[int, Meta(ge=0, le=86_400)] | None = 10
    use_dns_cache: bool = True
    enable_cleanup_closed: bool = False
    connect_timeout_s: Seconds | None = None
    sock_connect_timeout_s: Seconds | None = 30.0
    sock_read_timeout_s: Seconds | None = None
    session_per_request: bool = False
    read: Literal["read", "stream", "release"] = "read"
    chunk_bytes: Annotated[int, Meta(ge=1, le=1 << 26)] = 65_536
    accept_encoding: Literal["identity", "gzip", "deflate", "br", "zstd"] | None = None
    read_bufsize: Annotated[int, Meta(ge=1, le=1 << 26)] | None = None
    retry_dropped: bool = False
    resolve_s: ShortSeconds | None = None
    trace: bool = False

    def connections_at(self, in_flight: int) -> int:
        """Apply the connector's limits, which hold within a session only."""
        limits = [n for n in (self.limit, self.limit_per_host) if n]
        return in_flight if self.session_per_request else min([in_flight, *limits])

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.force_close and self.keepalive_timeout != type(self)().keepalive_timeout:
            raise refusal("keepalive", transport=self)


class OwnTransport(Transport, frozen=True, kw_only=True):
    """What the lab's own clients have in common.

    `connections=0` is as many as the workload needs. A timeout ends up to an eighth of it late.
    """

    limited_by = "connections"

    connections: Connections = 0
    timeout_s: Seconds | None = 300.0
    connect_timeout_s: Seconds | None = 30.0


class OwnHttpTransport(OwnTransport, frozen=True, kw_only=True):
    """Those of them that speak HTTP/1.1: an answer that is larger is a failure.

    `max_body_bytes` None is no ceiling, `ca` and `verify` are as of aiohttp's.
    """

    max_head_bytes: Annotated[int, Meta(ge=64, le=1 << 20)] = 65_536
    max_body_bytes: MaxBodyBytes = 1 << 26
    ca: str | None = None
    verify: bool = True


class WireTransport(OwnHttpTransport, frozen=True, kw_only=True, tag="wire"):
    """HTTP/1.1 on an `asyncio.Protocol` with httptools.

    `depth` is how many requests may be on their way on one connection; 1 is no pipelining.
    """

    shared_by = "depth"

    depth: Annotated[int, Meta(ge=1, le=1_024)] = 1

    def connections_at(self, in_flight: int) -> int:
        """Count one for each `depth` requests."""
        return super().connections_at(-(-in_flight // self.depth))


class StreamsTransport(OwnHttpTransport, frozen=True, kw_only=True, tag="streams"):
    """HTTP/1.1 over `asyncio.open_connection`; `buffer_bytes` is what that calls `limit`."""

    buffer_bytes: Annotated[int, Meta(ge=64, le=1 << 26)] = 65_536


class HttpxTransport(LibraryTransport, frozen=True, kw_only=True, tag="httpx"):
    """httpx, one `AsyncClient`; `keepalive_limit` is how many idle connections it keeps.

    0 is all of them, for so long as httpx does: 5 s. Its own defaults are 100 connections, of which
    20 are kept, and timeouts of 5 s.
    """

    keepalive_limit: Connections = 0


class Httpx2Transport(HttpxTransport, frozen=True, kw_only=True, tag="httpx2"):
    """httpx2, which continues httpx, with the same settings."""


class NiquestsTransport(LibraryTransport, frozen=True, kw_only=True, tag="niquests"):
    """niquests, one `AsyncSession`."""


class RequestsTransport(LibraryTransport, frozen=True, kw_only=True, tag="requests"):
    """requests in threads, with a session each: `limit` of them, at most 1,000.

    Calls wait for a thread.
    """

    queueing = ("",)

    def connections_at(self, in_flight: int) -> int:
        """Count one for each thread."""
        return min(super().connections_at(in_flight), MAX_THREADS)


class ClientTransport(Transport, frozen=True, kw_only=True, tag="own"):
    """A client of the user's own, by its `name`; `Trial.client` is the function or class itself.

    How many connections it has, nobody knows.
    """

    name: str = "own"


class EchoTransport(OwnTransport, frozen=True, kw_only=True, tag="echo"):
    """A message to the target `echo`, and the wait until it has come back: one call.

    A message is `message_bytes` long: the number of the item, filler, and a newline at its end.
    Each connection has one on its way at a time.
    """

    message_bytes: Annotated[int, Meta(ge=16, le=1 << 20)] = 1_024


class AsyncpgTransport(Transport, frozen=True, kw_only=True, tag="asyncpg"):
    """asyncpg, the asynchronous driver of PostgreSQL: one row by its key, in each call.

    `mode`: connect (a connection for each query), single (one connection, on which queries wait for
    each other: asyncpg raises where two are made at a time) or pool, whose settings the others are.
    `min_size` None is all `max_size` from the start; `max_inactive_s` 0 keeps idle ones for ever;
    without `reset` a connection that comes back to the pool is not reset, which saves a round trip.
    With a `batch` above 1 up to so many calls become one query for many rows, which is sent once
    they are that many or `batch_delay_s` after the first of them.
    """

    shared_by = "batch"
    queueing = ("single", "pool")

    mode: Literal["connect", "single", "pool"] = "pool"
    min_size: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    max_size: Annotated[int, Meta(ge=1, le=1_000)] = 10
    acquire_timeout_s: Seconds | None = 30.0
    command_timeout_s: Seconds | None = 60.0
    connect_timeout_s: Seconds = 30.0
    max_inactive_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    reset: bool = True
    overcommit: bool = False
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 1
    batch_delay_s: ShortSeconds = BATCH_DELAY_S

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch == 1 and self.batch_delay_s != BATCH_DELAY_S:
            raise refusal("batch", transport=self)
        if self.min_size is not None and self.min_size > self.max_size:
            raise refusal("pool", transport=self)

    def connections_at(self, in_flight: int) -> int:
        """Count one for each request, or those that are shared."""
        return min(in_flight, {"single": 1, "pool": self.max_size}.get(self.mode, in_flight))


class PsycopgTransport(Transport, frozen=True, kw_only=True, tag="psycopg"):
    """psycopg, a synchronous driver of PostgreSQL, in `threads` threads with a connection each.

    Calls wait for a thread.
    """

    limited_by = "threads"
    queueing = ("",)

    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    command_timeout_s: Seconds | None = 60.0
    connect_timeout_s: Seconds = 30.0
    overcommit: bool = False


class RedisTransport(Transport, frozen=True, kw_only=True, tag="redis"):
    """redis-py's asyncio client, without retries: one GET is one call, and is counted once.

    `mode`: client (a client and a connection for each call), pool (a `ConnectionPool`, which raises
    when all of its connections are in use), blocking (a `BlockingConnectionPool`, which lets the
    call wait up to `pool_timeout_s`) or pipeline (calls that come in one turn of the loop share a
    round trip, up to `depth` of them, over a blocking pool). `max_connections=0` is no limit; a
    client of one call has it to itself. `timeout_s` is for each write and each read.
    """

    limited_by = "max_connections"
    queueing = ("blocking", "pipeline")

    mode: Literal["client", "pool", "blocking", "pipeline"] = "pool"
    max_connections: Connections = 0
    pool_timeout_s: Seconds | None = POOL_TIMEOUT_S
    depth: Annotated[int, Meta(ge=1, le=10_000)] = PIPELINE_DEPTH
    timeout_s: Seconds | None = 300.0
    connect_timeout_s: Seconds | None = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth != PIPELINE_DEPTH and self.mode != "pipeline":
            raise refusal("unheeded", name="depth", value=self.depth, asked=self, modes="pipeline")
        if self.pool_timeout_s != POOL_TIMEOUT_S and not self.queues:
            found = {"name": "pool_timeout_s", "value": self.pool_timeout_s}
            raise refusal("unheeded", **found, asked=self, modes=" or ".join(self.queueing))

    def connections_at(self, in_flight: int) -> int:
        """Apply a pool's limit, which holds for all of its calls, whether they wait or fail."""
        return in_flight if self.mode == "client" else super().connections_at(in_flight)

    def sent_at(self, in_flight: int) -> int:
        """Count those that do not wait; only the blocking modes make some wait."""
        if not self.queues:
            return in_flight
        depth = self.depth if self.mode == "pipeline" else 1
        return min(in_flight, self.connections_at(in_flight) * depth)


TRANSPORTS: Mapping[str, type[Transport]] = by_kind(
    *(AiohttpTransport, StreamsTransport, WireTransport, HttpxTransport, Httpx2Transport),
    *(NiquestsTransport, RequestsTransport, ClientTransport),
    *(EchoTransport, AsyncpgTransport, PsycopgTransport, RedisTransport),
)
# Those that are packages of the same name.
LIBRARIES = ("httpx", "httpx2", "niquests", "requests")
_OF_HTTP = ("aiohttp", "streams", "wire", *LIBRARIES, "own")
# For each target the transports that speak with it; the first is what it gets unless one is named.
SPEAK: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("http", "url", "command"), _OF_HTTP),
    **{"echo": ("echo",), "postgres": ("asyncpg", "psycopg"), "valkey": ("redis",)},
    "none": ("a program",),
}
