"""aiohttp's client as a transport: one session for all requests, or one for each."""

import asyncio
import math
import socket
import warnings
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import aiohttp.abc
from aiohttp import hdrs
from yarl import URL

from labkit.measured.http_framing import check_body
from labkit.measured.transports import client, tracing
from labkit.measured.transports.client import Destination, Fetch, TransportClient
from labkit.measured.transports.responses import Answer
from labkit.record.requests import Received
from labkit.spec.requests import Request
from labkit.spec.transports import AiohttpTransport

# Method, URL, and the rest by name.
Arguments = tuple[str, URL, dict[str, Any]]
# What the synthetic server is called where it has a name. `.test` is reserved (RFC 6761).
NAME = "lab.test"
# Settings that a connector takes and shows under the same name.
SHOWN_BY_CONNECTOR = ("limit", "limit_per_host", "force_close", "use_dns_cache")
# Our names of timeouts -> those of `aiohttp.ClientTimeout`.
TIMEOUTS = {f"{one}_timeout_s": one for one in ("connect", "sock_connect", "sock_read")}
TIMEOUTS |= {"timeout_s": "total"}


class Aiohttp(TransportClient[AiohttpTransport]):
    """`answer = await fetch(item)`, whose body is read as `read` says."""

    def __init__(self, settings: AiohttpTransport, to: Destination) -> None:
        super().__init__(settings, to)
        url = to.url
        self._resolver = KnownAddresses(to.addresses) if to.addresses else None
        if settings.resolve_s is not None:
            split = urlsplit(url)
            port = "" if split.port is None else f":{split.port}"
            url = split._replace(netloc=f"{NAME}{port}").geturl()
            self._resolver = KnownAddresses([split.hostname or ""], settings.resolve_s)
        self._tls = client.tls_context(url, settings.ca, settings.verify)
        self._url = url
        self.tracer = tracing.Tracer() if settings.trace else None
        self._events = [] if self.tracer is None else [tracing.events(self.tracer)]
        self._effective: dict[str, Any] = {}
        self._bodies = Bodies()

    async def open(self) -> Fetch:
        """Open a session; return what a strategy calls for each item."""
        session = await self.stack.enter_async_context(self._session())
        self._effective = _in_force(session, self.settings)
        fetch = self._fetch_in(session)
        if self.settings.session_per_request:

            async def fetch(item: int) -> Answer:
                async with self._session() as session:
                    return await self._fetch_in(session)(item)

        return fetch if self.tracer is None else tracing.traced(fetch, self.tracer)

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings that are in force, read back from the connector and the session.

        With a resolver of the lab's own also how often it was asked so far.
        """
        if self._resolver is None or self.settings.resolve_s is None or not self._effective:
            return self._effective
        return self._effective | {"lookups": self._resolver.lookups}

    @property
    def received(self) -> Received:
        """Return the bodies that were read so far."""
        return Received(**vars(self._bodies))

    def forget(self) -> None:
        """Count bodies and phases anew from now on."""
        Bodies.__init__(self._bodies)
        if self.tracer is not None:
            tracing.Tracer.__init__(self.tracer, self.tracer.clock)

    def _session(self) -> aiohttp.ClientSession:
        asked = self.settings
        with warnings.catch_warnings():
            # A setting that is ignored is read back: the record says so.
            warnings.simplefilter("ignore", DeprecationWarning)
            connector = aiohttp.TCPConnector(
                **{name: getattr(asked, name) for name in SHOWN_BY_CONNECTOR},
                # aiohttp refuses the two together.
                keepalive_timeout=None if asked.force_close else asked.keepalive_timeout,
                ttl_dns_cache=asked.ttl_dns_cache,
                enable_cleanup_closed=asked.enable_cleanup_closed,
                resolver=self._resolver,
                ssl=self._tls or True,
            )
        more: dict[str, Any] = {}
        if asked.accept_encoding is not None:
            more["headers"] = {hdrs.ACCEPT_ENCODING: asked.accept_encoding}
        if asked.read_bufsize is not None:
            more["read_bufsize"] = asked.read_bufsize
        limits = {theirs: getattr(asked, ours) for ours, theirs in TIMEOUTS.items()}
        more |= {"timeout": aiohttp.ClientTimeout(**limits), "trace_configs": self._events}
        session = aiohttp.ClientSession(connector=connector, **more)
        # aiohttp has no public switch for it (aio-libs/aiohttp issue 7363).
        session._retry_connection = asked.retry_dropped
        return session

    def _fetch_in(self, session: aiohttp.ClientSession) -> Callable[[int], Awaitable[Answer]]:
        begin, read = partial(session.request, allow_redirects=False), self._reader()

        async def send(asked: Arguments) -> Answer:
            method, url, more = asked
            async with begin(method, url, **more) as response:
                # Leaving the block releases the response: what was not read is not waited for.
                return Answer(response.status, await read(response), response.raw_headers)

        return self.to.calls.fetching(self._url, _arguments, send)

    def _reader(self) -> Callable[[aiohttp.ClientResponse], Awaitable[bytes]]:
        """Return what reads a body, once and for all: as a whole, in chunks, or not at all."""
        add, size, how = self._bodies.add, self.settings.chunk_bytes, self.settings.read
        most = math.inf if self.settings.max_body_bytes is None else self.settings.max_body_bytes

        async def read(response: aiohttp.ClientResponse) -> bytes:
            content = response.content
            if not content.is_eof() or content.total_bytes > most:
                response.content = cast(Any, _Bounded(response, most))
            body = await response.read()
            add(content)
            return body

        async def read_chunks(response: aiohttp.ClientResponse) -> bytes:
            bounded = _Bounded(response, most)
            async for _ in response.content.iter_chunked(size):
                bounded.check()
            add(response.content)
            return b""

        async def leave(response: aiohttp.ClientResponse) -> bytes:
            return b""

        return {"read": read, "stream": read_chunks, "release": leave}[how]


def _arguments(url: str, request: Request) -> Callable[[int], Arguments]:
    """Return a function from an item's number to what `ClientSession.request` is given for it."""
    method, url_of = request.method, client.url_template(url, request.path)
    more = {"headers": request.headers or None, "data": request.body}
    if not request.varies:
        return lambda n: (method, URL(url_of(n), encoded=True), more)

    def varying(n: int) -> Arguments:
        one = request.at(n)
        return method, URL(url_of(n), encoded=True), {"headers": one.headers, "data": one.body}

    return varying


