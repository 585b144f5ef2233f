"""A high-resolution timer: never early, usually less than 0.1 ms late.

Plan. A delay of the server must last its whole time, as the floor of a trial is a bound only then;
and what it is late counts as time of the client. The timers of an event loop are no use for that:
uvloop counts whole milliseconds and may end one early, asyncio's selectors round up to the next.
Linux has a finer clock, the timerfd, a descriptor for which any loop waits as it waits for
a socket. One serves all that a process waits for (`Alarm` has a heap), and is set a little after
the first call is due, so that one wake-up serves several. Elsewhere the loop's timer does, with as
much added as it may end early (`LoopClock`).

Rejected: a busy loop takes the core from what is measured; a thread that sleeps needs a wake-up of
the loop for each call; a timerfd for each call costs two system calls more.
"""

import asyncio
import ctypes
import math
import os
import weakref
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import perf_counter_ns
from typing import Any

# How long the first call waits for others, so that one wake-up serves several.
SLACK_NS = 100_000
# By how much a loop's own timer may end early: uvloop's count whole milliseconds.
LOOP_TICK_S = 0.001

# <sys/timerfd.h>; the module `os` has these from Python 3.13 on.
_CLOCK_MONOTONIC = _ABSOLUTE = 1
_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000

Call = Callable[[int], None]
_Due = tuple[int, int, Call]


class Alarm:
    """Makes calls when their time has come, in the order of their times.

    Times are those of `perf_counter_ns`. A call cannot be taken back: who no longer wants it
    ignores it. `clock` makes what wakes the process: `set` to a time, it rings once, then or after
    it, and not at the time set before; set to None, never.
    """

    def __init__(self, clock: Callable[[Callable[[], None]], Any]) -> None:
        self._clock = clock(self._ring)
        # Where all wait equally long, each is due after those before: a heap of thousands would
        # compare ten of them for each.
        self._in_order, self._waiting = deque[_Due](), list[_Due]()
        self._order = count()
        self._next_ns: float = math.inf

    def at(self, due_ns: int, call: Call) -> None:
        """Call `call` at `due_ns` or after it, with the time that it is then."""
        entry, in_order = (due_ns, next(self._order), call), self._in_order
        if not in_order or in_order[-1][0] <= due_ns:
            in_order.append(entry)
        else:
            heappush(self._waiting, entry)
        if due_ns < self._next_ns:
            self._next_ns = due_ns
            self._clock.set(due_ns)

    def _ring(self) -> None:
        in_order, waiting, rung_ns = self._in_order, self._waiting, perf_counter_ns()
        while in_order or waiting:
            is_next = not waiting or (in_order and in_order[0] < waiting[0])
            first_ns = in_order[0][0] if is_next else waiting[0][0]
            # What falls due meanwhile waits for the next turn of the loop, which reads in between.
            if first_ns > rung_ns:
                self._next_ns = first_ns
                self._clock.set(first_ns)
                return
            (in_order.popleft() if is_next else heappop(waiting))[2](perf_counter_ns())
        self._next_ns = math.inf
        self._clock.set(None)


class LoopClock:
    """A loop's own timer, with as much added as it may end early."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring, self._loop = ring, asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due_ns: int | None) -> None:
        """See `Alarm`."""
        if self._timer is not None:
            self._timer.cancel()
        if due_ns is not None:
            wait_s = (due_ns - perf_counter_ns()) / 1e9 + LOOP_TICK_S
            self._timer = self._loop.call_later(wait_s, self._ring)


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "due_s", "due_ns")]


class SystemClock:
    """A timerfd of Linux. Raises `OSError` or `AttributeError` where there is none."""

    def __init__(self, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        weakref.finalize(self, os.close, self._fd)
        self._spec = _TimerSpec()
        self._at = ctypes.byref(self._spec)
        asyncio.get_running_loop().add_reader(self._fd, ring)

    def set(self, due_ns: int | None) -> None:
        """See `Alarm`. Setting it anew also takes back what it has to be read for."""
        # A time of zero is what stops it.
        at_ns = 0 if due_ns is None else due_ns + SLACK_NS
        self._spec.due_s, self._spec.due_ns = divmod(at_ns, 1_000_000_000)
        self._settime(self._fd, _ABSOLUTE, self._at, None)


def best_clock(ring: Callable[[], None]) -> SystemClock | LoopClock:
    """Return the finest clock that this system has for the running loop."""
    try:
        return SystemClock(ring)
    except (OSError, AttributeError, NotImplementedError):
        return LoopClock(ring)
