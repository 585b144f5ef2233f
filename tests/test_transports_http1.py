"""What both of the lab's own clients do, `wire` and `streams`, against servers of raw bytes."""

import asyncio
import contextlib
import gc
import gzip
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from calls import alone, bodies, nobody, outcome, outcomes
from counted import PLENTY, turns
from machines import checks, raws
from scripted import CHUNKED, CONTINUE, Peer, Scripted, after, answer, echo, once, reset, scripted
from servers import MIB

from labkit.launch import launcher
from labkit.measured.transports import open_transport
from labkit.measured.transports.client import BadStatus
from labkit.spec.transports import AiohttpTransport, StreamsTransport, WireTransport
from labkit.spec.trial import Trial

BOMB = gzip.compress(bytes(20 * MIB))
KINDS = {"wire": WireTransport, "streams": StreamsTransport}
SHORT_S = 0.05

Make = Callable[..., Any]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    """Opens each kind of transport to a server or URL."""

    def make(
        to: Scripted | str, path: str = "/{item}", addresses: Sequence[str] = (), **settings: Any
    ) -> Any:
        url = to if isinstance(to, str) else to.url
        return open_transport(KINDS[request.param](**settings), url, path, addresses=addresses)

    return make


# Answers


LONG = (answer("x" * 300_000), b"x" * 300_000)


@pytest.mark.parametrize(("sent", "body"), [*raws("transports.toml", "bodies"), LONG])
async def test_a_call_returns_the_body(make: Make, sent: bytes, body: bytes) -> None:
    for pieces in ([sent], [sent[at : at + 1] for at in range(200)] + [sent[200:]]):
        async with scripted(once(*pieces)) as server:
            assert await alone(make(server)) == body


async def test_a_request_says_what_it_must_and_no_more(make: Make) -> None:
    heads: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.asked()
        heads.extend(peer.heads)
        await peer.send(answer("x"))

    async with scripted(script) as server, make(server, "/a/{item}?b={item}%20") as fetch:
        await fetch(7)
    assert heads == [f"GET /a/7?b=7%20 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"]


async def test_a_connection_is_used_again(make: Make) -> None:
    async with scripted(echo) as server, make(server) as fetch:
        assert [(await fetch(item)).body for item in range(5)] == bodies(*range(5))
        assert server.connections == 1
        await asyncio.gather(*map(fetch, range(5)))
        opened = server.connections
        for item in range(20):
            await fetch(item)
        assert server.connections == opened == 5


async def test_there_are_never_more_connections_than_allowed_with_one_request_each(
    make: Make,
) -> None:
    async def script(peer: Peer) -> None:
        while target := await peer.asked():
            under_way.append(peer.number)
            assert under_way.count(peer.number) == 1
            await asyncio.sleep(0)
            under_way.remove(peer.number)
            await peer.send(answer(target))

    under_way: list[int] = []
    settings = {"connections": 3, "timeout_s": 9.0, "connect_timeout_s": None}
    async with scripted(script) as server:
        transport = make(server, **settings)
        async with transport as fetch:
            assert transport.effective["connections_opened"] == 0
            found = await asyncio.gather(*map(fetch, range(60)))
            assert [one.body for one in found] == bodies(*range(60))
            assert {**settings, "connections_opened": 3}.items() <= transport.effective.items()
            assert transport.effective["httptools"]
        assert server.connections == 3


# Failures


NOT_ANSWERED = [(kind.decode(), sent) for kind, sent in raws("transports.toml", "unanswered")]


@pytest.mark.parametrize(("kind", "sent"), [*NOT_ANSWERED, ("payload", b"\x00" * 70_000)])
async def test_a_failure_has_the_kind_of_its_cause(
    make: Make, kind: str, sent: bytes | None
) -> None:
    async with scripted(reset if sent is None else once(sent)) as server:
        assert await alone(make(server)) == kind
        assert (server.connections, server.targets) == (1, ["/0"])


