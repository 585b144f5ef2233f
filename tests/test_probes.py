"""The histogram, the meter, the sampler and the readings of a process, against exact oracles."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import resource
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest
from counted import turns
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks

from labkit.measured.probes import by_request, malloc, sampler
from labkit.measured.probes import meter as meter_module
from labkit.measured.probes import window as window_module
from labkit.measured.probes.by_request import ByRequest
from labkit.measured.probes.meter import MAX_EXAMPLES, Fetch, Meter, counted, metered
from labkit.measured.probes.sampler import Sampler, TimelineRow, to_timeline
from labkit.measured.probes.window import ProcessReader, ProcessTreeReader, Window
from labkit.measured.transports.client import Calls
from labkit.record import histogram as latency
from labkit.record import interference, stalls
from labkit.spec.requests import Request

WRAPS = pytest.mark.parametrize("wrap", [metered, counted], ids=["metered", "counted"])
VALUES = st.integers(0, latency.MAX_NS)
FEWER = settings(max_examples=40)
SAMPLES = st.lists(VALUES | st.integers(0, 10**9), min_size=1, max_size=60)
SHARES = ["0.5", "0.9", "0.99", "0.999", "1"]


def recorded(values: list[int]) -> array[int]:
    counts = latency.empty()
    for value in values:
        counts[latency.index(value)] += 1
    return counts


def nearest_rank(values: list[int], share: str) -> int:
    """The smallest value that at least this share of all do not exceed."""
    return sorted(values)[math.ceil(Fraction(share) * len(values)) - 1]


# The histogram


@given(VALUES)
def test_buckets_are_in_order_without_a_gap_and_near_their_values(value: int) -> None:
    assert abs(latency.middle(latency.index(value)) - value) <= 0.0005 * value
    assert latency.index(value + 1) - latency.index(value) in (0, 1)
    if value < 4_096:
        assert latency.index(value) == latency.middle(value) == value


@FEWER
@given(SAMPLES)
def test_percentiles_are_those_of_the_sorted_values(values: list[int]) -> None:
    counts = recorded(values)
    found = latency.summary(counts)

    assert found is not None
    assert found.mean == pytest.approx(sum(values) / len(values) / 1e9, rel=0.0005, abs=1e-9)
    for name, share in zip(("p50", "p90", "p99", "p999", "max"), SHARES, strict=True):
        exact = nearest_rank(values, share)
        assert getattr(found, name) == pytest.approx(exact / 1e9, rel=0.0005, abs=1e-9)
    assert found.p50 <= found.p90 <= found.p99 <= found.p999 <= found.max


def test_a_histogram_is_of_constant_size_and_of_nothing_there_is_no_summary() -> None:
    counts = latency.empty()
    assert (latency.summary(counts), latency.to_hdr(counts)) == (None, None)

    counts = recorded([0, latency.MAX_NS])
    assert len(counts) * counts.itemsize < 1_000_000
    assert next(latency.buckets(counts)) == (0, 1)


@settings(max_examples=20)
@given(st.lists(st.integers(10**6, 3_000 * 10**9), min_size=1, max_size=40))
def test_the_hdr_histogram_has_the_same_percentiles(values: list[int]) -> None:
    counts = recorded(values)
    decoded = HdrHistogram.decode(latency.to_hdr(counts))
    # Not its own percentiles: for few values they are of another rank than the nearest.
    found_us = [
        bucket.value_iterated_to
        for bucket in decoded.get_recorded_iterator()
        for _ in range(bucket.count_at_value_iterated_to)
    ]
    assert len(found_us) == decoded.get_total_count() == len(values)
    for name, share in zip(latency.SHARES, SHARES, strict=True):
        mine_us = 1e6 * getattr(latency.summary(counts), name)
        # Beside the 0.1 % of three digits: a microsecond is its smallest unit.
        assert nearest_rank(found_us, share) == pytest.approx(mine_us, rel=0.001, abs=1)
    clamped = HdrHistogram.decode(latency.to_hdr(recorded([0, latency.MAX_NS])))
    assert clamped.get_min_value() == 1
    assert clamped.get_max_value() == pytest.approx(latency.MAX_HDR_US, rel=0.001)


# The meter


class Refused(Exception):
    """A call that failed."""


def meter_of(planned: int, server_pid: int | None = None) -> Meter:
    return Meter(planned, lambda error: type(error).__name__, Window(server_pid))


@pytest.mark.parametrize("wrap", [metered, counted])
@pytest.mark.parametrize("raises", [True, False])
async def test_an_attempt_for_an_item_that_failed_is_a_retry(raises: bool, wrap: Any) -> None:
    meter = Meter(4, lambda error: type(error).__name__, Window(None), raises=raises)
    no = Refused("no")
    left = {0: [no, None], 1: [None], 2: [TimeoutError(), no, None], 3: [None, None]}

    async def fetch(item: int) -> str:
        if error := left[item].pop(0):
            raise error
        return f"answer {item}"

    call, seen = wrap(fetch, meter), list[Any]()
    for item in (0, 1, 2, 2, 0):
        try:
            seen.append(await call(item))
        except Exception as error:  # noqa: BLE001  # what the strategy sees
            seen.append(type(error))
    failed = [Refused, TimeoutError, Refused] if raises else [None] * 3
    assert seen == [failed[0], "answer 1", *failed[1:], "answer 0"]
    counts = meter.counts()
    assert (counts.planned, counts.done, counts.lost, counts.not_sent) == (4, 2, 1, 1)
    assert (counts.sent, counts.ok, counts.retried, counts.repeated) == (5, 2, 2, 0)
    assert (counts.failed, counts.failed_share) == ({"Refused": 2, "TimeoutError": 1}, 1 / 3)

    # Given up by the strategy, and sent again; the window ends with the last item, and not before.
    waiting = asyncio.ensure_future(wrap(call_of_nobody, meter)(2))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (meter.counts().cancelled, meter.counts().retried, meter.counts().lost) == (1, 3, 1)
    for item in (2, 3):
        assert meter.window.closed_ns == 0
        assert await call(item) == f"answer {item}"
    assert meter.window.closed_ns
    assert await call(3) == "answer 3"
    counts = meter.counts()
    assert (counts.done, counts.lost, counts.repeated, counts.retried) == (4, 0, 1, 4)
    assert counts.conserved


async def call_of_nobody(_: int) -> None:
    await asyncio.Event().wait()


ENDS: dict[str, Exception | asyncio.CancelledError | None] = {
    "ok": None,
    "Refused": Refused("no"),
    "TimeoutError": TimeoutError(),
    # A library's own inner task was cancelled: nobody cancelled this call.
    "CancelledError": asyncio.CancelledError(),
}


def call(kind: str) -> Fetch:
    """A call that ends so, or never."""

    async def fetch(_: int) -> None:
        await (asyncio.sleep(0) if kind in ENDS else asyncio.Event().wait())
        if error := ENDS[kind]:
            raise error

    return fetch


ok = call("ok")
FAILING = ["Refused", "TimeoutError", "CancelledError"]


@WRAPS
@FEWER
@given(st.lists(st.sampled_from([*ENDS, "cancelled", "in flight"]), max_size=12), st.integers(0, 3))
def test_nothing_is_lost_and_nothing_counted_twice(
    wrap: Any, kinds: list[str], unsent: int
) -> None:
    expected, sent = Counter(kinds), len(kinds)
    under_way = expected["in flight"]
    meter = meter_of(sent + unsent)
    fetch: Fetch = wrap(lambda item: call(kinds[item])(item), meter)

    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(fetch(item)) for item in range(sent)]
        await turns(3)
        for task, kind in zip(tasks, kinds, strict=True):
            if kind == "cancelled":
                task.cancel()
        await turns(1)
        counts = meter.counts()
        assert (meter.sent, meter.in_flight, meter.done) == (sent, under_way, sent - under_way)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert meter.counts() == counts
        return ended

    ended = asyncio.run(main())
    counts = meter.counts()
    assert counts.conserved
    assert (meter.sent, meter.in_flight, meter.done) == (sent, 0, sent)
    assert (counts.planned, counts.sent, counts.not_sent) == (sent + unsent, sent, unsent)
    assert counts.ok == expected["ok"]
    assert counts.failed == {kind: expected[kind] for kind in FAILING if expected[kind]}
    assert counts.cancelled == expected["cancelled"] + under_way
    assert [type(one) for one in ended] == [
        asyncio.CancelledError if kind in ("cancelled", "in flight") else type(None)
        for kind in kinds
    ]
    assert sum(meter.latencies) == (expected["ok"] if wrap is metered else 0)


@WRAPS
async def test_the_window_is_from_the_first_send_to_the_last_answer(wrap: Any) -> None:
    meter = meter_of(2)
    fetch, window = wrap(call("Refused"), meter), meter.window
    assert window.opened_ns == 0

    await fetch(0)
    opened_ns = window.opened_ns
    assert opened_ns > window.closed_ns == 0

    await fetch(1)
    assert window.closed_ns > window.opened_ns == opened_ns


@WRAPS
async def test_a_cancelled_request_leaves_the_window_open(wrap: Any) -> None:
    meter = meter_of(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await wrap(call("in flight"), meter)(0)

    assert (meter.cancelled, meter.failed) == (1, {})
    assert (meter.window.closed_ns, meter.window.wall_s) == (0, None)


def timed(tooks_s: list[float]) -> Meter:
    """A meter of requests that took so long."""
    clock = iter([time_s for took_s in tooks_s for time_s in (0.0, took_s)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter_module, "perf_counter", lambda: next(clock))
        meter = meter_of(len(tooks_s))
        measured = metered(ok, meter)

    async def send_all() -> None:
        for item in range(len(tooks_s)):
            await measured(item)

    asyncio.run(send_all())
    return meter


@settings(max_examples=50)
@given(st.floats(0, latency.MAX_WORD_S))
def test_latency_is_the_time_of_the_call(took_s: float) -> None:
    ((value_ns, count),) = latency.buckets(timed([took_s]).latencies)
    assert count == 1
    # A twentieth of a percent for the word and half as much for the bucket; or 30 ns.
    assert value_ns / 1e9 == pytest.approx(took_s, rel=0.00075, abs=31e-9)


@FEWER
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_latencies_are_counted_whenever_they_are_put_away(tooks_s: list[float]) -> None:
    often = timed([])
    for took_s in tooks_s:
        often.unsettled.append(took_s)
        often.settle()
        assert not often.unsettled
    assert often.latencies == timed(tooks_s).latencies


def test_a_latency_beyond_what_a_word_holds_is_counted_as_the_longest() -> None:
    ((value_ns, count),) = latency.buckets(timed([1e6, 1e5]).latencies)
    assert count == 2
    assert value_ns / 1e9 == pytest.approx(latency.MAX_WORD_S, rel=0.00075)


async def test_some_examples_of_failures_are_noted_and_cut() -> None:
    async def fail(item: int) -> None:
        raise Refused(f"item {item} " + "x" * 1_000)

    meter = meter_of(20)
    for item in range(20):
        await metered(fail, meter)(item)

    assert len(meter.examples) == MAX_EXAMPLES
    assert meter.examples[0].startswith("Refused: Refused: item 0 xxx")
    assert all(len(example) == 300 for example in meter.examples)


PLANNED = 20
SENT = [
    st.integers(0, PLANNED + 1).map(lambda n: list(range(n))),
    st.permutations(range(PLANNED)),
    st.lists(st.integers(-2, PLANNED + 1), max_size=2 * PLANNED),
]
# In order at first, then anything.
ORDERS = st.tuples(*SENT).map(lambda three: three[0] + three[2]) | SENT[1] | SENT[2]


@WRAPS
@FEWER
@given(ORDERS, st.sampled_from([int, np.int64]))
def test_each_item_is_counted_exactly_in_any_order(wrap: Any, items: Any, kind: Any) -> None:
    meter = meter_of(PLANNED)

    measured: Fetch = wrap(ok, meter)

    async def main() -> None:
        different: set[int] = set()
        for place, item in enumerate(items, 1):
            await measured(kind(item))
            new = len(different := different | ({item} & set(range(PLANNED))))
            counts = meter.counts()
            # A whole number, though its items are an array's.
            assert repr((counts.sent, counts.ok, meter.in_flight)) == repr((place, place, 0))
            assert (counts.repeated, counts.not_sent) == (place - new, PLANNED - new)
            assert counts.conserved
            # When each planned item has come to an end, whatever else was sent.
            assert bool(meter.window.closed_ns) == (counts.not_sent == 0)

        with pytest.raises(TypeError, match="with '0', which is none of `items`"):
            await measured("0")  # type: ignore[arg-type]

    asyncio.run(main())


# The sampler


def row(t_s: float, lag_s: float = 0.0, **changes: Any) -> TimelineRow:
    return TimelineRow(t_s, 0, 0, 1, t_s / 2, None, None, lag_s)._replace(**changes)


@given(st.lists(st.floats(0, 10), max_size=40))
def test_thinning_halves_and_puts_each_lag_into_the_row_after_it(lags: list[float]) -> None:
    rows = [row(float(number), lag) for number, lag in enumerate(lags)]
    thin = sampler.thinned(rows)

    last = rows[-1:] if len(rows) % 2 == 0 else []
    assert [one.t_s for one in thin] == [one.t_s for one in rows[::2] + last]
    for one in thin[1:]:
        place = int(one.t_s)
        before = lags[place - 1] if place % 2 == 0 else 0.0
        assert one.loop_lag_s == max(before, lags[place])


def test_a_row_has_the_percentiles_of_what_ended_in_its_part_of_the_run() -> None:
    meter, parts = meter_of(200, os.getpid()), []
    for end_s, took in ((0.5, [0.01] * 99 + [3.0]), (1.0, [0.2] * 10), (1.5, [])):
        meter.unsettled.extend(took)
        meter.settle()
        parts.append((end_s, meter.coarse()))
    timeline = to_timeline([row(0.0), row(0.5), row(0.7), row(1.5)], parts)

    assert timeline.latency_p50_s == [
        *[pytest.approx(0.01, rel=0.02)] * 2,
        pytest.approx(0.2, rel=0.02),
        None,
    ]
    assert timeline.latency_p99_s[2] == pytest.approx(0.2, rel=0.02)
    assert timeline.latency_p90_s[0] == pytest.approx(0.01, rel=0.02)
    # Half a second of nothing is a part without a latency; a timeline without parts has none.
    assert to_timeline([row(0.0)]).latency_p50_s == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row on each turn of the loop, and at most 16 of them."""
    monkeypatch.setattr(sampler, "TICK_S", 0)
    monkeypatch.setattr(sampler, "TICKS_PER_ROW", 1)
    monkeypatch.setattr(sampler, "MAX_ROWS", 16)
    monkeypatch.setattr(sampler, "PART_TICKS", 2)
    monkeypatch.setattr(sampler, "MAX_PARTS", 4)


