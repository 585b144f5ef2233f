"""aiohttp's client as a transport, against a server of a few lines that does as it is asked."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from calls import FAILURES, alone, nobody, raised
from counted import cancel, now, turns, virtually
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from scripted import Peer, Scripted, answer, scripted

from labkit.measured.transports import Fetch, open_transport, paced
from labkit.measured.transports.aiohttp import NAME, Aiohttp, KnownAddresses
from labkit.measured.transports.client import url_template
from labkit.record.requests import Received
from labkit.spec.transports import AiohttpTransport

GZIPPED = gzip.compress(b"x" * 10_000)
ANSWERS = {
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "big": answer("x" * 300_000),
    "packed": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (GZIPPED[:5], len(GZIPPED) - 5, GZIPPED[5:])
    ),
    "error": answer("sorry", status=500),
    "missing": answer("", status=404),
    "switched": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "garbage": b"what is this\r\n\r\n",
}
# Part of an answer, and then the end of the connection.
CUT = {
    "truncated": answer("x" * 100)[:-95],
    "cut-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "silent": b"",
    "half-head": b"HTTP/1.1 200",
}


class Server(Scripted):
    """Answers by the first word of the path; `hold` and `drip` wait for the gate."""

    def __init__(self) -> None:
        super().__init__(self.answer_all)
        self.in_flight = self.max_in_flight = 0
        self.heads: list[str] = []
        self.gate = asyncio.Event()

    async def answer_all(self, peer: Peer) -> None:
        peer.heads = self.heads
        while True:
            kind = (await peer.asked()).split("/")[1]
            self.in_flight += 1
            self.max_in_flight = max(self.in_flight, self.max_in_flight)
            try:
                if kind == "reset":
                    return peer.reset()
                if kind in CUT:
                    return await peer.send(CUT[kind])
                if kind == "once" and len(self.targets) % 2 == 0:
                    return None
                whole = ANSWERS.get(kind, answer("hello"))
                if kind == "drip":
                    await peer.send(whole[:-2])
                    whole = whole[-2:]
                if kind in ("hold", "drip"):
                    await self.gate.wait()
                await peer.send(whole)
            finally:
                self.in_flight -= 1

    async def holding(self, count: int) -> None:
        """Wait until that many requests are under way."""
        await self.until(lambda: self.in_flight >= count)

    def headers(self, name: str) -> list[str]:
        """The values of a header in all requests."""
        lines = [line.partition(": ") for head in self.heads for line in head.split("\r\n")]
        return [value for found, _, value in lines if found == name]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Listens on loopback while a test runs."""
    async with scripted(Server()) as one:
        yield one
        one.gate.set()


def over(server: Server, kind: str = "hello", **settings: Any) -> Any:
    return open_transport(AiohttpTransport(**settings), server.url, f"/{kind}/{{item}}")


async def each(fetch: Fetch, count: int) -> None:
    for item in range(count):
        await fetch(item)


# Reading


@pytest.mark.parametrize("read", ["read", "stream", "release"])
@pytest.mark.parametrize(
    ("kind", "decoded_bytes"), [("hello", 5), ("empty", 0), ("big", 300_000), ("packed", 10_000)]
)
async def test_an_item_is_one_request_whose_bytes_are_counted_as_they_came_and_unpacked(
    server: Server, kind: str, decoded_bytes: int, read: str
) -> None:
    wire_bytes = len(GZIPPED) if kind == "packed" else decoded_bytes
    transport = over(server, kind, read=read, chunk_bytes=1_000, accept_encoding="br")
    async with transport as fetch:
        found = [await fetch(7), await fetch(8)]
    assert {len(one.body) for one in found} == {decoded_bytes if read == "read" else 0}
    assert {one.status for one in found} == {204 if kind == "empty" else 200}

    assert server.targets == [f"/{kind}/7", f"/{kind}/8"]
    assert server.headers("Accept-Encoding") == ["br"] * 2
    found = transport.received
    if read == "release":
        assert found == Received(bodies=0, wire_bytes=0, decoded_bytes=0)
        assert (found.wire_bytes_each, found.decoded_bytes_each) == (None, None)
    else:
        assert found.bodies == 2
        assert (found.wire_bytes, found.decoded_bytes) == (2 * wire_bytes, 2 * decoded_bytes)
        assert (found.wire_bytes_each, found.decoded_bytes_each) == (wire_bytes, decoded_bytes)


@pytest.mark.parametrize("read", ["read", "stream"])
async def test_a_body_is_read_to_its_end_and_the_connection_used_again(
    server: Server, read: str
) -> None:
    async with over(server, "drip", read=read) as fetch:
        task = asyncio.ensure_future(fetch(0))
        await server.holding(1)
        await turns(20)
        assert not task.done()
        server.gate.set()
        await task
        await fetch(1)

    assert server.connections == 1


