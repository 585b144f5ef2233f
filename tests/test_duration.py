"""A trial that the clock ends: its items, what becomes of those in flight, and think time."""

import asyncio
import math
from typing import Any

import pytest
from counted import now, virtually
from machines import checks

from labkit.lab import facade
from labkit.measured import duration, strategies
from labkit.measured.duration import TimedItems, thinking
from labkit.measured.probes import window
from labkit.measured.probes.meter import Meter, metered
from labkit.measured.probes.window import Window
from labkit.record.requests import Staged
from labkit.record.store import Store
from labkit.report.study import Study
from labkit.spec import delays
from labkit.spec.registry import STRATEGIES, TAKE_ALL
from labkit.spec.trial import Trial

PLENTY = 100_000_000


@pytest.fixture(autouse=True)
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (duration, window):
        monkeypatch.setattr(module, "perf_counter_ns", lambda: round(1e9 * (now() + 1)))


async def answer(item: int) -> int:
    await asyncio.sleep((1 + item % 3) / 10)
    return -item


async def ended(strategy: Any, meter: Meter, items: TimedItems, limit: int = 7) -> BaseException:
    task = asyncio.ensure_future(strategy(metered(answer, meter), items, limit))
    items.end(task)
    (result,) = await asyncio.gather(task, return_exceptions=True)
    meter.window.close()
    assert meter.counts().conserved
    return result


def timed(requests: int = PLENTY, *, stages: bool = False) -> tuple[Meter, TimedItems]:
    meter = Meter(requests, str, Window(None))
    return meter, TimedItems(meter, 2.05, stages=stages)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in TAKE_ALL])
def test_the_clock_ends_every_strategy_that_takes_items_as_it_goes(name: str) -> None:
    (meter, items), options = timed(), {"classes": 3} if name == "priority" else {}

    async def main() -> None:
        function = strategies.load(name).__wrapped__
        await ended(lambda *given: function(*given, **options), meter, items)
        assert now() == pytest.approx(2.05, abs=0.1)

    virtually(main())
    counts, limit = meter.counts(), 1 if name == "sequential" else 7
    assert items.over
    assert meter.window.wall_s == pytest.approx(2.05, abs=0.1)
    assert 0 < counts.cancelled <= limit
    assert counts.ok == counts.sent - counts.cancelled > 8 * limit
    assert counts.planned == counts.sent + counts.not_sent < 1_100


def test_requests_end_it_where_they_come_first() -> None:
    meter, items = timed(20)
    virtually(ended(strategies.load("worker_pool").__wrapped__, meter, items))
    assert (meter.counts().ok, meter.counts().planned, items.over) == (20, 20, False)
    assert meter.window.wall_s < 1


@pytest.mark.parametrize(("stages", "lasts_s"), [(False, 2.05), (True, 1.05)])
def test_stages_begin_with_the_trial_and_seconds_with_its_first_send(
    stages: bool, lasts_s: float
) -> None:
    meter, items = timed(stages=stages)

    async def late(fetch: Any, given: TimedItems, limit: int) -> None:
        await asyncio.sleep(1)
        try:
            for item in given:
                await fetch(item)
        finally:
            await asyncio.sleep(0.5)  # in no window

    virtually(ended(late, meter, items))
    # The end is looked for where it may be: 2.05 s after the start there is a first send.
    assert meter.window.wall_s == pytest.approx(lasts_s)


@pytest.mark.parametrize(
    ("wants", "why"), [(len, "items has no length"), (list, "65,536 were taken at once")]
)
def test_a_strategy_that_wants_all_items_at_once_learns_why_not(wants: Any, why: str) -> None:
    async def greedy(fetch: Any, items: Any, limit: int) -> None:
        wants(items)

    assert why in str(virtually(ended(greedy, *timed())))


def test_one_that_goes_on_after_its_cancellation_gets_no_more_items() -> None:
    meter, items = timed()

    async def stubborn(fetch: Any, given: Any, limit: int) -> None:
        for item in given:
            await asyncio.gather(fetch(item), return_exceptions=True)

    virtually(ended(stubborn, meter, items))
    assert meter.counts().sent < 30


def test_items_out_of_order_beyond_what_fits_into_memory_are_counted() -> None:
    meter, _ = timed()

    async def main() -> None:
        await asyncio.gather(*map(metered(answer, meter), (0, 2, PLENTY - 1, 1, 2)))

    virtually(main())
    assert (meter.sent, meter.counts().repeated) == (5, 1)