async def test_a_timeline_has_what_failed_and_what_came_so_far() -> None:
    meter = meter_of(3, os.getpid())
    taken = Sampler(meter, lambda row: None, received_bytes=lambda: 7 * meter.done)
    taken.start()
    await metered(ok, meter)(0)
    await metered(call("Refused"), meter)(1)
    taken.stop()

    timeline = to_timeline(taken.rows)
    assert (timeline.completed, timeline.failed) == ([0, 2], [0, 1])
    assert timeline.received_bytes == [0, 14]


async def test_each_of_several_requests_is_counted_and_timed_on_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_request, "BATCH", 10)
    # Of one request by other queries or bodies there is one row; those behind the 100th share one.
    few = [Request(path="/a?token=1"), Request(path="/b", method="PUT"), Request(path="/a?token=2")]
    many = [Request(path=f"/{n}") for n in range(by_request.MAX_REQUESTS + 1)]
    taken = ByRequest(Calls([*few, *many]))
    asked = taken.noting(call("Refused")), taken.noting(ok)
    for fetch, items in ((asked[0], (0, 1)), (asked[1], [*range(2, 104), *range(104, 208)] * 11)):
        for item in items:
            with suppress(Refused):
                await fetch(item)

    found = {one.request: one for one in taken.summary()}
    assert [*found][:3] == ["GET /a", "PUT /b", "GET /0"]
    assert len(found) == by_request.MAX_REQUESTS + 1
    assert [(found[name].ok, found[name].failed) for name in ("GET /a", "PUT /b", "others")] == [
        (33, 1),
        (11, 1),
        (66, 0),
    ]
    assert {name: sum(words.values()) for name, words in taken.histograms.items()} == {
        name: one.ok for name, one in found.items()
    }
    latency_s = found["others"].latency_s
    assert latency_s is not None
    assert 0 < latency_s.p50 <= latency_s.p99 <= latency_s.max < 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 100, 200])