async def test_a_released_body_is_not_waited_for(server: Server) -> None:
    async with over(server, "drip", read="release") as fetch:
        await fetch(0)
        assert not server.gate.is_set()


# Connections


@pytest.mark.parametrize(("settings", "connections"), checks("aiohttp.toml", "connections"))
@pytest.mark.parametrize("read", ["read", "stream"])
async def test_connections_that_the_server_sees(
    server: Server, settings: dict[str, Any], connections: int, read: str
) -> None:
    async with over(server, read=read, **settings) as fetch:
        await each(fetch, 5)

    assert (len(server.targets), server.connections) == (5, connections)


@pytest.mark.parametrize(("settings", "most"), checks("aiohttp.toml", "most"))
async def test_the_connectors_limit_bounds_what_the_server_sees(
    server: Server, settings: dict[str, Any], most: int
) -> None:
    async with over(server, "hold", **settings) as fetch:
        tasks = [asyncio.ensure_future(fetch(item)) for item in range(12)]
        await server.holding(most)
        server.gate.set()
        await asyncio.gather(*tasks)

    assert server.max_in_flight == most
    assert sorted(server.targets) == sorted(f"/hold/{item}" for item in range(12))


async def test_a_dropped_connection_fails_one_request_and_nothing_is_sent_twice(
    server: Server,
) -> None:
    async with over(server, "once") as fetch:
        await fetch(0)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await fetch(1)
        await fetch(2)
    assert server.targets == ["/once/0", "/once/1", "/once/2"]


async def test_aiohttps_own_habit_is_to_send_it_twice(server: Server) -> None:
    async with over(server, "once", retry_dropped=True) as fetch:
        await each(fetch, 2)
    assert server.targets == ["/once/0", "/once/1", "/once/1"]


async def test_requests_that_gave_up_or_were_cancelled_harm_no_other(server: Server) -> None:
    async with over(server, "hold", limit=1, connect_timeout_s=0.2) as fetch:
        first, cancelled = asyncio.ensure_future(fetch(0)), asyncio.ensure_future(fetch(1))
        await server.holding(1)
        cancelled.cancel()
        with pytest.raises(TimeoutError) as caught:
            await fetch(2)
        await cancel(first)
        second = asyncio.ensure_future(fetch(3))
        await server.holding(2)
        server.gate.set()
        await second
        await fetch(4)

    assert Aiohttp.kind_of(caught.value) == "timeout"
    assert server.targets == ["/hold/0", "/hold/3", "/hold/4"]
    assert cancelled.cancelled()


# What is in force


@pytest.mark.parametrize("settings", checks("aiohttp.toml", "in_force"))
async def test_what_is_in_force_is_read_back(settings: dict[str, Any]) -> None:
    asked = AiohttpTransport(**settings)
    transport = open_transport(asked, "http://127.0.0.1:1")
    assert transport.effective == {}
    async with transport:
        found = transport.effective

    expected = {name: getattr(asked, name) for name in asked.__struct_fields__}
    del expected["read"], expected["chunk_bytes"]
    if asked.force_close:
        expected["keepalive_timeout"] = None
    if asked.read_bufsize is None:
        assert found["accept_encoding"].startswith("gzip, deflate")
        assert found["read_bufsize"] >= 65_536
        expected |= {name: found[name] for name in ("accept_encoding", "read_bufsize")}
    expected["enable_cleanup_closed"] = asked.enable_cleanup_closed and NEEDS_CLEANUP_CLOSED
    assert found == expected


# Failures


@pytest.mark.parametrize(("kind", "expected"), checks("aiohttp.toml", "expected"))
async def test_a_failure_has_the_kind_of_its_cause(
    server: Server, kind: str, expected: list[str]
) -> None:
    reads = ["read", "stream", "release"] if "payload" not in expected else ["read", "stream"]
    for read in reads:
        assert await alone(over(server, kind, read=read)) in expected
    assert server.targets == [f"/{kind}/0"] * len(reads)


@pytest.mark.parametrize("name", ["timeout_s", "sock_read_timeout_s"])
async def test_a_server_that_stalls_is_a_timeout(server: Server, name: str) -> None:
    assert await alone(over(server, "hold", **{name: 0.02})) == "timeout"


async def test_a_port_where_nobody_listens_is_a_failure_to_connect() -> None:
    assert await alone(open_transport(AiohttpTransport(), f"http://{nobody()}")) == "connect"


TRUSTED_BY_NOBODY = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
TRUSTED_BY_NOBODY.load_cert_chain(Path(__file__).parent / "data" / "untrusted.pem")


@pytest.mark.parametrize(("context", "kind"), [(TRUSTED_BY_NOBODY, "certificate"), (None, "tls")])
async def test_a_certificate_that_is_not_trusted_is_named(context: Any, kind: str) -> None:
    def refuse(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=context) as trap:
        url = f"https://127.0.0.1:{trap.sockets[0].getsockname()[1]}"
        assert await alone(open_transport(AiohttpTransport(), url)) == kind


