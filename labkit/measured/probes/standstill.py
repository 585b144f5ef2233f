"""Notice that an event loop stood still: its timer came late, though the process computed nothing.

The plan. What stands still sees nothing of it itself: a process that was stopped, a strategy that
sleeps, a machine that was paused. The one trace is a timer that comes late. But a loop with much to
do is late as well: `gather` starts 20,000 requests in one turn of a second, and that is the speed
of this client, no standstill. So the CPU time of the process since the timer before is taken off.
"""

from __future__ import annotations

from operator import itemgetter
from time import process_time_ns

MIN_NS = 100_000_000
"""What is shorter is not noted: others that have the core, or the garbage collector, take that."""
MAX_NOTED = 32

Standstill = tuple[int, int, int]
"""From when to when, as `perf_counter_ns` has it (one clock for all processes of a machine), and
for how many nanoseconds of that."""


class Watch:
    """Notes the longest standstills of one loop in `found`."""

    def __init__(self) -> None:
        self.found: list[Standstill] = []
        self._ran_ns = process_time_ns()

    def timer_came(self, due_ns: int, now_ns: int, max_busy_ns: int | None = None) -> None:
        """Note it where a timer came late by more than the process, or this bound, was busy."""
        before_ns, self._ran_ns = self._ran_ns, process_time_ns()
        busy_ns = self._ran_ns - before_ns
        self.note(due_ns, now_ns, busy_ns if max_busy_ns is None else min(busy_ns, max_busy_ns))

    def note(self, since_ns: int, until_ns: int, busy_ns: int) -> None:
        """Note a standstill, unless it was short."""
        stood_ns = until_ns - since_ns - busy_ns
        if stood_ns >= MIN_NS:
            self.found.append((since_ns, until_ns, stood_ns))
            if len(self.found) > MAX_NOTED:
                self.found.remove(min(self.found, key=itemgetter(2)))
