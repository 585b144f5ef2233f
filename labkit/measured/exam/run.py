"""One run of a strategy in an exam: started, watched, and ended where it does not end by itself."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence, Set
from time import process_time
from typing import Any

from labkit.measured.exam.accelerated_loop import Turns
from labkit.measured.exam.calls import Calls, Items
from labkit.record.exam import Backlog, End, ScenarioResult

Strategy = Callable[..., Awaitable[object]]

TICK_S, ACCELERATED_TICK_S = 0.05, 0.5
MAX_IDLE_TICKS = 400
"""So many checks in a row with nothing in flight, no progress and no thread at work: it is stuck.
They are counted and not timed, so that a process that gets no core is not taken for one that hangs;
and they are many, as a pause of seconds may be meant. In accelerated time they are short."""
MAX_FRUITLESS_S, MIN_FRUITLESS_TURNS = 5.0, 1_000
"""So long by its own time, and so many turns, busy without a call that is made or ends: it may pace
itself by a clock that nobody accelerates, but hardly so slowly."""
MAX_SCENARIO_S, MAX_SERVER_S = 18.0, 10.0
"""By its own time, for a strategy that makes progress. With the server it does not matter if it is
slow: one that hangs was ended before."""
MAX_CALLS = 30
"""Calls for each item after which a run is ended: workers may each take every item."""
GRACE_TURNS, MAX_LEFT_TICKS = 10, 10
"""A task that was cancelled, and not waited for, is gone after a turn or two."""
MIN_CHECK_S, MAX_CHECK_S, CHECK_GROWTH = 0.02, 2.0, 1.2
SETTLED_S, SETTLED_TURNS = 2.5, 3_000
"""So long in accelerated time, or so many turns of one that polls, without a change: settled."""
MAX_SETTLING_S = 10.0
"""By its own time, which is real time less what a busy machine made it wait for a core."""
WATCHED_S = 0.3
MAX_CLEAN_UP_S = 1.0

MAX_DEPTH = 4
_NUMBER = re.compile(r"(?<![\w.,])\d+(?!\w|[.,]\d)")


class Run:
    """The strategy at work on `items`; `calls` counts what it does."""

    def __init__(
        self, strategy: Strategy, calls: Calls, items: Sequence[int], limit: int, turns: Turns
    ) -> None:
        self.calls, self.items, self.limit, self.turns = calls, items, limit, turns
        self._before = asyncio.all_tasks()
        turns.restart()
        self.end: End = "returned"
        self._left = 0

        async def run() -> object:
            # In a task, so that what is raised before the first await is met in the same place.
            return await strategy(calls.fetch, items, limit)

        self.task = asyncio.ensure_future(run())

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that the strategy started and that have not ended."""
        return asyncio.all_tasks() - self._before - {self.task}

    def waiting(self) -> int:
        """Return how many tasks, or calls that were made, wait behind those in flight."""
        return max(len(self.tasks()), self.calls.open) - self.calls.in_flight

    def progress(self) -> tuple[int, int]:
        """Return what grows as long as the strategy makes progress."""
        return self.calls.made, self.calls.ended

    async def finish(self) -> None:
        """Wait for the strategy's end; end it where it stalls or makes far too many calls."""
        accelerated = self.turns.accelerated
        tick_s = ACCELERATED_TICK_S if accelerated else TICK_S
        until_s = self.turns.own_s() + (MAX_SCENARIO_S if accelerated else MAX_SERVER_S)
        stall = StallDetector(self)
        while self.end == "returned":
            await asyncio.wait({self.task}, timeout=tick_s)
            if self.task.done():
                break
            if self.calls.made > MAX_CALLS * (len(self.items) + 1):
                self.end = "endless"
            elif stall.check():
                self.end = "stuck"
            elif self.turns.own_s() > until_s:
                self.end = "late"
        if self.end == "returned" and (self.task.cancelled() or self.task.exception()):
            # Its caller has the error now: what was not fetched until then was given up.
            self.end = "raised"
        if self.end == "returned":
            await self._count_tasks_left()
        await self.cancel()

    async def _count_tasks_left(self) -> None:
        """Count the tasks still running; what they fetch now came late and is not missing."""
        own = {task for task in self.tasks() if not task.cancelling()}
        for _ in range(GRACE_TURNS):
            await asyncio.sleep(0)
        self._left = len(own | self.tasks())
        for _ in range(MAX_LEFT_TICKS):
            before = self.progress()
            if not self.tasks():
                return
            await asyncio.wait(self.tasks(), timeout=TICK_S)
            if before == self.progress() and not self.calls.in_flight:
                return

    async def cancel(self) -> None:
        """Cancel the strategy, then what it left running; wait a little for the end of each."""
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=MAX_CLEAN_UP_S)
        left = self.tasks()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=MAX_CLEAN_UP_S)

    def result(self, name: str, backlog: Backlog | None = None) -> ScenarioResult:
        """Return what was observed, once the run has ended."""
        calls, planned = self.calls, len(self.items)
        missing = [item for item in range(planned) if not calls.fetched[item]]
        # To try a failing item once more is no repetition.
        times = {item: n for item, n in calls.fetched.items() if item not in calls.failing}
        most_fetched = max(times, key=lambda item: times[item], default=None)
        raised, reported = "", True
        if self.end == "raised":
            error = asyncio.CancelledError() if self.task.cancelled() else self.task.exception()
            raised = error_text(error)
        elif self.end == "returned" and calls.failing:
            reported = reports_failures(self.task.result(), len(calls.failing), planned)
        return ScenarioResult(
            name=name,
            planned=planned,
            limit=self.limit,
            end=self.end,
            raised=raised,
            calls=calls.made,
            max_in_flight=calls.max_in_flight,
            missing=len(missing),
            missing_item=missing[0] if missing else None,
            repeated=sum(n > 1 for n in times.values()),
            most_fetched_item=most_fetched,
            most_fetched_times=max(times.values(), default=0),
            tasks_left=self._left,
            failing=len(calls.failing),
            failures_reported=reported,
            tasks_referenced=calls.tasks_referenced,
            blocked_s=self.turns.blocked_s(),
            longest_turn_s=self.turns.longest_s,
            backlog=backlog,
        )


