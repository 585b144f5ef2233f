"""Notice who stood still in a run, and decide what to make of it.

The plan. What stands still sees nothing of it itself: a process that was stopped, a strategy that
sleeps, a machine that was paused. The trace is a timer of the loop that comes late. But a loop with
much to do is late as well: `gather` starts 20,000 requests in one turn of a second, which is the
speed of that client and no standstill. So the CPU that the process used since the timer before is
taken off, and the time that it waited for its core, on which there are notes of their own.

What blocks the loop of a strategy of the user's own is that strategy, as in time.sleep, unless the
kernel told its process to continue: whoever stops one has to let it go on.

The client and the synthetic server watch their own loops. Any other server shows it by a gap in
which requests were in flight, none came to an end, and it did not run. A long answer that was asked
for is no standstill: what each request waits by the trial is taken off. Of a server of the user's
own that is unknown: there a gap spoils a run from a second on, if it is long beside the usual
answer, and a shorter one is only said. One process of a database that stands still leaves no gap,
as the others go on: it shows in the longest request.

A run is invalid from a hundredth of its window on, a quarter of what equal studies differ by; but
never below 0.25 s, which nothing takes that only has much to do, and always from 1 s on, which
nobody calls a hiccup. So half a second spoils a window of up to 45 s. Several shorter ones spoil it
where they come to a twentieth. From 0.25 s on there is doubt. Measured: stops of 0.5 s by SIGSTOP
come out as 0.44 s or more (timers are 20 and 50 ms apart). Rejected as measures were the loop's
lag, which a busy client has too, and a gap in the answers alone, which delays make.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import attrgetter, itemgetter
from time import perf_counter_ns, process_time_ns
from typing import TYPE_CHECKING

from msgspec.structs import replace

from labkit.record.record import Measurement, Note, Stall
from labkit.spec.targets import Command, HttpTarget, PostgresTarget, UrlTarget

if TYPE_CHECKING:
    from labkit.spec.trial import Trial  # a server has no need of it

MIN_NOTED_S, MIN_STALL_S, MAX_STALL_S, STALL_SHARE, STALLS_SHARE = 0.1, 0.25, 1.0, 0.01, 0.05
# So many times the median latency no answer of a server of the user's own takes by itself, and so
# many times the median wait in a queue no request waits in it.
USUAL_ANSWERS, QUEUED = 10, 3

MAX_NOTED, STOOD = 32, "stood still"
# How often a loop of its own looks: at a cost of some 0.02 % of a core.
BEAT_S = 0.05
# From when to when, as `perf_counter_ns` has it (one clock for all processes of a machine), and for
# how many nanoseconds of that.
Standstill = tuple[int, int, int]


class Watch:
    """Notes the longest standstills of the loop of this process's first thread in `found`."""

    def __init__(self) -> None:
        self.found: list[Standstill] = []
        self._schedstat: int | None = None
        with suppress(OSError):
            self._schedstat = os.open("/proc/self/schedstat", os.O_RDONLY)
        self._ran_ns, self._waited_ns = process_time_ns(), self._read_waited_ns()
        self._due_ns = perf_counter_ns()

    def beat(self, call_later: Callable[..., object]) -> None:
        """Look now, and every `BEAT_S` from now on, by this method of a loop."""
        self.look()
        call_later(BEAT_S, self.beat, call_later)

    def look(self) -> None:
        """Note it where the loop comes to this later than it was to."""
        now_ns = perf_counter_ns()
        self.timer_came(self._due_ns, now_ns)
        self._due_ns = now_ns + round(1e9 * BEAT_S)

    def timer_came(self, due_ns: int, now_ns: int, max_busy_ns: float = math.inf) -> None:
        """Note it where a timer came late by more than the process was busy, or at most that."""
        ran_ns, waited_ns = process_time_ns(), self._read_waited_ns()
        busy_ns = min(ran_ns - self._ran_ns, max_busy_ns) + waited_ns - self._waited_ns
        self._ran_ns, self._waited_ns = ran_ns, waited_ns
        self.note(due_ns, now_ns, round(busy_ns))

    def note(self, since_ns: int, until_ns: int, busy_ns: int) -> None:
        """Note a standstill, unless it was short."""
        stood_ns = until_ns - since_ns - busy_ns
        if stood_ns >= 1e9 * MIN_NOTED_S:
            self.found.append((since_ns, until_ns, stood_ns))
            if len(self.found) > MAX_NOTED:
                self.found.remove(min(self.found, key=itemgetter(2)))

    def _read_waited_ns(self) -> int:
        return int(os.pread(self._schedstat, 99, 0).split()[1]) if self._schedstat else 0


