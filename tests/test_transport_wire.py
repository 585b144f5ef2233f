"""Pipelining in the transport `wire`: depth, order, and what the end of a connection means."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from scripted import Peer, Scripted, answer, echo, scripted

from labkit.measured.transports import Fetch, open_transport
from labkit.spec.transports import WireTransport

SHORT_S, AMPLE_S = 0.05, 10.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def over(server: Scripted, **settings: Any) -> Any:
    return open_transport(WireTransport(**{"timeout_s": AMPLE_S, **settings}), server.url)


async def outcome(transport: Any, call: Awaitable[object]) -> object:
    """The body of an answer, or the kind of the failure."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - whatever it is, the transport has to name it
        return transport.kind_of(error)


async def outcomes(transport: Any, fetch: Fetch, count: int) -> list[object]:
    """The outcomes of so many calls at once."""
    return await asyncio.gather(*(outcome(transport, fetch(item)) for item in range(count)))


def bodies(*items: int) -> list[bytes]:
    """What `echo` answers to these."""
    return [b"/%d" % item for item in items]


def after(count: int, act: Callable[[Peer, list[str]], Awaitable[None]]) -> Any:
    """A script: once so many requests have come, do that; on later connections just answer."""

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await act(peer, [await peer.asked() for _ in range(count)])
        else:
            await echo(peer)

    return script


# Depth


@pytest.mark.parametrize("depth", [1, 2, 7])
async def test_so_many_requests_are_on_their_way_on_one_connection(depth: int) -> None:
    async def script(peer: Peer) -> None:
        first = [await peer.asked() for _ in range(depth)]
        asyncio.get_running_loop().call_soon(more.set)
        await gate.wait()
        await peer.send(b"".join(answer(target) for target in first))
        await echo(peer)

    gate, more = asyncio.Event(), asyncio.Event()
    async with scripted(script) as server, over(server, connections=1, depth=depth) as fetch:
        calls = asyncio.gather(*(fetch(item) for item in range(20)))
        await more.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(server.targets) == depth  # and no more until there are answers
        gate.set()
        assert await calls == bodies(*range(20))
        assert server.connections == 1
    assert sorted(server.targets) == sorted(f"/{item}" for item in range(20))


async def test_a_connection_is_filled_before_another_is_opened() -> None:
    async def script(peer: Peer) -> None:
        targets = [await peer.asked() for _ in range(4)]
        counts.append(len(targets))
        await server.until(lambda: len(server.targets) == 12)
        await peer.send(*map(answer, targets))
        await echo(peer)

    counts: list[int] = []
    async with scripted(script) as server:
        transport = over(server, depth=4)
        async with transport as fetch:
            assert await outcomes(transport, fetch, 12) == bodies(*range(12))
        assert (server.connections, counts) == (3, [4, 4, 4])


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 16])
async def test_all_that_wait_for_a_connection_get_their_turn(connections: int, depth: int) -> None:
    async with scripted(echo) as server:
        transport = over(server, connections=connections, depth=depth, timeout_s=5.0)
        async with transport as fetch:
            assert await outcomes(transport, fetch, 200) == bodies(*range(200))
        assert server.connections <= connections
    assert len(server.targets) == 200


async def test_answers_that_come_together_make_room_for_as_many() -> None:
    async def script(peer: Peer) -> None:
        while True:
            targets = [await peer.asked() for _ in range(4)]
            await peer.send(b"".join(map(answer, targets)))

    async with scripted(script) as server:
        transport = over(server, connections=1, depth=4, timeout_s=5.0)
        async with transport as fetch:
            assert await outcomes(transport, fetch, 40) == bodies(*range(40))


# Order


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [1, 16])
async def test_each_call_gets_its_own_answer_however_they_come(seed: int, depth: int) -> None:
    draw = random.Random(seed)

    async def script(peer: Peer) -> None:
        while True:
            whole = draw.choice(SPELLINGS)((await peer.asked()).encode("ascii"))
            cut = draw.randrange(len(whole))
            await peer.send(*draw.choice([[whole], [whole[:cut], whole[cut:]]]))

    async def calls(items: range) -> list[object]:
        return [await fetch(item) for item in items]

    async with scripted(script) as server, over(server, connections=3, depth=depth) as fetch:
        found = await asyncio.gather(*(calls(range(at, at + 20)) for at in range(0, 800, 20)))
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
            assert await fetch(8) == b"/8"
    assert (server.connections, len(server.targets)) == (2, 9)


