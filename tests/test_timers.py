"""Timers by name, on a clock that is moved by hand, and callbacks that block the loop."""

import asyncio
import sys
import threading
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pandas as pd
import pytest
import uvloop
from clocks import Clock
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

import labkit as lab
from labkit.errors import BadInput
from labkit.profiler import timers as module
from labkit.profiler.slow_callbacks import LOOP_ITSELF, THREAD, Sample, blockers, locate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(100.0)
    monkeypatch.setattr(module, "perf_counter", made)
    return made


async def test_timer_says_its_name_and_time_unless_silent(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with lab.timer("fetch") as took:
        clock.now += 1.25
    assert took.seconds == 1.25
    async with lab.timer("silent", say=None) as took:
        assert took.seconds is None
        clock.now += 2
    assert took.seconds == 2
    assert capsys.readouterr().out == "fetch: 1.250 s\n"


async def test_overlapping_tasks_are_timed_each(clock: Clock) -> None:
    timers = lab.Timers()
    first, second = asyncio.Event(), asyncio.Event()

    async def one(until: asyncio.Event) -> None:
        async with timers("wait"):
            await until.wait()

    tasks = [asyncio.create_task(one(first)), asyncio.create_task(one(second))]
    await asyncio.sleep(0)
    clock.now += 1
    first.set()
    await tasks[0]
    clock.now += 2
    second.set()
    await tasks[1]
    (row,) = timers.rows()
    assert (row["count"], row["total_s"], row["max_s"]) == (2, 4, 3)


async def test_functions_of_both_kinds_are_decorated_and_timed_also_where_they_fail(
    clock: Clock,
) -> None:
    timers = lab.Timers()

    @timers("sync")
    def divide(x: int) -> float:
        """Divide 6 by it."""
        clock.now += 1
        return 6 / x

    @timers("async")
    async def thrice(x: int) -> int:
        clock.now += 2
        await asyncio.sleep(0)
        return 3 * x

    assert (divide(2), await thrice(2), await thrice(x=3)) == (3, 6, 9)
    with pytest.raises(ZeroDivisionError):
        divide(0)
    assert divide.__doc__ == "Divide 6 by it."
    figures = {row["name"]: (row["count"], row["total_s"]) for row in timers.rows()}
    assert list(figures.items()) == [("async", (2, 4)), ("sync", (2, 2))]


def test_generator_functions_are_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(BadInput, match=f"decorates {function.__name__}, a generator"):
            lab.Timers()("all of them")(function)


@given(st.lists(st.floats(1e-6, 1_000), min_size=1, max_size=60))
def test_figures_are_those_of_the_timings(seconds: list[float]) -> None:
    timers = lab.Timers()
    for one in seconds:
        timers.add("x", one)
    (row,) = timers.rows()
    ranked = sorted(seconds)
    assert row["count"] == len(seconds)
    assert row["total_s"] == pytest.approx(sum(seconds))
    assert row["mean_s"] == pytest.approx(sum(seconds) / len(seconds))
    assert row["max_s"] == ranked[-1]
    assert row["p50_s"] == pytest.approx(ranked[(len(ranked) + 1) // 2 - 1], rel=0.001)
    assert row["p99_s"] == pytest.approx(ranked[-1], rel=0.001)
    assert row["p50_s"] <= row["p99_s"] <= row["max_s"]


def test_memory_is_that_of_the_buckets_and_not_of_the_timings() -> None:
    timers = lab.Timers()
    for number in range(20_000):
        timers.add("x", 0.001 + number * 1e-9)
    assert len(timers._timed["x"][0]) < 200


def test_report_is_a_table_of_text_and_rows_make_a_frame(clock: Clock) -> None:
    timers = lab.Timers()
    assert timers.report() == "Nothing was timed."
    for took_s in array("d", [0.5, 1.5]):
        with timers("page"):
            clock.now += took_s
    head, line = timers.report().splitlines()
    assert head.split()[:2] == ["name", "count"]
    assert line.split()[:4] == ["page", "2", "2.000", "1,000.000"]
    assert line.endswith("  1,500.000")
    assert (head[:12], line[:12]) == ("name  count ", "page      2 ")
    assert repr(timers) == timers.report()
    assert list(pd.DataFrame(timers.rows()).columns)[:3] == ["name", "count", "total_s"]


@pytest.mark.parametrize("name", ["", 3, None])
def test_timer_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(BadInput, match="a timer is named by text"):
        lab.Timers()(name)


# Who holds the event loop: found on both loops, and told from many that come in turn

SLOW_S = 0.1


def crunch() -> None:
    time.sleep(5 * SLOW_S)


async def blocks() -> None:
    crunch()


async def watched() -> lab.SlowCallbacks:
    with lab.SlowCallbacks(SLOW_S) as slow:
        await asyncio.sleep(SLOW_S)
        await asyncio.ensure_future(blocks())
        asyncio.get_running_loop().call_soon(crunch)
        await asyncio.sleep(SLOW_S)
    return slow


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_what_blocks_is_named_with_its_place_and_time(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        slow = runner.run(watched())
    coroutine = next(one for one in slow.found if one.callback == "blocks")
    assert coroutine.where.startswith("crunch (test_timers.py:")
    assert coroutine.blocked_s >= 3 * SLOW_S
    assert coroutine.at_s > 0
    assert "blocks in crunch" in slow.text()
    assert "crunch" in {one.callback for one in slow.found}


async def test_thread_is_gone_after_the_block_also_when_it_fails() -> None:
    def there() -> bool:
        return THREAD in {thread.name for thread in threading.enumerate()}

    def fail() -> None:
        with lab.SlowCallbacks():
            assert there()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not there()


@pytest.mark.parametrize(("frames", "blocked"), checks("slow_callbacks.toml", "blockers"))
def test_who_blocked_the_loop_by_samples_from_1_1_s_on(
    frames: list[Any], blocked: list[tuple[str, float, float]]
) -> None:
    frames = [frame and sys.intern(frame) for frame in frames]  # the same one is one object
    samples = [Sample(1.1 + n / 10, frame, frame, "") for n, frame in enumerate(frames)]
    found = list(blockers(samples, due_s=1.0, ended_s=1.1 + len(frames) / 10))
    assert [one.callback for one in found] == [name for name, *_ in blocked]
    for one, (_, at_s, blocked_s) in zip(found, blocked, strict=True):
        assert (one.at_s, one.blocked_s) == (pytest.approx(at_s), pytest.approx(blocked_s))


async def test_stack_is_read_from_the_callback_to_where_it_is() -> None:
    def innermost() -> tuple[object, str, str]:
        return locate(sys._getframe())

    frame, callback, where = innermost()
    assert frame is not None
    assert callback == "test_stack_is_read_from_the_callback_to_where_it_is"
    assert where.startswith(f"{callback}.innermost (test_timers.py:")
    assert locate(None) == (None, LOOP_ITSELF, LOOP_ITSELF)