async def test_a_timeline_has_a_bounded_number_of_rows_and_loses_no_lag(rows: int) -> None:
    meter = meter_of(3, os.getpid())
    await metered(ok, meter)(0)
    seen: list[TimelineRow] = []
    enough = asyncio.Event()

    def on_row(taken: TimelineRow) -> None:
        seen.append(taken)
        if len(seen) == rows:
            enough.set()

    taken = Sampler(meter, on_row)
    taken.start()
    await enough.wait()
    taken.stop()
    timeline = to_timeline(taken.rows, taken.parts)

    assert 1 <= len(taken.parts) <= 4
    assert sum(taken.parts[-1][1]) == 1  # the counts of the last part are those of the whole run
    assert taken.parts[-1][0] >= taken.rows[-1].t_s
    names = {*timeline.__struct_fields__} - {"connections"}  # which is of programs alone
    lengths = {len(getattr(timeline, name)) for name in names}
    assert len(lengths) == 1
    assert 1 <= lengths.pop() <= 16
    assert len(timeline.t_s) >= min(rows, 8)
    assert timeline.t_s == sorted(timeline.t_s)
    assert 0 <= timeline.t_s[0] < timeline.t_s[-1] or len(timeline.t_s) == 1
    assert len(seen) == rows + 1
    assert [one.t_s for one in seen] == sorted(one.t_s for one in seen)
    assert max(timeline.loop_lag_s) == round(max(one.loop_lag_s for one in seen), 6)
    assert (set(timeline.completed), set(timeline.in_flight)) == ({1}, {0})
    assert timeline.client_cpu_percent[0] is None
    assert None not in timeline.client_rss_bytes + timeline.server_rss_bytes


