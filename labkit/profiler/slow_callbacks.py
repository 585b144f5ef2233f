"""Which callback or coroutine holds the event loop, and for how long: on asyncio and on uvloop.

A timer in the loop beats; a thread watches it. While a beat is overdue the thread looks at the
stack of the loop's thread, which is there whatever the loop is. Debug mode with its
`slow_callback_duration` finds slow callbacks too, on both loops: it makes every task and callback
remember where it was made, and names the task but not the line. What the thread cannot see is code
that keeps the interpreter's lock all the time: then there is no name, and the time counts among
the crowds.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from time import perf_counter
from types import FrameType
from typing import NamedTuple

import msgspec

from labkit.profiler.result import SLOW_S, Held, held_text

BEATS = 4
"""Beats within the time from which on a callback is slow."""
MOST_FOUND = 100
THREAD = "labkit-slow-callbacks"
ITSELF = "(the loop itself)"
_RUNS = {
    "asyncio/events.py": ("_run",),
    "asyncio/base_events.py": ("_run_once", "run_forever", "run_until_complete"),
    "asyncio/runners.py": ("run",),
}
"""Frames from which a loop calls back; uvloop's own are not Python's."""


class Sample(NamedTuple):
    """Who held the loop at one moment."""

    at_s: float
    frame: FrameType | None
    callback: str
    where: str


class SlowCallbacks:
    """Watches the running loop within a `with` block; `found` are those that held it, in order.

    `slow_s` is how long a callback may run; times are at most half of that off.
    `crowds_s` are the times in which no one callback was slow, and many in turn were.
    """

    def __init__(self, slow_s: float = SLOW_S) -> None:
        self.slow_s = slow_s
        self.found: list[Held] = []
        self.crowds_s: list[float] = []
        self._every_s = slow_s / BEATS
        self._began_s = self._beat_s = 0.0
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread_id = 0

    def __enter__(self) -> SlowCallbacks:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._ended.clear()
        self._began_s = perf_counter()
        self._beat()
        self._thread = threading.Thread(target=self._watch, name=THREAD, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._timer is not None
        self._ended.set()
        self._timer.cancel()
        self._thread.join()

    def text(self) -> str:
        """What was found, a line each."""
        return held_text(self.found, self.slow_s, self.crowds_s)

    def __repr__(self) -> str:
        return self.text()

    def _beat(self) -> None:
        assert self._loop is not None
        self._beat_s = perf_counter()
        self._timer = self._loop.call_later(self._every_s, self._beat)

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            beat_s = self._beat_s
            if perf_counter() - beat_s > 2 * self._every_s:
                samples = list(self._samples(beat_s))
                ended_s = perf_counter() if self._beat_s == beat_s else self._beat_s
                self._note(samples, beat_s + self._every_s, ended_s)

    def _samples(self, beat_s: float) -> Iterator[Sample]:
        """One each time this thread gets its turn, until the loop beats again."""
        while self._beat_s == beat_s:
            frame, callback, where = seen(sys._current_frames().get(self._thread_id))
            yield Sample(perf_counter(), frame, callback, where)
            if self._ended.wait(self._every_s):
                break

    def _note(self, samples: list[Sample], due_s: float, ended_s: float) -> None:
        """What was seen while a beat was late: who held the loop, or else that many did."""
        held = [one for one in holders(samples, due_s, ended_s) if one.held_s >= self.slow_s]
        since = [msgspec.structs.replace(one, at_s=one.at_s - self._began_s) for one in held]
        self.found = [*self.found, *since][-MOST_FOUND:]
        if not held and ended_s - due_s >= self.slow_s:
            self.crowds_s = [*self.crowds_s, ended_s - due_s][-MOST_FOUND:]


def holders(samples: Sequence[Sample], due_s: float, ended_s: float) -> Iterator[Held]:
    """Each callback that was there at several looks in turn, from its first to the one after it.

    At one look only, nothing is known: it may have been one of many, or the system let the whole
    process wait.
    """
    ends_s = [*(sample.at_s for sample in samples[1:]), ended_s]
    looks = zip(samples, ends_s, strict=False)
    for index, (_, group) in enumerate(groupby(looks, key=lambda look: id(look[0].frame))):
        run = list(group)
        first, last_s = run[0][0], run[-1][1]
        if first.frame is None or len(run) < 2:
            continue
        at_s = first.at_s if index else due_s
        where = Counter(sample.where for sample, _ in run).most_common(1)[0][0]
        yield Held(callback=first.callback, where=where, at_s=at_s, held_s=last_s - at_s)


def seen(frame: FrameType | None) -> tuple[FrameType | None, str, str]:
    """Of a thread's innermost frame: the callback that the loop runs, its name, and the place.

    The callback is the outermost frame within the loop's own.
    """
    innermost, inside = frame, None
    while frame is not None and not _calls_back(frame):
        # The profiler's own coroutine, around a strategy, is not what holds the loop.
        inside = inside if _file(frame) == "profiler.py" else frame
        frame = frame.f_back
    if innermost is None or inside is None or _file(inside) == "selectors.py":
        return None, ITSELF, ITSELF
    where = f"{_name(innermost)} ({_file(innermost)}:{innermost.f_lineno})"
    return inside, _name(inside), where


def _calls_back(frame: FrameType) -> bool:
    return frame.f_code.co_name in _RUNS.get(_file(frame, 2), ())


def _file(frame: FrameType, parts: int = 1) -> str:
    return "/".join(frame.f_code.co_filename.split("/")[-parts:])


def _name(frame: FrameType) -> str:
    return frame.f_code.co_qualname.replace(".<locals>", "")
