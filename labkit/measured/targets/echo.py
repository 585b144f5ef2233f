"""`python -m labkit.measured.targets.echo '<JSON of EchoTarget>'`: send back what comes in.

Three styles of the same server, each as it would be written by hand: what is measured of an event
loop holds nothing but the loop and the style. So nothing is counted here. TCP_NODELAY is on in all
(streams and protocols have it from both loops).
"""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any, cast

from labkit.measured.targets import process
from labkit.spec.targets import EchoTarget

# The most that is taken from a socket at a time.
RECEIVE_BYTES = 102_400
# The most that a stream stores of a line that has not ended.
MAX_LINE = 1 << 20
PAUSE_S = 0.1


class Sockets:
    """`loop.sock_accept`, `sock_recv` and `sock_sendall`: a task for each connection."""

    def __init__(self, settings: EchoTarget) -> None:
        where = (settings.host, settings.port)
        self._listening = socket.create_server(where, backlog=process.BACKLOG)
        self._listening.setblocking(False)
        self.sockets = [self._listening]
        self._echoing: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.ensure_future(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(PAUSE_S)  # out of descriptors, most likely
                continue
            task = loop.create_task(echo_socket(connection))
            self._echoing.add(task)
            task.add_done_callback(self._echoing.discard)

    def close(self) -> None:
        """Accept no more."""
        self._accepting.cancel()
        self._listening.close()


async def echo_socket(connection: socket.socket) -> None:
    """Send back what comes until the peer is gone."""
    loop = asyncio.get_running_loop()
    with connection, suppress(OSError):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await loop.sock_recv(connection, RECEIVE_BYTES):
            await loop.sock_sendall(connection, data)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back line by line until the peer is gone, or sends a line that never ends."""
    try:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    # Cancelled where the process ends: Python 3.11 would report that of a task as an error.
    except (OSError, ValueError, asyncio.CancelledError):
        writer.transport.abort()
    finally:
        writer.close()


class EchoProtocol(asyncio.Protocol):
    """Sends back what comes, and reads no more while the peer does not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop for a new connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what the peer sent."""
        self._transport.write(data)

    def pause_writing(self) -> None:
        """Called by the loop when the peer reads more slowly than it sends."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Called by the loop when the peer has caught up."""
        self._transport.resume_reading()


async def start(settings: EchoTarget) -> asyncio.Server | Sockets:
    """Listen; connections are accepted when this returns."""
    at = (settings.host, settings.port)
    if settings.api == "sockets":
        return Sockets(settings)
    if settings.api == "streams":
        return await asyncio.start_server(echo_stream, *at, limit=MAX_LINE, backlog=process.BACKLOG)
    loop = asyncio.get_running_loop()
    return await loop.create_server(EchoProtocol, *at, backlog=process.BACKLOG)


def announcement(settings: EchoTarget, host: str, port: int) -> dict[str, Any]:
    """Return what to print once connections are accepted."""
    in_force = {"api": settings.api, **process.in_force()}
    return {"url": f"tcp://{host}:{port}", "pid": os.getpid(), "in_force": in_force}


if __name__ == "__main__":
    sys.exit(process.run(EchoTarget, partial(process.listen, start=start, announce=announcement)))
