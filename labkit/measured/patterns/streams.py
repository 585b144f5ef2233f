"""Results as an async iterator, in bounded memory: who takes them sets the pace.

At most `limit` items are in flight, or finished and not yet taken; `items` is read no further than
that. Whoever may leave early closes the iterator, or what is in flight goes on until it is
collected:

    async with aclosing(as_completed(fetch, items, limit)) as results:
        async for item, result in results: ...

The first call that fails ends the iterator with its error and cancels the others; a `fetch` that
returns its error instead lets the rest go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from labkit.measured.patterns import _checked

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    fetch: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Each item and its result, in the order of `items`: one that is slow holds the rest up."""
    _checked.at_least_one("limit", limit)
    source = iter(items)
    window: deque[tuple[Item, asyncio.Future[Result]]] = deque()
    try:
        while True:
            for item in islice(source, limit - len(window)):
                window.append((item, asyncio.ensure_future(fetch(item))))
            if not window:
                return
            item, call = window[0]
            await asyncio.wait([call])
            window.popleft()
            yield item, call.result()
    finally:
        await _end(call for _, call in window)


async def as_completed(
    fetch: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Each item and its result, the first that is done first."""
    _checked.at_least_one("limit", limit)
    source = iter(items)
    running: dict[asyncio.Future[Result], Item] = {}
    done: asyncio.Queue[asyncio.Future[Result]] = asyncio.Queue()
    try:
        while True:
            for item in islice(source, limit - len(running)):
                call = asyncio.ensure_future(fetch(item))
                running[call] = item
                call.add_done_callback(done.put_nowait)
            if not running:
                return
            first = await done.get()
            yield running.pop(first), first.result()
    finally:
        await _end(running)


async def _end(calls: Iterable[asyncio.Future[Any]]) -> None:
    left = list(calls)
    for call in left:
        call.cancel()
    await asyncio.gather(*left, return_exceptions=True)
