"""Phases of requests: of requests on a clock that is moved by hand, and of aiohttp's events."""

import asyncio
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from calls import nobody, outcomes
from clocks import Clock
from counted import cancel
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from scripted import Peer, Script, answer, echo, mute, once, reset, scripted

from labkit.measured.transports import open_transport, tracing
from labkit.measured.transports.aiohttp import KnownAddresses
from labkit.measured.transports.tracing import MAX_FIRST, MAX_LATER, Tracer, events, traced
from labkit.record.requests import PHASES, Phase, Phases, Spent, Traced
from labkit.spec.transports import AiohttpTransport

# A delay of asyncio's may end a little before its time.
EARLY = 0.9
STEPS = st.lists(st.tuples(st.integers(0, len(PHASES) - 1), st.integers(0, 10**10)), max_size=12)


def total_s(one: Traced) -> float:
    return sum(one.spent_s)


def phases_of(found: Phases) -> list[Phase]:
    return [getattr(found.spent_s, name) for name in PHASES]


# On a clock


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_the_phases_of_a_request_add_up_to_its_time(requests: list[list[tuple[int, int]]]) -> None:
    clock = Clock()
    tracer = Tracer(clock)
    took_s = []
    for item, steps in enumerate(requests):
        began_ns = clock.now
        request = tracer.begin(item)
        for phase, spent_ns in steps:
            tracer.enter(request, phase)
            clock.now += spent_ns
        tracer.succeed(request)
        took_s.append((clock.now - began_ns) / 1e9)

    found = tracer.summary()
    assert [total_s(one) for one in found.sample] == pytest.approx(took_s)
    found_s = phases_of(found)
    assert sum(phase.mean for phase in found_s) == pytest.approx(sum(took_s) / len(took_s))
    assert found.n == len(requests)
    assert all((one.p50 or 0) <= (one.p99 or 0) <= (one.max or 0) for one in found_s)


def test_each_phase_is_summed_up_over_those_that_were_in_it() -> None:
    clock = Clock()
    tracer = Tracer(clock)
    for item in range(10):
        request = tracer.begin(item)
        clock.now += 1_000
        if item == 0:
            tracer.enter(request, tracing.CONNECT)
            clock.now += 5_000_000
        tracer.enter(request, tracing.WAIT)
        clock.now += (item + 1) * 1_000_000
        tracer.succeed(request)

    spent = tracer.summary().spent_s
    assert (spent.connect.n, spent.wait.n, spent.dns.n, spent.queue.p50) == (1, 10, 0, None)
    assert (spent.connect.mean, spent.wait.mean) == pytest.approx((0.0005, 0.0055))
    percentiles = (spent.connect.p50, spent.wait.p50, spent.wait.p99)
    assert percentiles == pytest.approx((0.005, 0.005, 0.01), rel=0.001)
    assert spent.connect.p50 == spent.connect.p99
    assert spent.connect.max == 0.005


@pytest.mark.parametrize("phase", range(len(PHASES)), ids=PHASES)
def test_a_failure_counts_in_the_phase_that_it_came_in(phase: int) -> None:
    clock = Clock()
    tracer = Tracer(clock)
    request = tracer.begin(3)
    tracer.enter(request, phase)
    clock.now += 2_000_000_000
    tracer.fail(request)
    found = tracer.summary()
    # What comes after the end changes nothing.
    clock.now += 1_000
    for later in range(len(PHASES)):
        tracer.enter(request, later)

    assert tracer.summary() == found
    (one,) = found.sample
    assert (found.n, found.ended_in) == (0, {PHASES[phase]: 1})
    assert (one.failed, one.item, one.spent_s[phase], total_s(one)) == (True, 3, 2.0, 2.0)
    assert {phase.mean for phase in phases_of(found)} == {0.0}


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
        clock.now += 1_000_000 + item % 100
        tracer.succeed(request)

    assert len(tracer.summary().sample) <= MAX_FIRST + MAX_LATER
    assert sum(map(len, tracer._buckets)) <= 2
    assert Spent.__struct_fields__ == PHASES


# Of a transport


def over(url: str, **settings: Any) -> Any:
    return open_transport(AiohttpTransport(**{"trace": True, **settings}), url)


