"""Find which callback or coroutine blocks the event loop, and for how long: asyncio and uvloop.

The plan. A timer in the loop ticks four times within `slow_s`; a thread watches the ticks. While a
tick is overdue, the thread samples the stack of the loop's thread (`sys._current_frames`), which
works whatever the loop is. The outermost frame below the loop's own is the callback; where several
samples in turn show the same frame, that callback blocked the loop from the first to the last.

Rejected: asyncio's debug mode (`slow_callback_duration`) finds slow callbacks on both loops too,
but it makes every task and callback remember where it was created, and names the task, not the
line. Not seen: code that never releases the interpreter's lock, for the thread cannot run then; and
many short callbacks in turn, of which none is slow. Both are counted as unattributed stalls.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from time import perf_counter
from types import CodeType, FrameType
from typing import NamedTuple

import msgspec

# How long a callback may block the loop, by default, before it is reported.
SLOW_S = 0.05
# Ticks of the timer within the time from which on a callback is slow.
TICKS = 4
MAX_FOUND = 100
THREAD = "labkit-slow-callbacks"
LOOP_ITSELF = "(the loop itself)"
# Functions in which a loop calls back, by file; uvloop's own have no Python frames.
_RUNS_CALLBACKS = {
    "asyncio/events.py": ("_run",),
    "asyncio/base_events.py": ("_run_once", "run_forever", "run_until_complete"),
    "asyncio/runners.py": ("run",),
}


class SlowCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that blocked the event loop: its name, the line it was at, when, how long."""

    callback: str
    where: str
    at_s: float
    blocked_s: float


class Sample(NamedTuple):
    """Who blocked the loop at one moment."""

    at_s: float
    frame: FrameType | None
    callback: str
    where: str


class SlowCallbacks:
    """Watches the running loop within a `with` block; `found` are the slow callbacks, in order.

    `slow_s` is how long a callback may run; measured times are at most half of that off.
    `unattributed_stalls_s` are times in which the loop was late and no one callback was slow.
    """

    def __init__(self, slow_s: float = SLOW_S) -> None:
        self.slow_s = slow_s
        self.found: list[SlowCallback] = []
        self.unattributed_stalls_s: list[float] = []
        self._every_s = slow_s / TICKS
        self._began_s = self._tick_s = 0.0
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._thread_id = 0

    def __enter__(self) -> SlowCallbacks:
        self._thread_id = threading.get_ident()
        self._ended.clear()
        self._began_s = perf_counter()
        self._tick()
        self._thread = threading.Thread(target=self._watch, name=THREAD, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._timer is not None
        self._ended.set()
        self._timer.cancel()
        self._thread.join()

    def text(self) -> str:
        """Return what was found, a line each."""
        return format_slow_callbacks(self.found, self.slow_s, self.unattributed_stalls_s)

    __repr__ = text

    def _tick(self) -> None:
        self._tick_s = perf_counter()
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._tick)

    def _watch(self) -> None:
        """Sample the loop's thread while a tick is overdue; run in a thread of its own."""
        while not self._ended.wait(self._every_s):
            tick_s = self._tick_s
            if perf_counter() - tick_s <= 2 * self._every_s:
                continue
            samples = []
            while self._tick_s == tick_s:
                frame, callback, where = locate(sys._current_frames().get(self._thread_id))
                samples.append(Sample(perf_counter(), frame, callback, where))
                if self._ended.wait(self._every_s):
                    break
            due_s = tick_s + self._every_s
            ended_s = perf_counter() if self._tick_s == tick_s else self._tick_s
            slow = [
                msgspec.structs.replace(one, at_s=one.at_s - self._began_s)
                for one in blockers(samples, due_s, ended_s)
                if one.blocked_s >= self.slow_s
            ]
            self.found = [*self.found, *slow][-MAX_FOUND:]
            if not slow and ended_s - due_s >= self.slow_s:
                stalls_s = [*self.unattributed_stalls_s, ended_s - due_s]
                self.unattributed_stalls_s = stalls_s[-MAX_FOUND:]


def blockers(samples: Sequence[Sample], due_s: float, ended_s: float) -> Iterator[SlowCallback]:
    """Yield each callback that several samples in turn show, from its first to the one after it.

    One sample alone shows nothing: it may have been one of many short callbacks, or the system let
    the whole process wait.
    """
    ends_s = [*(sample.at_s for sample in samples[1:]), ended_s]
    sampled = zip(samples, ends_s, strict=False)
    for index, (_, group) in enumerate(groupby(sampled, key=lambda one: id(one[0].frame))):
        run = list(group)
        first, last_s = run[0][0], run[-1][1]
        if first.frame is None or len(run) < 2:
            continue
        at_s = first.at_s if index else due_s
        where = Counter(sample.where for sample, _ in run).most_common(1)[0][0]
        blocked_s = last_s - at_s
        yield SlowCallback(callback=first.callback, where=where, at_s=at_s, blocked_s=blocked_s)


def locate(frame: FrameType | None) -> tuple[FrameType | None, str, str]:
    """Return the callback's frame, its name and the current line, given a thread's innermost frame.

    The callback is the outermost frame below the loop's own; None where the loop itself runs.
    """
    innermost, callback = frame, None
    while frame is not None:
        if frame.f_code.co_name in _RUNS_CALLBACKS.get(_file(frame, 2), ()):
            break
        # The profiler's own coroutine, around a strategy, is not what blocks the loop.
        callback = callback if _file(frame) == "profiler.py" else frame
        frame = frame.f_back
    if innermost is None or callback is None or _file(callback) == "selectors.py":
        return None, LOOP_ITSELF, LOOP_ITSELF
    where = f"{name_of(innermost.f_code)} ({_file(innermost)}:{innermost.f_lineno})"
    return callback, name_of(callback.f_code), where


def _file(frame: FrameType, parts: int = 1) -> str:
    return "/".join(frame.f_code.co_filename.split("/")[-parts:])


def name_of(code: CodeType) -> str:
    """Return the qualified name of a function's code, without the marks of nesting."""
    return code.co_qualname.replace(".<locals>", "")


def format_slow_callbacks(
    found: Sequence[SlowCallback], slow_s: float, unattributed_stalls_s: Sequence[float] = ()
) -> str:
    """Format slow callbacks as lines of text, the longest first; then the unattributed stalls."""
    limit = f"{slow_s * 1e3:,.0f} ms"
    lines = [f"No callback blocked the loop for {limit}."]
    if found:
        lines = [f"{'blocked (ms)':>12}  {'at (s)':>8}  callback, and where it was"]
        for one in sorted(found, key=lambda one: -one.blocked_s):
            took = f"{one.blocked_s * 1e3:>12,.1f}  {one.at_s:>8.3f}"
            lines.append(f"{took}  {one.callback} in {one.where}")
    if unattributed_stalls_s:
        number = len(unattributed_stalls_s)
        times = "Once" if number == 1 else f"{number:,} times"
        from labkit import paths  # here: a measured process formats nothing

        most_ms = max(unattributed_stalls_s) * 1e3
        lines.append(paths.sentence("late", times=times, limit=limit, most_ms=most_ms))
    return "\n".join(lines)
