"""Phases of requests: of requests on a clock that is moved by hand, and of aiohttp's events."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Peer, answer, echo, scripted

from labkit.errors import BadInput
from labkit.measured.probes import phases
from labkit.measured.probes.phases import MAX_FIRST, MAX_LATER, Tracer
from labkit.measured.transports import open_transport
from labkit.measured.transports.aiohttp import Aiohttp, KnownAddresses
from labkit.measured.transports.tracing import events, traced
from labkit.record.record import PHASES, Phases, Spent, Traced
from labkit.spec.transports import AiohttpTransport
from labkit.spec.trial import Trial

EARLY = 0.9
"""A delay of asyncio's may end a little before its time."""
STEPS = st.lists(st.tuples(st.integers(0, len(PHASES) - 1), st.integers(0, 10**10)), max_size=12)


class Clock:
    """Nanoseconds that only the test moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def total_s(one: Traced) -> float:
    return sum(one.spent_s)


def means(found: Phases) -> dict[str, float]:
    return {name: getattr(found.spent_s, name).mean for name in PHASES}


# On a clock


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_the_phases_of_a_request_add_up_to_its_time(requests: list[list[tuple[int, int]]]) -> None:
    clock = Clock()
    tracer = Tracer(clock)
    took_s = []
    for item, steps in enumerate(requests):
        began_ns = clock.now_ns
        request = tracer.begin(item)
        for phase, spent_ns in steps:
            tracer.enter(request, phase)
            clock.now_ns += spent_ns
        tracer.succeed(request)
        took_s.append((clock.now_ns - began_ns) / 1e9)

    found = tracer.summary()
    assert [total_s(one) for one in found.sample] == pytest.approx(took_s)
    assert sum(means(found).values()) == pytest.approx(sum(took_s) / len(took_s))
    assert found.n == len(requests)


def test_each_phase_is_summed_up_over_those_that_were_in_it() -> None:
    clock = Clock()
    tracer = Tracer(clock)
    for item in range(10):
        request = tracer.begin(item)
        clock.now_ns += 1_000
        if item == 0:
            tracer.enter(request, phases.CONNECT)
            clock.now_ns += 5_000_000
        tracer.enter(request, phases.WAIT)
        clock.now_ns += (item + 1) * 1_000_000
        tracer.succeed(request)

    spent = tracer.summary().spent_s
    assert (spent.connect.n, spent.wait.n, spent.dns.n, spent.queue.p50) == (1, 10, 0, None)
    assert spent.connect.mean == pytest.approx(0.0005)
    assert (spent.connect.max, spent.connect.p50) == (0.005, pytest.approx(0.005, rel=0.001))
    assert spent.wait.mean == pytest.approx(0.0055)
    assert (spent.wait.p50, spent.wait.p99) == (
        pytest.approx(0.005, rel=0.001),
        pytest.approx(0.01, rel=0.001),
    )


@given(st.integers(1, 10**12))
def test_no_percentile_is_longer_than_the_longest(spent_ns: int) -> None:
    clock = Clock()
    tracer = Tracer(clock)
    request = tracer.begin(0)
    tracer.enter(request, phases.WAIT)
    clock.now_ns += spent_ns
    tracer.succeed(request)

    wait = tracer.summary().spent_s.wait
    assert wait.p50 == wait.p99
    assert (wait.p99 or 0) <= (wait.max or 0)


@pytest.mark.parametrize("phase", range(len(PHASES)), ids=PHASES)
def test_a_failure_counts_in_the_phase_that_it_came_in(phase: int) -> None:
    clock = Clock()
    tracer = Tracer(clock)
    request = tracer.begin(3)
    tracer.enter(request, phase)
    clock.now_ns += 2_000_000_000
    tracer.fail(request)

    found = tracer.summary()
    (one,) = found.sample
    assert (found.n, found.ended_in) == (0, {PHASES[phase]: 1})
    assert (one.failed, one.item, one.spent_s[phase], total_s(one)) == (True, 3, 2.0, 2.0)
    assert set(means(found).values()) == {0.0}


def test_what_comes_after_the_end_changes_nothing() -> None:
    clock = Clock()
    tracer = Tracer(clock)
    request = tracer.begin(0)
    tracer.fail(request)
    before = tracer.summary()
    clock.now_ns += 1_000
    for phase in range(len(PHASES)):
        tracer.enter(request, phase)

    assert tracer.summary() == before


@given(st.integers(0, 3_000), st.integers(0, 2**32))
def test_the_sample_is_the_first_and_an_even_choice_of_the_others(count: int, seed: int) -> None:
    tracer = Tracer(Clock())
    requests = [tracer.begin(item) for item in range(count)]
    random.Random(seed).shuffle(requests)
    for request in requests:
        tracer.succeed(request)

    items = sorted(one.item for one in tracer.summary().sample)
    later = items[MAX_FIRST:]
    assert items[:MAX_FIRST] == list(range(min(count, MAX_FIRST)))
    assert len(later) <= MAX_LATER
    gaps = {after - before for before, after in pairwise(later)}
    assert len(gaps) <= 1
    if count > MAX_FIRST:
        assert later[0] == MAX_FIRST
        assert count - later[-1] <= max(gaps, default=1)


def test_memory_does_not_grow_with_requests() -> None:
    clock = Clock()
    tracer = Tracer(clock)
    for item in range(20_000):
        request = tracer.begin(item)
        clock.now_ns += 1_000_000 + item % 100
        tracer.succeed(request)

    assert len(tracer.summary().sample) <= MAX_FIRST + MAX_LATER
    assert sum(map(len, tracer._buckets)) <= 2


def test_there_is_a_field_for_each_phase() -> None:
    assert Spent.__struct_fields__ == PHASES


# Of a transport


async def measured(transport: Aiohttp, items: int = 1) -> Phases:
    """The phases of so many requests, one after another, whatever comes of them."""
    async with transport as fetch:
        for item in range(items):
            with suppress(Exception):
                await fetch(item)
    assert transport.phases is not None
    return transport.phases


def over(url: str, **settings: Any) -> Aiohttp:
    return Aiohttp(AiohttpTransport(trace=True, **settings), url)


async def test_a_transport_that_is_not_told_to_traces_nothing() -> None:
    async with scripted(echo) as server:
        opened = open_transport(AiohttpTransport(), server.url)
        async with opened as fetch:
            await fetch(0)

    assert opened.phases is None
    assert opened.effective["trace"] is False


@pytest.mark.parametrize("read", ["read", "stream"])
async def test_known_delays_are_found_in_their_phases(read: str) -> None:
    async def slowly(peer: Peer) -> None:
        while True:
            await peer.asked()
            await asyncio.sleep(0.03)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            await asyncio.sleep(0.02)
            await peer.send(b"again")

    async with scripted(slowly) as server:
        found = await measured(over(server.url, resolve_s=0.04, read=read), 3)

    spent = found.spent_s
    assert spent.wait.mean >= EARLY * 0.03
    assert spent.read.mean >= EARLY * 0.02
    assert spent.dns.max is not None
    assert spent.dns.max >= EARLY * 0.04
    assert (spent.dns.n, spent.connect.n, spent.queue.n, spent.send.n) == (1, 1, 0, 3)
    assert (found.opened, found.reused, found.lookups, found.cached) == (1, 2, 1, 0)
    assert [one.reused for one in found.sample] == [False, True, True]


async def test_the_parts_of_each_request_add_up_to_the_time_that_it_took() -> None:
    loop = asyncio.get_running_loop()
    async with scripted(echo) as server:
        transport = over(server.url, limit=2, resolve_s=0.001)
        async with transport as fetch:
            took_s = {}

            async def timed(item: int) -> None:
                start = loop.time()
                await fetch(item)
                took_s[item] = loop.time() - start

            await asyncio.gather(*map(timed, range(8)))
        assert transport.phases is not None
        sample = transport.phases.sample

    assert len(sample) == 8
    for one in sample:
        assert 0 < total_s(one) <= took_s[one.item]
        assert len(one.spent_s) == len(PHASES)
        assert min(one.spent_s) >= 0


async def test_a_full_pool_makes_requests_queue() -> None:
    async def slowly(peer: Peer) -> None:
        while True:
            await peer.asked()
            await asyncio.sleep(0.02)
            await peer.send(answer("x"))

    async with scripted(slowly) as server:
        transport = over(server.url, limit=1)
        async with transport as fetch:
            await asyncio.gather(*map(fetch, range(3)))
        found = transport.phases

    assert found is not None
    assert (found.spent_s.queue.n, found.opened, found.reused) == (2, 1, 2)
    assert found.spent_s.queue.max is not None
    assert found.spent_s.queue.max >= EARLY * 0.04


async def test_those_who_wait_for_a_look_up_of_another_are_looking_up() -> None:
    async with scripted(echo) as server:
        transport = over(server.url, resolve_s=0.03)
        async with transport as fetch:
            await asyncio.gather(*map(fetch, range(5)))
        found = transport.phases

    assert found is not None
    assert (found.lookups, found.cached, found.spent_s.dns.n) == (1, 4, 5)


async def test_a_name_in_the_cache_takes_no_looking_up() -> None:
    async with scripted(echo) as server:
        found = await measured(over(server.url, resolve_s=0.01, force_close=True), 4)

    assert (found.lookups, found.cached, found.spent_s.dns.n) == (1, 3, 1)
    assert (found.opened, found.reused, found.spent_s.connect.n) == (4, 0, 4)


async def test_a_session_each_looks_up_and_connects_each_time() -> None:
    async with scripted(echo) as server:
        found = await measured(over(server.url, resolve_s=0.0, session_per_request=True), 3)

    assert (found.n, found.lookups, found.opened, found.reused) == (3, 3, 3, 0)


async def _reset(peer: Peer) -> None:
    await peer.asked()
    peer.reset()


async def _cut(peer: Peer) -> None:
    await peer.asked()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")


async def _error(peer: Peer) -> None:
    await peer.asked()
    await peer.send(answer("no", status=500))


async def _mute(peer: Peer) -> None:
    await peer.asked()
    await peer.end()


@pytest.mark.parametrize(
    ("script", "settings", "phase"),
    [
        (_reset, {}, "wait"),
        (_mute, {"sock_read_timeout_s": 0.02}, "wait"),
        (_cut, {}, "read"),
        (_error, {}, "release"),
        (_error, {"read": "stream"}, "read"),
        (echo, {"resolve_s": 5.0, "connect_timeout_s": 0.02}, "dns"),
    ],
)
async def test_a_request_fails_in_the_phase_that_it_has_got_to(
    script: Callable[[Peer], Any], settings: dict[str, Any], phase: str
) -> None:
    async with scripted(script) as server:
        found = await measured(over(server.url, **settings))

    assert (found.n, found.ended_in) == (0, {phase: 1})
    assert found.sample[0].failed


async def test_a_connection_that_is_refused_fails_while_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    found = await measured(over(f"http://127.0.0.1:{port}"), 2)

    assert (found.ended_in, found.opened) == ({"connect": 2}, 0)


async def test_a_request_may_give_up_in_the_queue() -> None:
    async with scripted(_mute) as server:
        transport = over(server.url, limit=1, connect_timeout_s=0.3)
        async with transport as fetch:
            first = asyncio.ensure_future(fetch(0))
            await server.until(lambda: server.targets == ["/0"])
            with pytest.raises(TimeoutError):
                await fetch(1)
            assert transport.phases is not None
            ended_in = transport.phases.ended_in
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    assert ended_in == {"queue": 1}


async def test_cancelled_requests_are_counted_where_they_were() -> None:
    async with scripted(_mute) as server:
        transport = over(server.url)
        async with transport as fetch:
            task = asyncio.ensure_future(fetch(0))
            await server.until(lambda: server.targets == ["/0"])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        found = transport.phases

    assert found is not None
    assert found.ended_in == {"wait": 1}


class Failing(KnownAddresses):
    async def resolve(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        raise OSError("no such name")


async def session_of(tracer: Tracer, fetches: int, url: str, **settings: Any) -> list[Any]:
    """So many requests at once over a session of the test's own."""
    connector = aiohttp.TCPConnector(**settings)
    async with aiohttp.ClientSession(connector=connector, trace_configs=[events(tracer)]) as own:

        async def get(_: int) -> None:
            async with own.get(url) as response:
                await response.read()

        calls = [traced(get, tracer)(item) for item in range(fetches)]
        return list(await asyncio.gather(*calls, return_exceptions=True))


