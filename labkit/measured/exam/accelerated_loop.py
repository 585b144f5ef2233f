"""The event loop of an exam: it counts its turns, and its time may run ahead of the clock.

What must hold
- A strategy may wait for seconds before each item or each retry, and its exam still ends soon.
- Pacing by the loop's timers and pacing by `time.monotonic` and the like see the same time.
- Whatever waits for a thread or a socket gets the real time that it needs.
- A callback that sleeps, one that computes, and a machine that is busy are told apart.

Plan
- The loop asks its selector once a turn, with the time until the next timer. If nothing is ready,
  an accelerated selector returns at once and adds that time to `ahead_s`, by which `loop.time()`
  and the patched clocks of `time` are ahead of the real ones. Time is therefore never invented:
  what computes takes its own time, and only waits are cut short.
- If a thread of the strategy's is at work or a socket is open, each wait is still given
  `MIN_WAIT_S` of real time before it is cut short.
- Between two questions the loop runs callbacks. Their wall time without CPU is sleep, less the time
  that the process waited for a core (schedstat); their CPU is computing.

Measured: the exam of a strategy that sleeps for a second before each item asks for more than five
minutes of waiting, and takes less than a second.
Rejected: a clock that starts at zero and stands still while callbacks run (`time.sleep` and
computing would cost nothing, and threads would never be waited for); patching `datetime`, whose
types cannot be changed (a strategy that paces itself by them takes real time).
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter, thread_time
from typing import Any

from labkit.measured.probes.window import ProcessReader

Event = tuple[selectors.SelectorKey, int]

MIN_WAIT_S = 0.001
_CLOCKS = ("monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns")


class Turns(selectors.DefaultSelector):
    """A selector that counts the turns of its loop and, `accelerated`, cuts its waits short.

    `asleep_s` is the time without CPU of all turns, `longest_s` the most CPU of one turn.
    """

    def __init__(self, *, accelerated: bool = False) -> None:
        super().__init__()
        self.count, self.ahead_s, self.accelerated = 0, 0.0, accelerated
        self._threads = threading.active_count()
        self.restart()

    def restart(self) -> None:
        """Forget the times so far."""
        self.asleep_s = self.longest_s = 0.0
        self._began: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> list[Event]:
        """Return what is ready; the turn before is over, and the next one begins."""
        if self._began is not None:
            wall_s, cpu_s = perf_counter() - self._began[0], thread_time() - self._began[1]
            self.asleep_s += max(wall_s - cpu_s, 0.0)
            self.longest_s = max(self.longest_s, cpu_s)
        self.count += 1
        ready = self._ready(timeout)
        self._began = perf_counter(), thread_time()
        return ready

    def _ready(self, timeout: float | None) -> list[Event]:
        if timeout is None or not self.accelerated:
            return super().select(timeout)
        # One of the sockets is the loop's own.
        others = threading.active_count() > self._threads or len(self.get_map()) > 1
        real_s = min(timeout, MIN_WAIT_S) if others else 0.0
        ready = super().select(real_s)
        if not ready:
            self.ahead_s += max(timeout - real_s, 0.0)
        return ready


class BlockedTime:
    """Measures how long the loop stood still without computing while it had a core."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._own = turns, ProcessReader(os.getpid())
        turns.restart()
        self._waited = self._own.waited_s()

    def end(self) -> float | None:
        """Return seconds; None where the system does not count the waits for a core."""
        waited = self._own.waited_s()
        self._own.close()
        if waited is None or self._waited is None:
            return None
        return max(self._turns.asleep_s - (waited - self._waited), 0.0)


class Loop(asyncio.SelectorEventLoop):
    """A loop of asyncio's own whose turns are counted."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns)
        self._turns = turns

    def time(self) -> float:
        """Return seconds, ahead of the clock by the waits that were cut short."""
        # Not asyncio's: the clock that it reads may be patched.
        return monotonic() + self._turns.ahead_s


@contextmanager
def accelerated_clocks(turns: Turns) -> Iterator[None]:
    """Let the clocks of `time` be as far ahead as the loop of `turns` is, within the block."""

    def ahead(clock: Callable[[], Any], per_second: int) -> Callable[[], Any]:
        def read() -> Any:
            now = clock()
            return now + type(now)(turns.ahead_s * per_second)

        return read

    real = {name: getattr(time, name) for name in _CLOCKS}
    for name, clock in real.items():
        setattr(time, name, ahead(clock, 10**9 if name.endswith("_ns") else 1))
    try:
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)
