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


RIGHT = ["holds", "refuted", "inconclusive", "inconclusive", "inconclusive"]


def but(row: int, word: str) -> list[str]:
    return [word if number == row else right for number, right in enumerate(RIGHT, start=1)]


WRONG = [
    ("ex-01-1", 300, "wait for their slowest"),
    ("ex-01-1", 100, "draws both ends"),
    ("ex-01-1", 150_000, "one after another"),
    ("ex-01-1", 0.15, "factor of a thousand"),
    ("ex-01-1", "150 s", "without quotes"),
    ("ex-01-2", asking, "asks again and again"),
    ("ex-01-2", a_task_for_each, "tasks existed at once"),
    ("ex-01-2", a_place_is_lost, "waits for something that never happens"),
    ("ex-01-2", batches, "places stood idle"),
    ("ex-01-2", one_by_one, "places stood idle"),
    ("ex-01-3", "holds", "give a list of 5"),
    ("ex-01-3", RIGHT[:4], "holds 4"),
    ("ex-01-3", but(1, "yes"), "choose one of"),
    ("ex-01-3", [1, 2, 3, 4, 5], "in quotes"),
    ("ex-01-3", but(1, "inconclusive"), "row 1: all of its repeats say the same"),
    ("ex-01-3", but(2, "holds"), "row 2: look again at which side"),
    ("ex-01-3", but(3, "holds"), "row 3: do all of its repeats say the same"),
    ("ex-01-3", but(4, "holds"), "row 4: how many repeats"),
    ("ex-01-3", but(5, "refuted"), "row 5: do all"),
]
