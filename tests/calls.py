"""Outcomes of calls of a transport: what a call returns, or the kind of its failure."""

import asyncio
import builtins
import errno
import socket
from collections.abc import Awaitable
from typing import Any

from labkit.measured.transports.responses import Answer
from labkit.record.guards import FAILURES


async def outcome(transport: Any, call: Awaitable[object]) -> object:
    """Return the body of the answer, or what else a call returns, or the kind of its failure."""
    try:
        found = await call
        return found.body if isinstance(found, Answer) else found
    except Exception as error:  # noqa: BLE001 - whatever it is, the transport has to name it
        kind = transport.kind_of(error)
    assert kind in FAILURES
    return kind


async def outcomes(transport: Any, *calls: Awaitable[object]) -> list[object]:
    """Return the outcomes of calls at once."""
    return await asyncio.gather(*(outcome(transport, call) for call in calls))


async def kinds(transport: Any, *calls: Awaitable[object]) -> list[str]:
    """Return the kind of each failure of calls at once, 'ok' where there was none."""
    return [one if isinstance(one, str) else "ok" for one in await outcomes(transport, *calls)]


async def alone(transport: Any, item: int = 0) -> object:
    """Return the outcome of one call on a transport of its own."""
    async with transport as fetch:
        return await outcome(transport, fetch(item))


def bodies(*items: int) -> list[bytes]:
    """Return what `echo` answers to these."""
    return [b"/%d" % item for item in items]


def nobody() -> str:
    """Return an address, with its port, where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def raised(library: Any, name: str, *said: Any) -> Any:
    """Return an error of a library, or of Python, by name; words of `errno` are its numbers."""
    kind = getattr(library, name, None) or getattr(builtins, name)
    return kind(*(getattr(errno, str(one), one) for one in said))
