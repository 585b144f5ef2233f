"""An event loop whose waiting takes no time, for functions that reach no network.

Its clock stands still while code runs and leaps to the next timer when every task waits. So a
schedule takes exactly as long as its delays say, on any machine, and the loop notices what would
hang a real one. Work in a thread counts as code that runs: the loop waits for it in real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
Result = TypeVar("Result")

FREE_TURNS = 50
"""Turns that take no time: enough for all that can happen at one moment. Later ones take some."""
TURN_S = 0.01
MAX_TURNS = 50_000
THREAD_S = 0.3
"""Real seconds to wait for a thread before the loop looks again."""


class Deadlock(Exception):
    """Every task waits, and no timer and no thread is left."""


class Endless(Exception):
    """The loop turned more often than any answer needs."""


class _Leaping(selectors.DefaultSelector):
    """A selector that returns at once, and moves its clock by the time that it should wait."""

    now_s = 0.0
    turns = idle_turns = polled_turns = 0
    in_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A thread that is ready wakes the loop by a socket, as it does a real one.
        busy = self.in_threads > 0 and timeout != 0
        ready = super().select(THREAD_S if busy else 0)
        if ready:
            return ready
        if timeout is None:
            if not busy:
                raise Deadlock
            return ready
        self.turns += 1
        if self.turns > MAX_TURNS:
            raise Endless
        self.idle_turns = self.idle_turns + 1 if timeout == 0 else 0
        self.now_s += max(timeout, 0)
        if self.idle_turns > FREE_TURNS:  # otherwise polling with `sleep(0)` would stop the clock
            self.now_s += TURN_S
            self.polled_turns += 1
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 0 s."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Return the virtual seconds that have passed."""
        return self._leaping.now_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Args], Result], *args: *Args
    ) -> asyncio.Future[Result]:
        """Run a function in a thread, and count it until it has ended: it may wake the loop."""
        # Popped, as a thread would otherwise refer to its arguments for a moment after it is done:
        # one exercise counts the objects that are still alive.
        work = [(func, args)]

        def once() -> Result:
            one, given = work.pop()
            return one(*given)

        def ended(_future: asyncio.Future[Any]) -> None:
            self._leaping.in_threads -= 1

        found = super().run_in_executor(executor, once)
        self._leaping.in_threads += 1
        found.add_done_callback(ended)
        return found

    def reset_turns(self) -> None:
        """Allow `MAX_TURNS` turns again."""
        self._leaping.turns = 0

    @property
    def polled_turns(self) -> int:
        """Return how many turns were made while nothing happened: more than a few means polling."""
        return self._leaping.polled_turns
