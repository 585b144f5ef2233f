"""The weak cache: one load of a key at a time, nothing kept that nobody holds, no failure kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from counted import PLENTY, for_every_strategy, now, on_every_loop, run, turns, virtually
from hypothesis import given
from hypothesis import strategies as st

from labkit.measured.patterns import Box, CallCancelled, Unreferable, WeakCache, boxed
from labkit.measured.strategies import load


class Value:
    pass


@dataclass(kw_only=True)
class Source:
    """Loads values, and counts how many loads of each key there are at a time."""

    takes_s: Sequence[float] = (1,)
    cleans_s: float = 0
    failing: Collection[int] = ()
    begun: int = 0
    ended: int = 0
    loading: Counter[Any] = field(default_factory=Counter)
    most_of_one_key: int = 0

    async def load(self, key: Any) -> Value:
        number, self.begun = self.begun, self.begun + 1
        self.loading[key] += 1
        self.most_of_one_key = max(self.most_of_one_key, self.loading[key])
        try:
            await asyncio.sleep(self.takes_s[number % len(self.takes_s)])
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleans_s)
            raise
        finally:
            self.loading[key] -= 1
            self.ended += 1
        if number in self.failing:
            raise ConnectionError(number)
        return Value()


@dataclass(frozen=True, kw_only=True)
class Caller:
    key: int
    at_s: int
    holds_s: int
    leaves_after_s: int | None


callers = st.builds(
    Caller,
    key=st.integers(0, 2),
    at_s=st.integers(0, 25),
    holds_s=st.integers(0, 10),
    leaves_after_s=st.none() | st.integers(0, 8),
)


@given(
    listed=st.lists(callers, max_size=20),
    takes_s=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    cleans_s=st.integers(0, 5),
    failing=st.sets(st.integers(0, 8)),
)
def test_never_runs_two_loads_of_one_key_and_leaves_no_caller_behind(
    listed: list[Caller], takes_s: list[int], cleans_s: int, failing: set[int]
) -> None:
    source = Source(takes_s=takes_s, cleans_s=cleans_s, failing=failing)
    cache = WeakCache(source.load)
    held: dict[int, list[Value]] = {}

    async def ask(caller: Caller) -> str:
        try:
            value = await cache.get(caller.key)
        except ConnectionError:
            return "failed"
        # As long as anybody holds a value, everybody gets the same.
        assert all(value is other for other in held.setdefault(caller.key, []))
        held[caller.key].append(value)
        try:
            await asyncio.sleep(caller.holds_s)
        finally:
            held[caller.key].remove(value)
        return "got"

    async def play(caller: Caller) -> str:
        await asyncio.sleep(caller.at_s)
        task = asyncio.ensure_future(ask(caller))
        if caller.leaves_after_s is not None:
            asyncio.get_running_loop().call_later(caller.leaves_after_s, task.cancel)
        await asyncio.wait([task])
        return "left" if task.cancelled() else task.result()

    async def main() -> list[str]:
        return list(await asyncio.gather(*map(play, listed)))

    outcomes = virtually(main())
    for caller, came in zip(listed, outcomes, strict=True):
        assert came != "left" or caller.leaves_after_s is not None
        assert came != "failed" or failing
    assert source.most_of_one_key <= 1
    assert source.begun == source.ended
    assert (len(cache), cache.loading) == (0, 0)


@on_every_loop
@for_every_strategy
def test_is_a_fetch_for_every_strategy(name: str, loop: str) -> None:
    source = Source(takes_s=[0])
    cache = WeakCache(source.load)
    assert run(loop, load(name)(cache.get, (item % 7 for item in range(60)), 10)).ok == 60
    assert source.most_of_one_key == 1
    assert (len(cache), cache.loading) == (0, 0)


# What is kept


async def test_all_who_ask_at_once_get_the_same_value_of_one_load() -> None:
    source = Source(takes_s=[0])
    values = await asyncio.gather(*map(WeakCache(source.load).get, [1] * 20))
    assert source.begun == 1
    assert all(value is values[0] for value in values)


async def test_an_entry_lives_as_long_as_its_value_is_held() -> None:
    source = Source(takes_s=[0])
    cache = WeakCache(source.load)
    value: Value | None = await cache.get(1)
    assert await cache.get(1) is value
    assert (len(cache), source.begun) == (1, 1)
    value = None
    assert value is None
    assert len(cache) == 0
    await cache.get(1)
    assert source.begun == 2


@pytest.mark.parametrize("value", ["text", b"bytes", 3, 0.5, None, (), [1], {"a": 1}, True])
async def test_a_value_without_weak_references_is_refused_or_comes_in_a_box(value: Any) -> None:
    async def load_it(key: str) -> Any:
        return value

    with pytest.raises(Unreferable, match=f"'k' is of type {type(value).__name__}.*boxed"):
        await WeakCache(load_it).get("k")
    cache = WeakCache(boxed(load_it))
    box = await cache.get("k")
    assert isinstance(box, Box)
    assert box.value is value
    assert await cache.get("k") is box
    assert len(cache) == 1
    del box
    assert len(cache) == 0


async def test_a_key_that_cannot_be_one_is_refused() -> None:
    source = Source()
    cache = WeakCache(source.load)
    with pytest.raises(TypeError, match="unhashable"):
        await cache.get([1])
    assert (source.begun, cache.loading) == (0, 0)


# Failures


def test_a_failure_reaches_all_who_waited_and_is_not_remembered() -> None:
    source = Source(failing=[0])
    cache = WeakCache(source.load)

    async def main() -> Any:
        waited = await asyncio.gather(*(cache.get(1) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in waited] == [ConnectionError] * 3
        await turns(2)
        assert cache.loading == 0
        return await cache.get(1)

    assert isinstance(virtually(main()), Value)
    assert source.begun == 2


def test_a_load_cancelled_from_within_is_an_error_and_no_cancellation() -> None:
    async def leaky(key: int) -> Value:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(CallCancelled, match="call again"):
            await WeakCache(leaky).get(1)

    virtually(main())


# Leaving


def test_one_who_leaves_does_not_cancel_the_load_for_others() -> None:
    source = Source()
    cache = WeakCache(source.load)

    async def main() -> Any:
        first, second = (asyncio.ensure_future(cache.get(1)) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        return await second

    assert isinstance(virtually(main()), Value)
    assert (source.begun, source.ended) == (1, 1)


def test_who_comes_while_an_abandoned_load_is_ending_waits_and_loads_anew() -> None:
    source = Source(takes_s=[10], cleans_s=5)
    cache = WeakCache(source.load)

    async def main() -> Any:
        first = asyncio.ensure_future(cache.get(1))
        await asyncio.sleep(2)
        first.cancel()
        await asyncio.sleep(1)  # the first load is being given up until 7
        value = await cache.get(1)
        assert now() == 2 + 5 + 10
        return value

    assert isinstance(virtually(main()), Value)
    assert source.most_of_one_key == 1


@on_every_loop
@pytest.mark.parametrize("after", range(PLENTY))
def test_leaving_at_any_turn_leaves_nothing_behind(loop: str, after: int) -> None:
    async def main() -> None:
        source = Source(takes_s=[0])
        cache = WeakCache(source.load)
        task = asyncio.ensure_future(cache.get(1))
        await turns(after)
        task.cancel()
        await asyncio.wait([task])
        await turns(2)
        assert source.begun == source.ended
        assert cache.loading == 0

    run(loop, main())
