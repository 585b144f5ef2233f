"""Patterns lose nothing, repeat nothing and keep their bounds, whoever leaves or what fails."""

import asyncio
import gc
import inspect
import math
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import counted
import pytest
from clocks import Caller, callers, played
from counted import PLENTY, Stuck, Target, cancel, now, on_every_loop, run, turns, virtually
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.measured import patterns
from labkit.measured.patterns import Batcher, PriorityQueue, PrioritySlots, WeakCache
from labkit.measured.strategies import load, strategy

Stream = Callable[..., Any]
either = pytest.mark.parametrize("stream", [patterns.in_order, patterns.as_completed])


class Value:
    """What a key is loaded to; it can be referred to weakly."""


@dataclass(kw_only=True)
class Service:
    """Answers calls for keys after their times, but for missing keys; some calls fail."""

    takes_s: Sequence[float] = (1.0,)
    cleans_s: float = 0
    failing: Collection[int] = ()
    missing: Collection[int] = ()
    sent: list[tuple[Any, ...]] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    asked_now: Counter[Any] = field(default_factory=Counter)
    most_of_one_key: int = 0
    ended: int = 0

    async def call(self, keys: tuple[Any, ...]) -> Mapping[Any, tuple[int, Any]]:
        number = len(self.sent)
        self.sent.append(keys)
        self.sent_at.append(now())
        self.asked_now.update(keys)
        self.most_of_one_key = max(self.most_of_one_key, *self.asked_now.values())
        try:
            await asyncio.sleep(self.takes_s[number % len(self.takes_s)])
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleans_s)
            raise
        finally:
            self.asked_now.subtract(keys)
            self.ended += 1
        if number in self.failing:
            raise ConnectionError(number)
        return {key: (number, key) for key in keys if key not in self.missing}

    async def load(self, key: Any) -> Value:
        await self.call((key,))
        return Value()


def batched(service: Service) -> Any:
    return Batcher(service.call, delay_s=2).get


def cached(service: Service) -> Any:
    return WeakCache(service.load).get


shared = pytest.mark.parametrize("fetch_over", [batched, cached])
times_s = st.lists(st.integers(0, 8), min_size=1, max_size=3)
services = st.builds(
    Service, takes_s=times_s, failing=st.sets(st.integers(0, 8)), missing=st.sets(st.integers(0, 5))
)


# Around a fetch


def batching(target: Target) -> Any:
    async def call(keys: tuple[int, ...]) -> dict[int, Any]:
        assert len(keys) <= 5
        await asyncio.gather(*map(target.fetch, keys))
        return dict.fromkeys(keys)

    return Batcher(call, max_size=5, delay_s=0.001).get


def caching(target: Target) -> Any:
    return WeakCache(patterns.boxed(target.fetch)).get


def in_turn(target: Target) -> Any:
    return patterns.prioritised(target.fetch, PrioritySlots(3), lambda item: item % 2)


@on_every_loop
@counted.for_every_strategy
@pytest.mark.parametrize(("wrap", "most"), [(batching, 60), (caching, 60), (in_turn, 3)])
def test_is_a_fetch_for_every_strategy(wrap: Any, most: int, name: str, loop: str) -> None:
    target = Target(turns=4)

    async def main() -> Any:
        return await load(name)(wrap(target), range(60), 10)

    assert run(loop, main()).ok == 60
    assert sorted(target.finished) == list(range(60))
    assert target.most_in_flight <= most


# Calls that are shared: batches, and loads of a cache


@shared
def test_callers_for_one_key_share_one_call(fetch_over: Any) -> None:
    service = Service()
    fetch = fetch_over(service)

    async def main() -> None:
        answers = await asyncio.gather(*map(fetch, [7] * 20))
        assert all(answer is answers[0] for answer in answers)

    virtually(main())
    assert service.sent == [(7,)]


@shared
def test_a_failure_reaches_all_who_waited_and_is_not_remembered(fetch_over: Any) -> None:
    service = Service(failing=[0])
    fetch = fetch_over(service)

    async def main() -> Any:
        waited = await asyncio.gather(*map(fetch, [1] * 3), return_exceptions=True)
        assert [type(one) for one in waited] == [ConnectionError] * 3
        return await fetch(1)

    assert virtually(main()) is not None
    assert service.sent == [(1,)] * 2


