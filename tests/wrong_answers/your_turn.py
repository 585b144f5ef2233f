from __future__ import annotations

import asyncio
from typing import Any


async def workers(fetch: Any, items: Any, limit: int) -> list[Any]:
    source, failed = iter(items), []

    async def work() -> None:
        for item in source:
            try:
                await fetch(item)
            except Exception as error:  # noqa: BLE001  # whatever it is
                failed.append((item, error))

    await asyncio.gather(*(work() for _ in range(limit)))
    return failed


async def errors_and_not_items(fetch: Any, items: Any, limit: int) -> list[Any]:
    return [error for _, error in await workers(fetch, items, limit)]


async def their_number(fetch: Any, items: Any, limit: int) -> int:
    return len(await workers(fetch, items, limit))


async def tells_nobody(fetch: Any, items: Any, limit: int) -> None:
    await workers(fetch, items, limit)


async def always_the_same(fetch: Any, items: Any, limit: int) -> list[int]:
    await workers(fetch, items, limit)
    return [0, 7, 8, 23]


async def passes_it_on(fetch: Any, items: Any, limit: int) -> list[Any]:
    for item in items:
        await fetch(item)
    return []


async def one_after_another(fetch: Any, items: Any, limit: int) -> list[Any]:
    return await workers(fetch, items, 1)


async def all_tasks(fetch: Any, items: Any, limit: int) -> list[Any]:
    slots = asyncio.Semaphore(limit)

    async def one(item: Any) -> Any:
        async with slots:
            return await fetch(item)

    await asyncio.gather(*map(one, items), return_exceptions=True)
    return []


WRONG = [
    ("ex-13-2", passes_it_on, "raised Refused"),
    ("ex-13-2", tells_nobody, "tells nobody"),
    ("ex-13-2", their_number, "return a list of the items"),
    ("ex-13-2", errors_and_not_items, "which items failed"),
    ("ex-13-2", always_the_same, "an empty list"),
    ("ex-13-2", one_after_another, "places stood idle"),
    ("ex-13-2", all_tasks, "tasks existed at once"),
]
