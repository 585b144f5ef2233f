"""How one call is made: async context managers that yield `fetch(item)`.

`fetch` raises where the call failed; `kind_of(error)` names the failure as records count it, and
`effective` returns, once entered, what is really in force. What they share is in `client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from time import monotonic
from typing import Any

from labkit.measured.transports.client import Destination, Fetch, TransportClient
from labkit.spec.transports import Transport


def open_transport(
    settings: Transport,
    url: str,
    path: str = "/{item}",
    addresses: Sequence[str] = (),
    *,
    rows: int = 1,
) -> TransportClient[Any]:
    """Return the transport that `settings` describe, not yet entered, for calls of a `Destination`.

    The transport 'wire' is the class `Wire` of the module `wire`, and so on. It is imported when it
    is opened: a measured process contains the client that it measures, only.
    """
    module = import_module(f"{__name__}.{settings.kind}")
    make: type[TransportClient[Any]] = getattr(module, settings.kind.capitalize())
    return make(settings, Destination(url, path, addresses, rows))


def paced(
    fetch: Fetch,
    per_second: float,
    *,
    clock: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Fetch:
    """Return `fetch`, started at most `per_second` times a second, evenly spaced.

    A trial on the host of somebody else is polite by it.
    """
    next_at = float("-inf")

    async def slowly(item: int) -> None:
        nonlocal next_at
        now = clock()
        at, next_at = max(now, next_at), max(now, next_at) + 1 / per_second
        if at > now:
            await sleep(at - now)
        await fetch(item)

    return slowly
