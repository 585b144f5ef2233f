"""The textbook: a producer waits while the queue is full, workers wait while it is empty."""

import asyncio
from typing import Any

from labkit.measured.strategies._guard import Fetch, Items, T, gather_all, strategy


@strategy
async def queue(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Feed `limit` workers through an `asyncio.Queue` that holds at most `limit` items."""
    waiting: asyncio.Queue[Any] = asyncio.Queue(maxsize=limit)
    end = object()

    async def produce() -> None:
        for item in items:
            await waiting.put(item)
        for _ in range(limit):
            await waiting.put(end)

    async def work() -> None:
        while (item := await waiting.get()) is not end:
            await fetch(item)

    await gather_all([*(work() for _ in range(limit)), produce()])
