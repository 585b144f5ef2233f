"""The parts of a trial: target, transport, workload, switches; and the strategies there are.

Frozen, and valid once constructed. Only what can be checked by looking at the values is checked
here; what depends on this machine (descriptors, uvloop, the Python version) `preflight` checks
before anything starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from labkit import delays, fields
from labkit.addresses import check_url, is_loopback
from labkit.errors import BadInput

Loop = Literal["asyncio", "uvloop"]
Engine = Literal["wire", "aiohttp"]
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

# Name -> the options it takes, with their defaults. `labkit.strategies` holds the code; a test
# holds the two together, because the parent may not import what runs in a measured process.
STRATEGIES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "sequential": {},
        "gather": {},
        "semaphore": {},
        "as_completed": {},
        "task_pool": {},
        "pypeln": {"maxsize": 0},
        "chunked": {"chunk_size": 1_000},
        "wait": {},
        "task_group": {},
        "queue": {},
        "worker_pool": {},
        "priority": {"classes": 1},
        "aiometer": {},
        "aiostream": {},
        "anyio": {},
    }
)
OPTION_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "maxsize": Annotated[int, Meta(ge=0, le=100_000_000)],
        "chunk_size": Annotated[int, Meta(ge=1, le=100_000_000)],
        "classes": Annotated[int, Meta(ge=1, le=1_000)],
    }
)
GATHER_AT_MOST = 1_000_000
MOST_VALUES_BYTES = 1 << 28
REDIS_URL = "LABKIT_REDIS_URL"
"""The variable that names a Redis to be used as target `valkey`."""
BATCH_DELAY_S = 0.01
_PATH = re.compile(r"/[!-~]*")


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a trial; `role` is the name that errors and dotted names give it."""

    role: ClassVar[str]

    def __post_init__(self) -> None:
        fields.check_all(self, self.role)


class Target(Part, frozen=True, kw_only=True, tag_field="kind"):
    """The service that is called."""

    role: ClassVar[str] = "target"
    compared: ClassVar[Literal["client", "server", "both"]] = "client"
    """Whose speed a trial on it is about: the other side is then to have time to spare."""
    processes: ClassVar[Literal["one", "many"]] = "one"
    """Whether it serves with the process that it announces, or with children of that as well."""

    @property
    def kind(self) -> str:
        """The name by which a trial chooses it."""
        return str(self.__struct_config__.tag)


class HttpTarget(Target, frozen=True, kw_only=True, tag="http"):
    """The synthetic server. `body_bytes` replaces the text of `GET /{name}` by that many bytes.

    `stall_at` is an item: the whole server stands still for `stall_s` when its request comes.
    """

    delay: str = "0"
    engine: Engine = "wire"
    loop: Loop = "uvloop"
    body_bytes: Bytes | None = None
    client_max_size: Bytes = 1 << 20
    stall_at: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    stall_s: StallSeconds = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        delays.parse(self.delay)


class EchoTarget(Target, frozen=True, kw_only=True, tag="echo"):
    """A server that sends back what it is sent, written in one of three styles.

    `api`: sockets (`loop.sock_recv` and `sock_sendall`), streams (line by line) or protocol
    (`asyncio.Protocol`). It belongs to the transport `echo`, which decides what is sent.
    """

    compared = "server"

    api: EchoApi = "protocol"
    loop: Loop = "uvloop"


class ValkeyTarget(Target, frozen=True, kw_only=True, tag="valkey"):
    """A Valkey (a Redis) with `keys` values of `value_bytes` each; item i asks for key i % keys.

    The lab's own, without persistence, unless `LABKIT_REDIS_URL` names one. `maxclients` is how
    many connections the lab's own accepts; one that is named has a limit of its own.
    """

    keys: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    value_bytes: Annotated[int, Meta(ge=0, le=1 << 20)] = 64
    maxclients: Annotated[int, Meta(ge=1, le=100_000)] = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keys * self.value_bytes > MOST_VALUES_BYTES:
            raise BadInput(
                f"target.keys is {self.keys:,} with target.value_bytes {self.value_bytes:,}: the "
                f"values may take {MOST_VALUES_BYTES:,} bytes in all; lower one of the two"
            )


class UrlTarget(Target, frozen=True, kw_only=True, tag="url"):
    """A server of the user's own. `{item}` in the URL stands for the item's number.

    Loopback only, unless `allow_remote` repeats the host: then requests, rate and time are capped.
    """

    url: str
    allow_remote: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.url, self.allow_remote)


