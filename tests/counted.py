"""What the tests of strategies share: event loops, a clean end, and a target that counts its calls.

Holds no test.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

import pytest
import uvloop

from answers.sandbox import VirtualLoop
from labkit.measured.strategies import NAMES

ALL_AT_ONCE = {"gather"}
ONE_BY_ONE = {"sequential"}
TASK_FOR_EVERY_ITEM = {"gather", "semaphore", "anyio"}
FLAT = set(NAMES) - TASK_FOR_EVERY_ITEM - {"pypeln", "aiometer", "aiostream"}
INTERRUPTS_CLEANING = {"aiometer", "anyio"}  # anyio cancels each further await of a cancelled task
PLENTY = 10  # loop turns after which everything that can start has started


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


# Eager tasks need Python 3.12, and uvloop passes the factory what 3.13.0 to 3.13.2 do not know.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = eager_loop

on_every_loop = pytest.mark.parametrize("loop", LOOPS)
for_every_strategy = pytest.mark.parametrize("name", NAMES)


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@asynccontextmanager
async def clean() -> AsyncIterator[None]:
    """What runs inside leaves no task behind and reports nothing to the loop's handler."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    yield
    assert others() == set()
    gc.collect(0)
    assert reports == []


def run(loop: str, main: Coroutine[Any, Any, Any], within_s: float | None = 60) -> Any:
    async def checked() -> Any:
        async with asyncio.timeout(within_s), clean():
            return await main

    with asyncio.Runner(loop_factory=LOOPS.get(loop, VirtualLoop)) as runner:
        return runner.run(checked())


def virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` in a time of its own, in which a deadlock is an error and no wait takes time."""
    return run("virtual", main, within_s=None)


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def cancel(task: asyncio.Future[Any]) -> BaseException:
    """Cancel a task, and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


class Target:
    """Counts its calls; a call takes a few loop turns, more for some items than for others."""

    def __init__(self, failing: Collection[int] = (), turns: int = 3) -> None:
        self.failing = failing
        self.turns = turns
        self.started: list[int] = []
        self.finished: list[int] = []
        self.cleaned_up: list[int] = []
        self.in_flight = self.most_in_flight = self.most_tasks = self.most_kept = 0
        self.kept: WeakSet[asyncio.Task[Any]] = WeakSet()  # done or not, while anyone refers to it

    async def fetch(self, item: int) -> None:
        self.started.append(item)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        self.kept.add(asyncio.current_task())
        self.most_kept = max(self.most_kept, len(self.kept))
        try:
            await self.work(item)
        finally:
            self.in_flight -= 1
        self.finished.append(item)

    async def work(self, item: int) -> None:
        if self.turns:
            await turns(1 + item * 7 % self.turns)
        if item in self.failing:
            raise (KeyError if item % 2 else ValueError)(item)


class Stuck(Target):
    """Never answers, and takes a few loop turns to clean up when it is cancelled."""

    async def work(self, item: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(1 + item * 7 % 5)
            self.cleaned_up.append(item)


async def started(target: Target, number: int) -> None:
    while len(target.started) < number:  # noqa: ASYNC110  # turns are what is counted here
        await asyncio.sleep(0)
