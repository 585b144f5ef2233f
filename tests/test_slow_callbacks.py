"""Who holds the event loop: found on both loops, and told from many that come in turn."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable

import pytest
import uvloop

import labkit as lab
from labkit.profiler.slow_callbacks import LOOP_ITSELF, THREAD, Sample, blockers, locate

LOOPS = pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
SLOW_S = 0.1


def crunch() -> None:
    time.sleep(5 * SLOW_S)


async def blocks() -> None:
    crunch()


async def watched(work: Callable[[], object]) -> lab.SlowCallbacks:
    with lab.SlowCallbacks(SLOW_S) as slow:
        await asyncio.sleep(SLOW_S)
        await asyncio.ensure_future(blocks())
        work()
        await asyncio.sleep(SLOW_S)
    return slow


@LOOPS
def test_coroutine_that_blocks_is_named_with_its_place_and_time(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        slow = runner.run(watched(lambda: None))
    named = [held for held in slow.found if held.callback == "blocks"]
    assert named
    assert named[0].where.startswith("crunch (test_slow_callbacks.py:")
    assert named[0].blocked_s >= 3 * SLOW_S
    assert named[0].at_s > 0
    assert "blocks in crunch" in slow.text()


@LOOPS
def test_plain_callback_is_named_too(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        later = runner.get_loop().call_soon
        slow = runner.run(watched(lambda: later(crunch)))
    assert "crunch" in {held.callback for held in slow.found}


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


def samples(*at: tuple[float, object]) -> list[Sample]:
    return [Sample(at_s, frame, f"callback {frame}", "where") for at_s, frame in at]  # type: ignore[arg-type]


def test_callback_held_the_loop_from_when_the_beat_was_due_to_the_next_look() -> None:
    one, other = "one", "other"
    (held,) = blockers(samples((1.1, one), (1.2, one), (1.3, other)), due_s=1.0, ended_s=1.4)
    assert (held.callback, held.at_s, held.blocked_s) == ("callback one", 1.0, pytest.approx(0.3))


def test_many_short_callbacks_are_none_that_is_slow() -> None:
    frames = ["one", "other", "third"]
    looks = samples(*((1.1 + n / 10, frame) for n, frame in enumerate(frames)))
    assert list(blockers(looks, due_s=1.0, ended_s=1.4)) == []


def test_loop_that_waits_for_its_clock_holds_nothing() -> None:
    looks = samples((1.1, "one"), (1.2, "one"), (1.3, None), (1.4, None))
    assert [held.blocked_s for held in blockers(looks, 1.0, 1.5)] == [pytest.approx(0.3)]


def test_thread_without_a_frame_is_the_loop_itself() -> None:
    assert locate(None) == (None, LOOP_ITSELF, LOOP_ITSELF)


async def test_stack_is_read_from_the_callback_to_where_it_is() -> None:
    def innermost() -> tuple[object, str, str]:
        return locate(sys._getframe())

    frame, callback, where = innermost()
    assert frame is not None
    assert callback == "test_stack_is_read_from_the_callback_to_where_it_is"
    assert where.startswith(f"{callback}.innermost (test_slow_callbacks.py:")
