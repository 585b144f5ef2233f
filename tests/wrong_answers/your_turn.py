from __future__ import annotations

import asyncio
from typing import Any

import labkit as lab

CODES = [
    "loses-items",
    "over-limit",
    "swallows-failures",
    "unbounded-tasks",
    "leaves-tasks-behind",
]


def but(place: int, code: str) -> list[str]:
    return [*CODES[: place - 1], code, *CODES[place:]]


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


async def unwritten(fetch: Any, items: Any, limit: int) -> Any: ...


WRONG = [
    ("ex-13-1", but(1, "over-limit"), "snippet A"),
    ("ex-13-1", but(2, "unbounded-tasks"), "snippet B"),
    ("ex-13-1", but(3, "stops-at-first-failure"), "snippet C"),
    ("ex-13-1", but(4, "over-limit"), "snippet D"),
    ("ex-13-1", but(5, "loses-items"), "snippet E"),
    ("ex-13-1", but(5, "slow"), "choose one of"),
    ("ex-13-1", CODES[0], "give a list of 5"),
    ("ex-13-2", passes_it_on, "raised Refused"),
    ("ex-13-2", tells_nobody, "tells nobody"),
    ("ex-13-2", their_number, "return a list of the items"),
    ("ex-13-2", errors_and_not_items, "which items failed"),
    ("ex-13-2", always_the_same, "an empty list"),
    ("ex-13-2", one_after_another, "places stood idle"),
    ("ex-13-2", all_tasks, "tasks existed at once"),
    ("ex-13-2", unwritten, "still to be written"),
    ("ex-13-3", lab.Trial(requests=40, limit=10, delay="uniform(0.1,0.2)"), "who waits for whom"),
    ("ex-13-3", lab.Trial(requests=40, limit=10), "no floor"),
    ("ex-13-3", lab.Trial(requests=10, limit=10, delay="0.1"), "nothing to go round"),
    ("ex-13-3", lab.Trial(requests=40, limit=1, delay="0.1"), "nothing to go round"),
    ("ex-13-3", lab.Trial(requests=4_000, limit=10, delay="0.1"), "are allowed"),
    ("ex-13-3", lab.Trial(requests=3, limit=2, delay="0.1"), "fill two rounds"),
    ("ex-13-3", lab.Trial(requests=5, limit=2, delay="randint(0,3)", seed=6), "by luck only"),
    ("ex-13-3", "0.1", "give a lab.Trial"),
]
