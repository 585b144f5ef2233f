"""Priorities: the lowest number first, equals in their order, and no place lost to who leaves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from counted import Target, for_every_strategy, now, on_every_loop, run, turns, virtually
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.measured.experiments import as_printed as experiment
from labkit.measured.patterns import PriorityQueue, PrioritySlots, prioritised
from labkit.measured.strategies import load

# The queue


@given(priorities=st.lists(st.integers(-3, 3), max_size=60))
async def test_gives_the_lowest_first_and_equals_in_their_order(priorities: list[int]) -> None:
    queue: PriorityQueue[int] = PriorityQueue()
    for place, priority in enumerate(priorities):
        await queue.put(priority, place)
    got = [await queue.get() for _ in priorities]
    assert got == sorted(range(len(priorities)), key=priorities.__getitem__)  # sorted is stable
    assert len(queue) == 0


@given(script=st.lists(st.none() | st.integers(0, 2), max_size=80))
async def test_stays_fair_while_it_is_filled_and_emptied(script: list[int | None]) -> None:
    queue: PriorityQueue[int] = PriorityQueue()
    waiting: list[tuple[int, int]] = []  # the oracle: no heap, no tickets
    for place, step in enumerate(script):
        if step is not None:
            await queue.put(step, place)
            waiting.append((step, place))
        elif waiting:
            first = min(waiting, key=lambda one: one[0])
            waiting.remove(first)
            assert await queue.get() == first[1]
    assert len(queue) == len(waiting)


async def test_compares_no_items() -> None:
    items: list[Any] = [object(), {}, None, object(), {}]
    queue: PriorityQueue[Any] = PriorityQueue()
    for item in items:
        await queue.put(0, item)
    assert [await queue.get() for _ in items] == items


def test_the_printed_form_lets_equals_overtake_each_other() -> None:
    async def order(queue: Any) -> list[int]:
        for piece in range(5):
            await queue.put(0, piece)
        return [await queue.get() for _ in range(5)]

    assert virtually(order(PriorityQueue())) == [0, 1, 2, 3, 4]
    assert virtually(order(experiment.QUEUES["printed"]())) == [0, 2, 4, 1, 3]


@on_every_loop
def test_with_a_maxsize_waits_for_room(loop: str) -> None:
    async def main() -> list[str]:
        queue: PriorityQueue[str] = PriorityQueue(1)
        await queue.put(1, "first")
        waits = asyncio.ensure_future(queue.put(0, "urgent, but behind a full queue"))
        await turns(3)
        assert not waits.done()
        got = [await queue.get()]
        await waits
        return [*got, await queue.get()]

    assert run(loop, main()) == ["first", "urgent, but behind a full queue"]


# The slots


@dataclass(frozen=True, kw_only=True)
class Caller:
    priority: int
    at_s: int
    takes_s: int
    leaves_after_s: int | None


callers = st.builds(
    Caller,
    priority=st.integers(0, 2),
    at_s=st.integers(0, 12),
    takes_s=st.integers(0, 6),
    leaves_after_s=st.none() | st.integers(0, 10),
)


@given(listed=st.lists(callers, max_size=25), number=st.integers(1, 3))
def test_slots_are_bounded_fair_and_never_lost(listed: list[Caller], number: int) -> None:
    slots = PrioritySlots(number)
    waiting: dict[int, Caller] = {}  # by place, in the order in which they came
    inside: set[int] = set()

    def could_have_been_next(other: Caller) -> bool:
        """It was there before this instant, and does not leave at this instant."""
        return other.at_s < now() and other.at_s + (other.leaves_after_s or 100) != now()

    async def call(place: int, caller: Caller) -> None:
        waiting[place] = caller
        try:
            async with slots.at(caller.priority):
                del waiting[place]
                inside.add(place)
                assert len(inside) <= number
                for other, one in waiting.items():
                    if could_have_been_next(one):
                        assert (one.priority, other) > (caller.priority, place)
                await asyncio.sleep(caller.takes_s)
        finally:
            waiting.pop(place, None)
            inside.discard(place)

    async def main() -> list[Any]:
        tasks = []
        for place, caller in enumerate(sorted(listed, key=lambda one: one.at_s)):
            await asyncio.sleep(caller.at_s - now())
            tasks.append(task := asyncio.ensure_future(call(place, caller)))
            if caller.leaves_after_s is not None:
                asyncio.get_running_loop().call_later(caller.leaves_after_s, task.cancel)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert slots.waiting == 0
        places = [slots.at(0) for _ in range(number)]
        for place in places:  # each is free again, or this is a deadlock
            await place.__aenter__()
        for place in places:
            await place.__aexit__(None, None, None)
        return ended

    came = virtually(main())
    assert {type(one) for one in came} <= {type(None), asyncio.CancelledError}


def test_a_place_that_comes_with_a_cancellation_goes_to_the_next() -> None:
    async def main() -> None:
        slots = PrioritySlots(1)

        async def enter() -> str:
            async with slots.at(0):
                return "was in"

        async with slots.at(0):
            first, second = (asyncio.ensure_future(enter()) for _ in range(2))
            await turns(2)
        first.cancel()  # its turn has come, and it does not know yet
        assert await second == "was in"
        assert first.cancelled()

    virtually(main())


def test_a_thousand_who_left_are_forgotten_while_the_place_is_taken() -> None:
    async def main() -> None:
        slots = PrioritySlots(1)

        async def enter(priority: int) -> None:
            async with slots.at(priority):
                pass

        async with slots.at(0):
            tasks = [asyncio.ensure_future(enter(place % 3)) for place in range(1_000)]
            await turns(2)
            assert slots.waiting == 1_000
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert slots.waiting == 0

    virtually(main())


# Around a fetch


@on_every_loop
@for_every_strategy
def test_is_a_fetch_for_every_strategy(name: str, loop: str) -> None:
    target = Target(turns=4)

    async def main() -> Any:
        fetch = prioritised(target.fetch, PrioritySlots(3), lambda item: item % 2)
        return await load(name)(fetch, range(60), 10)

    assert run(loop, main()).ok == 60
    assert sorted(target.finished) == list(range(60))
    assert target.most_in_flight <= 3


def test_urgent_items_overtake_those_that_wait() -> None:
    begun: list[int] = []

    async def fetch(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(1)

    fetch_in_turn = prioritised(fetch, PrioritySlots(2), lambda item: 0 if item % 5 == 4 else 1)
    tally = virtually(load("worker_pool")(fetch_in_turn, range(15), 15))
    assert tally.ok == 15
    assert begun == [0, 1, 4, 9, 14, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
async def test_refuses_a_number_of_places_below_one(number: Any) -> None:
    with pytest.raises(BadInput, match=r"number is .*whole number of at least 1"):
        PrioritySlots(number)


@pytest.mark.parametrize("priority", [0.5, "1", None, True])
async def test_refuses_a_priority_that_is_no_whole_number(priority: Any) -> None:
    with pytest.raises(BadInput, match=r"priority is .*whole number"):
        await PriorityQueue[str]().put(priority, "item")
    with pytest.raises(BadInput, match=r"priority is .*whole number"):
        async with PrioritySlots(1).at(priority):
            pass
