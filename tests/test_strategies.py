"""What each strategy keeps, on each event loop: all items, the limit, their order, flat memory."""

import asyncio
import signal
from collections.abc import Iterator
from itertools import count
from typing import Any

import counted
import pytest
from counted import (
    FLAT,
    ONE_BY_ONE,
    Stuck,
    Target,
    for_every_strategy,
    on_every_loop,
    others,
    run,
    turns,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks

from labkit.errors import BadInput, TrialFailed
from labkit.measured.strategies import NAMES, Tally, load

# All items


@on_every_loop
@for_every_strategy
@pytest.mark.parametrize("slowest", [0, 1, 5])
def test_calls_every_item_exactly_once(name: str, loop: str, slowest: int) -> None:
    target = Target(turns=slowest)
    tally = run(loop, load(name)(target.fetch, range(100), 7))
    assert sorted(target.finished) == list(range(100))
    assert tally == Tally(ok=100, failed=0, kinds={}, first_error=None)


@on_every_loop
@for_every_strategy
@pytest.mark.parametrize(("number", "limit"), [(0, 1), (0, 3), (2, 5), (5, 5), (6, 1), (12, 4)])
def test_takes_any_iterable_of_any_length(name: str, loop: str, number: int, limit: int) -> None:
    target = Target()
    tally = run(loop, load(name)(target.fetch, (item for item in range(number)), limit))
    assert sorted(target.finished) == list(range(number))
    assert tally.ok == number


# The limit


@on_every_loop
@for_every_strategy
def test_keeps_the_limit_and_starts_items_in_their_order(name: str, loop: str) -> None:
    target = Target(turns=5)
    run(loop, load(name)(target.fetch, range(60), 6))
    assert target.started == list(range(60))
    assert target.most_in_flight <= {"gather": 60, "sequential": 1}.get(name, 6)


@on_every_loop
@pytest.mark.parametrize("name", sorted(set(NAMES) - ONE_BY_ONE))
def test_fills_the_limit(name: str, loop: str) -> None:
    async def main() -> Tally:
        together = asyncio.Barrier(5)  # which opens only for five calls in flight
        return await load(name)(lambda _: together.wait(), range(20), 5)

    assert run(loop, main()).ok == 20


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3", None])
async def test_refuses_a_limit_that_is_no_whole_number_of_at_least_one(limit: Any) -> None:
    target = Target()
    with pytest.raises(BadInput, match=r"limit is .*whole number"):
        await load("worker_pool")(target.fetch, range(3), limit)
    assert target.started == []


# Memory


@on_every_loop
@pytest.mark.parametrize("name", sorted(FLAT))
def test_memory_does_not_grow_with_the_number_of_items(name: str, loop: str) -> None:
    target, ahead = Target(), []

    def items() -> Iterator[int]:
        for item in range(600):
            ahead.append(item - len(target.finished))
            yield item

    options = {"chunk_size": 6} if name == "chunked" else {}
    run(loop, load(name)(target.fetch, items(), 6, **options))
    assert target.most_tasks <= 6 + 3  # the test, the strategy, a producer
    assert target.most_kept <= 3 * 6  # in flight, just created, finished but not yet seen
    assert max(ahead) <= 3 * 6  # in flight, waiting in a queue, finished but not yet seen


@pytest.mark.parametrize("name", sorted(counted.TASK_FOR_EVERY_ITEM))
def test_some_create_a_task_for_every_item(name: str) -> None:
    target = Target()
    run("asyncio", load(name)(target.fetch, range(600), 6))
    assert target.most_tasks >= 600


# Errors


@on_every_loop
@for_every_strategy
@pytest.mark.parametrize("slowest", [0, 4])
def test_a_failing_item_stops_no_other(name: str, loop: str, slowest: int) -> None:
    target = Target(failing=range(0, 60, 3), turns=slowest)
    tally = run(loop, load(name)(target.fetch, range(60), 6))
    assert sorted(target.finished) == [item for item in range(60) if item % 3]
    assert (tally.ok, tally.failed, tally.kinds) == (40, 20, {"ValueError": 10, "KeyError": 10})
    assert isinstance(tally.first_error, ValueError | KeyError)


@on_every_loop
@for_every_strategy
def test_a_cancellation_that_nobody_asked_for_is_a_failed_item(name: str, loop: str) -> None:
    async def leaky(item: int) -> None:
        await turns(1)
        if item % 5 == 0:
            raise asyncio.CancelledError

    tally = run(loop, load(name)(leaky, range(30), 4))
    assert (tally.ok, tally.kinds) == (24, {"CancelledError": 6})


@on_every_loop
@for_every_strategy
def test_an_error_of_the_iterable_itself_comes_out(name: str, loop: str) -> None:
    def items() -> Iterator[int]:
        yield from range(8)
        raise LookupError("no more pages")

    async def main() -> None:
        try:
            await load(name)(Target().fetch, items(), 3)
        except* LookupError as group:
            errors.append(group)

    errors: list[BaseExceptionGroup[LookupError]] = []
    run(loop, main())
    assert "no more pages" in str(errors[0].exceptions[0])


# Options


@on_every_loop
def test_chunked_starts_a_chunk_when_the_last_one_is_done(loop: str) -> None:
    target, unfinished = Target(turns=5), []

    def items() -> Iterator[int]:
        for item in range(40):
            unfinished.append(item // 10 * 10 - len(target.finished))
            yield item

    run(loop, load("chunked")(target.fetch, items(), 4, chunk_size=10))
    assert max(unfinished) == 0


@on_every_loop
def test_priority_takes_the_lowest_class_first_and_equals_in_order(loop: str) -> None:
    async def main() -> list[int]:
        begun: list[int] = []
        go = asyncio.Event()

        async def fetch(item: int) -> None:
            begun.append(item)
            await go.wait()

        task = asyncio.ensure_future(load("priority")(fetch, range(10), 5, classes=3))
        await turns(counted.PLENTY)  # five items are in flight, and five wait
        go.set()
        await task
        return begun

    assert sorted((begun := run(loop, main()))[:5]) == list(range(5))
    assert begun[5:] == [6, 9, 7, 5, 8]


def test_priority_compares_no_items() -> None:
    items = [object(), {}, object(), None, {}]
    seen: list[object] = []

    async def fetch(item: object) -> None:
        seen.append(item)

    assert run("asyncio", load("priority")(fetch, items, 2, classes=2)).ok == 5
    assert all(item in seen for item in items)


@pytest.mark.parametrize(("name", "option", "value"), checks("strategies.toml", "refused"))
async def test_refuses_options_out_of_range(name: str, option: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"{option} is .*whole number"):
        await load(name)(Target().fetch, range(3), 2, **{option: value})


@on_every_loop
@pytest.mark.parametrize("maxsize", [1, 2, 50])
def test_pypeln_with_a_maxsize_calls_all_or_says_what_it_lost(loop: str, maxsize: int) -> None:
    target = Target()
    try:
        run(loop, load("pypeln")(target.fetch, range(60), 3, maxsize=maxsize))
    except TrialFailed as error:
        said = str(error)
    else:
        said = "pypeln lost 0 of 60 items"
    assert said.startswith(f"pypeln lost {60 - len(target.finished)} of 60 items")
    assert len(set(target.finished)) == len(target.finished)


# Properties


@on_every_loop
@for_every_strategy
@settings(max_examples=15)
@given(st.integers(0, 40), st.integers(1, 50), st.sets(st.integers(0, 39)), st.integers(0, 4))
def test_the_tally_adds_up(
    name: str, loop: str, number: int, limit: int, failing: set[int], slowest: int
) -> None:
    target = Target(failing, slowest)
    tally = run(loop, load(name)(target.fetch, range(number), limit))
    failed = failing & set(range(number))
    assert sorted(target.started) == list(range(number))
    assert sorted(target.finished) == sorted(set(range(number)) - failed)
    assert (tally.ok, tally.failed) == (number - len(failed), len(failed))
    assert sum(tally.kinds.values()) == tally.failed
    assert (tally.first_error is None) == (not failed)
    assert target.most_in_flight <= (number if name in counted.ALL_AT_ONCE else limit)


# A cancelled strategy cancels what it started, lets it clean up, and leaves nothing behind


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
