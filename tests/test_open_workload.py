"""Open workloads: what is due when, that it is sent then, and what a stall does to whom."""

import asyncio
import re
from typing import Any

import pytest
from clocks import ByHand
from counted import Target, turns

from labkit.lab import facade
from labkit.measured import duration, open_loop, timerfd
from labkit.measured.duration import StageCounts
from labkit.measured.open_loop import OpenLoop
from labkit.measured.probes.meter import WHOLE, Meter, metered
from labkit.measured.probes.window import Window
from labkit.record.record import Counts
from labkit.record.requests import Arrivals
from labkit.record.store import Store
from labkit.spec import delays
from labkit.spec.delays import Share
from labkit.spec.trial import Trial

# Sent


class Clock(ByHand):
    """A clock that rings when its time has come."""

    async def to(self, seconds: float) -> None:
        """Move on; before and after it, every task that can go on does so."""
        await turns(20)
        self.now_ns = round(seconds * 1e9)
        if self.due_ns is not None and self.due_ns <= self.now_ns:
            self.ring()
        await turns(20)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    hand = Clock()
    monkeypatch.setattr(open_loop, "best_clock", hand)
    for module in (timerfd, open_loop, duration):
        monkeypatch.setattr(module, "perf_counter_ns", lambda: hand.now_ns)
    return hand


class Server(Target):
    """Answers once it may; every tenth item fails."""

    def __init__(self) -> None:
        super().__init__(failing=range(9, 1_000, 10), turns=0)
        self.answering = asyncio.Event()

    async def work(self, item: int) -> None:
        await self.answering.wait()
        await super().work(item)


class Sending:
    """A trial of an open workload within this process, begun: 10 requests a second, or stages."""

    def __init__(
        self, server: Server, requests: int, limit: int, share: Share = WHOLE, **settings: Any
    ) -> None:
        asked = Trial(
            requests=requests, **(settings if "stages" in settings else {"rate": 10} | settings)
        ).workload
        self.meter = Meter(requests, lambda error: type(error).__name__, Window(None), share=share)
        self.stages = StageCounts(asked.schedule if asked.stages else ())
        self.open_loop = OpenLoop(asked, self.meter, self.stages)
        call = metered(self.open_loop.time_since_due(server.fetch), self.meter)
        self.task = asyncio.create_task(self.open_loop.send(call, self.meter.items, limit))

    async def ended(self) -> tuple[Counts, Arrivals]:
        await asyncio.gather(self.task, return_exceptions=True)
        counts = self.meter.counts()
        assert counts.conserved
        return counts, self.open_loop.summary()


async def test_each_stage_counts_what_was_due_and_what_was_sent_in_it(clock: Clock) -> None:
    server = Server()
    sending = Sending(server, 70, 35, stages="1s:20 low, 1s:20..40, 1s:0, 1s:5 late, 1s:1")
    for hundredths in range(450):
        await clock.to(hundredths / 100)
        if hundredths == 250:
            server.answering.set()
    found = sending.stages.summary()
    assert [(one.name, one.asked) for one in found] == [
        *(("low", 20), ("", 30), ("", 0), ("late", 5), ("", 1))
    ]
    # There is room for 35; the others are sent once answers come.
    assert [(one.due, one.sent) for one in found] == [(20, 20), (30, 15), (0, 15), (5, 5), (1, 1)]
    assert [one.achieved_rps for one in found] == [20, 15, 15, 5, 1]
    sending.task.cancel()


@pytest.mark.parametrize("arrival", ["constant", "poisson"])
@pytest.mark.parametrize("share", [Share(n, 3) for n in range(3)])
async def test_a_client_sends_its_requests_when_they_are_due_in_the_whole(
    clock: Clock, arrival: str, share: Share
) -> None:
    server, asked = Server(), Trial(requests=30, rate=10, arrival=arrival).workload
    sending = Sending(server, 30, 99, share, arrival=arrival)
    for item, at_s in enumerate(delays.due_s(asked.schedule, arrival, asked.seed, 30)):
        await clock.to(at_s)
        assert server.started == [*range(share.client, item + 1, 3)]
    server.answering.set()
    counts, arrivals = await sending.ended()
    assert (counts.planned, counts.sent) == (10, 10)
    # It compares its sends with its own part of the schedule.
    assert arrivals.achieved_rps == pytest.approx(10)


async def test_every_request_is_sent_when_it_is_due_whatever_the_answers_do(clock: Clock) -> None:
    server = Server()
    sending = Sending(server, 100, 1_000)
    for tenths in range(100):
        await clock.to(tenths / 10)
        assert server.started == list(range(tenths + 1))
    server.answering.set()
    counts, arrivals = await sending.ended()
    assert (counts.ok, counts.failed) == (90, {"KeyError": 10})
    assert counts.repeated == 0
    assert (arrivals.late, arrivals.dropped) == (0, 0)
    assert arrivals.achieved_rps == pytest.approx(10)
    # Item i was due i / 10 s after the first, and all were answered at 9.9 s.
    assert arrivals.latency_s is not None
    assert arrivals.latency_s.max == pytest.approx(9.9, rel=0.001)
    assert arrivals.latency_s.p50 == pytest.approx(4.95, rel=0.03)


