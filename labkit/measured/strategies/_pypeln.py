"""Garcia 2018: the real pypeln library, called as its users call it.

A thread drains the items into the loop without waiting for room, so memory grows with their number;
in 0.4.9 `maxsize` does not change that: what finds its queue full waits as a task of its own.
Everything else here is about the end of a run: pypeln does not wait for what it cancels, and with a
small `maxsize` it loses items.
"""

import asyncio
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Generic

from labkit.errors import TrialFailed
from labkit.measured.strategies._guard import Fetch, T, cancel_and_wait, strategy, this_task
from labkit.spec.validation import NotNegative, check, refusal

with warnings.catch_warnings():
    # stopit, which pypeln imports, asks pkg_resources for its own version, and works without it.
    # That module comes with setuptools: before 81 it warns that it will go away, from 81 on it is
    # gone. An empty module in its place is enough.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    if find_spec("pkg_resources") is None:
        sys.modules["pkg_resources"] = ModuleType("pkg_resources")
    from pypeln.task import each


class _Size(int):
    """A queue size that is recognised by identity: it marks the queues of one run."""


class _PypelnRun(Generic[T]):
    """One call of pypeln: the items and the function that it is given, and the end of its run."""

    def __init__(self, fetch: Fetch[T], items: Iterable[T], maxsize: int) -> None:
        self.size = _Size(maxsize)
        self._fetch = fetch
        self._items = items
        self.taken = self.called = 0
        self._calls: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._ending = self._reading = False
        self._go_on = threading.Event()
        self._released = asyncio.Event()

    def __iter__(self) -> Iterator[T]:
        """Yield the items in pypeln's thread; wait there while the run is being ended."""
        # Only the thread refers to this generator, so it is closed as soon as the thread lets go.
        self._reading = True
        try:
            for item in self._items:
                if self._ending:
                    self._go_on.wait()
                self.taken += 1
                yield item
        finally:
            self._loop.call_soon_threadsafe(self._released.set)

    async def call(self, item: T) -> None:
        """Do one item; pypeln wraps each call in a task."""
        if self._ending:
            return  # pypeln may still start a call after it has cancelled the others
        self.called += 1
        task = this_task()
        self._calls.add(task)
        try:
            await self._fetch(item)
        finally:
            self._calls.discard(task)

    async def end(self, work: asyncio.Future[Any]) -> None:
        """Cancel `work` if it still runs, and leave neither task nor reading thread behind."""
        self._ending = True
        try:
            # A thread that puts items faster than the loop takes them would put this off.
            await cancel_and_wait([work])
        finally:
            self._go_on.set()
        if self._reading:
            await self._released.wait()
        # Tasks of this run may wait to put into a full queue which nobody reads any more.
        blocked = []
        for task in asyncio.all_tasks() if self.size else ():
            frame = getattr(task.get_coro(), "cr_frame", None)
            queue = frame.f_locals.get("self") if frame else None
            if isinstance(queue, asyncio.Queue) and queue.maxsize is self.size:
                blocked.append(task)
        await cancel_and_wait([*self._calls, *blocked])
        await asyncio.sleep(0)  # the done callbacks of the last tasks belong to this run


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Drop the errors of pypeln's done callbacks, which look for tasks that it has forgotten."""
    loop = asyncio.get_running_loop()
    outer = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, KeyError) and isinstance(error.args[0], asyncio.Task):
            return
        (outer or type(loop).default_exception_handler)(loop, context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(outer)


@strategy
async def pypeln(fetch: Fetch[T], items: Iterable[T], limit: int, *, maxsize: int = 0) -> None:
    """Await pypeln's `task.each` with `workers=limit`; `TrialFailed` if it loses items."""
    check("maxsize", maxsize, NotNegative)
    run = _PypelnRun(fetch, items, maxsize)
    with _quiet_end():
        work = asyncio.ensure_future(each(run.call, run, workers=limit, maxsize=run.size))
        try:
            await asyncio.wait([work])
            work.result()
        finally:
            await run.end(work)
    if lost := run.taken - run.called:
        raise refusal("pypeln", TrialFailed, lost=lost, taken=run.taken, size=run.size)