async def measured(
    to: Script | str, count: int = 1, *, at_once: bool = False, **settings: Any
) -> Phases:
    """Return the phases of so many requests to a server, whatever comes of them."""
    if not isinstance(to, str):
        async with scripted(to) as server:
            return await measured(server.url, count, at_once=at_once, **settings)
    transport = over(to, **settings)
    async with transport as fetch:
        for batch in [range(count)] if at_once else [[item] for item in range(count)]:
            await outcomes(transport, *map(fetch, batch))
        found = transport.phases
    assert isinstance(found, Phases)
    return found


def slowly(*pieces: bytes, delays_s: Sequence[float]) -> Script:
    """A script that sends these pieces in answer to each request, each after its delay."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            for delay_s, piece in zip(delays_s, pieces, strict=True):
                await asyncio.sleep(delay_s)
                await peer.send(piece)

    return script


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"


async def test_a_transport_that_is_not_asked_to_traces_nothing() -> None:
    async with scripted(echo) as server:
        opened = over(server.url, trace=False)
        async with opened as fetch:
            await fetch(0)

    assert opened.phases is None
    assert opened.effective["trace"] is False


@pytest.mark.parametrize("read", ["read", "stream"])
async def test_known_delays_are_found_in_their_phases(read: str) -> None:
    script = slowly(HALF, b"again", delays_s=[0.03, 0.02])
    found = await measured(script, 3, resolve_s=0.04, read=read)

    spent = found.spent_s
    assert spent.wait.mean >= EARLY * 0.03
    assert spent.read.mean >= EARLY * 0.02
    assert (spent.dns.max or 0) >= EARLY * 0.04
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
    found = await measured(slowly(answer("x"), delays_s=[0.02]), 3, at_once=True, limit=1)

    assert (found.spent_s.queue.n, found.opened, found.reused) == (2, 1, 2)
    assert (found.spent_s.queue.max or 0) >= EARLY * 0.04


@pytest.mark.parametrize(("settings", "at_once", "expected"), checks("phases.toml", "opened"))
async def test_what_is_looked_up_and_opened(
    settings: dict[str, Any], at_once: bool, expected: dict[str, int]
) -> None:
    found = await measured(echo, 5, at_once=at_once, **{"resolve_s": 0.01, **settings})

    counts = {name: getattr(found.spent_s, name).n for name in PHASES}
    counts |= {name: getattr(found, name) for name in found.__struct_fields__}
    assert expected.items() <= counts.items()
    assert (found.opened, found.reused) == (5, 0)


error = once(answer("no", status=500))


@pytest.mark.parametrize(
    ("script", "settings", "phase"),
    [
        (reset, {}, "wait"),
        (mute, {"sock_read_timeout_s": 0.02}, "wait"),
        (once(HALF), {}, "read"),
        (error, {}, "release"),
        (error, {"read": "stream"}, "read"),
        (echo, {"resolve_s": 5.0, "connect_timeout_s": 0.02}, "dns"),
    ],
)
async def test_a_request_fails_in_the_phase_that_it_has_got_to(
    script: Script, settings: dict[str, Any], phase: str
) -> None:
    found = await measured(script, **settings)

    assert (found.n, found.ended_in) == (0, {phase: 1})
    assert found.sample[0].failed


async def test_a_connection_that_is_refused_fails_while_connecting() -> None:
    found = await measured(f"http://{nobody()}", 2)

    assert (found.ended_in, found.opened) == ({"connect": 2}, 0)


async def test_requests_are_counted_where_they_gave_up_or_were_cancelled() -> None:
    async with scripted(mute) as server:
        transport = over(server.url, limit=1, connect_timeout_s=0.3)
        async with transport as fetch:
            first = asyncio.ensure_future(fetch(0))
            await server.until(lambda: server.targets == ["/0"])
            with pytest.raises(TimeoutError):
                await fetch(1)
            assert transport.phases.ended_in == {"queue": 1}
            await cancel(first)
        assert transport.phases.ended_in == {"queue": 1, "wait": 1}


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
    class Failing(KnownAddresses):
        async def resolve(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            raise OSError("no such name")

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
    async with aiohttp.ClientSession(trace_configs=[events(Tracer())]) as own:
        with pytest.raises(LookupError):
            await own.get(f"http://{nobody()}")
