"""A service that a learner's strategy is tried on: it answers after known delays and keeps count.

It runs in virtual time, in the very thread of the function, and reaches no network.

The arena judges strategies too, on a service and a loop of its own (`labkit.measured.exam`,
`labkit.report.exam_faults`). There are two, as an exam sees what only real time and a real server
show (processor time, a loop that stands still): that takes a process and seconds. An
exercise has to answer in milliseconds, in the kernel, and judges what its task asks. So they
differ: ex-01-2 takes no polling at all and ex-13-2 wants the failed items back, where an
examination names polling only if it is hot, and asks just whether a caller can know of a failure.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import msgspec

from labkit.notebook.exercises import trying
from labkit.notebook.exercises.grading import Wrong, coroutine_function
from labkit.notebook.exercises.virtual import VirtualLoop

MOST_CALLS = 20
"""Calls an item after which the service refuses: the function goes round in circles."""


class Refused(Exception):
    """What a call for one of the failing items raises."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy did: the items as their calls began, its schedule, and what it returned."""

    items: int
    limit: int
    began: list[Any]
    most_in_flight: int
    most_tasks: int
    never_awaited: int
    left_behind: int
    polled_turns: int
    wall_s: float
    returned: Any


class Service:
    """Answers item i after `delays[i]` seconds, or after the only delay that there is."""

    def __init__(self, delays: Sequence[float] | float, failing: Collection[Any]) -> None:
        self.delays, self.failing = delays, failing
        self.began: list[Any] = []
        self.in_flight = self.most_in_flight = self.most_tasks = 0
        self._made: list[Coroutine[Any, Any, Any]] = []

    def fetch(self, item: Any) -> Coroutine[Any, Any, str]:
        """A call for one item, to be awaited."""
        call = self._call(item)
        self._made.append(call)
        return call

    async def _call(self, item: Any) -> str:
        self._refuse_circles(item)
        self.began.append(item)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        try:
            await asyncio.sleep(self._delay_of(item))
        finally:
            self.in_flight -= 1
        if item in self.failing:
            raise Refused(f"item {item} was refused")
        return f"answer {item}"

    def _refuse_circles(self, item: Any) -> None:
        if self.began.count(item) >= MOST_CALLS:
            raise Wrong(f"one item was fetched {MOST_CALLS} times: once is enough")

    def _delay_of(self, item: Any) -> float:
        return self.delays[item] if isinstance(self.delays, Sequence) else self.delays

    def close_unawaited(self) -> int:
        """How many calls were made and never awaited; Python is spared its warning of them."""
        unawaited = [one for one in self._made if inspect.getcoroutinestate(one) == "CORO_CREATED"]
        for one in unawaited:
            one.close()
        return len(unawaited)


def schedule(
    answer: object,
    *,
    limit: int,
    delays: Sequence[float] | float = 1.0,
    items: int | None = None,
    failing: Collection[int] = (),
) -> Tried:
    """Run a learner's `strategy(fetch, items, limit)` on a service, and say what it did.

    Item i is answered after `delays[i]` seconds, or after the only delay that there is; then
    `items` says how many. The calls of those that are `failing` raise `Refused` in the end.
    `Wrong` where the function raises or does not end.
    """
    count = len(delays) if isinstance(delays, Sequence) else (items or 0)
    strategy = coroutine_function(answer, "(fetch, items, limit)")
    service = Service(delays, failing)

    async def tried() -> tuple[Any, int, float, int]:
        returned = await strategy(service.fetch, range(count), limit)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return returned, len(asyncio.all_tasks()) - 1, loop.time(), loop.polled_turns

    try:
        returned, left_behind, wall_s, polled = trying.run(tried, of=strategy)
    finally:
        never_awaited = service.close_unawaited()
    return Tried(
        items=count,
        limit=limit,
        began=service.began,
        most_in_flight=service.most_in_flight,
        most_tasks=service.most_tasks,
        never_awaited=never_awaited,
        left_behind=left_behind,
        polled_turns=polled,
        wall_s=wall_s,
        returned=returned,
    )


def sound(tried: Tried) -> Tried:
    """The same, where every item was called once, within the limit, and no task was left behind."""
    if not tried.began and not tried.never_awaited:
        raise Wrong("nothing was fetched: is the function still to be written?")
    if tried.never_awaited:
        raise Wrong("a call of fetch(item) was not awaited: such a call does nothing")
    if tried.left_behind:
        raise Wrong("tasks were still running when the function returned: await what you start")
    if again := [item for item, times in Counter(tried.began).items() if times > 1]:
        raise Wrong(f"item {again[0]} was fetched more than once: each item is one request")
    if len(tried.began) < tried.items:
        lost = tried.items - len(tried.began)
        raise Wrong(f"{lost} of {tried.items} items were never fetched: what happens to the last?")
    return _within(tried)


def _within(tried: Tried) -> Tried:
    if tried.most_in_flight > tried.limit:
        raise Wrong(
            f"{tried.most_in_flight} requests were in flight at once, and the limit was "
            f"{tried.limit}: what keeps the next one from starting?"
        )
    return tried
