"""aiohttp's client as a transport, against a server of a few lines that does as it is asked."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import struct
from collections.abc import AsyncIterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from hypothesis import given
from hypothesis import strategies as st

from labkit.measured.transports import Fetch, open_transport, paced
from labkit.measured.transports.aiohttp import NAME, Aiohttp, KnownAddresses
from labkit.measured.transports.client import BadStatus, url_template
from labkit.record.record import FAILURES, Received
from labkit.spec.transports import AiohttpTransport

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
ANSWERS = {
    "hello": HELLO,
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "big": b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
    "error": b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nsorry",
    "missing": b"HTTP/1.1 404 Oh\r\nContent-Length: 0\r\n\r\n",
    "moved": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"what is this\r\n\r\n",
}
# Part of an answer, and then the end of the connection.
CUT = {
    "truncated": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "cut-chunks": CHUNKED,
    "silent": b"",
    "half-head": b"HTTP/1.1 200",
}


class Server:
    """Answers by the first word of the path, and counts."""

    def __init__(self) -> None:
        self.connections = self.requests = self.in_flight = self.max_in_flight = 0
        self.targets: list[str] = []
        self.hosts: list[str] = []
        self.accepted: list[str] = []
        self.port = 0
        self.gate = asyncio.Event()
        self.held = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if not await self.answer(head.decode("ascii"), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head: str, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is for further requests."""
        target = head.split(" ", 2)[1]
        self.targets.append(target)
        lines = [line.partition(": ") for line in head.split("\r\n")]
        self.hosts += [value for name, _, value in lines if name == "Host"]
        self.accepted += [value for name, _, value in lines if name == "Accept-Encoding"]
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.in_flight, self.max_in_flight)
        try:
            return await self.act(target.split("/")[1], writer)
        finally:
            self.in_flight -= 1

    async def act(self, kind: str, writer: asyncio.StreamWriter) -> bool:
        if kind == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        if kind in CUT:
            writer.write(CUT[kind])
            return False
        if kind == "once" and self.requests > 1 and self.requests % 2 == 0:
            return False
        if kind == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        if kind in ("hold", "drip"):
            await self.hold()
        writer.write(b"again" if kind == "drip" else ANSWERS.get(kind, HELLO))
        await writer.drain()
        return True

    async def hold(self) -> None:
        """Wait until the gate is opened, and let `holding` know."""
        async with self.held:
            self.held.notify_all()
        await self.gate.wait()

    async def holding(self, count: int) -> None:
        """Wait until that many requests are held."""
        async with self.held:
            await self.held.wait_for(lambda: self.in_flight >= count)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Listens on loopback while a test runs."""
    counting = Server()
    listening = await asyncio.start_server(counting.serve, "127.0.0.1", 0)
    counting.port = listening.sockets[0].getsockname()[1]
    yield counting
    counting.gate.set()
    listening.close()


def over(server: Server, kind: str = "hello", **settings: Any) -> Aiohttp:
    return Aiohttp(AiohttpTransport(**settings), server.url, f"/{kind}/{{item}}")


async def failure(transport: Aiohttp) -> BaseException:
    """What a call of item 0 raises."""
    async with transport as fetch:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any: its kind is what is tested
            await fetch(0)
    return caught.value


async def each(fetch: Fetch, count: int) -> None:
    for item in range(count):
        await fetch(item)


# Reading


@pytest.mark.parametrize("read", ["read", "stream", "release"])
@pytest.mark.parametrize("kind", ["hello", "empty", "big"])
async def test_an_item_is_one_request(server: Server, read: str, kind: str) -> None:
    async with over(server, kind, read=read, chunk_bytes=1_000) as fetch:
        assert await fetch(7) is None
        assert await fetch(8) is None

    assert server.targets == [f"/{kind}/7", f"/{kind}/8"]


GZIPPED = gzip.compress(b"x" * 10_000)
ANSWERS["packed"] = (
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (GZIPPED[:5], len(GZIPPED) - 5, GZIPPED[5:])
)


@pytest.mark.parametrize(
    ("kind", "read", "received"),
    [
        ("hello", "read", (2, 10, 10)),
        ("empty", "read", (2, 0, 0)),
        ("big", "stream", (2, 600_000, 600_000)),
        ("big", "release", (0, 0, 0)),
        ("packed", "read", (2, 2 * len(GZIPPED), 20_000)),
        ("packed", "stream", (2, 2 * len(GZIPPED), 20_000)),
    ],
)
async def test_bytes_are_counted_as_they_came_and_unpacked(
    server: Server, kind: str, read: str, received: tuple[int, int, int]
) -> None:
    transport = over(server, kind, read=read)
    async with transport as fetch:
        await each(fetch, 2)

    bodies, wire_bytes, decoded_bytes = received
    found = Received(bodies=bodies, wire_bytes=wire_bytes, decoded_bytes=decoded_bytes)
    assert transport.received == found
    assert found.wire_bytes_each == (wire_bytes / bodies if bodies else None)
    assert found.decoded_bytes_each == (decoded_bytes / bodies if bodies else None)


async def test_the_coding_that_is_asked_for_is_the_one_sent(server: Server) -> None:
    async with over(server, accept_encoding="br") as fetch:
        await fetch(0)

    assert server.accepted == ["br"]


@pytest.mark.parametrize("read", ["read", "stream"])
async def test_a_body_is_read_to_its_end_and_the_connection_used_again(
    server: Server, read: str
) -> None:
    async with over(server, "drip", read=read) as fetch:
        task = asyncio.ensure_future(fetch(0))
        await server.holding(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        server.gate.set()
        await task
        await fetch(1)

    assert server.connections == 1


async def test_a_released_body_is_not_waited_for(server: Server) -> None:
    async with over(server, "drip", read="release") as fetch:
        await fetch(0)
        assert not server.gate.is_set()
        server.gate.set()


# Connections


@pytest.mark.parametrize(
    ("settings", "connections"),
    [({}, 1), ({"force_close": True}, 5), ({"session_per_request": True}, 5), ({"limit": 1}, 1)],
)
@pytest.mark.parametrize("read", ["read", "stream"])
async def test_connections_that_the_server_sees(
    server: Server, settings: dict[str, Any], connections: int, read: str
) -> None:
    async with over(server, read=read, **settings) as fetch:
        await each(fetch, 5)

    assert (server.requests, server.connections) == (5, connections)


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"limit": 3}, 3),
        ({"limit_per_host": 2}, 2),
        ({"limit": 3, "limit_per_host": 2}, 2),
        ({}, 12),
        ({"limit": 3, "force_close": True}, 3),
        ({"limit": 3, "session_per_request": True}, 12),
    ],
)
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
        await fetch(0)
        await fetch(1)

    assert server.targets == ["/once/0", "/once/1", "/once/1"]


async def test_a_request_that_gave_up_waiting_for_a_connection_harms_no_other(
    server: Server,
) -> None:
    async with over(server, "hold", limit=1, connect_timeout_s=0.5) as fetch:
        first = asyncio.ensure_future(fetch(0))
        await server.holding(1)
        with pytest.raises(TimeoutError) as caught:
            await fetch(1)
        server.gate.set()
        await first
        await fetch(2)

    assert Aiohttp.kind_of(caught.value) == "timeout"
    assert server.targets == ["/hold/0", "/hold/2"]


async def test_a_cancelled_call_leaves_the_transport_usable(server: Server) -> None:
    async with over(server, "hold", limit=1) as fetch:
        task = asyncio.ensure_future(fetch(0))
        await server.holding(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.gate.set()
        await fetch(1)

    assert server.targets == ["/hold/0", "/hold/1"]


# What is in force


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limit": 30, "limit_per_host": 20, "keepalive_timeout": 0.5},
        {"ttl_dns_cache": None, "use_dns_cache": False, "retry_dropped": True},
        {"timeout_s": None, "sock_connect_timeout_s": None},
        {"connect_timeout_s": 1, "sock_read_timeout_s": 2.5, "session_per_request": True},
        {"enable_cleanup_closed": True},
        {"force_close": True},
        {"trace": True},
        {"accept_encoding": "zstd", "read_bufsize": 4_096},
    ],
)
async def test_what_is_in_force_is_read_back(settings: dict[str, Any]) -> None:
    asked = AiohttpTransport(**settings)
    transport = Aiohttp(asked, "http://127.0.0.1:1")
    assert transport.effective == {}
    async with transport:
        found = transport.effective

    expected = {name: getattr(asked, name) for name in found.keys() & set(asked.__struct_fields__)}
    if asked.force_close:
        expected["keepalive_timeout"] = None
    if asked.read_bufsize is None:
        assert found["accept_encoding"].startswith("gzip, deflate")
        assert found["read_bufsize"] >= 65_536
        expected |= {name: found[name] for name in ("accept_encoding", "read_bufsize")}
    expected["enable_cleanup_closed"] = asked.enable_cleanup_closed and NEEDS_CLEANUP_CLOSED
    assert found == {**expected, "c_extensions": found["c_extensions"]}
    assert found["c_extensions"] == (
        aiohttp.http.HttpResponseParser.__module__ == "aiohttp._http_parser"
    )
    assert len(expected) == len(asked.__struct_fields__) - len({"read", "chunk_bytes"})


async def test_the_kind_of_transport_is_the_one_that_is_asked_for(server: Server) -> None:
    opened = open_transport(AiohttpTransport(), server.url)
    async with opened as fetch:
        await fetch(5)

    assert isinstance(opened, Aiohttp)
    assert server.targets == ["/5"]


# Failures


@pytest.mark.parametrize("read", ["read", "stream"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("error", "status"),
        ("missing", "status"),
        ("moved", "status"),
        ("reset", "reset"),
        ("silent", "disconnected"),
        ("truncated", "payload"),
        ("cut-chunks", "payload"),
        ("garbage", "payload"),
    ],
)
async def test_a_failure_has_the_kind_of_its_cause(
    server: Server, kind: str, expected: str, read: str
) -> None:
    transport = over(server, kind, read=read)

    error = await failure(transport)

    assert transport.kind_of(error) == expected
    assert server.requests == 1


async def test_a_head_that_is_cut_is_a_failure(server: Server) -> None:
    assert Aiohttp.kind_of(await failure(over(server, "half-head"))) in ("disconnected", "payload")


@pytest.mark.parametrize("name", ["timeout_s", "sock_read_timeout_s"])
async def test_a_server_that_stalls_is_a_timeout(server: Server, name: str) -> None:
    assert Aiohttp.kind_of(await failure(over(server, "hold", **{name: 0.02}))) == "timeout"


async def test_a_port_where_nobody_listens_is_a_failure_to_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    error = await failure(Aiohttp(AiohttpTransport(), f"http://127.0.0.1:{port}"))

    assert Aiohttp.kind_of(error) == "connect"


@pytest.mark.parametrize("read", ["read", "stream", "release"])
async def test_a_redirect_is_not_followed(server: Server, read: str) -> None:
    error = await failure(over(server, "moved", read=read))

    assert isinstance(error, BadStatus)
    assert str(error) == "status 302"
    assert server.targets == ["/moved/0"]


KEY = ConnectionKey("h", 80, False, True, None, None, None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "")), "emfile"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ENFILE, "")), "emfile"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EADDRNOTAVAIL, "")), "eaddrnotavail"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "")), "connect"),
        (aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions")), "connect"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "")), "connect"),
        (aiohttp.ClientOSError(errno.ECONNRESET, ""), "reset"),
        (aiohttp.ClientOSError(errno.EPIPE, ""), "reset"),
        (aiohttp.ClientOSError(errno.EIO, ""), "other"),
        (OSError(errno.EMFILE, ""), "emfile"),
        (OSError(errno.ETIMEDOUT, ""), "timeout"),
        (ConnectionResetError(errno.ECONNRESET, ""), "reset"),
        (aiohttp.ServerDisconnectedError(), "disconnected"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.ConnectionTimeoutError(), "timeout"),
        (aiohttp.SocketTimeoutError(), "timeout"),
        (TimeoutError(), "timeout"),
        (aiohttp.ClientPayloadError(), "payload"),
        (aiohttp.ClientResponseError(SimpleNamespace(), ()), "payload"),
        (BadStatus(500), "status"),
        (aiohttp.InvalidURL("x"), "other"),
        (ValueError(), "other"),
        *(
            pytest.param(error, "reset")
            for error in (
                aiohttp.ClientConnectionResetError("Cannot write to closing transport"),
                ConnectionResetError("Connection lost"),
                BrokenPipeError(),
            )
        ),
    ],
    ids=repr,
)
def test_kinds_of_errors(error: BaseException, expected: str) -> None:
    assert Aiohttp.kind_of(error) == expected
    assert expected in FAILURES


# Addresses


async def test_a_checked_name_leads_to_its_addresses_and_nowhere_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[Any] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        lookups.append(host)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"http://target.invalid:{server.port}"
    async with Aiohttp(AiohttpTransport(), url, "/hello/{item}", ["127.0.0.1"]) as fetch:
        await each(fetch, 3)

    assert server.requests == 3
    assert set(server.hosts) == {f"target.invalid:{server.port}"}
    assert "target.invalid" not in lookups


@pytest.mark.parametrize("session_per_request", [True, False])
async def test_of_several_addresses_the_one_that_answers_is_used(
    server: Server, session_per_request: bool
) -> None:
    settings = AiohttpTransport(session_per_request=session_per_request)
    url = f"http://target.invalid:{server.port}"
    async with Aiohttp(settings, url, "/hello/{item}", ["127.0.0.2", "127.0.0.1"]) as fetch:
        await each(fetch, 2)

    assert server.requests == 2


async def test_a_checked_name_whose_addresses_do_not_answer_is_not_looked_up(
    server: Server,
) -> None:
    transport = Aiohttp(AiohttpTransport(), f"http://localhost:{server.port}", "/x", ["127.0.0.2"])

    assert Aiohttp.kind_of(await failure(transport)) == "connect"
    assert server.requests == 0


async def test_addresses_are_of_their_family() -> None:
    found = await KnownAddresses(["127.0.0.1", "::1"]).resolve("target.invalid", 80)

    assert [(one["host"], one["family"], one["port"]) for one in found] == [
        ("127.0.0.1", socket.AF_INET, 80),
        ("::1", socket.AF_INET6, 80),
    ]
    assert {one["hostname"] for one in found} == {"target.invalid"}


@pytest.mark.parametrize(
    ("settings", "lookups"),
    [
        ({}, 1),
        ({"use_dns_cache": False}, 1),
        ({"force_close": True}, 1),
        ({"force_close": True, "use_dns_cache": False}, 5),
        ({"force_close": True, "ttl_dns_cache": 0}, 5),
        ({"session_per_request": True}, 5),
    ],
    ids=str,
)
async def test_a_name_is_looked_up_for_a_connection_that_finds_it_in_no_cache(
    server: Server, settings: dict[str, Any], lookups: int
) -> None:
    transport = over(server, resolve_s=0.0, **settings)
    assert transport.effective == {}
    async with transport as fetch:
        assert transport.effective["lookups"] == 0
        await each(fetch, 5)

    assert transport.effective["lookups"] == lookups
    assert set(server.hosts) == {f"{NAME}:{server.port}"}


@pytest.mark.parametrize(("use_dns_cache", "lookups"), [(True, 1), (False, 6)])
async def test_requests_at_once_share_a_look_up_only_with_the_cache(
    server: Server, use_dns_cache: bool, lookups: int
) -> None:
    transport = over(server, resolve_s=0.01, use_dns_cache=use_dns_cache)
    async with transport as fetch:
        await asyncio.gather(*map(fetch, range(6)))

    assert transport.effective["lookups"] == lookups


# Spelling


@pytest.mark.parametrize(
    ("url", "path", "spelt"),
    [
        ("http://h", "/{item}", "http://h/7"),
        ("http://h/", "/{item}", "http://h/7"),
        ("http://h/a/{item}?b={c}", "", "http://h/a/7?b={c}"),
        ("http://h/a", "", "http://h/a"),
        ("http://h/", "", "http://h/"),
        ("http://h", "/{item}%20x", "http://h/7%20x"),
        ("http://h", "/a", "http://h/a"),
    ],
)
def test_the_number_of_the_item_stands_in_url_or_path(url: str, path: str, spelt: str) -> None:
    assert url_template(url, path)(7) == spelt


@pytest.mark.parametrize(
    ("url", "path"), [("http://h", "/{item}/{item}"), ("http://h/{item}", "/{item}")]
)
def test_it_stands_wherever_it_is_written(url: str, path: str) -> None:
    assert url_template(url, path)(7) == "http://h/7/7"


# Pacing


async def starts(per_second: float, arrivals: list[float]) -> list[float]:
    """When calls that arrive at these times start, on a clock that only sleeping moves."""
    now, started = 0.0, []

    async def fetch(_: int) -> None:
        started.append(now)

    async def sleep(seconds: float) -> None:
        nonlocal now
        assert seconds > 0
        now += seconds

    slowly = paced(fetch, per_second, clock=lambda: now, sleep=sleep)
    for item, at in enumerate(arrivals):
        now = max(now, at)
        await slowly(item)
    return started


async def test_calls_are_spaced_evenly() -> None:
    assert await starts(4, [0.0] * 5) == [0, 0.25, 0.5, 0.75, 1]


async def test_a_pause_earns_no_burst() -> None:
    assert await starts(4, [0, 10, 10, 10]) == [0, 10, 10.25, 10.5]


@given(st.lists(st.integers(0, 20), max_size=20).map(sorted), st.sampled_from([1, 2, 4, 8]))
def test_calls_are_never_closer_than_the_rate_and_never_early(
    arrivals: list[float], per_second: float
) -> None:
    started = asyncio.run(starts(per_second, arrivals))

    assert all(start >= at for start, at in zip(started, arrivals, strict=True))
    gaps = [after - before for before, after in pairwise(started)]
    assert all(gap >= 1 / per_second for gap in gaps)


async def test_calls_at_once_wait_for_turns_of_their_own() -> None:
    slept: list[float] = []

    async def fetch(_: int) -> None:
        """Does nothing."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    slowly = paced(fetch, 10, clock=lambda: 5.0, sleep=sleep)
    await asyncio.gather(*(slowly(item) for item in range(4)))

    assert slept == pytest.approx([0.1, 0.2, 0.3])
