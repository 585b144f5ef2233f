"""An open workload in the measured process: each request is sent when it is due.

Not a strategy: a strategy sends the next request when there is room for it. Here the clock decides,
and room (`limit`) only delays: a request that is due while there is none waits, or is dropped.

The plan. The due times are computed before (`delays.due_s`), one at a time, and counted from the
moment when `send` starts. One timer is always set for the next one; when it fires, every request
that is due by then is sent, so that a loop that was blocked catches up at once. A request is late
by the time from when it was due to when its task runs; `late` counts those of more than 1 ms.

Latency is measured from when a request was due as well as from when it was sent. The first is what
a user would have felt; the second leaves out the wait of those that were due while the client was
blocked or full, which is called coordinated omission (Tene, 'How not to measure latency', 2013).
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from time import perf_counter_ns

from labkit.measured.duration import StageCounts
from labkit.measured.probes.meter import Fetch, Meter
from labkit.measured.timerfd import Alarm, best_clock
from labkit.record import histogram
from labkit.record.requests import Arrivals
from labkit.spec import delays
from labkit.spec.parts import Workload

# A request that was sent so long after it was due is counted as late.
LATE_NS = 1_000_000

# An item, and when it is due, as `perf_counter_ns` has it.
Due = tuple[int, int]


class OpenLoop:
    """Sends the requests of one trial when they are due.

    Usage: `await open_loop.send(metered(open_loop.time_since_due(fetch), meter), items, limit)`.
    Where `limit` requests are in flight, one more waits, or is never sent, as `overflow` says.
    """

    def __init__(self, asked: Workload, meter: Meter, stages: StageCounts) -> None:
        self._rate_rps, self._meter, self._stages = asked.mean_rps, meter, stages
        # Of several clients each draws the schedule of all, and has every n-th time of it: the sum
        # is the same process. To draw one costs 1 us; a schedule of one's own would be another.
        items = meter.items
        due_s = delays.due_s(asked.schedule, asked.arrival, asked.seed, items.stop)
        self._due_s = islice(due_s, items.start, None, items.step)
        self._drops = asked.overflow == "drop"
        self._due: Iterator[Due] = iter(())
        self._next: Due | None = None
        self._waiting: deque[Due] = deque()
        self._due_ns: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._latencies, self._lateness = histogram.empty(), histogram.empty()
        self._late = self.dropped = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._scheduled, self._first_s, self._last_s = 0, 0.0, 0.0
        self._done: asyncio.Future[None]

    def time_since_due(self, fetch: Fetch) -> Fetch:
        """Wrap `fetch` so that each answer is timed from when its request was due."""
        due_ns, latencies = self._due_ns, self._latencies

        async def answered(item: int) -> None:
            await fetch(item)
            latencies[histogram.index(perf_counter_ns() - due_ns[item])] += 1

        return answered

    async def send(self, call: Fetch, items: Iterable[int], limit: int) -> None:
        """Send every item when it is due, at most `limit` at a time, and await all answers.

        Where the clock ends the trial, it goes on until it is cancelled, with nothing due any more.
        """
        self._call, self._limit = call, limit
        self._done = asyncio.get_running_loop().create_future()
        self._alarm = Alarm(best_clock)
        start_ns = perf_counter_ns()
        self._stages.begin(start_ns)

        def schedule() -> Iterator[Due]:
            for after_s, item in zip(self._due_s, items, strict=False):
                self._scheduled, self._last_s = self._scheduled + 1, after_s
                due_ns = start_ns + round(after_s * 1e9)
                self._stages.note(self._stages.due, due_ns)
                yield item, due_ns

        self._due = schedule()
        self._next = next(self._due, None)
        self._first_s = self._last_s
        try:
            if self._next is not None:
                self._alarm.at(self._next[1], self._on_alarm)
            await self._done
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_alarm(self, now_ns: int) -> None:
        """Send what is due, and set the timer for the next."""
        while self._next is not None and self._next[1] <= now_ns:
            if len(self._tasks) < self._limit:
                self._start(self._next)
            elif self._drops:
                self.dropped += 1
                self._meter.drop()
            else:
                self._waiting.append(self._next)
            self._next = next(self._due, None)
            now_ns = perf_counter_ns()
        if self._next is not None:
            self._alarm.at(self._next[1], self._on_alarm)
        self._end_if_done()

    def _start(self, due: Due) -> None:
        item, self._due_ns[item] = due
        task = asyncio.ensure_future(self._send_one(item))
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    async def _send_one(self, item: int) -> None:
        now_ns = perf_counter_ns()
        self._stages.note(self._stages.sent, now_ns)
        late_ns = now_ns - self._due_ns[item]
        self._lateness[histogram.index(late_ns)] += 1
        self._late += late_ns > LATE_NS
        self._first_ns = now_ns if self._first_ns is None else self._first_ns
        self._last_ns = now_ns
        try:
            await self._call(item)
        finally:
            del self._due_ns[item]

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._done.done():
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        self._end_if_done()

    def _end_if_done(self) -> None:
        whole = self._next is None and self._scheduled == self._meter.planned
        if whole and not self._tasks and not self._done.done():
            self._done.set_result(None)

    @property
    def histograms(self) -> dict[str, dict[int, int]]:
        """Return how many were how late, and how many took how long since they were due."""
        return {"late": histogram.sparse(self._lateness), "due": histogram.sparse(self._latencies)}

    def summary(self) -> Arrivals:
        """Return how the schedule was met: the rate reached, lateness, latency since due.

        The rate reached is the rate at which requests were sent, times the rate asked for, over the
        rate of the schedule so far: random arrivals come to another rate than was asked for. Of a
        trial that ended early, the schedule so far is what had been read of it.
        """
        sent = self._meter.sent
        took_s = (self._last_ns - (self._first_ns or 0)) / 1e9
        achieved_rps = None
        if sent >= 2 and took_s:
            schedule_rps = (self._scheduled - 1) / (self._last_s - self._first_s)
            achieved_rps = (sent - 1) / took_s * self._rate_rps / schedule_rps
        return Arrivals(
            rate_rps=self._rate_rps,
            achieved_rps=achieved_rps,
            late=self._late,
            dropped=self.dropped,
            lateness_s=histogram.lateness(self._lateness),
            latency_s=histogram.summary(self._latencies),
            latency_hdr=histogram.to_hdr(self._latencies),
        )
