"""A cap on the rate of calls: what keeps a trial on another's host polite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from labkit.measured.transports import Fetch


def paced(
    fetch: Fetch,
    per_second: float,
    *,
    clock: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Fetch:
    """Return `fetch`, started at most `per_second` times a second, evenly spaced."""
    next_at = float("-inf")

    async def slowly(item: int) -> None:
        nonlocal next_at
        now = clock()
        at, next_at = max(now, next_at), max(now, next_at) + 1 / per_second
        if at > now:
            await sleep(at - now)
        await fetch(item)

    return slowly
