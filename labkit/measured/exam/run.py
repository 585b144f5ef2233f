"""One run of a strategy in an exam: what it is given, how it is watched, and how it is ended."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from numbers import Integral
from time import process_time
from typing import Any

from labkit.errors import raised
from labkit.measured.exam.accelerated_loop import Turns
from labkit.record.exam import Backlog, End, ScenarioResult

Strategy = Callable[..., Awaitable[object]]

TICK_S, LEFT_TICK_S = 0.5, 0.05
# So many checks in a row with nothing in flight, no progress and no thread at work: it is stuck.
# They are counted and not timed, so that a process that gets no core is not taken for one that
# hangs; and they are many, as a pause of seconds may be meant: the time is accelerated.
MAX_IDLE_TICKS = 400
# So long by its own time, and so many turns, busy without a call that is made or ends: it may pace
# itself by a clock that nobody accelerates, but hardly so slowly.
MAX_FRUITLESS_S, MIN_FRUITLESS_TURNS = 5.0, 1_000
# By its own time, for a strategy that makes progress.
MAX_SCENARIO_S = 18.0
# Calls for each item after which a run is ended: workers may each take every item.
MAX_CALLS = 30
# A task that was cancelled, and not waited for, is gone after a turn or two.
GRACE_TURNS, MAX_LEFT_TICKS = 10, 10
MIN_CHECK_S, MAX_CHECK_S, CHECK_GROWTH = 0.02, 20.0, 1.3
# So long in accelerated time, or so many turns of one that polls, without a change: settled. It is
# longer than most pauses, each of which a strategy may make before some more of its tasks.
SETTLED_S, SETTLED_TURNS = 100.0, 3_000
# By its own time, which is real time less what a busy machine made it wait for a core.
MAX_SETTLING_S = 10.0
WATCHED_S = 0.3
MAX_CLEAN_UP_S = 1.0
MAX_DEPTH = 4


class ItemFailed(Exception):
    """Raised by a call on a failing item, as by a server that answers with an error."""


class Calls:
    """Counts of calls made, in flight and ended. A call takes a few turns, more for some items."""

    def __init__(self, *, failing: Collection[int] = ()) -> None:
        self.failing = failing
        self.made = self.begun = self.in_flight = self.max_in_flight = self.ended = 0
        # How often each item was fetched to its end.
        self.fetched: Counter[int] = Counter()
        # While it is closed no call is answered.
        self.gate: asyncio.Event | None = None

    def fetch(self, item: int) -> Coroutine[Any, Any, None]:
        """Make one call: the strategy's `fetch`."""
        self.made += 1
        return self._call(item)

    async def _call(self, item: int) -> None:
        self.begun += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.gate is not None:
                await self.gate.wait()
            for _ in range(1 + item * 7 % 5):
                await asyncio.sleep(0)
            self.fetched[item] += 1
            if item in self.failing:
                raise ItemFailed(f"item {item} failed")
        finally:
            self.in_flight -= 1
            self.ended += 1


