"""Wrong answers that await, or ought to: strategies, caches, ways to read and to compute."""

from __future__ import annotations

import asyncio
import itertools
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


async def asking(fetch: Any, items: Any, limit: int) -> None:
    waiting, running = iter(items), set[asyncio.Future[Any]]()
    while True:
        for item in itertools.islice(waiting, limit - len(running)):
            running.add(asyncio.ensure_future(fetch(item)))
        if not running:
            return
        await asyncio.sleep(0)
        running = {task for task in running if not task.done()}


async def a_place_is_lost(fetch: Any, items: Any, limit: int) -> None:
    places = asyncio.Semaphore(limit)
    for item in items:
        await places.acquire()
        await fetch(item)


async def joins(chunks: Any, file: Any) -> int:
    body = b"".join([chunk async for chunk in chunks])
    return int(file.write(body))


async def lists(chunks: Any, file: Any) -> int:
    held = [chunk async for chunk in chunks]
    for chunk in held:
        file.write(chunk)
    return sum(map(len, held))


async def counts_chunks(chunks: Any, file: Any) -> int:
    number = 0
    async for chunk in chunks:
        file.write(chunk)
        number += 1
    return number


async def returns_nothing(chunks: Any, file: Any) -> None:
    async for chunk in chunks:
        file.write(chunk)


async def twice(chunks: Any, file: Any) -> int:
    total = 0
    async for chunk in chunks:
        total += file.write(chunk) + file.write(chunk)
    return total


async def writes_nothing(chunks: Any, file: Any) -> int:
    return sum([len(chunk) async for chunk in chunks])


def cached(load: Any) -> Any:
    found: dict[str, Any] = {}

    async def get(key: str) -> Any:
        if key not in found:
            found[key] = asyncio.ensure_future(load(key))
        return await asyncio.shield(found[key])

    return get


def one_lock(load: Any) -> Any:
    lock, found = asyncio.Lock(), {}

    async def get(key: str) -> Any:
        async with lock:
            if key not in found:
                found[key] = await load(key)
            return found[key]

    return get


def not_shared(load: Any) -> Any:
    async def get(key: str) -> Any:
        return await load(key)

    return get


def unshielded(load: Any) -> Any:
    pending: dict[str, Any] = {}

    async def get(key: str) -> Any:
        if key not in pending:
            pending[key] = asyncio.ensure_future(load(key))
            pending[key].add_done_callback(lambda _: pending.pop(key))
        return await pending[key]

    return get


def remembers_failures(load: Any) -> Any:
    pending: dict[str, Any] = {}

    async def get(key: str) -> Any:
        if key not in pending:
            pending[key] = asyncio.ensure_future(load(key))
        value = await asyncio.shield(pending[key])
        pending.pop(key, None)
        return value

    return get


def first_one_loads(load: Any) -> Any:
    pending: dict[str, Any] = {}

    async def get(key: str) -> Any:
        if key in pending:
            return await pending[key]
        pending[key] = asyncio.get_running_loop().create_future()
        value = await load(key)
        pending.pop(key).set_result(value)
        return value

    return get


def one_value_for_all(load: Any) -> Any:
    get_shared = cached(load)

    async def get(key: str) -> Any:
        return await get_shared("a")

    return get


async def in_one_go(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in pieces]


async def keeps_nothing(compute: Any, pieces: Any) -> None:
    for piece in pieces:
        compute(piece)
        await asyncio.sleep(0)


async def in_threads(compute: Any, pieces: Any) -> list[int]:
    return [await asyncio.to_thread(compute, piece) for piece in pieces]


async def only_some(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in list(pieces)[:10]]


async def backwards(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in reversed(pieces)]


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


async def one_after_another(fetch: Any, items: Any, limit: int) -> list[Any]:
    return await workers(fetch, items, 1)


async def all_tasks(fetch: Any, items: Any, limit: int) -> list[Any]:
    slots = asyncio.Semaphore(limit)

    async def one(item: Any) -> None:
        async with slots:
            await fetch(item)

    await asyncio.gather(*map(one, items), return_exceptions=True)
    return []


WRONG = [
    ("ex-00-3", batches, "a place stood idle"),
    ("ex-00-3", everything, "were in flight at once"),
    ("ex-00-3", one_by_one, "of 4 places were used"),
    ("ex-00-3", each_all, "more than once"),
    ("ex-00-3", nothing_awaited, "not awaited"),
    ("ex-00-3", left_running, "still running"),
    ("ex-00-3", last_batch_lost, "never fetched"),
    ("ex-00-3", lambda fetch, items, limit: None, "async def"),
    ("ex-01-2", asking, "asks again and again"),
    ("ex-01-2", all_tasks, "tasks existed at once"),
    ("ex-01-2", a_place_is_lost, "waits for something that never happens"),
    ("ex-01-2", batches, "places stood idle"),
    ("ex-01-2", one_by_one, "places stood idle"),
    ("ex-15-1", joins, "bytes at once"),
    ("ex-15-1", lists, "chunks existed at once"),
    ("ex-15-1", counts_chunks, "and it returned 40"),
    ("ex-15-1", returns_nothing, "bytes, from the function"),
    ("ex-15-1", twice, "not what came"),
    ("ex-15-1", writes_nothing, "nothing was written"),
    ("ex-15-1", lambda chunks, file: 0, "async def"),
    ("ex-18-1", not_shared, "loaded a, a, b, a"),
    ("ex-18-1", one_lock, "holds up that of another"),
    ("ex-18-1", cached, "it keeps what was loaded"),
    ("ex-18-1", remembers_failures, "remembers a failure"),
    ("ex-18-1", unshielded, "took the load along"),
    ("ex-18-1", first_one_loads, "waits for something that never happens"),
    ("ex-18-1", lambda load: lambda key: key, "cannot be awaited"),
    ("ex-18-1", one_value_for_all, "its key was loaded as"),
    ("ex-30-3", in_one_go, "95 pieces were computed in one go"),
    ("ex-30-3", in_threads, "a thread computes"),
    ("ex-30-3", keeps_nothing, "nothing returned"),
    ("ex-30-3", only_some, "10 pieces were computed of 95"),
    ("ex-30-3", backwards, "in their order"),
    ("ex-30-3", lambda compute, pieces: list(map(compute, pieces)), "async def"),
    ("ex-19-2", one_by_one, "raised Refused"),
    ("ex-19-2", tells_nobody, "tells nobody"),
    ("ex-19-2", their_number, "return a list of the items"),
    ("ex-19-2", errors_and_not_items, "which items failed"),
    ("ex-19-2", always_the_same, "an empty list"),
    ("ex-19-2", one_after_another, "places stood idle"),
    ("ex-19-2", all_tasks, "tasks existed at once"),
]