class _Bounded:
    """The content of a response, whole or in pieces, as long as it is no larger than `most` bytes.

    aiohttp itself reads a body whatever its size; of one that is packed it unpacks a piece at a
    time. What is counted is what comes out.
    """

    def __init__(self, response: aiohttp.ClientResponse, most: float) -> None:
        self._content, self._most = response.content, most
        self.check(response.content_length or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def check(self, announced: int = 0) -> None:
        """Raise `TooLarge` where more has come, or is announced."""
        check_body(max(self._content.total_bytes, announced), self._most)

    async def read(self) -> bytes:
        """Return all of it."""
        pieces = []
        while piece := await self._content.readany():
            self.check()
            pieces.append(piece)
        return b"".join(pieces)


class Bodies:
    """Counts bodies that were read to their end, with the fields of `Received`."""

    def __init__(self) -> None:
        self.bodies = self.wire_bytes = self.decoded_bytes = 0

    def add(self, content: aiohttp.StreamReader) -> None:
        """Count one body."""
        self.bodies += 1
        decoded = content.total_bytes
        self.decoded_bytes += decoded
        # None where nothing was packed; and a reader of an empty body has no such attribute.
        packed = getattr(content, "total_compressed_bytes", None)
        self.wire_bytes += decoded if packed is None else packed


def _in_force(session: aiohttp.ClientSession, asked: AiohttpTransport) -> dict[str, Any]:
    connector, timeout = session.connector, session.timeout
    assert isinstance(connector, aiohttp.TCPConnector)
    # aiohttp shows only some of these publicly; a record of what was asked would be no record.
    ours = ("session_per_request", "max_body_bytes", "resolve_s", "ca", "verify")
    return {
        **{name: getattr(asked, name) for name in ours},
        **{name: getattr(connector, name) for name in SHOWN_BY_CONNECTOR},
        **{ours: getattr(timeout, theirs) for ours, theirs in TIMEOUTS.items()},
        "keepalive_timeout": None if connector.force_close else connector._keepalive_timeout,
        "ttl_dns_cache": connector._cached_hosts._ttl,
        "enable_cleanup_closed": not connector._cleanup_closed_disabled,
        "accept_encoding": session.headers.get(
            hdrs.ACCEPT_ENCODING, aiohttp.ClientRequest.DEFAULT_HEADERS[hdrs.ACCEPT_ENCODING]
        ),
        "read_bufsize": session._read_bufsize,
        "retry_dropped": session._retry_connection,
        "trace": bool(session.trace_configs),
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
        of_all: Any = {"hostname": host, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST}
        six, four = socket.AF_INET6, socket.AF_INET
        families = {at: six if ":" in at else four for at in self._addresses}
        return [of_all | {"host": at, "family": family} for at, family in families.items()]

    async def close(self) -> None:
        """Nothing is open."""
