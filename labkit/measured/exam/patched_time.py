"""The clocks of `time` run ahead with a loop whose time is hurried.

A strategy that paces itself by them meets the same time as one that waits for the loop's timers.
Clocks of other modules are left alone: for these it takes as long as it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from labkit.measured.exam.accelerated_loop import Turns

_PER_SECOND = {
    **dict.fromkeys(("monotonic", "perf_counter", "time"), 1),
    **dict.fromkeys(("monotonic_ns", "perf_counter_ns", "time_ns"), 10**9),
}


@contextmanager
def hurried(turns: Turns) -> Iterator[None]:
    """While it lasts, `time.monotonic` and the like are as far ahead as the loop of `turns` is."""
    real = {name: getattr(time, name) for name in _PER_SECOND}
    for name, clock in real.items():
        setattr(time, name, _ahead(clock, turns, _PER_SECOND[name]))
    try:
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)


def _ahead(clock: Callable[[], Any], turns: Turns, per_second: int) -> Callable[[], Any]:
    def read() -> Any:
        now = clock()
        return now + type(now)(turns.ahead_s * per_second)

    return read
