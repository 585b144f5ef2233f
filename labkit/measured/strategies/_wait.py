"""What 2017 could have been: the loop says which future is done, instead of being asked."""

import asyncio
from itertools import islice

from labkit.measured.strategies._guard import Fetch, Items, T, cancel_and_wait, strategy


@strategy
async def wait(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Fill a set up to `limit` tasks each time that `asyncio.wait` reports the first completed."""
    source = iter(items)
    running: set[asyncio.Future[object]] = set()

    def fill() -> None:
        free = islice(source, limit - len(running))
        running.update(asyncio.ensure_future(fetch(item)) for item in free)

    try:
        fill()
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running -= done
            for task in done:
                task.result()
            fill()
    finally:
        await cancel_and_wait(running)
