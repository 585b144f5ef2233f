"""An event loop that counts its turns, and notes for how long each kept it from looking around.

Its time may run faster than the clock: what waits only for a timer need not wait for long.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from time import monotonic, perf_counter, thread_time

from labkit.measured.probes.memory import Watched

Event = tuple[selectors.SelectorKey, int]


HURRIED_S = 0.001


class Turns(selectors.DefaultSelector):
    """A selector: the loop asks it once a turn. Between two questions it runs callbacks.

    Where time is `hurried`, a wait in which nothing happens ends at once, and the loop's time is as
    far `ahead_s` as was left of it; after `HURRIED_S` where a thread is at work, or a socket open.

    A callback that sleeps takes time without CPU, and one that computes takes CPU: `still_s` is the
    first, over all turns; `longest_s` the second, of the longest turn.
    """

    def __init__(self, *, hurried: bool = False) -> None:
        super().__init__()
        self.count, self.ahead_s, self.hurried = 0, 0.0, hurried
        self._threads = threading.active_count()
        self.restart()

    def restart(self) -> None:
        """Forget the times so far."""
        self.still_s = self.longest_s = 0.0
        self._began: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> list[Event]:
        """What is ready, as the loop asks; the turn before is over."""
        self._end()
        self.count += 1
        ready = self._ready(timeout)
        self._began = perf_counter(), thread_time()
        return ready

    def _ready(self, timeout: float | None) -> list[Event]:
        if timeout is None or not self.hurried:
            return super().select(timeout)
        shortly = min(timeout, HURRIED_S) if self._others() else 0.0
        ready = super().select(shortly)
        if not ready:
            self.ahead_s += timeout - shortly if timeout > 0 else 0.0
        return ready

    def _others(self) -> bool:
        """Whether anything but this thread may bring something about; one socket is the loop's."""
        return threading.active_count() > self._threads or len(self.get_map()) > 1

    def _end(self) -> None:
        if self._began is None:
            return
        wall_s, cpu_s = perf_counter() - self._began[0], thread_time() - self._began[1]
        self.still_s += max(wall_s - cpu_s, 0.0)
        self.longest_s = max(self.longest_s, cpu_s)


class Stillness:
    """For how long the loop stood still without computing, less what others had its core for."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._own = turns, Watched(os.getpid())
        turns.restart()
        self._waited = self._own.waited_s()

    def end(self) -> float | None:
        """Seconds; None where the system does not tell how long the process waited for a core."""
        waited = self._own.waited_s()
        self._own.close()
        if waited is None or self._waited is None:
            return None
        return max(self._turns.still_s - (waited - self._waited), 0.0)


class Loop(asyncio.SelectorEventLoop):
    """A loop of asyncio's own whose turns are counted."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns)
        self._turns = turns

    def time(self) -> float:
        """Seconds; as far ahead of the clock as its waits were cut short."""
        # Not asyncio's: the clock that it reads may be ahead itself.
        return monotonic() + self._turns.ahead_s