class PostgresTarget(Target, frozen=True, kw_only=True, tag="postgres"):
    """PostgreSQL: one of the lab's own, or the user's where `LABKIT_POSTGRES_DSN` names it.

    `labkit.items` has `rows` rows, keys from 0. A query waits `query_s` on the server, which stands
    for heavy work. `max_connections` and `auth` are of the lab's own alone.
    """

    compared = "both"
    processes = "many"

    rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    query_s: Annotated[float, Meta(ge=0, le=60)] = 0.0
    max_connections: Annotated[int, Meta(ge=1, le=1_000)] = 100
    auth: Literal["trust", "scram-sha-256"] = "trust"

    @property
    def delay(self) -> str:
        """How long each query waits, as a delay expression."""
        return f"{self.query_s:.9f}".rstrip("0").rstrip(".")


class Transport(Part, frozen=True, kw_only=True, tag_field="kind"):
    """How one call is made."""

    role: ClassVar[str] = "transport"

    @property
    def kind(self) -> str:
        """The name by which a trial chooses it."""
        return str(self.__struct_config__.tag)

    @property
    def queues(self) -> bool:
        """Whether requests are meant to wait inside for a connection, as in a pool."""
        return False

    def connections_at(self, in_flight: int) -> int:
        """How many connections there are where the strategy has so many requests in flight."""
        return in_flight

    def sent_at(self, in_flight: int) -> int:
        """How many of them are really sent; the rest wait inside the transport."""
        return self.connections_at(in_flight)


class AiohttpTransport(Transport, frozen=True, kw_only=True, tag="aiohttp"):
    """aiohttp's client. Names and meanings of the connector's settings are `TCPConnector`'s own.

    `limit=0` is no limit (aiohttp's own default is 100). `retry_dropped` is aiohttp's habit of
    sending an idempotent request again on a reused connection that was dropped; it is off, because
    the lab counts each request once. `resolve_s` gives the synthetic server a name, which a
    resolver of the lab's own looks up in so many seconds; None: it is called by its address.
    `trace` records the phases of each request, which costs CPU. `accept_encoding` is the one coding
    that is asked for, and `read_bufsize` from how many bytes on a body that nobody reads is held
    back (twice as many are kept); None is aiohttp's own choice.
    """

    limit: Connections = 0
    limit_per_host: Connections = 0
    keepalive_timeout: Annotated[float, Meta(ge=0, le=86_400)] = 15.0
    force_close: bool = False
    ttl_dns_cache: Annotated[int, Meta(ge=0, le=86_400)] | None = 10
    use_dns_cache: bool = True
    enable_cleanup_closed: bool = False
    timeout_s: Seconds | None = 300.0
    connect_timeout_s: Seconds | None = None
    sock_connect_timeout_s: Seconds | None = 30.0
    sock_read_timeout_s: Seconds | None = None
    session_per_request: bool = False
    read: Literal["read", "stream", "release"] = "read"
    chunk_bytes: Annotated[int, Meta(ge=1, le=1 << 26)] = 65_536
    accept_encoding: Coding | None = None
    read_bufsize: Annotated[int, Meta(ge=1, le=1 << 26)] | None = None
    retry_dropped: bool = False
    resolve_s: LookupSeconds | None = None
    trace: bool = False

    def connections_at(self, in_flight: int) -> int:
        """The connector's limits hold within a session only."""
        limits = [n for n in (self.limit, self.limit_per_host) if n]
        return in_flight if self.session_per_request else min([in_flight, *limits])

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.force_close and self.keepalive_timeout != type(self)().keepalive_timeout:
            raise BadInput(
                f"transport.keepalive_timeout is {self.keepalive_timeout!r} with "
                "transport.force_close on: a connection that is closed is not kept alive; "
                "set one of the two"
            )


class OwnTransport(Transport, frozen=True, kw_only=True):
    """What the lab's own clients have in common.

    `connections=0` is as many as the workload needs. A timeout ends up to an eighth of it late.
    """

    connections: Connections = 0
    timeout_s: Seconds | None = 300.0
    connect_timeout_s: Seconds | None = 30.0

    def connections_at(self, in_flight: int) -> int:
        """One for each request."""
        return min(in_flight, self.connections or in_flight)


class OwnHttpTransport(OwnTransport, frozen=True, kw_only=True):
    """Those of them that speak HTTP/1.1: an answer that is larger is a failure."""

    most_head_bytes: Annotated[int, Meta(ge=64, le=1 << 20)] = 65_536
    most_body_bytes: Bytes = 1 << 26


