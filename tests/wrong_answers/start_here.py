from __future__ import annotations

import asyncio
from typing import Any


async def batches(fetch: Any, items: Any, limit: int) -> None:
    waiting = list(items)
    for start in range(0, len(waiting), limit):
        await asyncio.gather(*map(fetch, waiting[start : start + limit]))


async def everything(fetch: Any, items: Any, limit: int) -> None:
    await asyncio.gather(*map(fetch, items))


async def one_by_one(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        await fetch(item)


async def each_all(fetch: Any, items: Any, limit: int) -> None:
    await asyncio.gather(*(one_by_one(fetch, items, limit) for _ in range(limit)))


async def nothing_awaited(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        fetch(item)


async def left_running(fetch: Any, items: Any, limit: int) -> None:
    tasks = [asyncio.create_task(fetch(item)) for item in items]
    await asyncio.wait(tasks[:1])


async def last_batch_lost(fetch: Any, items: Any, limit: int) -> None:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == limit:
            await asyncio.gather(*map(fetch, batch))
            batch = []


WRONG = [
    ("ex-00-3", batches, "a place stood idle"),
    ("ex-00-3", everything, "were in flight at once"),
    ("ex-00-3", one_by_one, "of 4 places were used"),
    ("ex-00-3", each_all, "more than once"),
    ("ex-00-3", nothing_awaited, "not awaited"),
    ("ex-00-3", left_running, "still running"),
    ("ex-00-3", last_batch_lost, "never fetched"),
    ("ex-00-3", lambda fetch, items, limit: None, "async def"),
]
