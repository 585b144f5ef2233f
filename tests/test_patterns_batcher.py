"""The batcher loses nothing, repeats nothing and keeps its bounds, whoever leaves or what fails."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from counted import PLENTY, clean, for_every_strategy, now, on_every_loop, run, turns, virtually
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.measured.patterns import Batcher, CallCancelled
from labkit.measured.strategies import load


@dataclass(kw_only=True)
class Service:
    """Answers many keys at once, but for those that are missing; some of its calls fail."""

    takes_s: Sequence[float] = (1.0,)
    failing: Collection[int] = ()
    missing: Collection[int] = ()
    sent: list[tuple[int, ...]] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    unwanted: list[int] = field(default_factory=list)
    waiting: Counter[int] = field(default_factory=Counter)
    ended: int = 0

    async def call(self, keys: tuple[int, ...]) -> Mapping[int, tuple[int, int]]:
        number = len(self.sent)
        self.sent.append(keys)
        self.sent_at.append(now())
        self.unwanted += [key for key in keys if not self.waiting[key]]
        try:
            await asyncio.sleep(self.takes_s[number % len(self.takes_s)])
        finally:
            self.ended += 1
        if number in self.failing:
            raise ConnectionError(number)
        return {key: (number, key) for key in keys if key not in self.missing}


async def asked(batcher: Batcher[int, Any], service: Service, key: int) -> Any:
    """What one caller gets: a value or an error."""
    service.waiting[key] += 1
    try:
        return await batcher.get(key)
    except (KeyError, ConnectionError) as error:
        return error
    finally:
        service.waiting[key] -= 1


@dataclass(frozen=True, kw_only=True)
class Caller:
    key: int
    at_s: int
    leaves_after_s: int | None


callers = st.builds(
    Caller,
    key=st.integers(0, 5),
    at_s=st.integers(0, 25),
    leaves_after_s=st.none() | st.integers(0, 12),
)


async def played(
    listed: Sequence[Caller], service: Service, max_size: int, delay_s: int
) -> list[tuple[float, Any]]:
    """When each caller asked, and what came of it."""
    batcher = Batcher(service.call, max_size=max_size, delay_s=delay_s)

    async def play(caller: Caller) -> tuple[float, Any]:
        await asyncio.sleep(caller.at_s)
        began, task = now(), asyncio.ensure_future(asked(batcher, service, caller.key))
        if caller.leaves_after_s is not None:
            asyncio.get_running_loop().call_later(caller.leaves_after_s, task.cancel)
        await asyncio.wait([task])
        return began, "left" if task.cancelled() else task.result()

    return list(await asyncio.gather(*map(play, listed)))


@given(
    listed=st.lists(callers, max_size=25),
    max_size=st.integers(1, 4),
    delay_s=st.integers(0, 6),
    takes_s=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    failing=st.sets(st.integers(0, 6)),
    missing=st.sets(st.integers(0, 5)),
)
def test_loses_nothing_repeats_nothing_and_keeps_its_bounds(
    listed: list[Caller],
    max_size: int,
    delay_s: int,
    takes_s: list[int],
    failing: set[int],
    missing: set[int],
) -> None:
    service = Service(takes_s=takes_s, failing=failing, missing=missing)
    outcomes = virtually(played(listed, service, max_size, delay_s))

    for caller, (began, came) in zip(listed, outcomes, strict=True):
        if came == "left":
            assert caller.leaves_after_s is not None
        elif isinstance(came, KeyError):
            assert caller.key in missing
        else:
            number = came.args[0] if isinstance(came, ConnectionError) else came[0]
            assert isinstance(came, ConnectionError) == (number in failing)
            assert isinstance(came, ConnectionError) or came == (number, caller.key)
            assert caller.key in service.sent[number]
            assert 0 <= service.sent_at[number] - began <= delay_s
    assert all(1 <= len(keys) <= max_size for keys in service.sent)
    assert all(len(set(keys)) == len(keys) for keys in service.sent)
    assert service.unwanted == []
    assert service.ended == len(service.sent)


@given(
    times=st.lists(st.integers(0, 25), min_size=1, max_size=30),
    max_size=st.integers(1, 5),
    delay_s=st.integers(0, 6),
)
def test_sends_a_batch_when_it_is_full_or_its_delay_is_over_and_not_before(
    times: list[int], max_size: int, delay_s: int
) -> None:
    service = Service()
    listed = [Caller(key=key, at_s=at, leaves_after_s=None) for key, at in enumerate(times)]
    virtually(played(listed, service, max_size, delay_s))

    for keys, sent_at in zip(service.sent, service.sent_at, strict=True):
        since_first = sent_at - min(times[key] for key in keys)
        assert len(keys) == max_size or since_first == delay_s
    assert sorted(key for keys in service.sent for key in keys) == list(range(len(times)))


@pytest.mark.parametrize(
    ("callers_at_once", "round_trips"),
    [
        pytest.param(100, 100, id="as many callers as a batch holds: each one fills at once"),
        pytest.param(1_000, 100, id="more callers: several batches at a time"),
        pytest.param(50, 200, id="fewer callers: no batch fills, and each waits for the delay"),
    ],
)
def test_ten_thousand_lookups(callers_at_once: int, round_trips: int) -> None:
    service = Service()
    batcher = Batcher(service.call, max_size=100, delay_s=2.0)

    async def main() -> float:
        await load("worker_pool")(batcher.get, range(10_000), callers_at_once)
        return now()

    took_s = virtually(main())
    rounds = 10_000 / callers_at_once
    assert len(service.sent) == round_trips
    assert took_s == rounds * (1.0 if callers_at_once >= 100 else 1.0 + 2.0)


@on_every_loop
@for_every_strategy
def test_is_a_fetch_for_every_strategy(name: str, loop: str) -> None:
    sent: list[tuple[int, ...]] = []

    async def call(keys: tuple[int, ...]) -> dict[int, int]:
        sent.append(keys)
        await turns(2)
        return dict.fromkeys(keys, 0)

    tally = run(loop, load(name)(Batcher(call, max_size=5, delay_s=0.001).get, range(60), 10))
    assert tally.ok == 60
    assert sorted(key for keys in sent for key in keys) == list(range(60))
    assert max(map(len, sent)) <= 5


# Sharing


async def test_callers_for_one_key_share_one_answer() -> None:
    service = Service(takes_s=[0])
    batcher = Batcher(service.call, delay_s=0)
    answers = await asyncio.gather(*(batcher.get(7) for _ in range(20)))
    assert answers == [(0, 7)] * 20
    assert service.sent == [(7,)]


# Failures


def test_a_failing_batch_fails_its_own_callers_alone() -> None:
    service = Service(failing=[0])

    async def main() -> list[Any]:
        batcher = Batcher(service.call, max_size=2)
        got = (asked(batcher, service, key) for key in range(4))
        return list(await asyncio.gather(*got))

    first, second, third, fourth = virtually(main())
    assert isinstance(first, ConnectionError)
    assert isinstance(second, ConnectionError)
    assert [third, fourth] == [(1, 2), (1, 3)]


@pytest.mark.parametrize("answer", [None, 3, ["a"]])
def test_an_answer_that_is_no_mapping_is_an_error_for_each_caller(answer: Any) -> None:
    async def call(keys: Any) -> Any:
        return answer

    async def main() -> list[BaseException]:
        batcher = Batcher(call)
        return await asyncio.gather(*(batcher.get("k") for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in virtually(main())] == [TypeError] * 3


def test_a_key_that_cannot_be_one_is_refused_and_harms_no_other() -> None:
    service = Service()

    async def main() -> Any:
        batcher: Batcher[Any, Any] = Batcher(service.call)
        with pytest.raises(TypeError, match="unhashable"):
            await batcher.get([1])
        await asyncio.sleep(5)
        assert service.sent == []
        return await batcher.get(1)

    assert virtually(main()) == (0, 1)


def test_a_call_cancelled_from_within_is_an_error_for_its_callers_and_no_cancellation() -> None:
    async def call(keys: Any) -> Any:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(CallCancelled, match="call again"):
            await Batcher(call).get(1)

    virtually(main())


# Leaving


def test_a_caller_that_leaves_takes_no_other_with_it() -> None:
    service = Service()

    async def main() -> Any:
        batcher = Batcher(service.call, delay_s=2)
        stays, leaves = (asyncio.ensure_future(batcher.get(1)) for _ in range(2))
        await asyncio.sleep(2.5)  # the batch is on its way
        leaves.cancel()
        return await stays

    assert virtually(main()) == (0, 1)
    assert service.ended == 1


@pytest.mark.parametrize("later", range(5))
def test_a_batch_that_all_have_left_is_not_sent_and_hinders_no_other(later: int) -> None:
    service = Service()

    async def main() -> Any:
        batcher = Batcher(service.call, delay_s=2)
        leaves = asyncio.ensure_future(batcher.get(1))
        await asyncio.sleep(1)
        leaves.cancel()
        await turns(later)  # the first batch is still there, being given up, or gone
        came = await batcher.get(2)
        assert now() == (3 if later == 0 else 4)
        return came

    assert virtually(main()) == (0, 2)
    assert service.sent == [(2,)]


@on_every_loop
def test_a_call_under_way_is_cancelled_by_the_last_to_leave_and_awaited(loop: str) -> None:
    cleaned: list[bool] = []

    async def call(keys: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(5)
            cleaned.append(True)

    async def main() -> None:
        task = asyncio.ensure_future(Batcher(call, max_size=1).get(1))
        await turns(PLENTY)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [True]

    run(loop, main())


async def test_keeps_no_answer_once_it_is_given() -> None:
    service = Service(takes_s=[0])
    batcher = Batcher(service.call, max_size=1)
    async with clean():
        await batcher.get(1)
        assert batcher._batch is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_size": 0}, "max_size is 0"),
        ({"max_size": 2.5}, "max_size is 2.5"),
        ({"max_size": True}, "max_size is True"),
        ({"delay_s": -1}, "delay_s is -1"),
        ({"delay_s": math.nan}, "delay_s is nan"),
        ({"delay_s": "1"}, "delay_s is '1'"),
    ],
)
def test_refuses_bounds_that_bound_nothing(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=f"{says}: it must be a"):
        Batcher(Service().call, **settings)
