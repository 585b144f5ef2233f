"""Exercises of `18_caches_and_streams`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from . import grading, sandbox
from .register import Wrong, exercise

LOAD_S, MISSING = 1.0, "missing"
ITEMS, PLACES, SLOW_S, QUICK_S = 400, 10, 0.020, 0.002


@exercise("ex-18-1")
def one_load_for_all(answer: object) -> str:
    """Check a function that makes a `get` whose callers share a load that is under way."""
    shared = grading.function(answer, "(load)")
    sandbox.run(lambda: _tried(shared), of=shared)
    return (
        "without an await between looking up the load and joining it, nothing can come between, "
        "and no lock is needed. The task belongs to nobody, so nobody takes it along"
    )


class _Loads:
    """What is loaded, slowly; it knows each key that it was asked for."""

    def __init__(self, shared: Callable[..., Any]) -> None:
        self.keys: list[str] = []
        self._get = shared(self.load)
        if inspect.iscoroutine(self._get):
            self._get.close()
            raise Wrong("the function is async: a plain one makes `get`, which is awaited")
        if not callable(self._get):
            raise Wrong("the function returned no function: is it still to be written?")

    async def load(self, key: str) -> str:
        self.keys.append(key)
        await asyncio.sleep(LOAD_S)
        if key == MISSING:
            raise KeyError(key)
        return f"value of {key}"

    def get(self, key: str) -> asyncio.Future[Any]:
        found: Awaitable[Any] = self._get(key)
        if not inspect.isawaitable(found):
            raise Wrong("`get` cannot be awaited: write it with `async def`")
        return asyncio.ensure_future(found)

    async def all_of(self, *keys: str) -> list[Any]:
        return await asyncio.gather(*map(self.get, keys), return_exceptions=True)


async def _tried(shared: Callable[..., Any]) -> None:
    await _shares(_Loads(shared))
    await _forgets(_Loads(shared))
    await _fails(_Loads(shared))
    await _outlives(_Loads(shared))


async def _shares(loads: _Loads) -> None:
    loop = asyncio.get_running_loop()
    found = await loads.all_of("a", "a", "b", "a")
    took_s = loop.time()
    if found != [f"value of {key}" for key in "aaba"]:
        raise Wrong(
            f"four callers got {grading.shown(found)}: each wants what its key was loaded as"
        )
    if sorted(loads.keys) != ["a", "b"]:
        raise Wrong(f"for the keys a, a, b and a at once it loaded {', '.join(loads.keys)}")
    if took_s > 1.5 * LOAD_S:
        raise Wrong("a load of one key holds up that of another: what does it wait for?")


async def _forgets(loads: _Loads) -> None:
    await loads.all_of("a")
    await loads.all_of("a")
    if len(loads.keys) != 2:
        raise Wrong("it keeps what was loaded: only those who ask meanwhile are to share")


async def _fails(loads: _Loads) -> None:
    found = await loads.all_of(MISSING, MISSING)
    if not all(isinstance(one, KeyError) for one in found):
        raise Wrong("a load failed, and not all who waited for it were notified")
    await loads.all_of(MISSING)
    if len(loads.keys) != 2:
        raise Wrong("it remembers a failure: the next to ask is to have a load of its own")


async def _outlives(loads: _Loads) -> None:
    callers = [loads.get("a") for _ in range(3)]
    await asyncio.sleep(LOAD_S / 2)
    callers[0].cancel()
    found = await asyncio.gather(*callers[1:], return_exceptions=True)
    if found != ["value of a"] * 2 or loads.keys != ["a"]:
        raise Wrong("the caller who came first left, and took the load along from the others")


@exercise("ex-18-2")
def cost_of_a_barrier(answer: object) -> str:
    """Check the least seconds of items in chunks, and on as many places without a barrier."""
    chunks, stream = grading.listed(answer, 2, "numbers: seconds in chunks, and without a barrier")
    count = ITEMS / PLACES
    work_s = count * SLOW_S + (ITEMS - count) * QUICK_S
    grading.near(
        grading.number(chunks, "seconds"),
        count * SLOW_S,
        unit="seconds",
        mistakes={
            count
            * QUICK_S: "the first number is of chunks of quick items: which item ends a chunk?",
            work_s: "the first number runs one item after another: ten of a chunk run together",
            SLOW_S: "the first number is that of one chunk: how many follow each other?",
        },
    )
    grading.near(
        grading.number(stream, "seconds"),
        work_s / PLACES,
        unit="seconds",
        mistakes={
            work_s: "the second number has one place: share the work among ten",
            count * SLOW_S: "the second number still waits for the slowest of each ten",
        },
    )
    return "at the barrier nine of ten places are idle for nine tenths of the time"
