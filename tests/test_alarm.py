"""The alarm that ends delays: in order, never early, on every clock that there is."""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter_ns

import pytest
import uvloop
from clocks import ByHand
from hypothesis import given
from hypothesis import strategies as st

from labkit.measured import timerfd
from labkit.measured.timerfd import Alarm, LoopClock, SystemClock

CLOCKS = (SystemClock, LoopClock) if sys.platform == "linux" else (LoopClock,)
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> ByHand:
    clock = ByHand()
    monkeypatch.setattr(timerfd, "perf_counter_ns", lambda: clock.now_ns)
    return clock


def test_calls_come_in_the_order_of_their_times(hand: ByHand) -> None:
    called: list[tuple[int, int]] = []
    rings = Alarm(hand)
    for due_ns in (30, 10, 20, 10):
        rings.at(due_ns, lambda now, due=due_ns: called.append((due, now)))
    assert hand.due_ns == 10
    hand.now_ns = 20
    hand.ring()
    assert called == [(10, 20), (10, 20), (20, 20)]
    assert hand.due_ns == 30
    hand.now_ns = 31
    hand.ring()
    assert called[-1] == (30, 31)
    assert hand.due_ns is None


def test_a_ring_before_the_time_calls_nothing(hand: ByHand) -> None:
    called: list[int] = []
    rings = Alarm(hand)
    rings.at(10, called.append)
    hand.now_ns = 9
    hand.ring()
    assert called == []
    assert hand.due_ns == 10


def test_what_falls_due_during_a_ring_waits_for_the_next(hand: ByHand) -> None:
    called: list[int] = []
    rings = Alarm(hand)

    def again(now_ns: int) -> None:
        called.append(now_ns)
        hand.now_ns += 5
        rings.at(hand.now_ns - 1, again)

    rings.at(10, again)
    hand.now_ns = 10
    hand.ring()
    assert called == [10]
    assert hand.due_ns == 14


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("clock", CLOCKS)
def test_never_early_and_none_forgotten(clock: type[LoopClock], loop: str) -> None:
    delays_ns = [(i * 7919) % 30_000 * 1_000 for i in range(200)]

    async def lateness() -> list[int]:
        rings, late, done = Alarm(clock), list[int](), asyncio.Event()

        def call(now_ns: int, due_ns: int) -> None:
            late.append(now_ns - due_ns)
            if len(late) == len(delays_ns):
                done.set()

        start_ns = perf_counter_ns()
        for delay_ns in delays_ns:
            due_ns = start_ns + delay_ns
            rings.at(due_ns, lambda now, due=due_ns: call(now, due))
        await asyncio.wait_for(done.wait(), timeout=20)
        return late

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        late = runner.run(lateness())
    assert len(late) == len(delays_ns)
    assert min(late) >= 0


def test_without_a_timerfd_the_loop_keeps_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(_: object) -> object:
        raise OSError

    async def clock() -> object:
        return timerfd.best_clock(lambda: None)

    assert isinstance(asyncio.run(clock()), CLOCKS[0])
    monkeypatch.setattr(timerfd, "SystemClock", none_here)
    assert isinstance(asyncio.run(clock()), LoopClock)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=40))
def test_every_call_is_made_once_at_the_first_ring_that_is_late_enough(
    steps: list[tuple[int, int]],
) -> None:
    hand, called, expected = ByHand(), list[int](), list[int]()
    rings = Alarm(hand)
    now, real = 0, timerfd.perf_counter_ns
    timerfd.perf_counter_ns = lambda: hand.now_ns  # type: ignore[assignment] # a clock by hand
    try:
        for wait, step in steps:
            rings.at(now + wait, lambda _, due=now + wait: called.append(due))
            expected.append(now + wait)
            now += step
            hand.now_ns = now
            hand.ring()
            assert sorted(called) == sorted(due for due in expected if due <= now)
            assert hand.due_ns == min((due for due in expected if due > now), default=None)
    finally:
        timerfd.perf_counter_ns = real
