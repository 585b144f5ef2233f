"""An event loop whose waiting takes no time, for functions that are tried and reach no network.

Its clock stands while code runs and leaps to the next timer when all wait, so that a schedule takes
exactly as long as its delays say, on any machine. It notices what would hang a real loop.
"""

from __future__ import annotations

import asyncio
import selectors

FREE_TURNS = 50
"""Turns after which everything that can go on at one moment has: from then on a turn takes time."""
TURN_S = 0.01
MOST_TURNS = 50_000


class Deadlock(Exception):
    """Everything waits, and there is nothing left that could happen."""


class Endless(Exception):
    """The loop turned more often than any answer needs."""


class _Leaping(selectors.DefaultSelector):
    """A selector that waits for nothing: the time that it should wait is over at once."""

    now_s = 0.0
    turns = idle_turns = polled_turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock
        self._leap(timeout)
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

    def begin_anew(self) -> None:
        """Allow as many turns again."""
        self._leaping.turns = 0

    @property
    def polled_turns(self) -> int:
        """Turns that were made while nothing happened: next to none, unless somebody polls."""
        return self._leaping.polled_turns
