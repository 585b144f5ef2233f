"""`python -m labkit.measured.targets.http '<JSON of Server>'`: run one synthetic server.

What a process owes whoever started it is in `targets.process`. What the server answers is in
`behaviour`, how that is sent in the engine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from typing import Any

from labkit.measured.targets import process
from labkit.measured.targets.http.workers import supervise
from labkit.spec.parts import Server

USAGE = (
    """usage: python -m labkit.measured.targets.http '{"port": 8080, "delay": "randint(0,3)"}'"""
)


def main(arguments: list[str]) -> int:
    """Serve until a signal comes; the exit status is 0 then, and 2 where nothing could start."""
    return process.main(arguments, Server, _start, announcement, USAGE, _supervised)


def _supervised(settings: Server) -> int | None:
    return supervise(settings) if settings.workers > 1 and settings.board is None else None


async def _start(settings: Server) -> asyncio.Server:
    engine: Any = import_module(f"labkit.measured.targets.http.engine_{settings.engine}")
    server: asyncio.Server = await engine.start(settings)
    return server


def announcement(settings: Server, host: str, port: int) -> str | dict[str, Any]:
    """What is said once the server accepts connections, to a program or to a human."""
    url = f"http://{host}:{port}"
    if settings.announce_json:
        return {"url": url, "pid": os.getpid()}
    return (
        f"serving {url} with a delay of {settings.delay} s "
        f"(engine {settings.engine}, loop {settings.loop}, {_workers(settings)}seed "
        f"{settings.seed}); Ctrl-C stops it"
    )


def _workers(settings: Server) -> str:
    return f"{settings.workers} workers, " if settings.workers > 1 else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
