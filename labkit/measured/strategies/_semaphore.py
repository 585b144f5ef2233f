"""Miech 2016: requests in flight are bounded, tasks are not, so memory grows with the items."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from labkit.measured.strategies import Fetch, strategy
from labkit.measured.strategies._tasks import cancel_and_wait

T = TypeVar("T")


@strategy
async def semaphore(fetch: Fetch[T], items: Iterable[T], limit: int) -> None:
    """Create a task for every item up front, and let each wait for one semaphore."""
    slots = asyncio.Semaphore(limit)

    async def bounded(item: T) -> None:
        async with slots:
            await fetch(item)

    tasks: list[asyncio.Task[None]] = []
    try:
        tasks.extend(asyncio.create_task(bounded(item)) for item in items)
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)
