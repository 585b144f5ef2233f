"""How one call is made: over HTTP, and to the echo."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from labkit.errors import BadInput
from labkit.spec.types import Bytes, Coding, Connections, LookupSeconds, Part, Seconds


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
