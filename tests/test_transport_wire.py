"""Pipelining in the transport `wire`: depth, order, and what the end of a connection means."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from calls import bodies, outcome, outcomes
from counted import turns
from scripted import CHUNKED, CONTINUE, Peer, Scripted, after, answer, echo, scripted

from labkit.measured.transports import open_transport
from labkit.spec.transports import WireTransport

SHORT_S, AMPLE_S = 0.05, 10.0


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
