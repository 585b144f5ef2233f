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

from labkit.measured.transports.client import Client, Fetch
from labkit.spec.transports import SPEAK, Transport


def open_transport(
    settings: Transport,
    url: str,
    path: str = "/{item}",
    addresses: Sequence[str] = (),
    *,
    rows: int = 1,
) -> Client[Any]:
    """Return the transport that `settings` describe, not yet entered, for calls on `url` + `path`.

    `addresses` are the checked addresses of the URL's host; where given, no other is connected to.
    `rows` is how many keys a database has, from 0.
    """
    # The transport 'wire' is the class `Wire` of the module `wire`, and so on. It is imported when
    # it is opened: a measured process contains the client that it measures, only.
    kind = settings.kind
    make: Callable[..., Client[Any]]
    make = getattr(import_module(f"{__name__}.{kind}"), kind.capitalize())
    if kind in SPEAK["http"]:
        return make(settings, url, path, addresses)
    return make(settings, url, rows) if kind in SPEAK["postgres"] else make(settings, url)


def paced(
    fetch: Fetch,
    per_second: float,
    *,
    clock: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Fetch:
    """Return `fetch`, started at most `per_second` times a second, evenly spaced.

    It keeps a trial on another's host polite.
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
