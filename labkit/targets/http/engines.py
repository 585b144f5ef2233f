"""What every engine of the synthetic server does alike: listening, and saying what is in force."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from labkit import parts

BACKLOG = 4096
UVLOOP_TICK_S = 0.001
"""uvloop's timers count whole milliseconds: one may end up to this much early."""


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol], settings: parts.Server
) -> asyncio.Server:
    """Listen where `settings` say; connections are accepted when this returns."""
    return await asyncio.get_running_loop().create_server(
        protocol,
        settings.host,
        settings.port,
        backlog=BACKLOG,
        # As many processes as there are workers share the port, and the system deals out clients.
        reuse_port=settings.workers > 1 or None,
    )


def loop_name() -> str:
    """The kind of the running loop: asyncio or uvloop."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def in_force(settings: parts.Server, **versions: str) -> dict[str, Any]:
    """What the running server is, for its stats; `versions` are those of the engine's libraries."""
    loop = loop_name()
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
