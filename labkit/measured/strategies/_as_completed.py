"""Balaam 2017: a bounded list of futures, so memory is flat, and polling, so one core is busy."""

import asyncio
from itertools import islice

from labkit.measured.strategies._guard import Fetch, Items, T, cancel_and_wait, strategy


@strategy
async def as_completed(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Keep `limit` futures in a list, and scan it on each turn of the loop for one that is done."""
    source = iter(items)
    futures: list[asyncio.Future[object]] = []

    def start(count: int) -> None:
        futures.extend(asyncio.ensure_future(fetch(item)) for item in islice(source, count))

    try:
        start(limit)
        while futures:
            # Polling and scanning waste a whole core; they stay because that is the claim to test.
            await asyncio.sleep(0)
            for future in futures:
                if future.done():
                    futures.remove(future)
                    start(1)
                    future.result()
                    break
    finally:
        await cancel_and_wait(futures)
