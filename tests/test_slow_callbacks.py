"""Who holds the event loop: found on both loops, and told from many that come in turn."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from machines import checks

import labkit as lab
from labkit.profiler.slow_callbacks import LOOP_ITSELF, THREAD, Sample, blockers, locate

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
    assert coroutine.where.startswith("crunch (test_slow_callbacks.py:")
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
    assert where.startswith(f"{callback}.innermost (test_slow_callbacks.py:")
    assert locate(None) == (None, LOOP_ITSELF, LOOP_ITSELF)