def error_of(name: str, *said: Any) -> Exception:
    """Return an error of aiohttp or of Python; where it cannot connect, of what the system says."""
    if name.startswith("ClientConnector"):
        key = ConnectionKey("h", 80, False, True, None, None, None)
        said = (key, raised(aiohttp, "OSError", *said, ""))
    error: Exception = raised(aiohttp, name, *said)
    return error


KINDS = checks("aiohttp.toml", "kinds")


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_errors(kind: str) -> None:
    assert [Aiohttp.kind_of(error_of(*one)) for one in KINDS[kind]] == [kind] * len(KINDS[kind])
    assert kind in FAILURES


# Addresses


@pytest.mark.parametrize("session_per_request", [True, False])
@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"]])
async def test_a_checked_name_leads_to_its_addresses_and_nowhere_else(
    server: Server, addresses: list[str], session_per_request: bool
) -> None:
    settings = AiohttpTransport(session_per_request=session_per_request)
    url = f"http://target.invalid:{server.port}"
    looked_up = Mock(wraps=socket.getaddrinfo)
    with patch.object(socket, "getaddrinfo", looked_up):
        async with open_transport(settings, url, "/hello/{item}", addresses=addresses) as fetch:
            await each(fetch, 2)

    assert server.headers("Host") == [f"target.invalid:{server.port}"] * 2
    assert "target.invalid" not in [call.args[0] for call in looked_up.call_args_list]


async def test_a_checked_name_whose_addresses_do_not_answer_is_not_looked_up(
    server: Server,
) -> None:
    url = f"http://localhost:{server.port}"

    elsewhere = open_transport(AiohttpTransport(), url, addresses=["127.0.0.2"])
    assert await alone(elsewhere) == "connect"
    assert server.targets == []


async def test_addresses_are_of_their_family() -> None:
    found = await KnownAddresses(["127.0.0.1", "::1"]).resolve("target.invalid", 80)

    assert [(one["host"], one["family"], one["port"]) for one in found] == [
        ("127.0.0.1", socket.AF_INET, 80),
        ("::1", socket.AF_INET6, 80),
    ]
    assert {one["hostname"] for one in found} == {"target.invalid"}


@pytest.mark.parametrize(("settings", "at_once", "lookups"), checks("aiohttp.toml", "lookups"))
async def test_a_name_is_looked_up_for_a_connection_that_finds_it_in_no_cache(
    server: Server, settings: dict[str, Any], at_once: bool, lookups: int
) -> None:
    transport = over(server, **{"resolve_s": 0.0, **settings})
    assert transport.effective == {}
    async with transport as fetch:
        assert transport.effective["lookups"] == 0
        await (asyncio.gather(*map(fetch, range(5))) if at_once else each(fetch, 5))

    assert transport.effective["lookups"] == lookups
    assert set(server.headers("Host")) == {f"{NAME}:{server.port}"}


# Spelling


@pytest.mark.parametrize(("url", "path", "spelt"), checks("aiohttp.toml", "spelt"))
def test_the_number_of_the_item_is_written_into_url_and_path(
    url: str, path: str, spelt: str
) -> None:
    assert url_template(url, path)(7) == spelt


# Pacing


@given(st.lists(st.integers(0, 20), max_size=20).map(sorted), st.sampled_from([1, 2, 4, 8]))
def test_a_call_starts_as_it_comes_or_one_interval_after_the_one_before(
    arrivals: list[int], per_second: int
) -> None:
    started, expected = list[float](), [-inf]

    async def fetch(_: int) -> None:
        started.append(now())

    async def arrive() -> None:
        slowly = paced(fetch, per_second, limit=9, most=99)
        for at in arrivals:
            await asyncio.sleep(at - now())
            await slowly(at)
            expected.append(max(at, expected[-1] + 1 / per_second))

    virtually(arrive())
    assert started == pytest.approx(expected[1:])


def test_calls_at_once_wait_for_turns_of_their_own() -> None:
    started = list[float]()

    async def fetch(_: int) -> None:
        started.append(now())

    async def arrive() -> None:
        slowly = paced(fetch, 10, limit=9, most=4)
        await asyncio.gather(*map(slowly, range(4)))
        with pytest.raises(RuntimeError, match="more than the 4 planned requests"):
            await slowly(4)

    virtually(arrive())
    assert started == pytest.approx([0, 0.1, 0.2, 0.3])


async def test_no_strategy_has_more_in_flight_on_a_remote_host_than_its_limit() -> None:
    sent, gate = list[int](), asyncio.Event()

    async def fetch(item: int) -> None:
        sent.append(item)
        await gate.wait()

    calls = asyncio.gather(*map(paced(fetch, 1e9, limit=3, most=8), range(8)))
    await turns(20)
    assert len(sent) == 3
    gate.set()
    await calls
    assert len(sent) == 8