def test_a_worker_thinks_between_its_calls_and_not_after_the_last() -> None:
    think, meter = delays.parse("uniform(0.2,0.4)"), Meter(5, str, Window(None))

    async def main() -> float:
        call = thinking(metered(answer, meter), think, 3, meter)
        assert [await call(item) for item in range(5)] == [0, -1, -2, -3, -4]
        return now()

    thought_s = sum(think.draw(3, f"think/{item}") for item in range(4))
    assert virtually(main()) == pytest.approx((1 + 2 + 3 + 1 + 2) / 10 + thought_s)
    assert meter.window.wall_s == pytest.approx(0.9 + thought_s)


async def busy(items: Any, limits: str, until: int = PLENTY) -> tuple[list[int], list[Staged]]:
    """How many calls are under way ten times a second, until the items or the stages end."""
    meter, seen = Meter(until, str, Window(None)), list[int]()
    given = TimedItems(meter, 3.0, stages=True) if items is None else items
    stages = delays.parse_stages(limits)
    counts = duration.StageCounts(stages)
    task = asyncio.ensure_future(duration.staged(stages, counts)(metered(answer, meter), given, 1))
    if items is None:
        given.end(task)
    await asyncio.sleep(0.05)
    while not task.done():
        seen.append(meter.in_flight)
        await asyncio.sleep(0.1)
    assert meter.counts().conserved
    assert sum(one.sent for one in counts.summary()) == meter.sent
    return seen, counts.summary()


def test_workers_are_as_many_as_the_stages_of_the_limit_say() -> None:
    seen, stages = virtually(busy(None, "1s:3, 1s:3..11 climb, 0.5s:2, 0.5s:0"))
    assert (min(seen[:10]), max(seen[:10])) == (3, 3)
    for tenths, most in enumerate(seen[10:20]):
        assert abs(most - (3.4 + 0.8 * tenths)) <= 1.5
    # A call takes 0.3 s at most: by then those that are too many have ended.
    assert (seen[24], seen[29]) == (2, 0)
    assert [(one.name, one.asked) for one in stages] == [("", 3), ("climb", 7), ("", 2), ("", 0)]
    # A call takes 0.2 s in the mean.
    assert stages[0].achieved_rps == stages[0].sent == pytest.approx(15, abs=2)


def test_under_a_limit_in_stages_all_items_are_sent_once() -> None:
    seen, (stage,) = virtually(busy(range(40), "60s:4", until=40))
    assert len(seen) in range(19, 24)
    assert stage.achieved_rps == pytest.approx(20, abs=2)


@pytest.mark.parametrize(("settings", "sent"), checks("sweeps.toml", "warm_ups"))
def test_a_warm_up_sends_items_behind_those_of_the_trial_and_cancels_none(
    settings: dict[str, Any], sent: int
) -> None:
    trial, ended = Trial(**settings), list[int]()
    strategy = strategies.load(trial.strategy).__wrapped__

    async def fetch(item: int) -> None:
        await answer(item)
        ended.append(item)
        if item % 10 == 3:
            raise OSError

    found = virtually(duration.warm_up(trial, strategy, fetch, math.inf, None, delays.Share()))
    assert sorted(ended) == [trial.requests + item for item in range(sent)]
    assert (found.requests, found.failed) == (sent, sum(n % 10 == 3 for n in ended))
    assert found.wall_s > 0


async def test_what_a_warm_up_did_is_in_no_figure_and_is_in_every_text(tmp_path: Any) -> None:
    settings = {"warmup": "40", "requests": 60, "limit": 4, "transport.trace": True}
    run = await facade.run(Trial(**settings), store=Store(tmp_path))
    assert (run.warmup.requests, run.warmup.failed) == (40, 0)
    assert (run.counts.planned, run.counts.ok, run.received.bodies, run.phases.n) == (60,) * 4
    # The connections are those of the warm-up, which the server counted as well.
    assert (run.phases.opened, run.phases.reused, run.server.requests) == (0, 60, None)
    assert (run.timeline.completed[0], run.timeline.t_s[0]) == (0, pytest.approx(0, abs=0.5))
    assert "4 at a time, after a warm-up of 40" in run.text()
    says = "A warm-up of 40 requests came before over the same connections, and is in no figure."
    assert says in Study(run.records).table().says
    assert "after a warm-up of 40" in run.plot().alt