@pytest.mark.parametrize("together", [True, False])
async def test_nothing_is_an_answer_that_follows_the_last_one(together: bool) -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        last = answer(targets[1], "Connection: close")
        pieces = [answer(targets[0]), last, answer(targets[2]), answer(targets[3])]
        await peer.send(*([b"".join(pieces)] if together else pieces))
        await peer.end()

    async with scripted(after(4, act)) as server:
        transport = over(server, connections=1, depth=4)
        async with transport as fetch:
            found = await outcomes(transport, fetch, 4)
            assert found == [*bodies(0, 1), "unanswered", "unanswered"]
            assert await fetch(4) == b"/4"
    assert (server.connections, len(server.targets)) == (2, 5)


async def test_an_answer_that_lasts_until_the_end_is_the_last() -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(answer(targets[0]), b"HTTP/1.1 200 OK\r\n\r\n", answer(targets[2]))

    async with scripted(after(3, act)) as server:
        transport = over(server, connections=1, depth=3)
        async with transport as fetch:
            found = await outcomes(transport, fetch, 3)
    assert found == [b"/0", answer("/2"), "unanswered"]


@pytest.mark.parametrize("garbage", [b"what is this\r\n\r\n", CHUNKED + b"x\r\n", b"\0" * 70_000])
async def test_garbage_fails_the_call_whose_turn_it_is_and_leaves_the_rest_unanswered(
    garbage: bytes,
) -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(b"".join(map(answer, targets[:2])) + garbage + answer(targets[3]))
        await peer.end()

    async with scripted(after(5, act)) as server:
        transport = over(server, connections=1, depth=5)
        async with transport as fetch:
            found = await outcomes(transport, fetch, 5)
            assert found == [*bodies(0, 1), "payload", "unanswered", "unanswered"]
            assert await fetch(5) == b"/5"
    assert (server.connections, len(server.targets)) == (2, 6)


@pytest.mark.parametrize("answered", [True, False])
async def test_those_that_wait_are_woken_when_a_connection_is_lost(answered: bool) -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(*(map(answer, targets) if answered else []))

    async with scripted(after(3, act)) as server:
        transport = over(server, connections=1, depth=3)
        async with transport as fetch:
            found = await outcomes(transport, fetch, 30)
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
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert server.connections == 1
    for item, one in enumerate(found):
        if item in (0, 2, 3, 7):
            assert isinstance(one, asyncio.CancelledError)
        else:
            assert one == b"/%d" % item
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
            tasks = [asyncio.ensure_future(outcome(transport, fetch(item))) for item in range(3)]
            await server.until(lambda: len(server.targets) == 3)
            tasks[0].cancel()
            gate.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == ["unanswered"] * 2


async def test_a_pipeline_that_stalls_times_out_and_its_connection_is_not_used_again() -> None:
    async def act(peer: Peer, targets: list[str]) -> None:
        await peer.send(answer(targets[0]))
        await peer.end()

    async with scripted(after(4, act)) as server:
        transport = over(server, connections=1, depth=4, timeout_s=SHORT_S * 4)
        async with transport as fetch:
            found = await outcomes(transport, fetch, 4)
            assert found == [b"/0", "timeout", "timeout", "timeout"]
            # A slow machine may let this one expire as well.
            while (found_next := await outcome(transport, fetch(4))) == "timeout":
                pass
            assert found_next == b"/4"
    assert server.connections >= 2


async def test_what_waits_for_a_connection_times_out_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.end()

    async with scripted(script) as server:
        transport = over(server, connections=1, depth=2, timeout_s=SHORT_S)
        async with transport as fetch:
            assert await outcomes(transport, fetch, 6) == ["timeout"] * 6


async def test_a_transport_that_is_left_ends_its_pipelines() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()

    async with scripted(script) as server:
        transport = over(server, connections=2, depth=3)
        async with transport as fetch:
            tasks = [asyncio.ensure_future(outcome(transport, fetch(item))) for item in range(6)]
            await server.until(lambda: len(server.targets) == 6)
        assert await asyncio.gather(*tasks) == ["unanswered"] * 6
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
                assert await fetch(1) == b"/1"
                break
        assert server.connections == 2
