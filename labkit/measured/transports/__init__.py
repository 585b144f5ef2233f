"""How one call is made: async context managers that yield `fetch(item)`.

`fetch` raises where the call failed; `kind_of(error)` names the failure as records count it, and
`effective` returns, once entered, what is really in force. What they share is in `client`.
"""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from labkit.measured.transports.client import Calls, Destination, Fetch, TransportClient
from labkit.spec.parts import Workload
from labkit.spec.requests import MAX_DRAWN, Request, drawn, statuses
from labkit.spec.transports import LIBRARIES, Transport


def open_transport(
    settings: Transport, url: str, path: str = "/{item}", **more: Any
) -> TransportClient[Any]:
    """Return the transport that `settings` describe, not yet entered, for calls of a `Destination`.

    Without `calls` it asks for `path`; `more` is what else a `Destination` has. It is imported when
    it is opened: a measured process contains the client that it measures, only.
    """
    to = Destination(url, **{"calls": Calls([Request(path=path)]), **more})
    return transport_class(settings.kind)(settings, to)


def calls_of(workload: Workload, requests: Sequence[Request]) -> Calls:
    """Return what each item of a workload asks for, of these requests, and what is a success."""
    picks: Sequence[int] = ()
    if workload.order == "weighted":
        weights = [one.weight for one in requests]
        picks = drawn(weights, workload.seed, workload.requests or MAX_DRAWN)
    return Calls(requests, picks, statuses(workload.ok_status), follows=workload.redirects)


def transport_class(kind: str) -> type[TransportClient[Any]]:
    """Import a transport: 'wire' is the class `Wire` of the module `wire`, and so on.

    Clients that others wrote are in one module, which imports none of them.
    """
    home, name = ("others" if kind == "own" else kind), kind.capitalize()
    if kind in LIBRARIES:
        import_module(kind)
        home, name = "others", "Library"
    found: type[TransportClient[Any]] = getattr(import_module(f"{__name__}.{home}"), name)
    return found


def paced(fetch: Fetch, per_second: float, *, limit: int, most: int) -> Fetch:
    """Return `fetch`, started at most `per_second` times a second, evenly spaced.

    A trial on the host of somebody else is polite by it, whatever its strategy does: at most
    `limit` are in flight, and each call after the first `most` fails.
    """
    clock, slots = asyncio.get_running_loop().time, asyncio.Semaphore(limit)
    next_at, started = float("-inf"), 0

    async def slowly(item: int) -> object:
        nonlocal next_at, started
        started += 1
        if started > most:
            raise RuntimeError(f"more than the {most:,} planned requests: not sent to another host")
        now = clock()
        at, next_at = max(now, next_at), max(now, next_at) + 1 / per_second
        if at > now:
            await asyncio.sleep(at - now)
        async with slots:
            return await fetch(item)

    return slowly
