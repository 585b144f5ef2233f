"""One sitting: the strategy is run once, watched, and ended where it does not end by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from time import process_time
from typing import Any

from labkit.experiments.exam.calls import Calls, Items
from labkit.experiments.exam.telling import told
from labkit.experiments.exam.turns import Stillness, Turns
from labkit.parts.examination import EXAMPLES, End, Held, Sitting

Strategy = Callable[..., Awaitable[object]]

TICK_S, HURRIED_TICK_S = 0.05, 0.5
QUIET_TICKS = 400
"""So many looks in a row with nothing in flight, nothing new and no thread at work: it will not go
on. They are looks and not seconds, so that a process that gets no core is not taken for one that
hangs; and there are many, as a pause of seconds may be meant. In hurried time they are short."""
LONGEST_TICKS = 2_400
MOST_CALLS = 30
"""Calls for each item after which a sitting is ended: workers may each take every item."""
GRACE_TURNS = 10
"""A task that was cancelled, and not waited for, is gone after a turn or two."""
LEFT_TICKS = 10
SETTLE_S, MOST_SETTLING = 0.02, 50
CLEAN_UP_S = 1.0


class Run:
    """The strategy at work on `items`; `calls` notes what it does."""

    def __init__(
        self, strategy: Strategy, calls: Calls, items: Sequence[int], limit: int, turns: Turns
    ) -> None:
        self.calls, self.items, self.limit, self.turns = calls, items, limit, turns
        self._before, self._threads = asyncio.all_tasks(), threading.active_count()
        self._still = Stillness(turns)
        self.task = asyncio.ensure_future(_begun(strategy, calls, items, limit))
        self.end: End = "returned"
        self.left = 0

    def tasks(self) -> set[asyncio.Task[Any]]:
        """What the strategy started and has not ended."""
        return asyncio.all_tasks() - self._before - {self.task}

    @property
    def read(self) -> int:
        """How many items it has taken, where that is counted."""
        return self.items.read if isinstance(self.items, Items) else 0

    async def finish(self, *, tick_s: float = HURRIED_TICK_S, longest: int = LONGEST_TICKS) -> None:
        """Wait for its end, or end it where nothing happens any more or far too much."""
        quiet = 0
        for _ in range(longest):
            before = self._progress()
            await asyncio.wait({self.task}, timeout=tick_s)
            if self.task.done():
                break
            if self.calls.made > MOST_CALLS * (len(self.items) + 1):
                return await self._ended_as("endless")
            quiet = quiet + 1 if self._idle() and self._progress() == before else 0
            if quiet >= QUIET_TICKS:
                return await self._ended_as("stuck")
        if not self.task.done():
            return await self._ended_as("slow")
        if self.task.cancelled() or self.task.exception() is not None:
            self.end = "raised"
            # Its caller has the error now: what was not fetched until then was given up.
            return await self._end_tasks()
        await self._count_left()

    def _idle(self) -> bool:
        return not self.calls.in_flight and threading.active_count() <= self._threads

    def _progress(self) -> tuple[int, int]:
        return self.calls.made, self.calls.ended

    async def _ended_as(self, end: End) -> None:
        self.end = end
        await self.cancel()

    async def cancel(self) -> None:
        """Cancel it and whatever it started, and wait for that a little."""
        self.task.cancel()
        await asyncio.wait({self.task}, timeout=CLEAN_UP_S)
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        tasks = self.tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLEAN_UP_S)

    async def _count_left(self) -> None:
        """Tasks that it left running; what they still fetch then came late and is not missing."""
        own = {task for task in self.tasks() if not task.cancelling()}
        for _ in range(GRACE_TURNS):
            await asyncio.sleep(0)
        self.left = len(own | self.tasks())
        for _ in range(LEFT_TICKS):
            before = self._progress()
            if not self.tasks():
                return
            await asyncio.wait(self.tasks(), timeout=TICK_S)
            if before == self._progress() and not self.calls.in_flight:
                break
        await self._end_tasks()

    def seen(self, name: str, held: Held | None = None) -> Sitting:
        """What there was to see, once it has ended."""
        calls, planned = self.calls, len(self.items)
        missing = {item: 0 for item in range(planned) if not calls.came[item]}
        # To try a failing item once more is no repetition.
        repeated = {
            item: times
            for item, times in sorted(calls.came.items())
            if times > 1 and item not in calls.failing
        }
        return Sitting(
            name=name,
            planned=planned,
            limit=self.limit,
            end=self.end,
            raised=self._raised(),
            most_in_flight=calls.most_in_flight,
            missing=len(missing),
            repeated=len(repeated),
            examples=dict(list((missing | repeated).items())[:EXAMPLES]),
            left=self.left,
            failing=len(calls.failing),
            told=self._told(),
            kept=calls.most_kept,
            blocked_s=self._still.end(),
            longest_s=self.turns.longest_s,
            held=held,
        )

    def _raised(self) -> str:
        if self.end != "raised":
            return ""
        error = asyncio.CancelledError() if self.task.cancelled() else self.task.exception()
        return f"{type(error).__name__}: {error}".removesuffix(": ")[:200]

    def _told(self) -> bool:
        failing = set(self.calls.failing)
        if not failing or self.end != "returned":
            return True
        return told(self.task.result(), failing, len(self.items))


async def _begun(strategy: Strategy, calls: Calls, items: Sequence[int], limit: int) -> object:
    # Within a task, so that what it raises before its first await is met in the same place.
    return await strategy(calls.fetch, items, limit)


async def hold(run: Run, held_s: float) -> Held:
    """Let all calls in flight wait, and see what there is meanwhile, and what it does."""
    before: list[int] = []
    for _ in range(MOST_SETTLING):
        now = [run.calls.begun, run.calls.made, run.read, len(run.tasks())]
        if run.task.done() or (now == before and run.calls.begun):
            break
        before = now
        await asyncio.sleep(SETTLE_S)
    waiting = max(len(run.tasks()), run.calls.open) - run.calls.in_flight
    turns, cpu_s = run.turns.count, process_time()
    await asyncio.sleep(held_s)
    return Held(
        waiting=max(waiting, 0),
        read=run.read,
        turns=run.turns.count - turns,
        cpu_s=process_time() - cpu_s,
        held_s=held_s,
    )