def error_text(error: BaseException | None) -> str:
    """Return the class of an exception and what it says, in at most 200 characters."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:200]


class StallDetector:
    """Decides, check by check, whether a run without progress is idle or fruitlessly busy."""

    def __init__(self, run: Run) -> None:
        self._run, self._threads = run, threading.active_count()
        self._restart()

    def _restart(self) -> None:
        self._before, self._checks = self._run.progress(), 0
        self._turns, self._since_s = self._run.turns.count, self._run.turns.own_s()

    def check(self) -> bool:
        """Return True if the run will not go on."""
        run = self._run
        if run.progress() != self._before:
            self._restart()
            return False
        self._checks += 1
        turns = run.turns.count - self._turns
        # A check takes two turns of its own: a run that takes more is asking for something, such
        # as a clock that nobody accelerates.
        is_quiet = turns <= 2 * (self._checks + 1)
        if is_quiet and not run.calls.in_flight and threading.active_count() <= self._threads:
            return self._checks >= MAX_IDLE_TICKS
        fruitless_s = run.turns.own_s() - self._since_s
        return fruitless_s >= MAX_FRUITLESS_S and turns >= MIN_FRUITLESS_TURNS


async def observe_backlog(run: Run, *, watched: bool) -> Backlog:
    """Let all calls in flight wait; return what waits behind them and what waiting costs.

    First nothing must be added any more. Checks are the further apart the longer something is
    added, as a strategy may pause in between.
    """
    turns, items = run.turns, run.items
    assert isinstance(items, Items)
    waiting, before, check_s = 0, (-1, -1, -1, -1), MIN_CHECK_S
    since_s, since_turns = turns.time(), turns.count
    until_s = turns.own_s() + MAX_SETTLING_S
    while not run.task.done() and turns.own_s() < until_s:
        now = (run.calls.begun, run.calls.made, items.read, turns.tasks)
        if now != before:
            before, check_s = now, min(CHECK_GROWTH * check_s, MAX_CHECK_S)
            since_s, since_turns = turns.time(), turns.count
        else:
            # Not at each check: to find thousands of tasks takes longer than to add one.
            waiting = max(waiting, run.waiting())
            if turns.time() - since_s >= SETTLED_S or turns.count - since_turns >= SETTLED_TURNS:
                break
        await asyncio.sleep(check_s)
    waiting = max(waiting, run.waiting())
    # Now a thread's answers are waited for in real time.
    turns.min_wait_s = WATCHED_S
    count, cpu_s, start_s = turns.count, process_time(), turns.time()
    if watched:
        await asyncio.sleep(WATCHED_S)
    return Backlog(
        waiting=waiting,
        items_read=items.read,
        turns=turns.count - count if watched else 0,
        cpu_s=process_time() - cpu_s,
        duration_s=turns.time() - start_s if watched else 0.0,
    )


def reports_failures(result: object, failed: int, planned: int) -> bool:
    """Return True if `result` holds an exception, or counts the items that failed or succeeded.

    A count is a number, also in a text; the size of a collection; or how many of its entries are
    the same word or type, such as True, 'error' or None. A caller can act on each of these, but
    not on a line that was printed.
    """
    counts, numbers = {failed, planned - failed}, list[int]()
    for part, siblings in _parts(result, 1, MAX_DEPTH):
        if isinstance(part, BaseException):
            return True
        # As many numbers as items are the items, and count nothing.
        if type(part) is int and siblings < planned:
            numbers.append(part)
        elif isinstance(part, str) and siblings < planned:
            numbers += map(int, _NUMBER.findall(part))
        elif isinstance(part, Collection) and counts & {len(part), *_same(part)}:
            return True
    return len(numbers) < planned and not counts.isdisjoint(numbers)


def _same(entries: Collection[Any]) -> Iterator[int]:
    """Yield how often each word or type occurs, of pairs as the second: (item, 'error')."""
    values = entries.values() if isinstance(entries, Mapping) else entries
    last = [each[-1] if isinstance(each, tuple) and each else each for each in values]
    yield from Counter(
        each if isinstance(each, str | bool) else type(each) for each in last
    ).values()


def _parts(result: Any, siblings: int, depth: int) -> Iterator[tuple[object, int]]:
    """Yield the result and what it is made of, some levels deep; each with its container's size."""
    yield result, siblings
    if isinstance(result, asyncio.Future):
        inner = [result.exception()] if result.done() and not result.cancelled() else []
    elif isinstance(result, Mapping):
        inner = [*result.keys(), *result.values()]
    elif isinstance(result, list | tuple | Set):
        inner = list(result)
    elif type(result).__module__ == "builtins":
        inner = []
    else:
        slots = [name for name in getattr(type(result), "__slots__", ()) if hasattr(result, name)]
        inner = [getattr(result, name) for name in (*slots, *getattr(result, "__dict__", ()))]
    for part in inner if depth else ():
        yield from _parts(part, len(inner), depth - 1)
