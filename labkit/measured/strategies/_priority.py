"""A priority queue: urgent items overtake those that still wait, never those in flight."""

import asyncio
from typing import Any

from labkit.measured.strategies._guard import Fetch, Items, T, gather_all, strategy
from labkit.spec.validation import AtLeastOne, check


@strategy
async def priority(fetch: Fetch[T], items: Items[T], limit: int, *, classes: int = 1) -> None:
    """Feed `limit` workers lowest class first: an item's class is its ordinal modulo `classes`."""
    check("classes", classes, AtLeastOne)
    # The ordinal keeps equals in order, and keeps items (which may have none) from being compared.
    waiting: asyncio.PriorityQueue[tuple[int, int, Any]] = asyncio.PriorityQueue(maxsize=limit)

    async def produce() -> None:
        for ordinal, item in enumerate(items):
            await waiting.put((ordinal % classes, ordinal, item))
        # One class below all others: the workers end when nothing else waits.
        for worker in range(limit):
            await waiting.put((classes, worker, None))

    async def work() -> None:
        while (entry := await waiting.get())[0] < classes:
            await fetch(entry[2])

    await gather_all([*(work() for _ in range(limit)), produce()])
