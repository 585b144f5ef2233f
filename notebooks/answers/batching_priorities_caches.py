"""Exercises of `17_batching_priorities_caches`."""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from . import grading, sandbox
from .register import Wrong, exercise

LOOKUPS, CALLERS, BATCH, BATCH_DELAY_S = 6_000, 30, 50, 0.01
ARRIVED = ((2, "A"), (1, "B"), (2, "C"), (1, "D"), (0, "E"), (1, "F"))
"""Rank and name, in the order in which they came."""
LOAD_S, MISSING = 1.0, "missing"


@exercise("ex-17-1")
def batches_that_do_not_fill(answer: object) -> str:
    """Check the round trips, and the least time in seconds, of lookups by few callers."""
    trips, seconds = grading.listed(answer, 2, "numbers: round trips, and seconds")
    right = LOOKUPS / min(BATCH, CALLERS)
    grading.near(
        grading.number(trips, "round trips"),
        right,
        unit="round trips",
        tolerance=1e-6,
        mistakes={
            LOOKUPS / BATCH: "the first number supposes batches that fill: who could fill them?",
            LOOKUPS: "the first number supposes no batches at all",
            BATCH * CALLERS: "callers and batch are not multiplied: which of them is the smaller?",
        },
    )
    grading.near(
        grading.number(seconds, "seconds"),
        right * BATCH_DELAY_S,
        unit="seconds",
        mistakes={
            BATCH_DELAY_S: "the second number is that of one batch: how many follow each other?",
            LOOKUPS
            * BATCH_DELAY_S: "the second number has each lookup wait alone: who waits with it?",
            0: "the second number is 0: when is a batch sent that does not fill?",
        },
    )
    return (
        "every batch waits for callers who cannot come, since they wait for it. With a batch of "
        "30 it would be full at once, and the same round trips would take next to no time"
    )


@exercise("ex-17-2")
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


@exercise("ex-17-3")
def order_of_a_line(answer: object) -> str:
    """Check the order in which requests begin on one place, by rank and fair among equals."""
    letters = "".join(answer) if isinstance(answer, list | tuple) else answer
    if not isinstance(letters, str):
        raise Wrong(f"the answer is {grading.kind(answer)}: give the letters in order, as a text")
    order = [one for one in letters.upper() if one.isalpha()]
    if sorted(order) != [name for _, name in ARRIVED]:
        raise Wrong(f"give each of the letters {', '.join(n for _, n in ARRIVED)} once")
    right = _served()
    if order == right:
        return (
            "a priority sorts those who wait. Who finds a free place does not wait, and keeps it: "
            "nothing is taken from A, although it is the least urgent"
        )
    if order == [name for _, name in sorted(ARRIVED, key=lambda one: one[0])]:
        raise Wrong("that sorts all six: was there a line when the first one came?")
    if order == [name for _, name in ARRIVED]:
        raise Wrong("that is the order in which they came, without any priority")
    ranks = {name: rank for rank, name in ARRIVED}
    if [ranks[one] for one in order] == [ranks[one] for one in right]:
        raise Wrong("the ranks are right: who goes first among equals?")
    raise Wrong("go through it place by place: who is there when it becomes free?")


def _served() -> list[str]:
    (_, first), *others = ARRIVED
    line = [(rank, ticket, name) for ticket, (rank, name) in enumerate(others)]
    heapq.heapify(line)
    return [first, *(heapq.heappop(line)[2] for _ in others)]