class ScenarioRun:
    """The strategy at work on `planned` items; `calls` counts what it does."""

    def __init__(
        self, strategy: Strategy, calls: Calls, planned: int, limit: int, turns: Turns
    ) -> None:
        self.calls, self.planned, self.limit, self.turns = calls, planned, limit, turns
        self._before = asyncio.all_tasks()
        self.end: End = "returned"
        self._left = 0
        turns.restart()

        async def run() -> object:
            # In a task, so that what is raised before the first await is met in the same place.
            return await strategy(calls.fetch, range(planned), limit)

        self.task = asyncio.ensure_future(run())

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that the strategy started and that have not ended."""
        return asyncio.all_tasks() - self._before - {self.task}

    def waiting(self) -> int:
        """Return how many tasks, or calls that were made, wait behind those in flight."""
        return max(len(self.tasks()), self.calls.made - self.calls.ended) - self.calls.in_flight

    def progress(self) -> tuple[int, int]:
        """Return what grows as long as the strategy makes progress."""
        return self.calls.made, self.calls.ended

    async def finish(self) -> None:
        """Wait for the strategy's end; end it where it stalls or makes far too many calls."""
        calls, turns = self.calls, self.turns
        until_s = turns.own_s() + MAX_SCENARIO_S
        threads, before = threading.active_count(), (-1, -1)
        checks, since_turns, since_s = 0, 0, 0.0
        while self.end == "returned":
            await asyncio.wait({self.task}, timeout=TICK_S)
            if self.task.done():
                break
            checks += 1
            if self.progress() != before:
                before, checks = self.progress(), 0
                since_turns, since_s = turns.count, turns.own_s()
            # A check takes two turns of its own: a run that takes more is asking for something,
            # such as a clock that nobody accelerates.
            turned = turns.count - since_turns
            is_quiet = turned <= 2 * (checks + 1)
            if is_quiet and not calls.in_flight and threading.active_count() <= threads:
                is_stuck = checks >= MAX_IDLE_TICKS
            else:
                is_fruitless = turns.own_s() - since_s >= MAX_FRUITLESS_S
                is_stuck = is_fruitless and turned >= MIN_FRUITLESS_TURNS
            if calls.made > MAX_CALLS * (self.planned + 1):
                self.end = "endless"
            elif is_stuck:
                self.end = "stuck"
            elif turns.own_s() > until_s:
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
            await asyncio.wait(self.tasks(), timeout=LEFT_TICK_S)
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

    def result(
        self, name: str, *, usual: str = "", backlog: Backlog | None = None
    ) -> ScenarioResult:
        """Return what was observed, once the run has ended.

        `usual` describes what the strategy returns for as many items of which none fails.
        """
        calls, planned = self.calls, self.planned
        missing = [item for item in range(planned) if not calls.fetched[item]]
        # To try a failing item once more is no repetition.
        times = Counter({item: n for item, n in calls.fetched.items() if item not in calls.failing})
        most_fetched, most_times = max(times.items(), key=lambda one: one[1], default=(None, 0))
        text = ""
        if self.end == "raised":
            error = asyncio.CancelledError() if self.task.cancelled() else self.task.exception()
            text = raised(error) if error else ""
        ended_itself = self.end == "returned" and not backlog
        return ScenarioResult(
            name=name,
            planned=planned,
            limit=self.limit,
            end=self.end,
            raised=text,
            calls=calls.made,
            not_awaited=calls.made - calls.begun if ended_itself else 0,
            max_in_flight=calls.max_in_flight,
            missing=len(missing),
            missing_item=missing[0] if missing else None,
            repeated=sum(n > 1 for n in times.values()),
            most_fetched_item=most_fetched,
            most_fetched_times=most_times,
            tasks_left=self._left,
            failing=len(calls.failing),
            failures_reported=not calls.failing or self.returned() != usual,
            blocked_s=self.turns.blocked_s(),
            longest_turn_s=self.turns.longest_s,
            backlog=backlog,
        )

    def returned(self) -> str:
        """Return a description of what the strategy returned, empty where it did not."""
        return described(self.task.result()) if self.end == "returned" else ""


async def observe_backlog(run: ScenarioRun) -> Backlog:
    """Let all calls in flight wait; return what waits behind them and what waiting costs.

    First nothing must be added any more.
    """
    turns, calls = run.turns, run.calls
    waiting, before, check_s = 0, (-1, -1, -1), MIN_CHECK_S
    since_s, since_turns = turns.time(), turns.count
    until_s = turns.own_s() + MAX_SETTLING_S
    while not run.task.done() and turns.own_s() < until_s:
        waiting = max(waiting, run.waiting())
        now = (calls.in_flight, calls.made, waiting)
        if now != before:
            before, since_s, since_turns = now, turns.time(), turns.count
        elif turns.time() - since_s >= SETTLED_S or turns.count - since_turns >= SETTLED_TURNS:
            break
        # The further apart the longer it takes: a pause may be meant, and to find thousands of
        # tasks takes longer than to add one.
        check_s = min(CHECK_GROWTH * check_s, MAX_CHECK_S)
        await asyncio.sleep(check_s)
    # Now a thread's answers are waited for in real time.
    turns.min_wait_s = WATCHED_S
    count, cpu_s, start_s = turns.count, process_time(), turns.time()
    await asyncio.sleep(WATCHED_S)
    turned, used_s, took_s = turns.count - count, process_time() - cpu_s, turns.time() - start_s
    return Backlog(waiting=waiting, turns=turned, cpu_s=used_s, duration_s=took_s)


# Can its caller know that items failed? The plan: describe what the strategy returned with failing
# items and what it returned with as many of which none fails, and compare. A caller that gets two
# equal values knows nothing, whatever was printed. Left out is what differs from run to run: the
# order of a collection, fractions (they are times), addresses.
# Rejected: to look in the value for the number of failures (each way to count is one more rule, and
# a duration of as many seconds is taken for a count).
def described(value: Any, depth: int = MAX_DEPTH) -> str:
    """Return what a caller can read from a value, some levels deep, as a text to compare."""
    if isinstance(value, asyncio.Future):
        value = value.exception() if value.done() and not value.cancelled() else None
    if isinstance(value, str):
        return re.sub(r"\d[\d,]*\.\d+", "", value)
    if isinstance(value, Integral | bytes) or (isinstance(value, float) and value.is_integer()):
        return str(value)
    if isinstance(value, type):
        return value.__name__
    inner: list[Any] = []
    if isinstance(value, Collection):
        inner += value.items() if isinstance(value, Mapping) else value
    names = [*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", ())]
    inner += [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    parts = sorted(described(part, depth - 1) for part in inner) if depth else []
    return f"{type(value).__name__}({', '.join(parts)})"
