"""HTTP/1.1 over `asyncio.open_connection`: the cost of the loop's streams above its protocols.

The same requests, the same parsing as the transport `wire`; between them lies only the API. There
is no pipelining: each connection has one request at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import httptools

from labkit.measured.http_framing import BadMessage
from labkit.measured.transports.client import OneAtATime, endpoint, request_template
from labkit.measured.transports.failures import BadStatus, Unanswered
from labkit.measured.transports.responses import ResponseHead, ResponseReader
from labkit.spec.transports import StreamsTransport


class Streams(OneAtATime[StreamsTransport]):
    """`async with Streams(settings, url, path) as fetch: body = await fetch(item)`."""

    def __init__(
        self,
        settings: StreamsTransport,
        url: str,
        path: str = "/{item}",
        addresses: Sequence[str] = (),
    ) -> None:
        super().__init__(settings)
        self._request = request_template(url, path)
        self._endpoint = endpoint(url, addresses)
        self._known: dict[bytes, ResponseHead] = {}
        self._idle: list[StreamConnection] = []
        self._busy: dict[StreamConnection, None] = {}

    @property
    def effective(self) -> dict[str, Any]:
        """The settings in force, how many connections they came to, and the parser."""
        return super().effective | {"httptools": httptools.__version__}

    def open_connections(self) -> list[StreamConnection]:
        """Return the connections that are open."""
        return [*self._idle, *self._busy]

    def pending(self) -> list[tuple[StreamConnection, int]]:
        """Return the connections that wait for an answer, each with the number of its request."""
        return [(connection, connection.asked) for connection in self._busy]

    def expire(self, pending: tuple[StreamConnection, int]) -> None:
        """Fail what has waited too long, with its connection."""
        pending[0].expire()

    async def fetch(self, item: int) -> bytes:
        """Make one request and return the body of its answer."""
        connection = None
        while self._idle and connection is None:
            connection = self._idle.pop()
            if not connection.usable:
                connection.abort()
                connection = None
        if connection is None:
            connection = await self._open()
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

    async def _open(self) -> StreamConnection:
        """Open a connection, to the last of several addresses where no other answers."""
        *others, last = self._endpoint.hosts
        connect = partial(
            asyncio.open_connection, port=self._endpoint.port, limit=self.settings.buffer_bytes
        )
        async with asyncio.timeout(self.settings.connect_timeout_s):
            for host in others:
                with suppress(OSError):
                    reader, writer = await connect(host)
                    break
            else:
                reader, writer = await connect(last)
        self.opened += 1
        return StreamConnection(self.settings, self._known, reader, writer)


class StreamConnection:
    """One connection, and the answer that comes on it."""

    def __init__(
        self,
        settings: StreamsTransport,
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
        """Send a request and return its answer."""
        self.asked += 1
        self._writer.write(request)
        try:
            while not self._answers:
                if data := await self._reader.read(self._size):
                    self._responses.receive(data)
                    continue
                try:
                    self._responses.end()
                except BadMessage as error:
                    raise self._lost(error) from None
                if not self._answers:
                    raise self._lost(None)
        except BadMessage:
            if not self._answers:  # else it stands behind the answer, and is of no request
                raise
        except OSError as error:
            raise self._lost(error) from None
        return self._answers.popleft()

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
