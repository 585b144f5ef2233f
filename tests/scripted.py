"""A server of raw bytes for tests of clients: it does on each connection what the test says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from servers import PATIENCE_S

# The option of a socket whose end is a reset.
LINGER = struct.pack("ii", 1, 0)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Peer:
    """One connection, as the server sees it."""

    def __init__(
        self, server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self.number = server.connections
        self.heads: list[str] = []

    async def asked(self) -> str:
        """Return the target of the next request; the script ends here when there is none."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("ascii")
        target = head.split(" ", 2)[1]
        self.heads.append(head)
        self._server.targets.append(target)
        return target

    async def exactly(self, size: int) -> bytes:
        """Return so many bytes; the script ends here when there are fewer."""
        return await self._reader.readexactly(size)

    async def send(self, *pieces: bytes) -> None:
        """Send these pieces, each as soon as the one before is on its way."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Wait until the client has gone."""
        while await self._reader.read(65_536):
            pass

    def reset(self) -> None:
        """End the connection with a reset."""
        own = self._writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Scripted:
    """Runs the script for every connection, and counts. What a script raises, the test raises."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = self.open = self.port = 0
        self.targets: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that the server counts is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - it looks once in each turn of the loop
                await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._script(Peer(self, reader, writer))
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def scripted(script: Script | Scripted) -> AsyncIterator[Any]:
    """Yield a server on loopback; all connections have ended when it is left."""
    server = script if isinstance(script, Scripted) else Scripted(script)
    tasks: list[asyncio.Task[None]] = []

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(server.serve(reader, writer)))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result


def single(data: bytes) -> Iterator[bytes]:
    """Return its bytes, one at a time."""
    return (data[at : at + 1] for at in range(len(data)))


def split(raw: bytes, data: st.DataObject) -> list[bytes]:
    """Return these bytes, split anywhere."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    return [raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])]


def answer(body: bytes | str, *headers: str, status: int = 200) -> bytes:
    """Return a whole answer."""
    content = body.encode("ascii") if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode("ascii") + content


# Scripts


async def echo(peer: Peer) -> None:
    """Answer every request with its target."""
    while True:
        await peer.send(answer(await peer.asked()))


async def reset(peer: Peer) -> None:
    """Take one request, and reset the connection."""
    await peer.asked()
    peer.reset()


async def mute(peer: Peer) -> None:
    """Take one request, and never answer."""
    await peer.asked()
    await peer.end()


def once(*pieces: bytes) -> Script:
    """Take one request, send these pieces, and end the connection."""

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(*pieces)

    return script


def after(count: int, act: Callable[[Peer, list[str]], Awaitable[None]]) -> Script:
    """Do that once so many requests have come; on later connections just answer."""

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await act(peer, [await peer.asked() for _ in range(count)])
        else:
            await echo(peer)

    return script
