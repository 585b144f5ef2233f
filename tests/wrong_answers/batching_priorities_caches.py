from __future__ import annotations

import asyncio
from typing import Any


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


def plain(load: Any) -> Any:
    return lambda key: key


def one_value_for_all(load: Any) -> Any:
    get_shared = cached(load)

    async def get(key: str) -> Any:
        return await get_shared("a")

    return get


WRONG = [
    ("ex-09-2", not_shared, "loaded a, a, b, a"),
    ("ex-09-2", one_lock, "holds up that of another"),
    ("ex-09-2", cached, "it keeps what was loaded"),
    ("ex-09-2", remembers_failures, "remembers a failure"),
    ("ex-09-2", unshielded, "took the load along"),
    ("ex-09-2", first_one_loads, "waits for something that never happens"),
    ("ex-09-2", plain, "cannot be awaited"),
    ("ex-09-2", one_value_for_all, "its key was loaded as"),
]
