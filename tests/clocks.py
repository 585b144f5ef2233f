"""Time for tests: a clock that is moved by hand, and an event loop whose waiting takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable


class ByHand:
    """A clock that stands until it is moved, and rings when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.due_ns: int | None = None
        self.ring: Callable[[], None]

    def __call__(self, ring: Callable[[], None]) -> ByHand:
        self.ring = ring
        return self

    def set(self, due_ns: int | None) -> None:
        self.due_ns = due_ns


class _Leaping(selectors.DefaultSelector):
    """A selector that waits for nothing: the time that it should wait is over at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Deadlock
        if not ready:
            self.now_s += max(timeout or 0, 0)
        return ready


class Deadlock(Exception):
    """Everything waits, and there is nothing left that could happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes at once, and which notices a deadlock. For code without I/O.

    `run` gives it to a coroutine; `asyncio.get_running_loop().time()` is its time.
    """

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now_s
