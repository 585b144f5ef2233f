"""The client of the target `echo`: an `asyncio.Protocol` that sends a message and awaits its echo.

A message begins with the number of its item, so that the echo of another is noticed, and ends with
a newline, for servers that read lines. As little as can be is done here: the server is measured.
"""

import asyncio
from collections.abc import Iterable
from typing import cast

from labkit.measured.http_framing import BadMessage
from labkit.measured.transports.client import Destination, OneAtATime, Unanswered
from labkit.spec.transports import EchoTransport

NUMBER_BYTES = 12
_NUMBER = b"%012d"


class Echo(OneAtATime[EchoTransport]):
    """`size = await fetch(item)`."""

    def __init__(self, settings: EchoTransport, to: Destination) -> None:
        super().__init__(settings, to)
        self._size = settings.message_bytes
        self._filler = b"x" * (self._size - NUMBER_BYTES - 1) + b"\n"
        self.idle: list[EchoConnection] = []

    def pending(self) -> Iterable[asyncio.Future[None]]:
        """Return the messages whose echo has not come."""
        return [one.waiter for one in self.connections if one.waiter and not one.waiter.done()]

    def expire(self, pending: asyncio.Future[None]) -> None:
        """Fail one that has waited too long."""
        # Whoever awaits it ends its connection.
        if not pending.done():
            pending.set_exception(TimeoutError("no whole echo in time"))

    async def fetch(self, item: int) -> int:
        """Send a message, await its echo, and return its size."""
        if self.idle:
            connection = self.idle.pop()
        else:
            open_to = asyncio.get_running_loop().create_connection
            _, connection = await self.connect(
                lambda host: open_to(lambda: EchoConnection(self, self._size), host, self.port)
            )
        try:
            await connection.ask(_NUMBER % item, self._filler)
        except BaseException:
            connection.abort()  # what still comes back on it belongs to nobody
            raise
        if connection in self.connections:
            self.idle.append(connection)
        return self._size


class EchoConnection(asyncio.Protocol):
    """One connection, and the message that is on its way there and back."""

    def __init__(self, owner: Echo, message_bytes: int) -> None:
        self.waiter: asyncio.Future[None] | None = None
        self._owner, self._size = owner, message_bytes
        self._transport: asyncio.Transport
        self._new_waiter = asyncio.get_running_loop().create_future
        self._number = self._came = b""
        self._left = 0

    def ask(self, number: bytes, filler: bytes) -> asyncio.Future[None]:
        """Send a message; done when its echo has come."""
        self.waiter = waiter = self._new_waiter()
        self._number, self._came, self._left = number, b"", self._size
        if self in self._owner.connections:
            self._transport.write(number + filler)
        else:
            waiter.set_exception(Unanswered("the connection ended before the message was sent"))
        return waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop once connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what the server sent."""
        if len(self._came) < NUMBER_BYTES:
            self._came += data[: NUMBER_BYTES - len(self._came)]
        self._left -= len(data)
        if self._left > 0:
            return
        waiter = self.waiter
        if waiter is None or waiter.done() or self._left < 0:
            self._fail(BadMessage("more came back than had been sent"))
        elif self._came != self._number:
            self._fail(BadMessage("what came back is not what was sent"))
        else:
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection is gone."""
        owner = self._owner
        owner.connections.discard(self)
        if self in owner.idle:
            owner.idle.remove(self)
        why = exc or "closed by the server"
        self._fail(Unanswered(f"the connection ended before the whole echo had come ({why})"))

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)
        self._transport.abort()
