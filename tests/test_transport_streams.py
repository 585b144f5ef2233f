"""What is `streams`' own; `test_transports_http1.py` has what it shares with `wire`."""

from __future__ import annotations

import asyncio

import pytest
from scripted import Peer, answer, echo, scripted

from labkit.measured.transports.streams import Streams
from labkit.spec.transports import StreamsTransport


@pytest.mark.parametrize("buffer_bytes", [64, 1_000, 65_536])
async def test_a_body_may_be_larger_than_the_buffer(buffer_bytes: int) -> None:
    async def script(peer: Peer) -> None:
        while target := await peer.asked():
            await peer.send(answer(target * 10_000))

    settings = StreamsTransport(buffer_bytes=buffer_bytes)
    async with scripted(script) as server:
        transport = Streams(settings, server.url)
        async with transport as fetch:
            assert [await fetch(item) for item in range(3)] == [
                b"/0" * 10_000,
                b"/1" * 10_000,
                b"/2" * 10_000,
            ]
            assert transport.effective["buffer_bytes"] == buffer_bytes
        assert server.connections == 1


async def test_a_connection_has_one_request_at_a_time() -> None:
    async def script(peer: Peer) -> None:
        nonlocal most
        while target := await peer.asked():
            under_way.append(peer.number)
            most = max(most, *map(under_way.count, under_way))
            await asyncio.sleep(0)
            under_way.remove(peer.number)
            await peer.send(answer(target))

    under_way: list[int] = []
    most = 0
    async with (
        scripted(script) as server,
        Streams(StreamsTransport(connections=4), server.url) as fetch,
    ):
        bodies = await asyncio.gather(*(fetch(item) for item in range(100)))
        assert bodies == [b"/%d" % item for item in range(100)]
        assert server.connections == 4
    assert most == 1


async def test_the_connection_used_last_is_used_next() -> None:
    async with scripted(echo) as server, Streams(StreamsTransport(), server.url) as fetch:
        await asyncio.gather(*(fetch(item) for item in range(5)))
        for item in range(20):
            await fetch(item)
        assert server.connections == 5
