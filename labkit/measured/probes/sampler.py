"""Measure event-loop lag and the timeline with one timer in the measured loop.

The timer ticks every `TICK_S`; how late it fires is the loop's lag. Every `TICKS_PER_ROW` ticks a
row is read and reported. The timeline has a bounded number of rows: when there are `MAX_ROWS`,
every second one is dropped and the interval to the next doubles, so that a trial of any length ends
with between half and all of that many. A blocked loop has no rows: the gap, and the lag of the row
after it, show it. In flight is the most at any tick until the next row.

Percentiles over time are of parts of the run, each of the latencies that ended in it. At the end of
a part the counts so far are kept, in coarse buckets. As they only grow, every second one can be
dropped and the others still say all: there are at most `MAX_PARTS` of 4 kB, and a request costs
nothing more. Measured: 0.3 ms at the end of each part. Rejected: a second histogram that counts
each latency, 50 ns a request.
"""

import asyncio
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter_ns
from typing import Any, NamedTuple

from labkit.measured.probes.meter import Meter
from labkit.record import histogram, stalls
from labkit.record.interference import percent
from labkit.record.record import Stall, Timeline
from labkit.record.requests import Lateness

TICK_S, TICKS_PER_ROW, MAX_ROWS = 0.02, 5, 600
# At first a part of the percentiles over time lasts so many ticks: half a second.
PART_TICKS, MAX_PARTS = 25, 60
# More CPU than that no request takes of the client, where a strategy of the user's own calls: what
# it computes besides, while the loop waits, is a standstill.
MAX_REQUEST_NS = 500_000


class TimelineRow(NamedTuple):
    """One row of the timeline; CPU columns still cumulative, in seconds."""

    t_s: float
    completed: int
    in_flight: int
    client_rss_bytes: int | None
    client_cpu_s: float | None
    server_rss_bytes: int | None
    server_cpu_s: float | None
    loop_lag_s: float
    failed: int = 0
    received_bytes: int | None = None


