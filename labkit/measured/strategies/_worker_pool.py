"""The leanest, and the lab's default: a task for each slot instead of one for each item."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

from labkit.measured.strategies import Fetch, strategy
from labkit.measured.strategies._tasks import cancel_and_wait

T = TypeVar("T")


@strategy
async def worker_pool(fetch: Fetch[T], items: Iterable[T], limit: int) -> None:
    """Let at most `limit` workers take items from one shared iterator until it is empty."""
    source = iter(items)

    async def work(first: T) -> None:
        await fetch(first)
        for item in source:
            await fetch(item)

    tasks: list[asyncio.Task[None]] = []
    try:
        tasks.extend(asyncio.create_task(work(first)) for first in islice(source, limit))
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)
