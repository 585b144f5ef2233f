"""One sitting: the strategy is run once, watched, and ended where it does not end by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, process_time
from typing import Any

from labkit.measured.exam.accelerated_loop import Stillness, Turns
from labkit.measured.exam.calls import Calls, Items
from labkit.measured.exam.failure_reports import told
from labkit.record.exam import EXAMPLES, End, Held, Sitting

Strategy = Callable[..., Awaitable[object]]

TICK_S, HURRIED_TICK_S = 0.05, 0.5
QUIET_TICKS = 400
"""So many looks in a row with nothing in flight, nothing new and no thread at work: it will not go
on. They are looks and not seconds, so that a process that gets no core is not taken for one that
hangs; and there are many, as a pause of seconds may be meant. In hurried time they are short."""
FRUITLESS_S, FRUITLESS_TURNS = 5.0, 1_000
"""So long by the clock, and so many turns, busy without a call that is made or ends: it may pace
itself by a clock that nobody hurries, but hardly so slowly."""
SITTING_S = 18.0
"""By the clock: so long it may come along."""
MOST_CALLS = 30
"""Calls for each item after which a sitting is ended: workers may each take every item."""
GRACE_TURNS = 10
"""A task that was cancelled, and not waited for, is gone after a turn or two."""
LEFT_TICKS = 10
TURNS_OF_A_LOOK = 2
LOOK_S, MOST_LOOK_S, FURTHER = 0.02, 2.0, 1.2
SETTLED_S, SETTLED_TURNS = 2.5, 3_000
"""So long in hurried time, or so many turns of one that polls, without a change: it has settled."""
SETTLING_S = 4.0
"""By the clock: longer is not waited for."""
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

    async def finish(
        self, *, tick_s: float = HURRIED_TICK_S, longest_s: float | None = None
    ) -> None:
        """Wait for its end, or end it where nothing happens any more or far too much."""
        quiet, until_s = Quiet(self), perf_counter() + (longest_s or SITTING_S)
        while True:
            await asyncio.wait({self.task}, timeout=tick_s)
            if self.task.done():
                break
            end = self._why_ended(quiet, late=perf_counter() > until_s)
            if end is not None:
                return await self._ended_as(end)
        if self.task.cancelled() or self.task.exception() is not None:
            self.end = "raised"
            # Its caller has the error now: what was not fetched until then was given up.
            return await self._end_tasks()
        await self._count_left()

    def _why_ended(self, quiet: Quiet, *, late: bool) -> End | None:
        if self.calls.made > MOST_CALLS * (len(self.items) + 1):
            return "endless"
        return quiet.looked() or ("late" if late else None)

    def idle(self) -> bool:
        """Whether no call is in flight and no thread at work."""
        return not self.calls.in_flight and threading.active_count() <= self._threads

    def progress(self) -> tuple[int, int]:
        """What grows as long as it comes along."""
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
            before = self.progress()
            if not self.tasks():
                return
            await asyncio.wait(self.tasks(), timeout=TICK_S)
            if before == self.progress() and not self.calls.in_flight:
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


class Quiet:
    """For how long a run has not come along, look by look."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._restart()

    def _restart(self) -> None:
        self._before, self._looks = self._run.progress(), 0
        self._turns, self._since_s = self._run.turns.count, perf_counter()

    def looked(self) -> End | None:
        """After one more look: how it ends here, None where it may go on."""
        if self._run.progress() != self._before:
            self._restart()
            return None
        self._looks += 1
        turns = self._run.turns.count - self._turns
        # A look takes two turns of its own: what takes more is asking for something, such as a
        # clock that nobody hurries.
        if self._run.idle() and turns <= TURNS_OF_A_LOOK * (self._looks + 1):
            return "stuck" if self._looks >= QUIET_TICKS else None
        fruitless_s = perf_counter() - self._since_s
        return "slow" if fruitless_s >= FRUITLESS_S and turns >= FRUITLESS_TURNS else None


async def _begun(strategy: Strategy, calls: Calls, items: Sequence[int], limit: int) -> object:
    # Within a task, so that what it raises before its first await is met in the same place.
    return await strategy(calls.fetch, items, limit)


async def hold(run: Run, held_s: float) -> Held:
    """Let all calls in flight wait, and see what there is meanwhile, and what it does."""
    waiting = await _settled(run)
    run.turns.hurried = False
    turns, cpu_s = run.turns.count, process_time()
    await asyncio.sleep(held_s)
    return Held(
        waiting=waiting,
        read=run.read,
        turns=run.turns.count - turns,
        cpu_s=process_time() - cpu_s,
        held_s=held_s,
    )


async def _settled(run: Run) -> int:
    """Wait until nothing is added any more; the most that ever waited behind what is in flight.

    Looks are the further apart the longer something is added: a strategy may pause in between.
    """
    loop, turns = asyncio.get_running_loop(), run.turns
    most, before, look_s = 0, (-1, -1, -1, -1), LOOK_S
    since_s, since_turns, until_s = loop.time(), turns.count, perf_counter() + SETTLING_S
    while not run.task.done() and perf_counter() < until_s:
        tasks = len(run.tasks())
        most = max(most, max(tasks, run.calls.open) - run.calls.in_flight)
        now = (run.calls.begun, run.calls.made, run.read, tasks)
        if now != before:
            before, look_s = now, min(FURTHER * look_s, MOST_LOOK_S)
            since_s, since_turns = loop.time(), turns.count
        elif loop.time() - since_s >= SETTLED_S or turns.count - since_turns >= SETTLED_TURNS:
            break
        await asyncio.sleep(look_s)
    return most