class WireTransport(OwnHttpTransport, frozen=True, kw_only=True, tag="wire"):
    """HTTP/1.1 on an `asyncio.Protocol` with httptools.

    `depth` is how many requests may be on their way on one connection; 1 is no pipelining.
    """

    depth: Annotated[int, Meta(ge=1, le=1_024)] = 1
    method: Literal["GET", "HEAD"] = "GET"

    def connections_at(self, in_flight: int) -> int:
        """One for each `depth` requests."""
        return super().connections_at(-(-in_flight // self.depth))

    def sent_at(self, in_flight: int) -> int:
        """As many on each connection as `depth` allows."""
        return min(in_flight, self.connections_at(in_flight) * self.depth)


class StreamsTransport(OwnHttpTransport, frozen=True, kw_only=True, tag="streams"):
    """HTTP/1.1 over `asyncio.open_connection`; `buffer_bytes` is what that calls `limit`."""

    buffer_bytes: Annotated[int, Meta(ge=64, le=1 << 26)] = 65_536


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


class Workload(Part, frozen=True, kw_only=True):
    """How much work, how many at a time. `path` may hold `{item}`; None is the target's own.

    Closed where `rate` is None: an answer makes room for the next request. Open where it is so many
    requests a second, `constant` or `poisson`: each is sent when it is due. `overflow` says what
    happens to one that is due while `limit` are in flight: it waits (and is late), or is dropped.
    """

    role: ClassVar[str] = "workload"

    requests: Count = 1_000
    limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0
    path: str | None = None
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    arrival: Literal["constant", "poisson"] = "constant"
    overflow: Literal["wait", "drop"] = "wait"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("arrival", self.arrival), ("overflow", self.overflow)):
            if self.rate is None and value not in ("constant", "wait"):
                raise BadInput(
                    f"workload.{name} is {value!r} without a workload.rate: only an open workload "
                    "has it; set the rate in requests per second"
                )
        if self.path is not None and not _PATH.fullmatch(self.path):
            raise BadInput(
                f"workload.path is {self.path!r}: it must start with '/' and hold printable ASCII "
                "without spaces; write the number of the item as {item}"
            )


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

    `keep_log` is how many requests `/-/log` shows; `board` is where one of several workers finds
    the others.
    """

    delay: str = "0"
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0
    engine: Engine = "wire"
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    body_bytes: Bytes | None = None
    client_max_size: Bytes = 1 << 20
    stall_at: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    stall_s: StallSeconds = 1.0
    keep_log: Annotated[int, Meta(ge=0, le=100_000)] = 0
    board: str | None = None
    announce_json: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        delays.parse(self.delay)
        if self.keep_log and self.workers > 1:
            raise BadInput(
                f"serve.keep_log is {self.keep_log:,} with serve.workers {self.workers}: each "
                "would know its own requests only; keep a log of one worker"
            )


TARGETS: Mapping[str, type[Target]] = MappingProxyType(
    {
        "http": HttpTarget,
        "echo": EchoTarget,
        "url": UrlTarget,
        "postgres": PostgresTarget,
        "valkey": ValkeyTarget,
    }
)
TRANSPORTS: Mapping[str, type[Transport]] = MappingProxyType(
    {
        "aiohttp": AiohttpTransport,
        "streams": StreamsTransport,
        "wire": WireTransport,
        "echo": EchoTransport,
        "asyncpg": AsyncpgTransport,
        "psycopg": PsycopgTransport,
        "redis": RedisTransport,
    }
)

_HTTP = ("aiohttp", "streams", "wire")
SPEAK: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "http": _HTTP,
        "echo": ("echo",),
        "url": _HTTP,
        "postgres": ("asyncpg", "psycopg"),
        "valkey": ("redis",),
    }
)
"""For each target the transports that speak with it; the first is what it gets unless told."""


class Switches(Part, frozen=True, kw_only=True):
    """What belongs to the trial as a whole; `Trial` shows each as an attribute of its own.

    `probes`: full; counts (no latency, no timeline, no loop lag); bare (a loop written by hand,
    without any code of the lab: the yardstick of its overhead). `deadline_s` None: several times
    what the trial should need. `saturate`: whether the client is meant to use its core up, so that
    what it can do is measured, and no latency; None: where nothing makes it wait (no delay, or a
    server that is not the lab's).
    """

    role: ClassVar[str] = "trial"

    loop: Loop = "asyncio"
    eager_tasks: bool = False
    pin: bool = True
    probes: Literal["full", "counts", "bare"] = "full"
    deadline_s: Seconds | None = None
    saturate: bool | None = None


def check_listening(host: str, allow_remote: str | None) -> None:
    """Raise `BadInput` unless `host` is loopback or the one that the user named."""
    if not is_loopback(host) and host != allow_remote:
        raise BadInput(
            f"serve.host is {host!r}: the server listens on loopback only (127.0.0.1, ::1, "
            f"localhost); where others may reach it, say so with --allow-remote {host}"
        )
