"""A cancelled strategy cancels what it started, lets it clean up, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
from itertools import count
from typing import Any

import counted
import pytest
from counted import FLAT, Stuck, Target, for_every_strategy, on_every_loop, others, run, turns

from labkit.measured.strategies import load


async def ended(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def cleaned_up(name: str, target: Stuck) -> bool:
    all_of_them = sorted(target.cleaned_up) == sorted(target.started)
    return all_of_them or name in counted.INTERRUPTS_CLEANING


@on_every_loop
@for_every_strategy
@pytest.mark.parametrize("when", [0, 1, 2, 3, 5])
def test_cancelled_early_it_leaves_nothing(name: str, loop: str, when: int) -> None:
    async def main() -> None:
        target = Stuck()
        task = asyncio.ensure_future(load(name)(target.fetch, range(40), 4))
        await turns(when)
        await ended(task)
        assert target.in_flight == 0
        assert cleaned_up(name, target)

    run(loop, main())


@on_every_loop
@for_every_strategy
def test_cancelled_in_flight_it_cancels_what_it_started(name: str, loop: str) -> None:
    async def main() -> None:
        target = Stuck()
        items = count() if name in FLAT else range(200)
        task = asyncio.ensure_future(load(name)(target.fetch, items, 4))
        await counted.started(target, 1 if name in counted.ONE_BY_ONE else 4)
        await ended(task)
        assert others() == set()
        assert target.in_flight == 0
        assert cleaned_up(name, target)
        assert target.finished == []

    run(loop, main())


@on_every_loop
@for_every_strategy
def test_cancelled_while_items_come_and_go_it_starts_no_more(name: str, loop: str) -> None:
    async def main() -> None:
        target = Target(turns=3)
        task = asyncio.ensure_future(load(name)(target.fetch, range(1_000), 4))
        await counted.started(target, 30)
        await ended(task)
        calls = len(target.started)
        await turns(counted.PLENTY)
        assert len(target.started) == calls
        assert target.in_flight == 0

    run(loop, main())


@on_every_loop
@for_every_strategy
def test_ctrl_c_comes_out_as_one(name: str, loop: str) -> None:
    async def interrupted(item: int) -> None:
        if item == 4:
            signal.raise_signal(signal.SIGINT)
        await turns(1)

    with pytest.raises(KeyboardInterrupt):
        run(loop, load(name)(interrupted, range(200), 3))


@on_every_loop
def test_pypeln_with_a_maxsize_leaves_no_blocked_put(loop: str) -> None:
    async def main() -> None:
        target = Stuck()
        task = asyncio.ensure_future(load("pypeln")(target.fetch, range(300), 3, maxsize=2))
        await counted.started(target, 3)
        await ended(task)
        assert others() == set()

    run(loop, main())