async def test_what_is_due_without_room_waits(clock: Clock) -> None:
    server = Server()
    sending = Sending(server, 100, 7)
    for tenths in range(100):
        await clock.to(tenths / 10)
    assert server.started == list(range(7))
    server.answering.set()
    _, arrivals = await sending.ended()
    assert server.started == list(range(100))
    assert server.most_in_flight == 7
    assert arrivals.late == 92  # of the 93 that had to wait the last was just due
    assert arrivals.lateness_s is not None
    assert arrivals.lateness_s.max == pytest.approx(9.9 - 0.7, rel=0.001)


async def test_what_is_due_without_room_is_dropped_where_that_was_asked(clock: Clock) -> None:
    server = Server()
    sending = Sending(server, 100, 7, overflow="drop")
    await clock.to(5.05)
    assert sending.open_loop.dropped == 51 - 7
    server.answering.set()
    await clock.to(9.9)
    counts, arrivals = await sending.ended()
    assert server.started[:7] == list(range(7))
    assert counts.not_sent == arrivals.dropped == 100 - counts.sent


async def test_a_clock_that_rings_late_makes_sends_late(clock: Clock) -> None:
    server = Server()
    server.answering.set()
    sending = Sending(server, 10, 10)
    await clock.to(0.95)  # ten were due, and nothing had rung
    counts, arrivals = await sending.ended()
    assert (arrivals.late, counts.sent) == (10, 10)


async def test_cancelled_it_leaves_nothing(clock: Clock) -> None:
    server, before = Server(), asyncio.all_tasks()
    sending = Sending(server, 1_000, 50)
    for tenths in range(21):
        await clock.to(tenths / 10)
    assert server.in_flight == 21
    sending.task.cancel()
    counts, arrivals = await sending.ended()
    assert asyncio.all_tasks() == before
    # Of a trial that ended early, only what was due until then counts.
    assert arrivals.achieved_rps == pytest.approx(10)
    assert (counts.cancelled, server.in_flight) == (21, 0)


# Felt


@pytest.mark.parametrize("transport", ["aiohttp", "wire", "streams"])
async def test_a_stall_shows_since_due_and_hides_since_sent(transport: str, tmp_path: Any) -> None:
    trial = Trial(transport=transport, rate=100, requests=150, limit=2, stall_at=50, stall_s=0.5)
    record = (await facade.run(trial, store=Store(tmp_path))).record
    assert record.counts.ok == 150
    assert record.arrivals is not None
    assert record.arrivals.latency_s is not None
    assert record.latency_s is not None
    # 50 of 150 came during the stall, evenly: a tenth of all waited 0.35 s and more.
    assert record.arrivals.latency_s.p90 >= 0.33
    assert record.latency_s.p90 <= record.arrivals.latency_s.p90 / 2
    assert record.latency_s.max >= 0.5
    assert record.arrivals.late >= 40
    assert {note.code for note in record.warnings} >= {"too-late"}


async def test_poisson_on_uvloop_over_an_echo(tmp_path: Any) -> None:
    trial = Trial(target="echo", rate=500, arrival="poisson", requests=100, loop="uvloop")
    run = await facade.run(trial, store=Store(tmp_path))
    assert run.counts.ok == 100
    assert "500 a second, poisson" in run.text()
    assert "since due" in run.text()
    assert {"since due", "since sent"} <= set(re.findall(r"since \w+", run.plot("latency").alt))


async def test_a_rate_in_stages_is_kept_in_each_and_ends_by_the_clock(tmp_path: Any) -> None:
    stages = "0.4s:200 low, 0.2s:0, 0.4s:200..600 climb"
    run = await facade.run(Trial(stages=stages, delay="0.3"), store=Store(tmp_path))
    counts = run.counts
    # What is due is known before; what was in flight at the end was cancelled, and is no doubt.
    assert (counts.planned, counts.conserved, counts.failed) == (80 + 160, True, {})
    assert 0 < counts.cancelled <= counts.planned - counts.ok
    assert not {"cancelled", "not-sent", "ended-early"} & {note.code for note in run.warnings}
    assert run.wall_s >= 0.95  # from the first send, which may be a little late
    assert run.efficiency is None
    assert f"stages of the rate: {stages}, at most 100 at a time" in run.text()
    assert [(one.name, one.due) for one in run.stages] == [("low", 80), ("", 0), ("climb", 160)]
    assert re.search("stage low +200 a second asked for, [0-9.]+ a second", run.text())
