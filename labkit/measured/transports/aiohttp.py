"""aiohttp's client as a transport: one session for all requests, or one for each."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiohttp.abc
from aiohttp import hdrs
from yarl import URL

from labkit.measured.probes.phases import Tracer
from labkit.measured.transports import Fetch, failures, tracing, url_template
from labkit.measured.transports.failures import BadStatus
from labkit.record.record import Phases, Received
from labkit.spec.transports import AiohttpTransport

# The most specific first: a disconnection by the server is none of the others.
_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (TimeoutError, "timeout"),
    (BadStatus, "status"),
    (aiohttp.ServerDisconnectedError, "disconnected"),
    ((ConnectionResetError, BrokenPipeError, ConnectionAbortedError), "reset"),
    ((aiohttp.ClientPayloadError, aiohttp.ClientResponseError), "payload"),
)


NAME = "lab.test"
"""What the synthetic server is called where it has a name. `.test` is reserved (RFC 6761)."""


class Aiohttp:
    """`async with Aiohttp(settings, url, path) as fetch: await fetch(item)`."""

    def __init__(
        self,
        settings: AiohttpTransport,
        url: str,
        path: str = "/{item}",
        addresses: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._resolver = KnownAddresses(addresses) if addresses else None
        if settings.resolve_s is not None:
            split = urlsplit(url)
            port = "" if split.port is None else f":{split.port}"
            url = split._replace(netloc=f"{NAME}{port}").geturl()
            self._resolver = KnownAddresses([split.hostname or ""], settings.resolve_s)
        self._url_of = url_template(url, path)
        self._tracer = Tracer() if settings.trace else None
        self._events = [] if self._tracer is None else [tracing.events(self._tracer)]
        self._stack = AsyncExitStack()
        self._effective: dict[str, Any] = {}
        self._bodies = Bodies()

    async def __aenter__(self) -> Fetch:
        session = await self._stack.enter_async_context(self._session())
        self._effective = _in_force(session, self._settings)
        fetch = self._fetch_in(session)
        if self._settings.session_per_request:

            async def fetch(item: int) -> None:
                async with self._session() as session:
                    await self._fetch_in(session)(item)

        return fetch if self._tracer is None else tracing.traced(fetch, self._tracer)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def effective(self) -> dict[str, Any]:
        """The settings that are in force, read back from the connector and the session.

        With a resolver of the lab's own also how often it was asked so far.
        """
        own = self._resolver if self._settings.resolve_s is not None else None
        if own is None or not self._effective:
            return self._effective
        return self._effective | {"lookups": own.lookups}

    @property
    def phases(self) -> Phases | None:
        """Where the requests so far spent their time; None where they are not traced."""
        return None if self._tracer is None else self._tracer.summary()

    @property
    def received(self) -> Received:
        """The bodies that were read so far."""
        bodies = self._bodies
        return Received(
            bodies=bodies.count, wire_bytes=bodies.wire_bytes, decoded_bytes=bodies.decoded_bytes
        )

    def kind_of(self, error: BaseException) -> str:
        """Return the kind of a failure, as records count it."""
        return kind_of(error)

    def _session(self) -> aiohttp.ClientSession:
        asked = self._settings
        with warnings.catch_warnings():
            # A setting that is ignored is read back: the record says so.
            warnings.simplefilter("ignore", DeprecationWarning)
            connector = aiohttp.TCPConnector(
                limit=asked.limit,
                limit_per_host=asked.limit_per_host,
                force_close=asked.force_close,
                # aiohttp refuses the two together.
                keepalive_timeout=None if asked.force_close else asked.keepalive_timeout,
                ttl_dns_cache=asked.ttl_dns_cache,
                use_dns_cache=asked.use_dns_cache,
                enable_cleanup_closed=asked.enable_cleanup_closed,
                resolver=self._resolver,
            )
        more: dict[str, Any] = {}
        if asked.accept_encoding is not None:
            more["headers"] = {hdrs.ACCEPT_ENCODING: asked.accept_encoding}
        if asked.read_bufsize is not None:
            more["read_bufsize"] = asked.read_bufsize
        session = aiohttp.ClientSession(
            connector=connector,
            **more,
            timeout=aiohttp.ClientTimeout(
                total=asked.timeout_s,
                connect=asked.connect_timeout_s,
                sock_connect=asked.sock_connect_timeout_s,
                sock_read=asked.sock_read_timeout_s,
            ),
            trace_configs=self._events,
        )
        # aiohttp has no public switch for it (aio-libs/aiohttp issue 7363).
        session._retry_connection = asked.retry_dropped
        return session

    def _fetch_in(self, session: aiohttp.ClientSession) -> Fetch:
        # Two functions, and not one that asks each time how to read: the first is measured most.
        get, url_of, add = session.get, self._url_of, self._bodies.add
        size, by_chunk = self._settings.chunk_bytes, self._settings.read == "stream"

        async def fetch(item: int) -> None:
            url = URL(url_of(item), encoded=True)
            async with get(url, allow_redirects=False) as response:
                await response.read()
                add(response.content)
                if response.status >= 300:
                    raise BadStatus(response.status)

        async def fetch_otherwise(item: int) -> None:
            url = URL(url_of(item), encoded=True)
            async with get(url, allow_redirects=False) as response:
                if by_chunk:
                    async for _ in response.content.iter_chunked(size):
                        pass
                    add(response.content)
                if response.status >= 300:
                    raise BadStatus(response.status)
            # Leaving the block releases the response: what was not read is not waited for.

        return fetch if self._settings.read == "read" else fetch_otherwise


class Bodies:
    """Counts bodies that were read to their end."""

    def __init__(self) -> None:
        self.count = self.wire_bytes = self.decoded_bytes = 0

    def add(self, content: aiohttp.StreamReader) -> None:
        """Count one body."""
        self.count += 1
        decoded = content.total_bytes
        self.decoded_bytes += decoded
        # None where nothing was packed; and a reader of an empty body has no such attribute.
        packed = getattr(content, "total_compressed_bytes", None)
        self.wire_bytes += decoded if packed is None else packed


def kind_of(error: BaseException) -> str:
    """Return the kind of a failure, as records count it; the most specific kind wins."""
    for types, kind in _KINDS:
        if isinstance(error, types):
            return kind
    if isinstance(error, OSError):
        fallback = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "other"
        return failures.of_errno(error, fallback)
    return "other"


def _in_force(session: aiohttp.ClientSession, asked: AiohttpTransport) -> dict[str, Any]:
    connector, timeout = session.connector, session.timeout
    assert isinstance(connector, aiohttp.TCPConnector)
    # aiohttp shows only some of these publicly; a record of what was asked would be no record.
    return {
        "limit": connector.limit,
        "limit_per_host": connector.limit_per_host,
        "keepalive_timeout": None if connector.force_close else connector._keepalive_timeout,
        "force_close": connector.force_close,
        "ttl_dns_cache": connector._cached_hosts._ttl,
        "use_dns_cache": connector.use_dns_cache,
        "enable_cleanup_closed": not connector._cleanup_closed_disabled,
        "timeout_s": timeout.total,
        "connect_timeout_s": timeout.connect,
        "sock_connect_timeout_s": timeout.sock_connect,
        "sock_read_timeout_s": timeout.sock_read,
        "session_per_request": asked.session_per_request,
        "accept_encoding": session.headers.get(
            hdrs.ACCEPT_ENCODING, aiohttp.ClientRequest.DEFAULT_HEADERS[hdrs.ACCEPT_ENCODING]
        ),
        "read_bufsize": session._read_bufsize,
        "retry_dropped": session._retry_connection,
        "resolve_s": asked.resolve_s,
        "trace": bool(session.trace_configs),
        "c_extensions": aiohttp.http_parser.HttpResponseParser.__module__.endswith("_http_parser"),
    }


class KnownAddresses(aiohttp.abc.AbstractResolver):
    """A resolver that asks no one: every name has these addresses, found in `lookup_s`.

    `lookups` counts how often it was asked. Several connectors may share one: it opens nothing.
    """

    def __init__(self, addresses: Sequence[str], lookup_s: float = 0.0) -> None:
        self._addresses, self._lookup_s = addresses, lookup_s
        self.lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Return all the addresses, whatever the family that was asked for."""
        self.lookups += 1
        if self._lookup_s:
            await asyncio.sleep(self._lookup_s)
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""
