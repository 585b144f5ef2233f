"""Streams and chunks: everything comes once, in bounded memory, and nothing is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Any

import pytest
from counted import Stuck, Target, now, on_every_loop, run, started, turns, virtually
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.measured.patterns import as_completed, in_chunks, in_order
from labkit.measured.strategies import strategy

Stream = Callable[..., Any]
either = pytest.mark.parametrize("stream", [in_order, as_completed], ids=["in order", "completed"])

# Chunks


@given(number=st.integers(0, 60), size=st.integers(1, 20))
def test_chunks_hold_everything_in_order(number: int, size: int) -> None:
    chunks = list(in_chunks(range(number), size))
    assert [item for chunk in chunks for item in chunk] == list(range(number))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks[-1:])


def test_chunks_are_taken_when_they_are_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1 << 40):
            taken.append(item)
            yield item

    assert list(islice(in_chunks(items(), 3), 2)) == [(0, 1, 2), (3, 4, 5)]
    assert taken == [0, 1, 2, 3, 4, 5]


def test_refuses_empty_chunks_at_once() -> None:
    with pytest.raises(BadInput, match="size is 0"):
        in_chunks([], 0)


def test_a_barrier_costs_the_slowest_of_each_chunk_and_a_stream_has_none() -> None:
    takes_s = [1.0, 1.0, 1.0, 9.0] * 5

    async def fetch(item: int) -> None:
        await asyncio.sleep(takes_s[item])

    async def with_barrier() -> float:
        for chunk in in_chunks(range(20), 4):
            await asyncio.gather(*map(fetch, chunk))
        return now()

    async def without() -> float:
        async for _ in as_completed(fetch, range(20), 4):
            pass
        return now()

    assert virtually(with_barrier()) == 5 * 9
    assert virtually(without()) <= sum(takes_s) / 4 + 9


@on_every_loop
def test_calls_for_chunks_may_be_streamed_too(loop: str) -> None:
    async def fetch_many(chunk: tuple[int, ...]) -> int:
        await turns(chunk[0] % 3)
        return sum(chunk)

    async def main() -> int:
        total = 0
        async for chunk, result in as_completed(fetch_many, in_chunks(range(50), 7), 3):
            assert result == sum(chunk)
            total += result
        return total

    assert run(loop, main()) == sum(range(50))


# Streams


@either
@given(
    takes_s=st.lists(st.integers(0, 6), max_size=40),
    limit=st.integers(1, 6),
    pace_s=st.integers(0, 4),
)
def test_everything_comes_once_in_bounded_memory(
    stream: Stream, takes_s: list[int], limit: int, pace_s: int
) -> None:
    read = held = most_held = in_flight = most_in_flight = 0
    ended_at: dict[int, float] = {}

    def items() -> Iterator[int]:
        nonlocal read, held, most_held
        for item in range(len(takes_s)):
            read, held = read + 1, held + 1
            most_held = max(most_held, held)
            yield item

    async def fetch(item: int) -> int:
        nonlocal in_flight, most_in_flight
        in_flight += 1
        most_in_flight = max(most_in_flight, in_flight)
        await asyncio.sleep(takes_s[item])
        in_flight -= 1
        ended_at[item] = now()
        return item * item

    async def main() -> list[int]:
        nonlocal held
        got = []
        async for item, result in stream(fetch, items(), limit):
            assert result == item * item
            got.append(item)
            await asyncio.sleep(pace_s)
            held -= 1
        return got

    got = virtually(main())
    assert sorted(got) == list(range(len(takes_s)))
    assert got == sorted(got) if stream is in_order else True
    if stream is as_completed:
        assert [ended_at[item] for item in got] == sorted(ended_at.values())
    assert most_in_flight <= limit
    assert most_held <= limit


@either
@on_every_loop
def test_reads_no_further_than_its_limit(stream: Stream, loop: str) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        item = 0
        while True:
            taken.append(item)
            yield item
            item += 1

    async def main() -> list[int]:
        async with aclosing(stream(Target().fetch, endless(), 5)) as results:
            return [item async for item, _ in _first(results, 10)]

    assert len(run(loop, main())) == 10
    assert len(taken) <= 10 + 5


async def _first(results: Any, number: int) -> Any:
    for _ in range(number):
        yield await anext(results)


@either
@on_every_loop
def test_who_leaves_early_leaves_nothing_running(stream: Stream, loop: str) -> None:
    target = Stuck()

    async def main() -> None:
        async def read() -> None:
            async with aclosing(stream(target.fetch, range(100), 7)) as results:
                async for _ in results:
                    pass

        task = asyncio.ensure_future(read())
        await started(target, 7)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(target.cleaned_up) == list(range(7))

    run(loop, main())


@either
@on_every_loop
def test_the_first_failure_comes_out_and_ends_the_rest(stream: Stream, loop: str) -> None:
    async def fetch(item: int) -> int:
        await turns(1)
        if item == 3:
            raise ConnectionError(item)
        if item > 3:
            await asyncio.Event().wait()
        return item

    async def main() -> None:
        results = stream(fetch, range(100), 4)
        assert [item async for item, _ in _first(results, 3)] == [0, 1, 2]
        with pytest.raises(ConnectionError):
            await anext(results)

    run(loop, main())


@either
async def test_refuses_a_limit_below_one(stream: Stream) -> None:
    with pytest.raises(BadInput, match="limit is 0"):
        async for _ in stream(Target().fetch, range(3), 0):
            pass


@either
@on_every_loop
def test_is_a_strategy_in_three_lines(stream: Stream, loop: str) -> None:
    @strategy
    async def streamed(fetch: Any, items: Any, limit: int) -> None:
        async for _ in stream(fetch, items, limit):
            pass

    target = Target(failing=[5])
    tally = run(loop, streamed(target.fetch, range(60), 6))
    assert (tally.ok, tally.failed) == (59, 1)
    assert target.most_in_flight <= 6
