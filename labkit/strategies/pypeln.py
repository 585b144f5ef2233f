"""Garcia 2018: the real pypeln library, called as its users call it.

With `maxsize=0`, its default, a thread drains the items into a queue without bound, so memory grows
with the number of items; `maxsize` bounds it. Everything here beside that call is about the end:
pypeln 0.4.9 does not wait for what it cancels, and with a `maxsize` it can lose items.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from labkit.errors import TrialFailed
from labkit.fields import check
from labkit.strategies import Fetch, strategy
from labkit.strategies._guard import NotNegative
from labkit.strategies._tasks import cancel_and_wait

with warnings.catch_warnings():
    # pypeln's dependency stopit imports pkg_resources, which warns that it will go away; the
    # environment pins a setuptools that still has it, and a learner can do nothing about it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    from pypeln.task import each

T = TypeVar("T")


class _Source(Generic[T]):
    """`items` as pypeln's thread reads them: counted, and held back while a run is being ended."""

    def __init__(self, items: Iterable[T]) -> None:
        self.items = items
        self.taken = 0
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._released = asyncio.Event()
        self._paused = False
        self._resumed = threading.Event()

    def __iter__(self) -> Iterator[T]:
        # Only the thread refers to this generator: it is closed as soon as the thread lets go.
        self._reading = True
        try:
            for item in self.items:
                if self._paused:
                    self._resumed.wait()
                self.taken += 1
                yield item
        finally:
            self._loop.call_soon_threadsafe(self._released.set)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Without it, a thread that puts items faster than the loop takes them delays any end."""
        self._paused = True
        try:
            yield
        finally:
            self._resumed.set()

    async def released(self) -> None:
        """Wait until the thread reads no more."""
        if self._reading:
            await self._released.wait()


class _Size(int):
    """A queue size that is recognised by identity: it marks the queues of one run."""


def _blocked_puts(size: _Size) -> list[asyncio.Task[Any]]:
    """Tasks of this run that wait to put into a full queue which nobody reads any more."""
    frames = ((task, getattr(task.get_coro(), "cr_frame", None)) for task in asyncio.all_tasks())
    owners = ((task, frame.f_locals.get("self")) for task, frame in frames if frame)
    return [task for task, owner in owners if getattr(owner, "maxsize", None) is size]


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
    source, size, called = _Source(items), _Size(maxsize), 0
    running: set[asyncio.Task[Any] | None] = set()

    async def call(item: T) -> None:
        nonlocal called
        called += 1
        task = asyncio.current_task()
        running.add(task)
        try:
            await fetch(item)
        finally:
            running.discard(task)

    with _quiet_end():
        work = asyncio.ensure_future(each(call, source, workers=limit, maxsize=size))
        try:
            await asyncio.wait([work])
            work.result()
        finally:
            with source.paused():
                await cancel_and_wait([work])
            await source.released()
            await cancel_and_wait([*filter(None, running), *_blocked_puts(size)])
    if called < source.taken:
        raise TrialFailed(
            f"pypeln lost {source.taken - called} of {source.taken} items: with maxsize={maxsize} "
            "its end marker can overtake waiting items; set maxsize to 0"
        )