@shared
def test_a_call_cancelled_from_within_is_an_error_and_no_cancellation(fetch_over: Any) -> None:
    service = Service()

    async def leaky(_: object) -> Any:
        raise asyncio.CancelledError

    service.call = leaky  # type: ignore[method-assign]

    async def main() -> None:
        with pytest.raises(patterns.CallCancelled, match="call again"):
            await fetch_over(service)(1)

    virtually(main())


@shared
def test_a_key_that_cannot_be_one_is_refused_and_harms_no_other(fetch_over: Any) -> None:
    service = Service()

    async def main() -> None:
        with pytest.raises(TypeError, match="unhashable"):
            await fetch_over(service)([1])
        await asyncio.sleep(5)

    virtually(main())
    assert service.sent == []


@shared
def test_a_failure_that_nobody_waits_for_any_more_is_not_reported(fetch_over: Any) -> None:
    async def leave(after: int) -> None:
        task = asyncio.ensure_future(fetch_over(Service(failing=[0]))(1))
        await asyncio.sleep(3 if fetch_over is batched else 1)
        await turns(after)  # the call fails before that, after that, or in this very turn
        task.cancel()
        await asyncio.wait([task])

    for after in range(PLENTY):
        virtually(leave(after))


@on_every_loop
@pytest.mark.parametrize("fetch_of", [lambda it: Batcher(it.call, max_size=1).get, cached])
def test_a_call_under_way_is_cancelled_by_the_last_to_leave_and_awaited(
    fetch_of: Any, loop: str
) -> None:
    async def leave(fetch: Any, after: int) -> None:
        task = asyncio.ensure_future(fetch(1))
        await turns(after)
        await cancel(task)

    for after in range(PLENTY):
        service = Service(takes_s=[60], cleans_s=0.001)
        run(loop, leave(fetch_of(service), after))
        assert service.ended == len(service.sent)


# The batcher


@given(callers(keys=6), st.integers(1, 4), st.integers(0, 6), services)
def test_a_batcher_loses_nothing_repeats_nothing_and_keeps_its_bounds(
    listed: list[Caller], size: int, delay_s: int, service: Service
) -> None:
    waiting, unwanted = Counter[int](), list[int]()

    async def call(keys: tuple[int, ...]) -> Any:
        unwanted.extend(key for key in keys if not waiting[key])
        return await service.call(keys)

    batcher = Batcher(call, max_size=size, delay_s=delay_s)

    async def ask(caller: Caller) -> tuple[float, Any]:
        began = now()
        waiting[caller.key] += 1
        try:
            return began, await batcher.get(caller.key)
        except (KeyError, ConnectionError) as error:
            return began, error
        finally:
            waiting[caller.key] -= 1

    for caller, outcome in zip(listed, virtually(played(listed, ask)), strict=True):
        if outcome == "left":
            assert caller.leaves_after_s is not None
            continue
        began, came = outcome
        if isinstance(came, KeyError):
            assert caller.key in service.missing
            continue
        failed = isinstance(came, ConnectionError)
        number = came.args[0] if failed else came[0]
        assert failed == (number in service.failing)
        assert failed or came == (number, caller.key)
        assert caller.key in service.sent[number]
        assert 0 <= service.sent_at[number] - began <= delay_s
    assert all(1 <= len(keys) <= size for keys in service.sent)
    assert all(len(set(keys)) == len(keys) for keys in service.sent)
    assert unwanted == []
    assert service.ended == len(service.sent)


@given(st.lists(st.integers(0, 25), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 6))
def test_sends_a_batch_when_it_is_full_or_its_delay_is_over_and_not_before(
    times: list[int], size: int, delay_s: int
) -> None:
    service = Service()
    batcher = Batcher(service.call, max_size=size, delay_s=delay_s)
    listed = [Caller(key=i, at_s=at, takes_s=0, leaves_after_s=None) for i, at in enumerate(times)]
    virtually(played(listed, lambda caller: batcher.get(caller.key)))

    for keys, sent_at in zip(service.sent, service.sent_at, strict=True):
        since_first = sent_at - min(times[key] for key in keys)
        assert len(keys) == size or since_first == delay_s
    assert sorted(key for keys in service.sent for key in keys) == list(range(len(times)))