async def test_the_last_row_is_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "MAX_ROWS", 2)
    meter = meter_of(1)
    taken = Sampler(meter, lambda _: None)
    taken.stop()
    assert (taken.lag(), taken.rows) == (None, [])  # it was not started
    taken.start()
    await metered(ok, meter)(0)
    taken.stop()

    assert to_timeline(taken.rows).completed[-1] == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("then", [0, 1])
async def test_a_loop_that_is_blocked_is_late(then: int) -> None:
    started = Sampler(meter_of(1), lambda _: None)
    started.start()
    until_ns = perf_counter_ns() + 20_000_000
    while perf_counter_ns() < until_ns:
        pass
    await turns(then)
    started.stop()

    lag, timeline = started.lag(), to_timeline(started.rows)

    assert lag is not None
    assert lag.max >= 0.0199
    assert lag.p50 <= lag.p99 <= lag.max
    assert max(late for late in timeline.loop_lag_s if late is not None) >= 0.0199
    assert timeline.server_rss_bytes == [None] * len(timeline.t_s)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("runs", "stalled"), [(0.0, ["server"]), (1.0, [])])
async def test_a_gap_between_answers_is_the_servers_unless_it_ran(
    runs: float, stalled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock of its own: where this machine stands still for 0.1 s the gap is not the server's.
    clock_ns = count(10**9, 10_000_000)
    for module in (sampler, window_module):
        monkeypatch.setattr(module, "perf_counter_ns", lambda: next(clock_ns))
    monkeypatch.setattr(ProcessReader, "cpu_s", lambda _: runs * next(clock_ns) / 1e9)
    meter = meter_of(1)
    started = Sampler(meter, lambda _: None, row_ticks=1_000)
    started.start()
    waiting = asyncio.ensure_future(metered(call("in flight"), meter)(0))
    await turns(20)
    waiting.cancel()
    await asyncio.wait([waiting])
    meter.window.close()
    started.stop()

    # What is in flight between two rows is seen as well.
    assert (started.rows[0].in_flight, [one.who for one in started.stalls()]) == (1, stalled)


@pytest.mark.parametrize(("late_s", "ran_s", "waited_s", "max_busy_s", "stood_s"), [
    (0.5, 0.0, 0.0, math.inf, [0.5]),
    (0.5, 0.2, 0.1, math.inf, [0.2]),  # it worked, and waited for its core
    (0.5, 0.3, 0.2, math.inf, []),
    (0.5, 0.5, 0.0, 0.1, [0.4]),  # more work than the requests of a user's strategy take
    (0.09, 0.0, 0.0, math.inf, []),
])  # fmt: skip
def test_a_late_timer_shows_a_standstill_where_nothing_ran(
    late_s: float, ran_s: float, waited_s: float, max_busy_s: float, stood_s: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ran, waited = iter([7.0, 7.0 + ran_s]), iter([9.0, 9.0 + waited_s])
    monkeypatch.setattr(stalls, "process_time_ns", lambda: round(1e9 * next(ran)))
    monkeypatch.setattr(os, "pread", lambda *_: b"1 %d 1" % round(1e9 * next(waited)))
    watch = stalls.Watch()

    watch.timer_came(10**9, 10**9 + round(1e9 * late_s), 1e9 * max_busy_s)

    assert [stood_ns / 1e9 for *_, stood_ns in watch.found] == pytest.approx(stood_s)


def test_cpu_is_percent_of_a_core_since_the_row_before() -> None:
    rows = [
        row(0.0, client_cpu_s=1.0),
        row(2.0, client_cpu_s=2.0, server_cpu_s=0.5),
        row(4.0, client_cpu_s=None, server_cpu_s=1.5),
        row(4.0, client_cpu_s=3.0, server_cpu_s=2.0),
        row(4.5, client_cpu_s=3.5, server_cpu_s=None),
    ]

    timeline = to_timeline(rows)

    assert timeline.client_cpu_percent == [None, 50.0, None, None, 100.0]
    assert timeline.server_cpu_percent == [None, None, 50.0, None, None]
    assert to_timeline([]).client_cpu_percent == []


# Memory, CPU and the window


def readings(watched: ProcessReader) -> Any:
    peak = window_module.interference.high_water_bytes(watched.pid)
    return watched.rss_bytes(), watched.cpu_s(), watched.waited_s(), peak


def test_this_process_is_watched() -> None:
    watched = ProcessReader(os.getpid())
    # The CPU of a thread that has ended is the process's, and all of it is exact.
    working = threading.Thread(target=sum, args=[range(100_000)])
    working.start()
    working.join()
    before_s = time.process_time()
    rss_bytes, cpu_s, waited_s, peak = readings(watched)

    assert 1_000_000 < rss_bytes <= peak
    assert before_s < cpu_s < time.process_time()
    assert 0 <= waited_s <= (watched.waited_s() or 0)
    gc.collect()  # what others have left is no descriptor of this one
    opened = {*Path("/proc/self/fd").iterdir()}
    del watched
    assert len(opened - {*Path("/proc/self/fd").iterdir()}) == 3


def passed(pid: int) -> Window:
    """A window of this server that was opened and closed."""
    window = Window(pid)
    for step in (window.start, window.open, window.close):
        step()
    return window


def test_no_process_or_one_that_is_gone_reads_as_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watched = ProcessReader(child.pid)
    assert None not in readings(watched)

    child.communicate(b"")

    for gone in (watched, ProcessReader(child.pid), ProcessReader(None)):
        assert readings(gone) == (None, None, None, None)
    window = passed(child.pid)
    server, client = window.server(), window.client(0)
    assert server
    assert client
    assert (server.cpu_percent, server.peak_rss_bytes) == (None, None)
    assert client.cpu_us_per_request is None


def test_the_name_of_a_command_confuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    times = f"{3 * window_module.TICKS_PER_S} {4 * window_module.TICKS_PER_S}"
    line = f"7 (a) b (c) 9) S {' '.join('1' * 12)} {times} 5 5".encode()
    watched = ProcessReader(os.getpid())
    monkeypatch.setattr(os, "pread", lambda *_: line)

    assert watched.ended_children_s() == 7


def children_s() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def test_of_many_processes_none_is_lost_that_ends_between_two_readings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Others on the machine, and what the system counts late, may be worth a tenth of a second.
    program = "import time; input()\nwhile time.process_time() < 0.4: pass"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    tree, read = ProcessTreeReader(os.getpid()), interference.cpu_s

    def ending(pid: int | None) -> float | None:
        if pid == child.pid:
            child.communicate(b"\n")
        return read(pid)

    monkeypatch.setattr(interference, "cpu_s", ending)
    alive_s, before_s = tree.cpu_s(), time.process_time() + children_s()

    assert child.returncode == 0
    assert alive_s == pytest.approx(before_s, abs=0.15)
    assert tree.cpu_s() == pytest.approx(time.process_time() + children_s(), abs=0.15)


AS_A_PROGRAM = checks("probes.toml", "program")


def test_nothing_of_the_lab_changes_how_malloc_takes_what_asyncio_reads_into() -> None:
    command = [sys.executable, "-c", AS_A_PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    first = str(malloc.settle())  # None where malloc does not tell
    maps = None if first == "None" else sys.version_info < (3, 13)  # later ones have freed it
    expected = f"[{maps}, {maps}]\n" + ("None None\n" if maps is None else "False False\n")
    assert ended.stdout == expected


@pytest.mark.parametrize("name", ["nowhere", "status"])
def test_the_peak_without_a_high_water_mark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, name: str
) -> None:
    own = tmp_path / "status" / "self"
    own.mkdir(parents=True)
    (own / "status").write_text("Name: x\nVmRSS: 5 kB\n")
    monkeypatch.setattr(window_module.interference, "PROC", tmp_path / name)

    assert window_module.interference.high_water_bytes() is None
    assert window_module.own_peak_bytes() > 0


def test_a_window_holds_cpu_memory_and_time() -> None:
    window = passed(os.getpid())
    closed_ns = window.closed_ns
    window.close()
    client, server = window.client(10), window.server()

    assert window.closed_ns == closed_ns
    assert window.wall_s == (closed_ns - window.opened_ns) / 1e9
    assert client
    assert server
    assert client.rss_before_bytes == pytest.approx(window_module.own_rss_bytes(), rel=0.2)
    to_first_send_s = (window.opened_ns - window.started_ns) / 1e9
    assert client.to_first_send_s == pytest.approx(to_first_send_s, abs=1e-6)
    assert client.peak_rss_bytes == pytest.approx(window_module.own_peak_bytes(), rel=0.2)
    cpu_s = client.cpu_user_s + client.cpu_system_s
    assert client.cpu_us_per_request == pytest.approx(cpu_s * 1e6 / 10, abs=1)
    known = (client.waited_percent, server.peak_rss_bytes, server.cpu_percent)
    assert all(value is not None and value >= 0 for value in known)


@pytest.mark.parametrize(("idle_s", "others_had_it"), [(1e9, False), (0.0, True)])
def test_on_one_core_no_more_is_blamed_on_others_than_they_used(
    idle_s: float, others_had_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, waited = iter([0.0, idle_s]), iter(float(n) for n in range(9))
    monkeypatch.setattr(window_module, "_cores", lambda _: {0})
    monkeypatch.setattr(window_module.interference, "idle_s", lambda _: next(idle))
    monkeypatch.setattr(window_module, "TICKS_PER_S", 1e12)
    monkeypatch.setattr(window_module, "_own_cpu_s", lambda: (0.0, 0.0))
    monkeypatch.setattr(ProcessReader, "cpu_s", lambda _: 0.0)
    monkeypatch.setattr(ProcessReader, "waited_s", lambda _: next(waited))
    window = passed(os.getpid())
    client, server, found = window.client(1), window.server(), window.interference()

    assert client
    assert server
    assert found
    assert found.core_shared
    assert ((client.waited_percent or 0) > 0) == others_had_it
    assert ((server.waited_percent or 0) > 0) == others_had_it


def test_a_window_that_never_opened_holds_nothing() -> None:
    window = Window(None)
    window.start()
    window.close()

    assert (window.wall_s, window.client(0), window.server()) == (None, None, None)
