"""Time for tests: a clock moved by hand, and schedules of callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


class Clock:
    """A clock that only the test moves."""

    def __init__(self, now: float = 0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


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
