"""What every engine of the synthetic server does alike: listening, and saying what is in force."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from labkit.measured.targets import process
from labkit.measured.targets.http import behaviour
from labkit.measured.targets.http.log import Log
from labkit.measured.targets.http.messages import Answer
from labkit.measured.targets.http.stats import Stats
from labkit.measured.targets.http.workers import Board
from labkit.spec import parts


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol], settings: parts.Server
) -> asyncio.Server:
    """Listen where `settings` say; connections are accepted when this returns."""
    return await asyncio.get_running_loop().create_server(
        protocol,
        settings.host,
        settings.port,
        backlog=process.BACKLOG,
        # As many processes as there are workers share the port, and the system deals out clients.
        reuse_port=settings.workers > 1 or None,
    )


def reset(transport: asyncio.Transport) -> None:
    """End the connection with a reset (RST), where the kind of socket knows one."""
    there = transport.get_extra_info("socket")
    # A copy of the descriptor: uvloop lends a socket on which nothing may be set.
    with socket.socket(fileno=os.dup(there.fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Telling:
    """What a server tells of itself: `/-/stats` and `/-/log`."""

    def __init__(self, settings: parts.Server, stats: Stats, **versions: str) -> None:
        self.in_force = in_force(settings, **versions)
        self.log = Log(settings.keep_log) if settings.keep_log else None
        self._stats = stats
        self._board = Board(settings.board, stats) if settings.board else None

    def answer(self, method: str, target: str) -> Answer:
        """The answer to a request that `behaviour.is_inside` is true of."""
        if behaviour.is_log(target):
            return behaviour.inside(method, (self.log or Log(0)).snapshot())
        counted = self._board.total() if self._board else self._stats
        return behaviour.inside(method, {**counted.snapshot(), **self.in_force})


def in_force(settings: parts.Server, **versions: str) -> dict[str, Any]:
    """What the running server is, for its stats; `versions` are those of the engine's libraries."""
    loop = process.loop_name()
    return {
        "engine": settings.engine,
        "loop": loop,
        "python": platform.python_version(),
        **versions,
        "uvloop": sys.modules["uvloop"].__version__ if loop == "uvloop" else None,
        "pid": os.getpid(),
        "workers": settings.workers,
        "delay": settings.delay,
        "seed": settings.seed,
    }
