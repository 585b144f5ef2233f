"""The textbook: a producer waits while the queue is full, workers wait while it is empty."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

from labkit.measured.strategies import Fetch, strategy
from labkit.measured.strategies._tasks import cancel_and_wait

T = TypeVar("T")


@strategy
async def queue(fetch: Fetch[T], items: Iterable[T], limit: int) -> None:
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

    tasks = [asyncio.create_task(work()) for _ in range(limit)]
    try:
        tasks.append(asyncio.create_task(produce()))
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)