async def test_a_look_up_that_fails_fails_all_that_wait_for_it() -> None:
    tracer = Tracer()
    ended = await session_of(tracer, 3, "http://lab.test:1", resolver=Failing([]))

    found = tracer.summary()
    assert all(isinstance(one, aiohttp.ClientConnectorDNSError) for one in ended)
    assert found.ended_in == {"dns": 3}
    assert (found.lookups, found.opened) == (1, 0)


async def test_a_redirect_begins_again_and_is_part_of_the_same_request() -> None:
    async def moved(peer: Peer) -> None:
        while True:
            target = await peer.asked()
            await asyncio.sleep(0.01)
            if target == "/new":
                await peer.send(answer("here"))
            else:
                await peer.send(answer("", "Location: /new", status=302))

    tracer = Tracer()
    async with scripted(moved) as server:
        assert await session_of(tracer, 1, f"{server.url}/old") == [None]

    found = tracer.summary()
    assert (found.n, found.redirects, found.opened, found.reused) == (1, 1, 1, 1)
    assert found.spent_s.wait.mean >= EARLY * 0.02
    assert server.targets == ["/old", "/new"]


async def test_a_request_that_nobody_traces_is_refused() -> None:
    tracer = Tracer()
    async with (
        scripted(echo) as server,
        aiohttp.ClientSession(trace_configs=[events(tracer)]) as own,
    ):
        with pytest.raises(LookupError):
            await own.get(server.url)


# Of a trial


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"probes": "counts", "transport.trace": True}, "transport.trace is on with probes"),
        (
            {"target": "http://127.0.0.1:9", "transport.resolve_s": 0.1},
            "transport.resolve_s is 0.1 with target 'url'",
        ),
        ({"transport": "wire", "transport.trace": True}, "trace"),
        ({"transport.resolve_s": -1.0}, "transport.resolve_s is -1.0"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Trial(**settings)


def test_a_trial_keeps_them() -> None:
    trial = Trial(**{"transport.trace": True, "transport.resolve_s": 0.02})

    assert Trial.from_dict(trial.to_dict()) == trial
    assert msgspec.to_builtins(trial.transport)["resolve_s"] == 0.02
