"""Runs a learner's strategy on a service that answers after known delays and counts its calls.

All runs in virtual time, in the thread of the function, and reaches no network.

The arena judges strategies too, in a process of its own (`labkit.measured.exam`,
`labkit.report.arena`). There are two, as
an examination sees what only real time and a real server show (CPU time, a loop that stands still)
and takes seconds. An exercise has to answer in milliseconds, in the kernel, and judges what its
task asks. So they differ: ex-01-2 allows no polling at all, where an examination names it only if
it is hot, and ex-19-2 wants the failed items returned, where an examination asks only whether a
caller can know of a failure.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import msgspec

from . import sandbox
from .grading import function
from .register import Wrong

MAX_CALLS = 20
"""Calls of one item after which the service refuses: the function would never end."""


class Refused(Exception):
    """What a call of one of the failing items raises."""


class Schedule(msgspec.Struct, kw_only=True):
    """What a strategy did with `items` items, and what it returned.

    `started` holds the items in the order in which their calls began; `not_awaited` and
    `tasks_left` count what the strategy left behind.
    """

    items: int
    limit: int
    started: list[Any] = msgspec.field(default_factory=list)
    max_in_flight: int = 0
    max_tasks: int = 0
    not_awaited: int = 0
    tasks_left: int = 0
    polled_turns: int = 0
    wall_s: float = 0.0
    returned: Any = None


def run(
    answer: object,
    *,
    limit: int,
    delays: Sequence[float] | float = 1.0,
    items: int = 0,
    failing: Collection[int] = (),
) -> Schedule:
    """Run a learner's `strategy(fetch, items, limit)` and return what it did.

    Item i is answered after `delays[i]` seconds. Where all wait equally long, `delays` is a number
    and `items` says how many there are. The calls of the `failing` items raise `Refused` in the
    end. Raises `Wrong` where the function raises or does not end.
    """
    count = len(delays) if isinstance(delays, Sequence) else items
    strategy = function(answer, "(fetch, items, limit)", is_async=True)
    done, in_flight = Schedule(items=count, limit=limit), 0
    calls: list[Coroutine[Any, Any, str]] = []

    async def called(item: Any) -> str:
        nonlocal in_flight
        if done.started.count(item) >= MAX_CALLS:
            raise Wrong(f"one item was fetched {MAX_CALLS} times: once is enough")
        done.started.append(item)
        in_flight += 1
        done.max_in_flight = max(done.max_in_flight, in_flight)
        done.max_tasks = max(done.max_tasks, len(asyncio.all_tasks()))
        try:
            await asyncio.sleep(delays[item] if isinstance(delays, Sequence) else delays)
        finally:
            in_flight -= 1
        if item in failing:
            raise Refused(f"item {item} was refused")
        return f"answer {item}"

    def fetch(item: Any) -> Coroutine[Any, Any, str]:
        calls.append(called(item))
        return calls[-1]

    async def main() -> None:
        done.returned = await strategy(fetch, range(count), limit)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, sandbox.VirtualLoop)
        done.tasks_left = len(asyncio.all_tasks()) - 1
        done.wall_s, done.polled_turns = loop.time(), loop.leaping.polled_turns

    try:
        sandbox.run(main, of=strategy)
    finally:
        for call in calls:
            if inspect.getcoroutinestate(call) == "CORO_CREATED":
                done.not_awaited += 1
                call.close()  # which spares a learner Python's own warning
    return done


def check_schedule(done: Schedule) -> Schedule:
    """Return `done`; raise `Wrong` unless every item was called once, and within the limit."""
    if not done.started and not done.not_awaited:
        raise Wrong("nothing was fetched: is the function still to be written?")
    if done.not_awaited:
        raise Wrong("a call of fetch(item) was not awaited: such a call does nothing")
    if done.tasks_left:
        raise Wrong("tasks were still running when the function returned: await what you start")
    if again := [item for item, times in Counter(done.started).items() if times > 1]:
        raise Wrong(f"item {again[0]} was fetched more than once: each item is one request")
    if len(done.started) < done.items:
        lost = done.items - len(done.started)
        raise Wrong(f"{lost} of {done.items} items were never fetched: what happens to the last?")
    if done.max_in_flight > done.limit:
        raise Wrong(
            f"{done.max_in_flight} requests were in flight at once, and the limit was "
            f"{done.limit}: what keeps the next one from starting?"
        )
    return done
