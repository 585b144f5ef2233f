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


def test_what_falls_due_in_a_ring_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, called = ByHand(), list[int]()
    monkeypatch.setattr(timerfd, "perf_counter_ns", lambda: hand.now_ns)
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
        start_ns = perf_counter_ns()
        for delay_ns in delays_ns:
            due_ns = start_ns + delay_ns
            rings.at(due_ns, lambda now, due=due_ns: late.append(now - due))
        rings.at(start_ns + max(delays_ns) + 1, lambda _: done.set())
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
def test_every_call_is_made_once_in_order_at_the_first_ring_that_is_late_enough(
    steps: list[tuple[int, int]],
) -> None:
    clock, called, expected = ByHand(), list[tuple[int, int, int]](), list[tuple[int, int]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timerfd, "perf_counter_ns", lambda: clock.now_ns)
        rings = Alarm(clock)
        for number, (wait, step) in enumerate(steps):
            due = (clock.now_ns + wait, number)
            rings.at(due[0], lambda now, due=due: called.append((*due, now)))
            expected.append(due)
            before = len(called)
            clock.now_ns += step
            clock.ring()
            assert called[before:] == sorted(called[before:])
            assert all(now == clock.now_ns for _, _, now in called[before:])
            done = sorted(due for due in expected if due[0] <= clock.now_ns)
            assert sorted((due, number) for due, number, _ in called) == done
            left = [due for due, _ in expected if due > clock.now_ns]
            assert clock.due_ns == min(left, default=None)
