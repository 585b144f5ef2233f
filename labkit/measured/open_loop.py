"""An open workload in the measured process: each request is sent when it is due.

Not a strategy: a strategy sends the next request when there is room for it. Here the clock decides,
and room (`limit`) only holds back: what is due while there is none waits, or is dropped. Latency is
taken from when a request was due as well as from when it was sent. The first is what a user would
have felt; the second leaves out the wait of those who came while the client was held up, which is
called coordinated omission (Tene, 'How not to measure latency', 2013).
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Iterator
from time import perf_counter_ns

from labkit.measured.probes.meter import Fetch, Meter
from labkit.measured.timerfd import Alarm, best_clock
from labkit.record import histogram
from labkit.record.record import Arrivals, Lateness
from labkit.spec import arrivals
from labkit.spec.parts import Workload

LATE_NS = 1_000_000
"""A request that was sent so much after it was due is counted as late."""

Due = tuple[int, int]
"""An item, and when it is due, as `perf_counter_ns` has it."""


class OpenWorkload:
    """Sends the requests of one trial: `send` does it, `noted` is what it is to be given.

    Usage: `await workload.send(metered(workload.noted(fetch), meter), items, limit)`.
    """

    def __init__(self, workload: Workload, meter: Meter) -> None:
        assert workload.rate is not None
        self._rate, self._drops = workload.rate, workload.overflow == "drop"
        self._workload, self._meter = workload, meter
        self._due: Iterator[Due] = iter(())
        self._next: Due | None = None
        self._waiting: deque[Due] = deque()
        self._due_ns: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._latencies, self._lateness = histogram.empty(), histogram.empty()
        self._late = self.dropped = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._span_s = 0.0
        self._done: asyncio.Future[None]

    def noted(self, fetch: Fetch) -> Fetch:
        """`fetch`, of which each answer is timed from when its request was due."""
        due_ns, latencies = self._due_ns, self._latencies

        async def answered(item: int) -> None:
            await fetch(item)
            latencies[histogram.index(perf_counter_ns() - due_ns[item])] += 1

        return answered

    async def send(self, call: Fetch, items: range, limit: int) -> None:
        """Send every item when it is due, at most `limit` at a time, and await all answers."""
        self._call, self._limit = call, limit
        self._done = asyncio.get_running_loop().create_future()
        self._alarm = Alarm(best_clock)
        self._due = self._from_now(len(items))
        self._next = next(self._due)
        try:
            self._alarm.at(self._next[1], self._ring)
            await self._done
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _from_now(self, requests: int) -> Iterator[Due]:
        workload, begin_ns = self._workload, perf_counter_ns()
        due_s = arrivals.due_s(self._rate, workload.arrival, workload.seed, requests)
        for item, after_s in enumerate(due_s):
            self._span_s = after_s
            yield item, begin_ns + round(after_s * 1e9)

    def _ring(self, now_ns: int) -> None:
        while self._next is not None and self._next[1] <= now_ns:
            self._take(self._next)
            self._next = next(self._due, None)
            now_ns = perf_counter_ns()
        if self._next is not None:
            self._alarm.at(self._next[1], self._ring)
        self._end_if_done()

    def _take(self, due: Due) -> None:
        if len(self._tasks) < self._limit:
            self._start(due)
        elif self._drops:
            self.dropped += 1
            self._meter.drop()
        else:
            self._waiting.append(due)

    def _start(self, due: Due) -> None:
        item, self._due_ns[item] = due
        task = asyncio.ensure_future(self._one(item))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _one(self, item: int) -> None:
        now_ns = perf_counter_ns()
        late_ns = now_ns - self._due_ns[item]
        self._lateness[histogram.index(late_ns)] += 1
        self._late += late_ns > LATE_NS
        self._first_ns = now_ns if self._first_ns is None else self._first_ns
        self._last_ns = now_ns
        try:
            await self._call(item)
        finally:
            del self._due_ns[item]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._done.done():
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._next is None and not self._tasks and not self._done.done():
            self._done.set_result(None)

    def summary(self) -> Arrivals:
        """What became of the schedule."""
        return Arrivals(
            rate_rps=self._rate,
            achieved_rps=self._achieved_rps(),
            late=self._late,
            dropped=self.dropped,
            lateness_s=_lateness(self._lateness),
            latency_s=histogram.summary(self._latencies),
            latency_hdr=histogram.to_hdr(self._latencies),
        )

    def _achieved_rps(self) -> float | None:
        """The rate, times how much of it was sent in how much of the time that it was due in."""
        planned, sent = self._meter.planned, self._meter.sent
        took_s = (self._last_ns - (self._first_ns or 0)) / 1e9
        if sent < 2 or not took_s:
            return None
        return self._rate * (sent - 1) / (planned - 1) * self._span_s / took_s


def _lateness(counts: array[int]) -> Lateness | None:
    if not any(counts):
        return None
    p50, p99, longest = (histogram.percentile(counts, share) or 0.0 for share in (0.5, 0.99, 1.0))
    return Lateness(p50=p50 / 1e9, p99=p99 / 1e9, max=longest / 1e9)