@pytest.mark.parametrize("answer", [None, 3, ["a"]])
def test_an_answer_that_is_no_mapping_is_an_error_for_each_caller(answer: Any) -> None:
    async def call(_: Any) -> Any:
        return answer

    async def main() -> list[BaseException]:
        return await asyncio.gather(*map(Batcher(call).get, "kkk"), return_exceptions=True)

    assert [type(one) for one in virtually(main())] == [TypeError] * 3


@pytest.mark.parametrize("later", range(5))
def test_a_batch_that_all_have_left_is_not_sent_and_hinders_no_other(later: int) -> None:
    service = Service()

    async def main() -> Any:
        fetch = batched(service)
        leaves = asyncio.ensure_future(fetch(1))
        await asyncio.sleep(1)
        leaves.cancel()
        await turns(later)  # the first batch is still there, being given up, or gone
        came = await fetch(2)
        assert now() == (3 if later == 0 else 4)
        return came

    assert virtually(main()) == (0, 2)
    assert service.sent == [(2,)]


def test_a_batcher_keeps_no_answer_once_it_is_given() -> None:
    async def call(keys: tuple[int, ...]) -> dict[int, Value]:
        return {key: Value() for key in keys}

    async def main() -> None:
        answer = weakref.ref(await batcher.get(1))
        gc.collect()
        assert answer() is None

    batcher = Batcher(call, max_size=1, delay_s=60)
    virtually(main())


def test_a_batch_has_100_keys_or_waits_10_ms_where_nothing_is_said() -> None:
    service = Service()
    virtually(played_at_once(Batcher(service.call).get, range(150)))
    assert [len(keys) for keys in service.sent] == [100, 50]
    assert service.sent_at == [0, 0.01]


async def played_at_once(fetch: Any, keys: Any) -> None:
    await asyncio.gather(*map(fetch, keys))


# The weak cache


@given(callers(keys=3), services, st.integers(0, 5))
def test_a_cache_never_runs_two_loads_of_one_key_and_leaves_no_caller_behind(
    listed: list[Caller], service: Service, cleans_s: int
) -> None:
    service.cleans_s = cleans_s
    cache = WeakCache(service.load)
    in_use: dict[int, list[Value]] = {}

    async def ask(caller: Caller) -> str:
        try:
            value = await cache.get(caller.key)
        except ConnectionError:
            return "failed"
        # As long as anybody uses a value, everybody gets the same.
        assert all(value is other for other in in_use.setdefault(caller.key, []))
        in_use[caller.key].append(value)
        try:
            await asyncio.sleep(caller.takes_s)
        finally:
            in_use[caller.key].remove(value)
        return "got"

    for caller, came in zip(listed, virtually(played(listed, ask)), strict=True):
        assert came != "left" or caller.leaves_after_s is not None
        assert came != "failed" or service.failing
    assert service.most_of_one_key <= 1
    assert service.ended == len(service.sent)
    assert (len(cache), cache.loading) == (0, 0)


async def test_an_entry_lives_as_long_as_its_value_is_in_use() -> None:
    service = Service(takes_s=[0])
    cache = WeakCache(service.load)
    value: Value | None = await cache.get(1)
    assert await cache.get(1) is value
    assert (len(cache), len(service.sent)) == (1, 1)
    value = None
    assert (value, len(cache)) == (None, 0)
    await cache.get(1)
    assert len(service.sent) == 2


@pytest.mark.parametrize("value", ["text", b"bytes", 3, 0.5, None, (), [1], {"a": 1}, True])
async def test_a_value_without_weak_references_is_refused_or_comes_in_a_box(value: Any) -> None:
    async def load_it(_: str) -> Any:
        return value

    with pytest.raises(patterns.Unreferable, match=f"'k' is of type {type(value).__name__}.*boxed"):
        await WeakCache(load_it).get("k")
    cache = WeakCache(patterns.boxed(load_it))
    box = await cache.get("k")
    assert isinstance(box, patterns.Box)
    assert box.value is value
    assert await cache.get("k") is box
    assert len(cache) == 1
    del box
    assert len(cache) == 0


