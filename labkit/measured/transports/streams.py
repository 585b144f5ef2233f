"""HTTP/1.1 over `asyncio.open_connection`: the cost of the loop's streams above its protocols.

The same requests, the same parsing as the transport `wire`; between them lies only the API. There
is no pipelining: each connection has one request at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any

from labkit.measured.http_framing import BadMessage
from labkit.measured.transports import client
from labkit.measured.transports.client import Destination, HttpClient, OneAtATime
from labkit.measured.transports.responses import Answer, ResponseHead
from labkit.spec.transports import StreamsTransport


class Streams(HttpClient[StreamsTransport], OneAtATime[StreamsTransport]):
    """`answer = await fetch(item)`."""

    def __init__(self, settings: StreamsTransport, to: Destination) -> None:
        super().__init__(settings, to)
        self._idle: list[StreamConnection] = []
        self._busy: dict[StreamConnection, None] = {}
        self.fetch = to.calls.fetching(to.url, client.request_template, self.send)

    def pending(self) -> list[tuple[StreamConnection, int]]:
        """Return the connections that wait for an answer, each with the number of its request."""
        return [(connection, connection.asked) for connection in self._busy]

    def expire(self, pending: tuple[StreamConnection, int]) -> None:
        """Fail what has waited too long, with its connection."""
        pending[0].expire()

    async def send(self, data: bytes) -> Answer:
        """Send a request and return its answer, whatever its status is."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                break
            connection.abort()
        else:
            how: dict[str, Any] = {"limit": self.settings.buffer_bytes, **self.tls}
            open_to = partial(asyncio.open_connection, port=self.port, **how)
            reader, writer = await self.connect(open_to)
            connection = StreamConnection(self, reader, writer)
        self._busy[connection] = None
        try:
            head, body = await connection.ask(data)
        except BaseException:
            connection.abort()
            raise
        finally:
            del self._busy[connection]
        if head.keep_alive:
            self._idle.append(connection)
        else:
            connection.abort()
        return Answer(head.status, body, head.fields)


class StreamConnection:
    """One connection, and the answer that comes on it."""

    def __init__(
        self, owner: Streams, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer, self._open = reader, writer, owner.connections
        self._open.add(self)
        self._size = owner.settings.buffer_bytes
        self._answers: deque[tuple[ResponseHead, bytes]] = deque()
        self._responses = owner.new_reader(lambda head, body: self._answers.append((head, body)))
        self._write = self._responses.noting(writer.write)
        self._expired = False
        self.asked = 0

    async def ask(self, request: bytes) -> tuple[ResponseHead, bytes]:
        """Send a request and return its answer."""
        self.asked += 1
        self._write(request)
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
            if not self._answers:  # else it came behind the answer, and is of no request
                raise
        except OSError as error:
            raise self._lost(error) from None
        return self._answers.popleft()

    def _lost(self, error: Exception | None) -> Exception:
        if self._expired:
            return TimeoutError("no whole answer in time")
        why = error or "closed by the server"
        return client.Unanswered(f"the connection ended before the answer ({why})")

    @property
    def usable(self) -> bool:
        """Return whether another request can be sent: all that came belonged to the last answer."""
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
        self._open.discard(self)
        self._writer.transport.abort()
