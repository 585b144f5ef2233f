"""Time for tests: a clock moved by hand, a loop whose waits take no time, schedules of callers."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


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


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Calls at `at_s`, stays for `takes_s` once it has its turn, and may leave before."""

    key: int
    at_s: int
    takes_s: int
    leaves_after_s: int | None


def callers(keys: int) -> st.SearchStrategy[list[Caller]]:
    """Schedules of callers for so many keys."""
    seconds = st.integers(0, 10)
    one = st.builds(
        Caller,
        key=st.integers(0, keys - 1),
        at_s=st.integers(0, 25),
        takes_s=seconds,
        leaves_after_s=st.none() | seconds,
    )
    return st.lists(one, max_size=25)


async def played(listed: Sequence[Caller], call: Callable[[Caller], Awaitable[Any]]) -> list[Any]:
    """What each call returns, or 'left'."""

    async def play(caller: Caller) -> Any:
        await asyncio.sleep(caller.at_s)
        task = asyncio.ensure_future(call(caller))
        if caller.leaves_after_s is not None:
            asyncio.get_running_loop().call_later(caller.leaves_after_s, task.cancel)
        await asyncio.wait([task])
        return "left" if task.cancelled() else task.result()

    return list(await asyncio.gather(*map(play, listed)))