LIMITED: dict[str, tuple[bytes, bytes]] = {
    # What comes once, and then for ever.
    "a body": (CHUNKED, b"1000\r\n%b\r\n" % (b"x" * 0x1000)),
    "a packed body": (
        CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n%x\r\n%b\r\n" % (len(BOMB), BOMB),
        b"",
    ),
    "a body that is announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 2000001\r\n\r\n", b""),
    "a body until the end": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 0x1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"Some-Name: x\r\n" * 100),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 0x1000),
    "informational responses": (b"", CONTINUE * 100),
}


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("transport", [
    WireTransport(max_body_bytes=2_000_000), StreamsTransport(max_body_bytes=2_000_000),
    *(AiohttpTransport(max_body_bytes=2_000_000, read=read) for read in ("read", "stream")),
])  # fmt: skip
async def test_what_has_no_end_is_too_large_before_it_fills_memory(
    transport: Any, name: str
) -> None:
    once, for_ever = LIMITED[name]
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.asked()
        await peer.send(once)
        while for_ever:
            await peer.send(for_ever)
            sent += len(for_ever)
        await peer.end()

    if name == "informational responses" and transport.kind == "aiohttp":
        transport = msgspec.structs.replace(transport, timeout_s=0.2)  # it has no other end there
    if name != "a packed body" or transport.kind == "aiohttp":
        async with scripted(script) as server:
            found = await alone(open_transport(transport, server.url))
        assert found == ("timeout" if transport.timeout_s == 0.2 else "too-large")
        # The rest is in the buffers of the sockets.
        assert sent < 2_000_000 + 12 * MIB or transport.timeout_s == 0.2


async def test_a_body_of_the_largest_size_is_allowed_and_none_is_no_ceiling(make: Make) -> None:
    async def script(peer: Peer) -> None:
        while await peer.asked():
            await peer.send(answer("x" * 2_000))

    async with scripted(script) as server:
        for most, found in ((2_000, b"x" * 2_000), (None, b"x" * 2_000), (1_999, "too-large")):
            assert await alone(make(server, max_body_bytes=most)) == found


async def test_a_port_where_nobody_listens_is_a_failure_to_connect(make: Make) -> None:
    transport = make(f"http://{nobody()}", connections=2)
    async with transport as fetch:
        # Those that wait for a connection are told as well.
        assert await outcomes(transport, *map(fetch, range(6))) == ["connect"] * 6
    assert transport.effective["connections_opened"] == 0


async def test_a_status_that_is_no_success_leaves_the_connection_usable(make: Make) -> None:
    async def act(peer: Peer, _: list[str]) -> None:
        await peer.send(answer("sorry", status=503))
        await echo(peer)

    async with scripted(after(1, act)) as server, make(server) as fetch:
        with pytest.raises(BadStatus, match=r"^status 503$"):
            await fetch(0)
        assert (await fetch(1)).body == b"/1"
        assert server.connections == 1


@pytest.mark.parametrize("sent", [b"", answer("hello")[:-1], CHUNKED])
async def test_a_server_that_stalls_is_a_timeout_and_its_connection_is_left(
    make: Make, sent: bytes
) -> None:
    async def act(peer: Peer, _: list[str]) -> None:
        await peer.send(sent)
        await peer.end()

    async with scripted(after(1, act)) as server:
        transport = make(server, connections=1, timeout_s=SHORT_S)
        async with transport as fetch:
            assert await outcome(transport, fetch(0)) == "timeout"
            # A slow machine may let this one expire as well, and its connection is then left too.
            while (found := await outcome(transport, fetch(1))) == "timeout":
                pass
            assert found == b"/1"
        await server.until(lambda: not server.open)
        assert server.connections >= 2
        assert server.targets.count("/0") == 1


async def test_a_connection_that_is_always_busy_does_not_expire(make: Make) -> None:
    loop = asyncio.get_running_loop()
    async with scripted(echo) as server, make(server, connections=1, timeout_s=0.5) as fetch:
        until, item = loop.time() + 1.5, 0
        while loop.time() < until:
            item += 1
            assert (await fetch(item)).body == b"/%d" % item
        assert server.connections == 1


