"""Measure event-loop lag and the timeline with one timer in the measured loop.

The timer ticks every `TICK_S`; how late it fires is the loop's lag. Every `TICKS_PER_ROW` ticks a
row is read and reported. The timeline has a bounded number of rows: when there are `MAX_ROWS`,
every second one is dropped and the interval to the next doubles, so that a trial of any length ends
with between half and all of that many. A blocked loop has no rows: the gap, and the lag of the row
after it, show it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import perf_counter_ns
from typing import NamedTuple

from labkit.measured.probes.meter import Meter
from labkit.measured.probes.window import ProcessReader, reader_of
from labkit.record import histogram
from labkit.record.record import LoopLag, Timeline

TICK_S = 0.02
TICKS_PER_ROW = 5
MAX_ROWS = 600


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


class Sampler:
    """Samples from `start` to `stop`; `on_row` is called with each row, in the timeline or not."""

    def __init__(
        self,
        meter: Meter,
        server_pid: int | None,
        on_row: Callable[[TimelineRow], None],
        processes: str = "one",
    ) -> None:
        self._meter, self._on_row = meter, on_row
        self._client, self._server = ProcessReader(os.getpid()), reader_of(server_pid, processes)
        self._lags = histogram.empty()
        self.rows: list[TimelineRow] = []
        self._every, self._ticks, self._worst_ns = TICKS_PER_ROW, 0, 0
        self._worst_since_row_s = 0.0
        self._start_ns = self._due_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the timer in the running loop; this moment is 0 on the time axis."""
        self._loop = asyncio.get_running_loop()
        self._start_ns = perf_counter_ns()
        self._take()
        self.resume()

    def pause(self) -> None:
        """Stop the timer until `resume`."""
        if self._timer is not None:
            self._timer.cancel()

    def stop(self) -> None:
        """Take the last row and end."""
        if self._timer is not None:
            self._timer.cancel()
            # A timer that is overdue now was blocked: its lag so far counts.
            late_ns = perf_counter_ns() - self._due_ns
            if late_ns > 0:
                self._add_lag(late_ns)
            self._take()
        self._client.close()
        self._server.close()

    def resume(self) -> None:
        """Set the timer for the next tick."""
        assert self._loop is not None
        self._due_ns = perf_counter_ns() + int(TICK_S * 1e9)
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._add_lag(perf_counter_ns() - self._due_ns)
        self._meter.settle()
        self._ticks += 1
        if self._ticks % TICKS_PER_ROW == 0:
            self._take(store=self._ticks % self._every == 0)
        self.resume()

    def _add_lag(self, late_ns: int) -> None:
        # uvloop counts in whole milliseconds and may fire a little early: that is no lag.
        late_ns = max(late_ns, 0)
        self._lags[histogram.index(late_ns)] += 1
        self._worst_ns = max(self._worst_ns, late_ns)

    def _take(self, *, store: bool = True) -> None:
        row = TimelineRow(
            (perf_counter_ns() - self._start_ns) / 1e9,
            self._meter.done,
            self._meter.in_flight,
            self._client.rss_bytes(),
            self._client.cpu_s(),
            self._server.rss_bytes(),
            self._server.cpu_s(),
            self._worst_ns / 1e9,
        )
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

    def lag(self) -> LoopLag | None:
        """Return percentiles of the loop's lag; None if the timer never fired."""
        found = histogram.summary(self._lags)
        if found is None:
            return None
        ticks = sum(self._lags)
        return LoopLag(p50=found.p50, p90=found.p90, p99=found.p99, max=found.max, n=ticks)


def thinned(rows: list[TimelineRow]) -> list[TimelineRow]:
    """Return every second row, and the last; each has the worse lag of it and the dropped one."""
    result = rows[:1]
    for before, row in zip(rows[1::2], rows[2::2], strict=False):
        result.append(row._replace(loop_lag_s=max(before.loop_lag_s, row.loop_lag_s)))
    return result if len(rows) % 2 or not rows else [*result, rows[-1]]


def to_timeline(rows: list[TimelineRow]) -> Timeline:
    """Return rows as columns, CPU in percent of one core since the row before."""
    return Timeline(
        t_s=[round(row.t_s, 4) for row in rows],
        completed=[row.completed for row in rows],
        in_flight=[row.in_flight for row in rows],
        client_rss_bytes=[row.client_rss_bytes for row in rows],
        client_cpu_percent=_percent(rows, [row.client_cpu_s for row in rows]),
        server_rss_bytes=[row.server_rss_bytes for row in rows],
        server_cpu_percent=_percent(rows, [row.server_cpu_s for row in rows]),
        loop_lag_s=[round(row.loop_lag_s, 6) for row in rows],
    )


def _percent(rows: list[TimelineRow], cpu_s: list[float | None]) -> list[float | None]:
    # A rate needs a row before it: the first has none.
    percents: list[float | None] = [None]
    for i in range(1, len(rows)):
        now, before, wall = cpu_s[i], cpu_s[i - 1], rows[i].t_s - rows[i - 1].t_s
        known = now is not None and before is not None and wall > 0
        percents.append(round(100 * (now - before) / wall, 1) if known else None)  # type: ignore[operator]  # `known` says that neither is None
    return percents[: len(rows)]
