from __future__ import annotations

import asyncio
from typing import Any

import labkit as lab


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
    ("ex-00-1", 12, "two requests may be in flight"),
    ("ex-00-1", 6, "halved"),
    ("ex-00-1", 8, "in pairs"),
    ("ex-00-1", 7_000, "factor of a thousand"),
    ("ex-00-1", "7", "without quotes"),
    ("ex-00-1", 7.5, "close, but a little too high"),
    ("ex-00-2", 2, "give a lab.Trial"),
    ("ex-00-2", lab.Trial(requests=40, limit=40, delay="2"), "all its requests are in flight"),
    ("ex-00-2", lab.Trial(requests=20, limit=1, delay="0.1"), "one request at a time"),
    ("ex-00-2", lab.Trial(requests=40, limit=20), "no floor"),
    ("ex-00-2", lab.Trial(requests=28, limit=4, delay="0.25"), "too low"),
    ("ex-00-2", lab.Trial(requests=2_000, limit=100, delay="0.1"), "are allowed"),
    ("ex-00-3", batches, "a place stood idle"),
    ("ex-00-3", everything, "were in flight at once"),
    ("ex-00-3", one_by_one, "of 4 places were used"),
    ("ex-00-3", each_all, "more than once"),
    ("ex-00-3", nothing_awaited, "not awaited"),
    ("ex-00-3", left_running, "still running"),
    ("ex-00-3", last_batch_lost, "never fetched"),
    ("ex-00-3", lambda fetch, items, limit: None, "async def"),
]
