"""A priority queue: urgent items overtake those that still wait, never those in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

from labkit.measured.strategies import Fetch, strategy
from labkit.measured.strategies._tasks import cancel_and_wait
from labkit.spec.validation import AtLeastOne, check

T = TypeVar("T")


@strategy
async def priority(fetch: Fetch[T], items: Iterable[T], limit: int, *, classes: int = 1) -> None:
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

    tasks = [asyncio.create_task(work()) for _ in range(limit)]
    try:
        tasks.append(asyncio.create_task(produce()))
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)
