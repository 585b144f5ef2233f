"""Miech 2016: requests in flight are bounded, tasks are not, so memory grows with the items."""

import asyncio

from labkit.measured.strategies._guard import Fetch, Items, T, gather_all, strategy


@strategy
async def semaphore(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Create a task for every item up front, and let each wait for one semaphore."""
    slots = asyncio.Semaphore(limit)

    async def bounded(item: T) -> None:
        async with slots:
            await fetch(item)

    await gather_all(bounded(item) for item in items)
