"""HTTP/1.1 over `asyncio.open_connection`: what the loop's stream API costs above its protocols.

The same requests, the same parsing as the transport `wire`; between them lies only the API. There
is no pipelining: each connection has one request at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import httptools

from labkit.measured.http_framing import BadMessage
from labkit.measured.transports import http1
from labkit.measured.transports.client import OneAtATime
from labkit.measured.transports.failures import BadStatus, Unanswered
from labkit.measured.transports.responses import ResponseHead, ResponseReader
from labkit.spec import parts


class Streams(OneAtATime[parts.StreamsTransport]):
    """`async with Streams(settings, url, path) as fetch: body = await fetch(item)`."""

    def __init__(
        self,
        settings: parts.StreamsTransport,
        url: str,
        path: str = "/{item}",
        addresses: Sequence[str] = (),
    ) -> None:
        super().__init__(settings)
        self._request = http1.requests(url, path, "GET")
        self._endpoint = http1.endpoint(url, addresses)
        self._known: dict[bytes, ResponseHead] = {}
        self._idle: list[Connection] = []
        self._busy: dict[Connection, None] = {}

    @property
    def effective(self) -> dict[str, Any]:
        """The settings in force, how many connections they came to, and the parser."""
        return super().effective | {"httptools": httptools.__version__}

    def _connections(self) -> Iterable[Connection]:
        return [*self._idle, *self._busy]

    def _pending(self) -> Iterable[tuple[Connection, int]]:
        # A connection may be found busy each time, and each time with another request.
        return [(connection, connection.asked) for connection in self._busy]

    def _expire(self, pending: tuple[Connection, int]) -> None:
        connection, _ = pending
        connection.expire()

    async def _fetch(self, item: int) -> bytes:
        connection = self._usable() or await self._open()
        self._busy[connection] = None
        try:
            head, body = await connection.ask(self._request(item))
        except BaseException:
            connection.abort()
            raise
        finally:
            del self._busy[connection]
        if head.keep_alive:
            self._idle.append(connection)
        else:
            connection.abort()
        if head.status >= 300:
            raise BadStatus(head.status)
        return body

    def _usable(self) -> Connection | None:
        """An idle connection on which nothing has come meanwhile, nor its end."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def _open(self) -> Connection:
        async with asyncio.timeout(self._settings.connect_timeout_s):
            reader, writer = await self._connected()
        self._count += 1
        return Connection(self._settings, self._known, reader, writer)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        *others, last = self._endpoint.hosts
        port, limit = self._endpoint.port, self._settings.buffer_bytes
        for host in others:
            with suppress(OSError):
                return await asyncio.open_connection(host, port, limit=limit)
        return await asyncio.open_connection(last, port, limit=limit)


class Connection:
    """One connection, and the answer that comes on it."""

    def __init__(
        self,
        settings: parts.StreamsTransport,
        known: dict[bytes, ResponseHead],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader, self._writer, self._size = reader, writer, settings.buffer_bytes
        self._answers: deque[tuple[ResponseHead, bytes]] = deque()
        self._responses = ResponseReader(
            lambda head, body: self._answers.append((head, body)),
            max_head_bytes=settings.most_head_bytes,
            max_body_bytes=settings.most_body_bytes,
            known=known,
        )
        self._expired = False
        self.asked = 0

    async def ask(self, request: bytes) -> tuple[ResponseHead, bytes]:
        """Send a request and read its answer."""
        self.asked += 1
        self._writer.write(request)
        try:
            while not self._answers:
                if data := await self._reader.read(self._size):
                    self._receive(data)
                else:
                    self._end()
        except OSError as error:
            raise self._lost(error) from None
        return self._answers.popleft()

    def _receive(self, data: bytes) -> None:
        try:
            self._responses.receive(data)
        except BadMessage:
            if not self._answers:  # else it stands behind the answer, and is of no request
                raise

    def _end(self) -> None:
        try:
            self._responses.end()
        except BadMessage as error:
            raise self._lost(error) from None
        if not self._answers:
            raise self._lost(None)

    def _lost(self, error: Exception | None) -> Exception:
        if self._expired:
            return TimeoutError("no whole answer in time")
        why = error or "closed by the server"
        return Unanswered(f"the connection ended before the answer ({why})")

    @property
    def usable(self) -> bool:
        """Whether another request can be asked here: all that came belonged to the last answer."""
        reader = self._reader
        # Only under this name does a stream say, without waiting, that something has come.
        surprised = self._answers or reader._buffer  # type: ignore[attr-defined]
        over = reader.at_eof() or self._writer.transport.is_closing()
        return self._responses.between and not surprised and not over

    def expire(self) -> None:
        """Fail what is asked here: it has taken too long."""
        self._expired = True
        self.abort()

    def abort(self) -> None:
        """End the connection now."""
        self._writer.transport.abort()