def within(who: str, found: Iterable[Standstill], window_ns: Sequence[int]) -> list[Stall]:
    """Return what of these standstills lies in the window: its start, first send, last answer."""
    started_ns, opened_ns, closed_ns = window_ns
    stalls = []
    for since_ns, until_ns, stood_ns in found:
        from_ns = max(since_ns, opened_ns)
        lasted_s = min(stood_ns, min(until_ns, closed_ns) - from_ns) / 1e9
        if lasted_s >= MIN_NOTED_S:
            stalls.append(Stall(who=who, at_s=(from_ns - started_ns) / 1e9, lasted_s=lasted_s))
    return stalls


def unasked(trial: Trial, measured: Measurement) -> list[Stall]:
    """Return the stalls of a measurement without the time that the trial asks its server to take.

    Those of its server come from the server itself, or are gaps between two answers.
    """
    target, latency = trial.target, measured.latency_s
    p50_s = latency.p50 if latency else 0.0
    of_client = [stall for stall in measured.stalls if stall.who != "server"]
    of_server = [stall for stall in measured.stalls if stall.who == "server"]
    asked_s, min_s = 0.0, MIN_NOTED_S
    if isinstance(target, HttpTarget):
        asked_s = target.stall_s if target.stall_at is not None else 0.0
        asked_s = math.inf if "/fault/" in trial.path else asked_s
    elif isinstance(target, UrlTarget | Command):
        min_s = max(MIN_STALL_S, USUAL_ANSWERS * p50_s)
        sure_s = max(MAX_STALL_S, STALLS_SHARE * (measured.wall_s or 0.0), min_s)
        of_server = [s if s.lasted_s >= sure_s else replace(s, who="target") for s in of_server]
    elif isinstance(target, PostgresTarget):
        asked_s = target.query_s
        if latency is not None:
            queued_s = QUEUED * max(p50_s - asked_s, 0.0) + sum(one.lasted_s for one in of_client)
            alone_s = latency.max - queued_s
            if alone_s > _longest_s(of_server) + MIN_NOTED_S:
                of_server = [Stall(who="server", lasted_s=alone_s)]
    left = (replace(one, lasted_s=one.lasted_s - asked_s) for one in of_server)
    return [*of_client, *(one for one in left if one.lasted_s >= min_s)]


def notes(measured: Measurement) -> Iterable[Note]:
    """Yield the notes on who stood still, for how long, and when."""
    suspended_s = measured.interference.suspended_s if measured.interference else None
    if suspended_s is not None and suspended_s >= MIN_NOTED_S:
        yield Note(code="stalled", message=f"the machine was suspended for {suspended_s:.3g} s")
    wall_s = measured.wall_s or 0.0
    limit_s = min(max(STALL_SHARE * wall_s, MIN_STALL_S), MAX_STALL_S)
    doing = {"client": STOOD, "strategy": "blocked the loop", "server": STOOD, "target": STOOD}
    for who, did in doing.items():
        found = [stall for stall in measured.stalls if stall.who == who]
        longest_s, all_s = _longest_s(found), sum(stall.lasted_s for stall in found)
        is_long = longest_s >= limit_s or all_s >= max(limit_s, STALLS_SHARE * wall_s)
        if is_long or longest_s >= MIN_STALL_S:
            longest = max(found, key=attrgetter("lasted_s"))
            at_s = longest.at_s
            of_one = "" if longest.client is None else f"client {longest.client}: "
            when = "for one request" if at_s is None else f"{at_s:.3g} s after the start"
            more = f", and {len(found) - 1} times more: {all_s:.3g} s in all" if found[1:] else ""
            message = f"{of_one}the {who} {did} for {longest_s:.3g} s, {when}{more}"
            spoils = is_long and who != "target"
            yield Note(code="stalled" if spoils else "stalled-briefly", message=message)


def _longest_s(stalls: Iterable[Stall]) -> float:
    return max((stall.lasted_s for stall in stalls), default=0.0)