def test_who_comes_while_an_abandoned_load_is_ending_waits_and_loads_anew() -> None:
    service = Service(takes_s=[10], cleans_s=5)

    async def main() -> None:
        fetch = cached(service)
        first = asyncio.ensure_future(fetch(1))
        await asyncio.sleep(2)
        first.cancel()
        await asyncio.sleep(1)  # the first load is being given up until 7
        await fetch(1)
        assert now() == 2 + 5 + 10

    virtually(main())
    assert service.most_of_one_key == 1


# The priority queue


@given(script=st.lists(st.none() | st.integers(-3, 3), max_size=80))
async def test_the_lowest_comes_first_and_equals_in_their_order(script: list[int | None]) -> None:
    queue: PriorityQueue[Any] = PriorityQueue()
    waiting: list[tuple[int, object]] = []  # the oracle: no heap, no tickets
    for step in [*script, *[None] * len(script)]:
        if step is not None:
            item = object()  # cannot be compared
            await queue.put(step, item)
            waiting.append((step, item))
        elif waiting:
            first = min(waiting, key=lambda one: one[0])
            waiting.remove(first)
            assert await queue.get() is first[1]
    assert len(queue) == len(waiting) == 0


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


@given(listed=callers(keys=3), number=st.integers(1, 3))
def test_slots_are_bounded_fair_and_never_lost(listed: list[Caller], number: int) -> None:
    slots = PrioritySlots(number)
    waiting: dict[int, Caller] = {}  # by place, in the order in which they came
    inside: set[int] = set()
    places = iter(range(len(listed)))

    def could_have_been_next(other: Caller) -> bool:
        """It was there before this instant, and does not leave at this instant."""
        return other.at_s < now() and other.at_s + (other.leaves_after_s or 100) != now()

    async def call(caller: Caller) -> None:
        place = next(places)
        waiting[place] = caller
        waited: list[bool] = []
        asyncio.get_running_loop().call_soon(waited.append, True)
        try:
            async with slots.at(caller.key):
                # Who enters at once finds nobody without a slot: others may not know theirs yet.
                assert waited or slots.waiting == 0
                del waiting[place]
                inside.add(place)
                assert len(inside) <= number
                for other, one in waiting.items():
                    if waited and could_have_been_next(one):
                        assert (one.key, other) > (caller.key, place)
                await asyncio.sleep(caller.takes_s)
        finally:
            waiting.pop(place, None)
            inside.discard(place)

    async def main() -> list[Any]:
        ended = await played(listed, call)
        assert slots.waiting == 0
        async with AsyncExitStack() as stack:  # each is free again, or this is a deadlock
            for _ in range(number):
                await stack.enter_async_context(slots.at(0))
        return ended

    assert set(virtually(main())) <= {None, "left"}


@pytest.mark.parametrize("leaving", [1, 1_000])
def test_a_slot_that_comes_with_a_cancellation_goes_to_the_next(leaving: int) -> None:
    async def main() -> None:
        slots = PrioritySlots(1)

        async def enter(priority: int) -> str:
            async with slots.at(priority):
                return "was in"

        async with slots.at(0):
            first, second, *others = (
                asyncio.ensure_future(enter(place % 3)) for place in (0, 0, *range(leaving))
            )
            await turns(2)
            assert slots.waiting == leaving + 2
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            assert slots.waiting == 2  # those who left are forgotten
        first.cancel()  # its turn has come, and it does not know yet
        assert await second == "was in"
        assert first.cancelled()

    virtually(main())


def test_urgent_items_overtake_those_that_wait() -> None:
    begun: list[int] = []

    async def fetch(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(1)

    fetch_in_turn = patterns.prioritised(fetch, PrioritySlots(2), lambda item: int(item % 5 != 4))
    assert virtually(load("worker_pool")(fetch_in_turn, range(15), 15)).ok == 15
    assert begun == [0, 1, 4, 9, 14, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]


# Chunks


@given(number=st.integers(0, 60), size=st.integers(1, 20))
def test_chunks_hold_everything_in_order(number: int, size: int) -> None:
    chunks = list(patterns.in_chunks(range(number), size))
    assert [item for chunk in chunks for item in chunk] == list(range(number))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks[-1:])


