"""Chunks of items, and results as an async iterator; both in bounded memory.

The consumer of an iterator sets the pace: at most `limit` items are in flight, or finished and not
yet consumed, and `items` is read no further than that. A consumer that may leave early closes the
iterator, or the calls in flight go on until it is garbage-collected:

    async with aclosing(as_completed(fetch, items, limit)) as results:
        async for item, result in results: ...

The first call that fails ends the iterator with its error and cancels the others; a `fetch` that
returns its error instead lets the rest go on.

`for chunk in in_chunks(items, 100): await gather(...)` has a barrier: each chunk waits for its
slowest item, and nothing takes the place of those that are done. Without a barrier:
`as_completed(call, in_chunks(items, 100), limit)` for a call that takes a chunk, or
`as_completed(fetch, items, limit)`, which needs no chunks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from labkit.spec.validation import AtLeastOne, check

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_chunks(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield `items` in order, `size` at a time; the last chunk may be shorter.

    An item is taken from its source no earlier than its chunk is asked for.
    """
    check("size", size, AtLeastOne)
    source = iter(items)
    return iter(lambda: tuple(islice(source, size)), ())


def in_order(
    fetch: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield each item and its result in the order of `items`: a slow one delays the rest."""
    return _results(fetch, items, limit, None)


def as_completed(
    fetch: Callable[[Item], Awaitable[Result]], items: Iterable[Item], limit: int
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield each item and its result as soon as it is done."""
    return _results(fetch, items, limit, asyncio.Queue())


async def _results(
    fetch: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item],
    limit: int,
    done: asyncio.Queue[asyncio.Future[Result]] | None,
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield items and results as the calls come to be `done`, or else in the order of the items."""
    check("limit", limit, AtLeastOne)
    source = iter(items)
    running: dict[asyncio.Future[Result], Item] = {}
    try:
        while True:
            for item in islice(source, limit - len(running)):
                call = asyncio.ensure_future(fetch(item))
                running[call] = item
                if done is not None:
                    call.add_done_callback(done.put_nowait)
            if not running:
                return
            if done is not None:
                first = await done.get()
            else:
                first = next(iter(running))
                await asyncio.wait([first])
            yield running.pop(first), first.result()
    finally:
        for left in running:
            left.cancel()
        await asyncio.gather(*running, return_exceptions=True)
