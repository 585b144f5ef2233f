from __future__ import annotations

import asyncio
import itertools
from typing import Any

from wrong_answers.start_here import batches, one_by_one


async def asking(fetch: Any, items: Any, limit: int) -> None:
    waiting, running = iter(items), set()
    while True:
        for item in itertools.islice(waiting, limit - len(running)):
            running.add(asyncio.ensure_future(fetch(item)))
        if not running:
            return
        await asyncio.sleep(0)
        running = {task for task in running if not task.done()}


async def a_task_for_each(fetch: Any, items: Any, limit: int) -> None:
    places = asyncio.Semaphore(limit)

    async def held_back(item: int) -> None:
        async with places:
            await fetch(item)

    await asyncio.gather(*map(held_back, items))


async def a_place_is_lost(fetch: Any, items: Any, limit: int) -> None:
    places = asyncio.Semaphore(limit)
    for item in items:
        await places.acquire()
        await fetch(item)


WRONG = [
    ("ex-01-2", asking, "asks again and again"),
    ("ex-01-2", a_task_for_each, "tasks existed at once"),
    ("ex-01-2", a_place_is_lost, "waits for something that never happens"),
    ("ex-01-2", batches, "places stood idle"),
    ("ex-01-2", one_by_one, "places stood idle"),
]