def test_chunks_are_taken_when_they_are_asked_for() -> None:
    source = iter(range(1 << 40))
    assert list(islice(patterns.in_chunks(source, 3), 2)) == [(0, 1, 2), (3, 4, 5)]
    assert next(source) == 6


def test_a_barrier_costs_the_slowest_of_each_chunk_and_a_stream_has_none() -> None:
    takes_s = [1.0, 1.0, 1.0, 9.0] * 5

    async def fetch(item: int) -> None:
        await asyncio.sleep(takes_s[item])

    async def fetch_all(chunk: Sequence[int]) -> None:
        await asyncio.gather(*map(fetch, chunk))

    async def took_s(call: Any, items: Any, limit: int) -> float:
        async for _ in patterns.as_completed(call, items, limit):
            pass
        return now()

    assert virtually(took_s(fetch_all, patterns.in_chunks(range(20), 4), 1)) == 5 * 9
    assert virtually(took_s(fetch, range(20), 4)) <= sum(takes_s) / 4 + 9


# Streams


@either
@given(takes_s=st.lists(st.integers(0, 6), max_size=40), limit=st.integers(1, 6), pace=times_s)
def test_everything_comes_once_in_bounded_memory(
    stream: Stream, takes_s: list[int], limit: int, pace: list[int]
) -> None:
    held = most_held = in_flight = most_in_flight = 0
    ended_at: dict[int, float] = {}

    def items() -> Iterator[int]:
        nonlocal held, most_held
        for item in range(len(takes_s)):
            held += 1
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
            await asyncio.sleep(pace[0])
            held -= 1
        return got

    got = virtually(main())
    assert sorted(got) == list(range(len(takes_s)))
    if stream is patterns.in_order:
        assert got == sorted(got)
    else:
        assert [ended_at[item] for item in got] == sorted(ended_at.values())
    assert max(most_in_flight, most_held) <= limit


@either
@on_every_loop
def test_who_leaves_early_leaves_nothing_running(stream: Stream, loop: str) -> None:
    target = Stuck()

    async def main() -> None:
        async def read() -> None:
            async with aclosing(stream(target.fetch, range(100), 7)) as results:
                await anext(results)

        task = asyncio.ensure_future(read())
        await counted.started(target, 7)
        await cancel(task)
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
        assert [(await anext(results))[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ConnectionError):
            await anext(results)

    run(loop, main())


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


# Arguments


WHOLE = "a whole number"
SECONDS = "a number from 0 to 60"
FROM_1 = f"{WHOLE} of at least 1"


@pytest.mark.parametrize(
    ("name", "allowed", "values", "call"),
    [
        ("max_size", FROM_1, [0, 2.5, True], lambda it: Batcher(ok, max_size=it)),
        ("delay_s", SECONDS, [-1, math.nan, math.inf, "1"], lambda it: Batcher(ok, delay_s=it)),
        ("number", FROM_1, [0, -1, 1.5, True], PrioritySlots),
        ("maxsize", WHOLE, [0.5, "1", None, True], PriorityQueue),
        ("priority", WHOLE, [0.5, "1", None, True], lambda it: PriorityQueue().put(it, 1)),
        ("priority", WHOLE, [0.5, "1", None], lambda it: PrioritySlots(1).at(it).__aenter__()),
        ("size", FROM_1, [0], lambda it: patterns.in_chunks([], it)),
        ("limit", FROM_1, [0], lambda it: anext(patterns.in_order(ok, [], it))),
        ("limit", FROM_1, [0], lambda it: anext(patterns.as_completed(ok, [], it))),
    ],
)
async def test_bad_arguments_are_refused(
    name: str, allowed: str, values: list[Any], call: Any
) -> None:
    for value in values:
        with pytest.raises(BadInput, match=f"{name} is {value!r}: it must be {allowed}$"):  # noqa: PT012
            if inspect.isawaitable(made := call(value)):
                await made


async def ok(_: Any) -> Any:
    return {}
