"""The event loop of an exam: it counts its turns, and its time may run ahead of the clock.

What must hold
- A strategy may wait for seconds before each item or each retry, and its exam still ends soon.
- Pacing by the loop's timers and pacing by `time.monotonic` and the like see the same time.
- Whatever waits for a thread or a socket gets the real time that it needs.
- A callback that sleeps, one that computes, and a machine that is busy are distinguished.
- A busy machine changes no result: it gives a process its time later, and not less of it.

Plan
- The loop asks its selector once a turn, with the time until the next timer. If nothing is ready,
  the selector returns at once and adds that time to `ahead_s`, by which `loop.time()`
  and the patched clocks of `time` are ahead of the real ones. Time is therefore never invented:
  what computes takes its own time, and only waits are cut short.
- If a thread of the strategy's is at work or a socket is open, each wait is still given
  `min_wait_s` of real time before it is cut short.
- Between two questions the loop runs callbacks. Their wall time without CPU is sleep, less the time
  that the process waited for a core (schedstat); their CPU is computing.
- Where turns are counted in a stretch of time, `clock` is the CPU time of the process: a timer of
  1 ms fires a thousand times in a second of it, and `sleep(0)` as often as on a quiet machine.

Measured: the exam of a strategy that sleeps for a second before each item asks for more than five
minutes of waiting, and takes less than a second.
Rejected: a clock that starts at zero and stands still while callbacks run (`time.sleep` and
computing would cost nothing, and threads would never be waited for); patching `datetime`, whose
types cannot be changed (a strategy that paces itself by them takes real time).
"""

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
    """A selector that counts the turns of its loop and cuts its waits short.

    `asleep_s` is the time without CPU of all turns, `longest_s` the most CPU of one turn.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self.clock, self.min_wait_s = clock, MIN_WAIT_S
        self.count, self.ahead_s = 0, 0.0
        self._threads, self._process = threading.active_count(), ProcessReader(os.getpid())
        self._waited_s: float | None = None
        self.restart()

    def restart(self) -> None:
        """Forget the times so far."""
        self.asleep_s = self.longest_s = 0.0
        self._began: tuple[float, float] | None = None

    def time(self) -> float:
        """Return the seconds of its clock, and those that were cut short."""
        return self.clock() + self.ahead_s

    def own_s(self) -> float:
        """Return real seconds, less those in which the process waited for a core."""
        while True:
            now_s, waited_s = perf_counter(), self._process.waited_s()
            if waited_s == self._waited_s:  # as before: it has not lost its core in between
                return now_s - (waited_s or 0.0)
            self._waited_s = waited_s

    def blocked_s(self) -> float | None:
        """Return how long the loop stood still without computing while it had a core.

        None where the system does not count the waits for a core.
        """
        return None if self._process.waited_s() is None else self.asleep_s

    def select(self, timeout: float | None = None) -> list[Event]:
        """Return what is ready; the turn before is over, and the next one begins."""
        now = self.own_s(), thread_time()
        if self._began is not None:
            own_s, cpu_s = now[0] - self._began[0], now[1] - self._began[1]
            self.asleep_s += max(own_s - cpu_s, 0.0)
            self.longest_s = max(self.longest_s, cpu_s)
        self.count += 1
        if not timeout:
            real_s, ready = timeout, super().select(timeout)
        else:
            # One of the sockets is the loop's own.
            others = threading.active_count() > self._threads or len(self.get_map()) > 1
            real_s = min(timeout, self.min_wait_s) if others else 0.0
            before, start = self.clock(), monotonic()
            ready = super().select(real_s)
            if not ready or real_s:
                waited_s = monotonic() - start if ready else timeout
                self.ahead_s += max(waited_s - (self.clock() - before), 0.0)
        # To read both clocks takes as long as the rest of a turn: once, where nothing was awaited.
        self._began = now if real_s == 0 else (self.own_s(), thread_time())
        return ready


class Loop(asyncio.SelectorEventLoop):
    """A loop of asyncio's own whose turns are counted."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns)
        self._turns = turns

    def time(self) -> float:
        """Return seconds, ahead of the clock by the waits that were cut short."""
        # Not asyncio's: the clock that it reads may be patched.
        return self._turns.time()

    async def shutdown_default_executor(self, *_: Any, **__: Any) -> None:
        """Wait for threads without the timeout of Python 3.12: that clock would end it at once."""
        await super().shutdown_default_executor()


@contextmanager
def accelerated_clocks(turns: Turns) -> Iterator[None]:
    """Let the clocks of `time` be as far ahead as the loop of `turns` is, within the block."""
    real = {name: getattr(time, name) for name in _CLOCKS}

    def ahead(name: str) -> Callable[[], float]:
        clock = real[name]
        if name.endswith("_ns"):
            return lambda: clock() + int(turns.ahead_s * 10**9)
        return lambda: clock() + turns.ahead_s

    for name in _CLOCKS:
        setattr(time, name, ahead(name))
    try:
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)