class Sampler:
    """Samples from `start` to `stop`; `on_row` is called with each row, in the timeline or not.

    `received_bytes` tells how many bytes of bodies have come so far, where that is counted.

    Standstills are of this loop, and of the server where requests were in flight, none came to an
    end, and it neither ran nor waited for its core. `own`: the strategy is the user's own, and what
    blocks the loop is its doing, unless this process was stopped.
    """

    def __init__(
        self,
        meter: Meter,
        on_row: Callable[[TimelineRow], None],
        *,
        received_bytes: Callable[[], int | None] = lambda: None,
        own: bool = False,
        row_ticks: int = TICKS_PER_ROW,
    ) -> None:
        self._meter, self._on_row, self._received_bytes = meter, on_row, received_bytes
        self._client, self._server = meter.window.of_client, meter.window.of_server
        self._lags = histogram.empty()
        self._of_client, self._of_server, self._own = stalls.Watch(), stalls.Watch(), own
        self._calls = self._done = self._waiting = self._gap_ns = self._seen_ns = self._start_ns = 0
        self._gap_busy_s: float | None = None
        self._continued_ns: list[int] = []
        self.rows: list[TimelineRow] = []
        # Of each part of the run when it ended, and the coarse counts of latencies until then.
        self.parts: list[tuple[float, array[int]]] = []
        self._part_ticks = PART_TICKS
        self._every, self._row_ticks, self._ticks, self._worst_ns = row_ticks, row_ticks, 0, 0
        self._due_ns, self._worst_since_row_s = 0, 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the timer in the running loop; this moment is 0 on the time axis."""
        self._start_ns = self._gap_ns = self._seen_ns = perf_counter_ns()
        self._take()
        self.resume()

    def pause(self) -> None:
        """Stop the timer until `resume`."""
        if self._timer is not None:
            self._timer.cancel()

    def was_continued(self, *_: object) -> None:
        """Note that this process runs on after it was stopped: called for SIGCONT."""
        self._continued_ns.append(perf_counter_ns())

    def stop(self) -> None:
        """Take the last row and end."""
        if self._timer is not None:
            self._timer.cancel()
            # A timer that is overdue now was blocked: its lag so far counts.
            now_ns = perf_counter_ns()
            if now_ns > self._due_ns:
                self._come(now_ns)
            self._end_gap(self._seen_ns)
            self._take()
            self._meter.settle()
            if self._ticks % self._part_ticks < self._part_ticks / 2:
                del self.parts[-1:]  # what came after it is too short for a part of its own
            self._end_part()

    def resume(self) -> None:
        """Set the timer for the next tick."""
        self._due_ns = perf_counter_ns() + int(TICK_S * 1e9)
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._come(perf_counter_ns())
        self._meter.settle()
        self._ticks += 1
        if self._ticks % self._row_ticks == 0:
            self._take(store=self._ticks % self._every == 0)
        if self._ticks % self._part_ticks == 0:
            self._end_part()
        self.resume()

    def _end_part(self) -> None:
        if self._meter.settled:
            self.parts.append(((perf_counter_ns() - self._start_ns) / 1e9, self._meter.coarse()))
        if len(self.parts) >= MAX_PARTS:
            del self.parts[::2]
            self._part_ticks *= 2

    def _come(self, now_ns: int) -> None:
        """Note the lag of a timer, and who has stood still since the one before."""
        # uvloop counts in whole milliseconds and may fire a little early: that is no lag.
        late_ns, meter = max(now_ns - self._due_ns, 0), self._meter
        self._lags[histogram.index(late_ns)] += 1
        self._worst_ns = max(self._worst_ns, late_ns)
        calls, done = meter.sent + meter.done, meter.done
        max_busy_ns = (calls - self._calls) * MAX_REQUEST_NS if self._own else math.inf
        # From the tick before, and not from when that set this timer: it may have been stopped
        # in between, as the parent reads what that tick sent.
        due_ns = self._seen_ns + int(TICK_S * 1e9)
        self._of_client.timer_came(due_ns, now_ns, max_busy_ns)
        if done != self._done or not self._waiting or now_ns - due_ns >= 1e9 * stalls.MIN_NOTED_S:
            self._end_gap(self._seen_ns)
            self._gap_ns = now_ns
        elif self._gap_busy_s is None and now_ns - self._gap_ns >= 5e8 * stalls.MIN_NOTED_S:
            self._gap_busy_s = self._server_busy_s()
        self._calls, self._done, self._waiting = calls, done, meter.in_flight
        self._seen_ns = now_ns
        most = max(self.rows[-1].in_flight, self._waiting)
        self.rows[-1] = self.rows[-1]._replace(in_flight=most)

    def _end_gap(self, until_ns: int) -> None:
        """Note the gap between two answers, without the time in which the server was busy."""
        if self._gap_busy_s is not None:
            busy_s = self._server_busy_s() - self._gap_busy_s
            self._of_server.note(self._gap_ns, until_ns, max(round(1e9 * busy_s), 0))
            self._gap_busy_s = None

    def _server_busy_s(self) -> float:
        return (self._server.cpu_s() or 0.0) + (self._server.waited_s() or 0.0)

    def _take(self, *, store: bool = True) -> None:
        counts = (perf_counter_ns() - self._start_ns) / 1e9, self._meter.done, self._meter.in_flight
        client = self._client.rss_bytes(), self._client.cpu_s()
        server = self._server.rss_bytes(), self._server.cpu_s()
        failed = sum(self._meter.failed.values())
        lag_s, received_bytes = self._worst_ns / 1e9, self._received_bytes()
        row = TimelineRow(*counts, *client, *server, lag_s, failed, received_bytes)
        self._worst_ns = 0
        self._worst_since_row_s = max(self._worst_since_row_s, row.loop_lag_s)
        self._meter.window.note_server_memory(row.server_rss_bytes)
        if store:
            self.rows.append(row._replace(loop_lag_s=self._worst_since_row_s))
            self._worst_since_row_s = 0.0
            if len(self.rows) >= MAX_ROWS:
                self.rows = thinned(self.rows)
                self._every *= 2
        self._on_row(row)

    def lag(self) -> Lateness | None:
        """Return percentiles of the loop's lag; None if the timer never fired."""
        return histogram.lateness(self._lags)

    def stalls(self) -> list[Stall]:
        """Return who stood still between the first send and the last answer."""
        found: dict[str, list[stalls.Standstill]] = {"client": [], "strategy": []}
        for one in self._of_client.found:
            stopped = any(one[0] <= at_ns <= one[1] for at_ns in self._continued_ns)
            found["strategy" if self._own and not stopped else "client"].append(one)
        found["server"] = self._of_server.found
        window_ns = self._meter.window.spans_ns
        return [one for who in found for one in stalls.within(who, found[who], window_ns)]


def thinned(rows: list[TimelineRow]) -> list[TimelineRow]:
    """Return every second row, and the last; each has the worse of it and the dropped one."""
    result = rows[:1]
    for before, row in zip(rows[1::2], rows[2::2], strict=False):
        lag_s, most = max(before.loop_lag_s, row.loop_lag_s), max(before.in_flight, row.in_flight)
        result.append(row._replace(loop_lag_s=lag_s, in_flight=most))
    return result if len(rows) % 2 or not rows else [*result, rows[-1]]


def to_timeline(
    rows: list[TimelineRow], parts: Sequence[tuple[float, Sequence[int]]] = ()
) -> Timeline:
    """Return rows as columns, CPU in percent of one core since the row before.

    A row has the percentiles of the part of the run that it is in.
    """
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in TimelineRow._fields
    }
    for side in ("client", "server"):
        steps = zip(pairwise(columns["t_s"]), pairwise(columns.pop(f"{side}_cpu_s")), strict=True)
        # A rate needs a row before it: the first has none.
        found = [percent(*cpu_s, t_s - before_s) for (before_s, t_s), cpu_s in steps]
        columns[f"{side}_cpu_percent"] = [*[None][: len(rows)], *found]
    for name, digits in (("t_s", 4), ("loop_lag_s", 6)):
        columns[name] = [round(value, digits) for value in columns[name]]
    # Rounded as the rows are: the last one is a little before the end of the last part.
    ends = [round(end_s, 4) for end_s, _ in parts]
    of_parts = histogram.of_parts([of for _, of in parts])
    for name in ("p50", "p90", "p99") if parts else ():
        each = [None if one is None else float(f"{getattr(one, name):.3g}") for one in of_parts]
        columns[f"latency_{name}_s"] = [each[bisect_left(ends, t_s)] for t_s in columns["t_s"]]
    return Timeline(**columns)
