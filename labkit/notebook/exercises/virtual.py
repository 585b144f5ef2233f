"""An event loop whose waiting takes no time, for functions that are tried and reach no network.

Its clock stands while code runs and leaps to the next timer when all wait, so that a schedule takes
exactly as long as its delays say, on any machine. It notices what would hang a real loop. Work that
is given to a thread is code that runs: it is really waited for.
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
"""Turns after which everything that can go on at one moment has: from then on a turn takes time."""
TURN_S = 0.01
MOST_TURNS = 50_000
THREAD_S = 0.3
"""Of real time, the longest wait for a thread before the loop looks again."""


class Deadlock(Exception):
    """Everything waits, and there is nothing left that could happen."""


class Endless(Exception):
    """The loop turned more often than any answer needs."""


class _Leaping(selectors.DefaultSelector):
    """A selector that waits for nothing: the time that it should wait is over at once."""

    now_s = 0.0
    turns = idle_turns = polled_turns = 0
    in_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A thread that is ready wakes the loop by a socket, as it does a real one.
        busy = self.in_threads > 0 and timeout != 0
        ready = super().select(THREAD_S if busy else 0)
        if ready:
            return ready
        if timeout is not None:
            self._leap(timeout)
        elif not busy:
            raise Deadlock
        return ready

    def _leap(self, timeout: float) -> None:
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Endless
        if timeout > 0:
            self.now_s, self.idle_turns = self.now_s + timeout, 0
            return
        # Who polls with `sleep(0)` would otherwise stop the clock.
        self.idle_turns += 1
        if self.idle_turns > FREE_TURNS:
            self.now_s, self.polled_turns = self.now_s + TURN_S, self.polled_turns + 1


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 0 s."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """The seconds that have passed in it."""
        return self._leaping.now_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Args], Result], *args: *Args
    ) -> asyncio.Future[Result]:
        """Run a function in a thread, and know until it has ended that it may wake the loop."""
        # Popped, as a thread would else hold what it was given for a moment after it has said that
        # it is done: an exercise counts what is still held.
        work = [(func, args)]

        def once() -> Result:
            one, given = work.pop()
            return one(*given)

        found = super().run_in_executor(executor, once)
        self._leaping.in_threads += 1
        found.add_done_callback(self._thread_ended)
        return found

    def _thread_ended(self, _future: asyncio.Future[Any]) -> None:
        self._leaping.in_threads -= 1

    def begin_anew(self) -> None:
        """Allow as many turns again."""
        self._leaping.turns = 0

    @property
    def polled_turns(self) -> int:
        """Turns that were made while nothing happened: next to none, unless somebody polls."""
        return self._leaping.polled_turns