@pytest.mark.parametrize("begun", [0, 10, -1])
async def test_a_call_that_is_cancelled_leaves_the_transport_usable(make: Make, begun: int) -> None:
    async def script(peer: Peer) -> None:
        whole = answer(await peer.asked())
        if peer.number == 1:
            await peer.send(whole[:begun])
            await gate.wait()
            whole = whole[begun:]
        await peer.send(whole)
        await echo(peer)

    gate = asyncio.Event()
    async with scripted(script) as server, make(server) as fetch:
        task = asyncio.ensure_future(fetch(0))
        await server.until(lambda: server.targets == ["/0"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await fetch(1)).body == b"/1"
        gate.set()
        assert (await fetch(2)).body == b"/2"
        assert server.targets == ["/0", "/1", "/2"]


async def test_a_call_that_is_cancelled_in_the_queue_is_not_sent(make: Make) -> None:
    async def script(peer: Peer) -> None:
        target = await peer.asked()
        await gate.wait()
        await peer.send(answer(target))
        await echo(peer)

    gate = asyncio.Event()
    async with scripted(script) as server, make(server, connections=1) as fetch:
        tasks = [asyncio.ensure_future(fetch(item)) for item in range(5)]
        await server.until(lambda: server.targets == ["/0"])
        tasks[1].cancel()
        tasks[3].cancel()
        gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [found[at].body for at in (0, 2, 4)] == [b"/0", b"/2", b"/4"]
        assert server.targets == ["/0", "/2", "/4"]


# Connections that end


@pytest.mark.parametrize("last", raws("transports.toml", "last"))
async def test_after_the_last_answer_of_a_connection_there_is_another(
    make: Make, last: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(last)
        await peer.end()  # the client ends it: nobody else does

    async with scripted(script) as server, make(server, connections=1) as fetch:
        assert [(await fetch(item)).body for item in range(3)] == [b"x"] * 3
        assert server.connections == 3
        await server.until(lambda: not server.open)


async def test_an_idle_connection_that_the_server_closed_is_not_used(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(answer(await peer.asked()))

    async with scripted(script) as server, make(server, connections=1) as fetch:
        for item in range(3):
            assert (await fetch(item)).body == b"/%d" % item
            await server.until(lambda: not server.open)
            await turns(PLENTY)
        gc.collect()  # a connection that was left open would say so now
        assert server.targets == ["/0", "/1", "/2"]


# The last ones would swallow part of the next answer as their own.
SURPRISES = [
    answer("x"),
    b"what is this\r\n\r\n",
    b"\0",
    b"HTTP/1.1 200 OK\r\nX: ",
    answer("wrong" + "x" * 9)[:-9],
]


@pytest.mark.parametrize("surprise", SURPRISES)
@pytest.mark.parametrize("when", ["at once", "later", "last"])
async def test_bytes_that_nobody_asked_for_answer_nothing(
    make: Make, surprise: bytes, when: str
) -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        if when == "at once":
            await peer.send(answer(targets[0]) + surprise)
        else:
            await peer.send(answer(targets[0]))
            await gate.wait()
            await peer.send(surprise)
        if when != "last":
            await echo(peer)

    gate = asyncio.Event()
    async with scripted(after(1, act)) as server, make(server) as fetch:
        assert (await fetch(0)).body == b"/0"
        if when != "at once":
            gate.set()
            await turns(PLENTY)
        assert (await fetch(1)).body == b"/1"
        assert server.connections == 2


async def test_a_transport_that_is_left_ends_all_that_is_on_its_way(make: Make) -> None:
    async def script(peer: Peer) -> None:
        while True:
            target = await peer.asked()
            if target in ("/0", "/1"):
                await peer.send(answer(target))

    async with scripted(script) as server:
        transport = make(server)
        async with transport as fetch:
            await asyncio.gather(fetch(0), fetch(1))
            calls = asyncio.ensure_future(outcomes(transport, *map(fetch, range(2, 7))))
            await server.until(lambda: len(server.targets) == 7)
        assert await calls == ["unanswered"] * 5
        await server.until(lambda: not server.open)


# Where to


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
async def test_of_several_addresses_the_one_that_answers_is_used(
    make: Make, addresses: list[str]
) -> None:
    async with scripted(echo) as server:
        url = f"http://target.invalid:{server.port}"
        async with make(url, addresses=addresses) as fetch:
            assert (await fetch(3)).body == b"/3"


# What is only `streams`' own


@pytest.mark.parametrize("buffer_bytes", [64, 1_000, 65_536])
async def test_a_body_may_be_larger_than_the_buffer_of_streams(buffer_bytes: int) -> None:
    async def script(peer: Peer) -> None:
        while target := await peer.asked():
            await peer.send(answer(target * 10_000))

    async with scripted(script) as server:
        transport = open_transport(StreamsTransport(buffer_bytes=buffer_bytes), server.url)
        async with transport as fetch:
            found = [(await fetch(item)).body for item in range(3)]
            assert transport.effective["buffer_bytes"] == buffer_bytes
        assert server.connections == 1
    assert found == [b"/0" * 10_000, b"/1" * 10_000, b"/2" * 10_000]


# Whole trials


COUNTED = checks("transports.toml", "http1")


@pytest.mark.parametrize(("transport", "connections", "loop"), COUNTED)
async def test_every_request_is_accounted_for(
    transport: dict[str, Any], connections: int, loop: str
) -> None:
    trial = Trial(requests=400, limit=32, pin=False, loop=loop, **transport)
    record = await launcher.run(trial, keep=lambda _: None)

    counts = record.counts
    assert (counts.planned, counts.sent, counts.not_sent, counts.cancelled) == (400, 400, 0, 0)
    assert (counts.ok, counts.failed) == (400, {})
    assert record.server is not None
    assert record.server.requests == 400
    assert record.server.connections_opened == record.effective["transport"]["connections_opened"]
    assert 1 <= record.server.connections_opened <= connections


@pytest.mark.parametrize("transport", ["wire", "streams"])
async def test_failures_are_counted_by_their_kind(transport: str) -> None:
    trial = Trial(requests=400, limit=32, pin=False, transport=transport, path="/status/503")
    record = await launcher.run(trial, keep=lambda _: None)

    assert (record.counts.ok, record.counts.failed) == (0, {"status": 400})


# Pipelining in the transport `wire`: depth, order, and what the end of a connection means

AMPLE_S = 10.0


def over(server: Scripted, **settings: Any) -> Any:
    return open_transport(WireTransport(**{"timeout_s": AMPLE_S, **settings}), server.url)


# Depth


@pytest.mark.parametrize("depth", [1, 2, 7])
async def test_so_many_requests_are_on_their_way_on_one_connection(depth: int) -> None:
    async def script(peer: Peer) -> None:
        while True:
            targets = [await peer.asked() for _ in range(depth)]
            asyncio.get_running_loop().call_soon(more.set)
            await gate.wait()
            # Answers that come together make room for as many.
            await peer.send(b"".join(map(answer, targets)))

    gate, more = asyncio.Event(), asyncio.Event()
    async with scripted(script) as server, over(server, connections=1, depth=depth) as fetch:
        calls = asyncio.gather(*map(fetch, range(42)))
        await more.wait()
        await turns(10)
        assert len(server.targets) == depth  # and no more until there are answers
        gate.set()
        assert [one.body for one in await calls] == bodies(*range(42))
        assert server.connections == 1
    assert sorted(server.targets) == sorted(f"/{item}" for item in range(42))


async def test_a_connection_is_filled_before_another_is_opened() -> None:
    async def script(peer: Peer) -> None:
        targets = [await peer.asked() for _ in range(4)]
        counts.append(len(targets))
        await server.until(lambda: len(server.targets) == 12)
        await peer.send(*map(answer, targets))
        await echo(peer)

    counts: list[int] = []
    async with scripted(script) as server, over(server, depth=4) as fetch:
        found = await asyncio.gather(*map(fetch, range(12)))
        assert [one.body for one in found] == bodies(*range(12))
        assert (server.connections, counts) == (3, [4, 4, 4])


# Order


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 16])
async def test_each_call_gets_its_turn_and_its_own_answer_however_they_come(
    seed: int, connections: int, depth: int
) -> None:
    draw = random.Random(seed)

    async def script(peer: Peer) -> None:
        while True:
            whole = draw.choice(SPELLINGS)((await peer.asked()).encode("ascii"))
            cut = draw.randrange(len(whole))
            await peer.send(*draw.choice([[whole], [whole[:cut], whole[cut:]]]))

    async def calls(items: range) -> list[object]:
        return [(await fetch(item)).body for item in items]

    settings = {"connections": connections, "depth": depth}
    async with scripted(script) as server, over(server, **settings) as fetch:
        found = await asyncio.gather(*(calls(range(at, at + 20)) for at in range(0, 800, 20)))
        assert server.connections <= connections
    assert [body for some in found for body in some] == bodies(*range(800))
    assert Counter(server.targets) == Counter(f"/{item}" for item in range(800))


SPELLINGS: list[Callable[[bytes], bytes]] = [
    answer,
    lambda body: CONTINUE + answer(body),
    lambda body: answer(body, "X-Padding: \t x"),
    lambda body: CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    lambda body: CHUNKED + b"1;e\r\n/\r\n%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(body) - 1, body[1:]),
]


# Connections that end in mid-pipeline


@pytest.mark.parametrize("answered", [0, 1, 3, 7])
@pytest.mark.parametrize("how", ["close", "reset", "in a head", "in a body", "in a chunk"])
async def test_what_was_answered_is_ok_and_the_rest_is_not_sent_again(
    answered: int, how: str
) -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(b"".join(map(answer, targets[:answered])))
        if how == "reset":
            await server.until(lambda: len(done) == answered)
            peer.reset()
        rest = {
            "in a head": b"HTTP/1.1 2",
            "in a body": answer("x" * 9)[:-1],
            "in a chunk": CHUNKED,
        }
        await peer.send(rest.get(how, b""))

    done: list[int] = []

    async def call(item: int) -> object:
        found = await outcome(transport, fetch(item))
        done.append(item)
        return found

    async with scripted(after(8, act)) as server:
        transport = over(server, connections=1, depth=8)
        async with transport as fetch:
            found = await asyncio.gather(*map(call, range(8)))
            assert found == [*bodies(*range(answered)), *["unanswered"] * (8 - answered)]
            assert (await fetch(8)).body == b"/8"
    assert (server.connections, len(server.targets)) == (2, 9)


OK = b"HTTP/1.1 200 OK\r\n\r\n"
LOST = "unanswered"
LAST = answer("/1", "Connection: close")
# What comes for four requests, and what becomes of them.
ENDS: dict[str, tuple[list[bytes], list[object]]] = {
    "a last answer": ([LAST, answer("/2"), answer("/3")], [b"/1", LOST, LOST]),
    "an answer until the end": ([OK, answer("/2")], [answer("/2"), LOST, LOST]),
    "garbage": ([b"what is this\r\n\r\n", answer("/2")], ["payload", LOST, LOST]),
    "a wrong chunk": ([CHUNKED + b"x\r\n", answer("/2")], ["payload", LOST, LOST]),
    "far too much": ([b"\0" * 70_000, answer("/2")], ["payload", LOST, LOST]),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("together", [True, False])
async def test_nothing_is_an_answer_that_follows_the_last_one(name: str, together: bool) -> None:
    rest, expected = ENDS[name]

    async def act(peer: Peer, _: list[str]) -> None:
        pieces = [answer("/0"), *rest]
        await peer.send(*([b"".join(pieces)] if together else pieces))
        if rest[0] != OK:
            await peer.end()  # the client ends it

    async with scripted(after(4, act)) as server:
        transport = over(server, connections=1, depth=4)
        async with transport as fetch:
            assert await outcomes(transport, *map(fetch, range(4))) == [b"/0", *expected]
            assert (await fetch(4)).body == b"/4"
    assert (server.connections, len(server.targets)) == (2, 5)


@pytest.mark.parametrize("answered", [True, False])
async def test_those_that_wait_are_woken_when_a_connection_is_lost(answered: bool) -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(*(map(answer, targets) if answered else []))

    async with scripted(after(3, act)) as server:
        transport = over(server, connections=1, depth=3)
        async with transport as fetch:
            found = await outcomes(transport, *map(fetch, range(30)))
    expected = bodies(0, 1, 2) if answered else ["unanswered"] * 3
    # Those whose answer made room may have been sent on the connection just before it ended.
    lost = found.count("unanswered")
    assert found[:3] == expected
    assert lost <= 6
    assert [one for one in found[3:] if one != "unanswered"] == [
        body for body in bodies(*range(3, 30)) if body in found
    ]
    assert Counter(server.targets).most_common(1)[0][1] == 1


# Calls that end before their answer


async def test_a_call_that_is_cancelled_disturbs_no_other() -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await gate.wait()
        await peer.send(*map(answer, targets))
        await echo(peer)

    gate = asyncio.Event()
    async with scripted(after(6, act)) as server, over(server, connections=1, depth=6) as fetch:
        tasks = [asyncio.ensure_future(fetch(item)) for item in range(12)]
        await server.until(lambda: len(server.targets) == 6)
        for item in (0, 2, 3, 7):
            tasks[item].cancel()
        gate.set()
        await asyncio.wait(tasks)
        assert server.connections == 1
    assert [item for item in range(12) if tasks[item].cancelled()] == [0, 2, 3, 7]
    expected = bodies(1, 4, 5, 6, *range(8, 12))
    assert [task.result().body for task in tasks if not task.cancelled()] == expected
    assert "/7" not in server.targets


async def test_garbage_for_a_call_that_was_cancelled_fails_the_others_as_unanswered() -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await gate.wait()
        await peer.send(b"what is this\r\n\r\n")
        await peer.end()

    gate = asyncio.Event()
    async with scripted(after(3, act)) as server:
        transport = over(server, connections=1, depth=3)
        async with transport as fetch:
            given_up = asyncio.ensure_future(fetch(0))
            others = asyncio.ensure_future(outcomes(transport, fetch(1), fetch(2)))
            await server.until(lambda: len(server.targets) == 3)
            given_up.cancel()
            gate.set()
            assert await others == [LOST] * 2
    assert given_up.cancelled()


async def test_a_pipeline_that_stalls_times_out_and_its_connection_is_not_used_again() -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(answer(targets[0]))
        await peer.end()

    async with scripted(after(4, act)) as server:
        transport = over(server, connections=1, depth=4, timeout_s=SHORT_S * 4)
        async with transport as fetch:
            found = await outcomes(transport, *map(fetch, range(4)))
            assert found == [b"/0", "timeout", "timeout", "timeout"]
            # A slow machine may let this one expire as well.
            while (after_it := await outcome(transport, fetch(4))) == "timeout":
                pass
            assert after_it == b"/4"
    assert server.connections >= 2


async def test_what_waits_for_a_connection_times_out_too() -> None:
    async with scripted(Peer.end) as server:
        transport = over(server, connections=1, depth=2, timeout_s=SHORT_S)
        async with transport as fetch:
            assert await outcomes(transport, *map(fetch, range(6))) == ["timeout"] * 6


async def test_a_transport_that_is_left_ends_its_pipelines() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()

    async with scripted(script) as server:
        transport = over(server, connections=2, depth=3)
        async with transport as fetch:
            calls = asyncio.ensure_future(outcomes(transport, *map(fetch, range(6))))
            await server.until(lambda: len(server.targets) == 6)
        assert await calls == [LOST] * 6
        await server.until(lambda: not server.open)


async def test_a_call_that_was_cancelled_does_not_hold_its_connection_for_ever() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        if peer.number == 1:
            await peer.asked()  # which never comes
        await peer.send(answer("/1"))

    async with scripted(script) as server, over(server, connections=1, timeout_s=0.05) as fetch:
        given_up = asyncio.ensure_future(fetch(0))
        await server.until(lambda: len(server.targets) == 1)
        given_up.cancel()
        while True:
            with contextlib.suppress(TimeoutError):
                assert (await fetch(1)).body == b"/1"
                break
        assert server.connections == 2


async def test_a_call_that_is_cancelled_follows_its_redirect_no_further() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(answer("", "Location: /next", status=302))
        await peer.asked()
        await gate.wait()
        await peer.send(answer("/next"))
        await echo(peer)

    gate = asyncio.Event()
    async with scripted(script) as server, over(server, connections=1) as fetch:
        given_up = asyncio.ensure_future(fetch(0))
        await server.until(lambda: server.targets == ["/0", "/next"])
        tasks = asyncio.all_tasks()
        given_up.cancel()
        await turns(10)
        assert given_up.cancelled()
        assert len(tasks - asyncio.all_tasks()) == 2  # it, and what followed for it
        gate.set()
        assert (await fetch(1)).body == b"/1"
        assert server.connections == 1
