"""The same bytes sent to both engines: they answer alike, and keep or close alike."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from servers import Running, serving

H = b"Host: h\r\n"
LAST = b"GET /sentinel HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
MIB = 1 << 20
TALK_S = 10.0  # a server that has said nothing for so long hangs
# Of each connection, or of the engine's library.
NOT_COMPARED = {"date", "connection", "keep-alive"}


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Running, Running]]:
    limit = 1000
    with (
        serving(engine="wire", client_max_size=limit) as wire,
        serving(engine="aiohttp", client_max_size=limit) as other,
    ):
        yield wire, other


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A connection, and what comes on it, read by the standard library's parser."""

    def __init__(self, server: Running) -> None:
        self.socket = socket.create_connection(server.address, timeout=TALK_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def makefile(self, *_: Any) -> io.BufferedIOBase:
        """What `HTTPResponse` reads from; it closes this, and not the connection."""
        return Borrowed(self._file)

    def send(self, *pieces: bytes) -> None:
        # A server that has refused what came before may be gone already.
        with suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)

    def answer(self, method: str) -> Said:
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if method == "HEAD" and headers.get("content-length") == "0":
            del headers["content-length"]  # aiohttp leaves it out
        compared = {name: headers[name] for name in headers.keys() - NOT_COMPARED}
        return Said(response.status, compared, response.read())

    def line(self) -> bytes:
        return self._file.readline()

    def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        received = bytearray()
        with suppress(ConnectionError):
            while data := self._file.read1(MIB):
                received += data
        return bytes(received)


class Borrowed(io.BufferedIOBase):
    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(-1 if size is None else size)

    def read1(self, size: int = -1) -> bytes:
        return self._file.read1(size)

    def readline(self, size: int | None = -1) -> bytes:
        return self._file.readline(-1 if size is None else size)

    def peek(self, size: int = 0) -> bytes:
        return self._file.peek(size)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)


def talk(server: Running, pieces: Sequence[bytes], methods: Sequence[str]) -> Any:
    """The answers to requests of these methods, and whether the connection is there after them."""
    with Client(server) as client:
        client.send(*pieces)
        said = [client.answer(method) for method in methods]
        client.send(LAST)
        rest = client.rest()
    assert rest == b"" or rest.endswith(b"\r\n\r\nHello, World!")
    return said, bool(rest)


def agreed(engines: tuple[Running, Running], raw: bytes, *methods: str) -> tuple[list[Said], bool]:
    """What both engines say, in one piece and in single bytes where it is short."""
    splits = [[raw]]
    if len(raw) < 300:
        splits.append([raw[at : at + 1] for at in range(len(raw))])
    found = [talk(server, pieces, methods or ["GET"]) for server in engines for pieces in splits]
    assert all(one == found[0] for one in found), found
    said, stays = found[0]
    return list(said), bool(stays)


# Every route


TARGETS = [
    "/x", "/a%20b?c", "/%ff", "/posts", "/users", "/posts/7", "/posts/0", "/posts/x", "/users/3",
    "/users/99", "/delay/0.001", "/delay/x", "/delay/-1", "/bytes/0", "/bytes/70000",
    "/bytes/1500000", "/bytes/-1", "/stream/0", "/stream/20000", "/stream/10?chunk=3",
    "/stream/10?chunk=0", "/json/0", "/json/3?encoding=identity", "/json/40?encoding=gzip",
    "/json/3?encoding=x", "/json/40?encoding=br&level=1", "/json/40?encoding=zstd&level=20",
    "/message/1000", "/message/-1", "/bytes/3000?rate=300000", "/stream/3000?rate=300000",
    "/x?rate=10000", "/x?rate=0", "/bytes/3?rate=", "/status/204?rate=9", "/users/99?rate=999",
    "/status/200", "/status/204", "/status/205", "/status/304",
    "/fault/stall?seconds=0", "/fault/stall?seconds=61", "/fault/x", "/fault",
    "/fault/drip?seconds=0.01", "/fault/drip?seconds=x", "/fault/error_rate?p=0.5",
    "/fault/error_rate?p=1", "/fault/error_rate?p=0", "/fault/error_rate", "/fault/error_rate?p=2",
    "/status/404", "/status/503", "/status/700", "/echo", "/a/b", "/a/b/c", "/", "//", "/-/x",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_every_route(engines: tuple[Running, Running], method: str, target: str) -> None:
    raw = b"%b %b HTTP/1.1\r\nHost: h\r\n\r\n" % (method.encode(), target.encode())

    _, stays = agreed(engines, raw, method)
    assert stays


@pytest.mark.parametrize("coding", ["gzip", "br;q=0.5, zstd", "deflate", "*;q=0", "identity;q=0"])
def test_codings(engines: tuple[Running, Running], coding: str) -> None:
    agreed(
        engines, b"GET /json/9 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: %b\r\n\r\n" % coding.encode()
    )


def test_stats_are_counted_alike() -> None:
    found = []
    for engine in ("wire", "aiohttp"):
        with serving(engine=engine) as server:
            talk(server, [b"GET /bytes/1000 HTTP/1.1\r\nHost: h\r\n\r\n" * 3], ["GET"] * 3)
            talk(server, [b"HEAD /stream/10 HTTP/1.1\r\nHost: h\r\n\r\n"], ["HEAD"])
            stats = server.wait_for(in_flight=0, connections_open=0)
        names = ("requests", "max_in_flight", "connections_opened", "bytes_out")
        found.append({name: stats[name] for name in names})
    assert found[0] == found[1]
    assert found[0]["requests"] == 6


# Connections


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"GET /x HTTP/1.1\r\nHost: h\r\n", True),
        (b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n", True),
        (b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", False),
        (b"GET /x HTTP/1.1\r\nHost: h\r\nconnection: Close\r\n", False),
        (b"GET /x HTTP/1.0\r\n", False),
        (b"GET /x HTTP/1.0\r\nConnection: close\r\n", False),
        (b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        (b"GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
        (b"GET /stream/9 HTTP/1.0\r\n", False),
        (b"GET /stream/9 HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        (b"HEAD /bytes/9 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", False),
        (b"GET /status/204 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", False),
        (b"\r\nGET /x HTTP/1.1\r\nHost: h\r\n", True),
    ],
)
def test_a_connection_is_kept_as_asked(
    engines: tuple[Running, Running], lines: bytes, kept: bool
) -> None:
    _, stays = agreed(engines, lines + b"\r\n", lines.split()[0].decode())
    assert stays == kept


def requests(*targets: str) -> bytes:
    return b"".join(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % one.encode() for one in targets)


@pytest.mark.parametrize(
    "targets",
    [
        ["/x"] * 50,
        ["/posts", "/x", "/status/204", "/x", "/stream/9?chunk=2", "/x", "/status/404"],
        ["/delay/0.05", "/x", "/posts/1", "/bytes/100", "/stream/10", "/delay/0", "/x"],
        ["/delay/0.02", *(f"/bytes/{size}" for size in range(30))],
        ["/x", "/bytes/1500000", "/x", "/stream/300000", "/bytes/1"],
    ],
    ids=["hello", "routes", "slow first", "lengths", "large"],
)
def test_pipelined_requests_are_answered_in_order(
    engines: tuple[Running, Running], targets: list[str]
) -> None:
    said, stays = agreed(engines, requests(*targets), *["GET"] * len(targets))

    assert stays
    for target, one in zip(targets, said, strict=True):
        kind, _, size = target[1:].partition("?")[0].partition("/")
        if kind in ("bytes", "stream"):
            assert len(one.body) == int(size)


def test_what_follows_the_last_request_is_not_answered() -> None:
    # aiohttp's parser refuses it instead, and with it what stands before it in the same segment.
    with serving(engine="wire") as server, Client(server) as client:
        client.send(requests("/bytes/1") + LAST + requests("/bytes/2", "/bytes/3"))
        assert [client.answer("GET").body for _ in range(2)] == [b"0", b"Hello, World!"]
        assert client.rest() == b""


def test_heads_and_bodies_among_pipelined_requests(engines: tuple[Running, Running]) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    head = b"HEAD /bytes/1500000 HTTP/1.1\r\nHost: h\r\n\r\n"
    raw = (
        requests("/delay/0.01") + head + post + requests("/x") + post + head + requests("/users/1")
    )

    said, stays = agreed(engines, raw, "GET", "HEAD", "POST", "GET", "POST", "HEAD", "GET")
    assert stays
    assert said[2].body == said[4].body == b"abc"


def test_many_chunked_answers_follow_a_slow_one() -> None:
    with serving(engine="wire") as server, Client(server) as client:
        client.send(requests("/delay/0.05", *(f"/stream/{size}" for size in range(1000))) + LAST)
        assert client.answer("GET").body == b"Hello, World!"
        sizes = [len(client.answer("GET").body) for _ in range(1000)]
        assert sizes == list(range(1000))
        assert client.answer("GET").body == b"Hello, World!"
        assert client.rest() == b""


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_what_comes_in_during_a_delay_is_answered_after_it(cut: int) -> None:
    with serving(engine="wire", delay="0.03") as server, Client(server) as client:
        client.send(requests("/a"))
        assert client.answer("GET").status == 200  # from now on the header block is known
        following = requests("/b", "/bytes/7", "/c") + LAST
        client.send(requests("/x"), following[:cut])
        assert client.answer("GET").body == b"Hello, World!"
        client.send(following[cut:])
        bodies = [client.answer("GET").body for _ in range(4)]
        assert bodies == [b"Hello, World!", b"0123456", b"Hello, World!", b"Hello, World!"]
        assert client.rest() == b""
        assert server.stats()["in_flight"] == 0
        assert server.stats()["requests"] == 6


@pytest.mark.parametrize("engine", ["wire", "aiohttp"])
@pytest.mark.parametrize("how", ["route", "item"])
def test_a_stalled_server_stands_still_for_everyone(engine: str, how: str) -> None:
    stall_s = 0.4
    with serving(engine=engine, stall_at=7, stall_s=stall_s) as server:
        with Client(server) as one, Client(server) as other:
            other.send(requests("/x"))
            other.answer("GET")  # now the header block is known, and takes the short way
            began = time.monotonic()
            one.send(requests("/7" if how == "item" else f"/fault/stall?seconds={stall_s}"))
            assert one.answer("GET").body == b"Hello, World!"
            took_s = time.monotonic() - began
            other.send(requests("/x"))
            assert other.answer("GET").body == b"Hello, World!"
        assert took_s >= stall_s
        # All who come meanwhile wait as well: its own delays are the witness.
        with Client(server) as waiting, Client(server) as one:
            waiting.send(requests("/delay/0.05"))
            one.send(requests(f"/fault/stall?seconds={stall_s}"))
            waiting.answer("GET")
            one.answer("GET")
        assert server.stats()["requests"] == 5


# Bodies


@pytest.mark.parametrize("target", [b"/echo", b"/x", b"/-/stats"])
@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: 3\r\n\r\nabc",
        b"Content-Length: 1000\r\n\r\n" + b"x" * 1000,
        b"Content-Type: image/png\r\nContent-Length: 3\r\n\r\n\0\1\2",
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b'Transfer-Encoding: chunked\r\n\r\n3;a="b"\r\nabc\r\n0\r\nX: y\r\n\r\n',
        b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n",
        b"",
    ],
)
def test_bodies_come_back_or_are_passed_over(
    engines: tuple[Running, Running], target: bytes, framed: bytes
) -> None:
    raw = b"POST %b HTTP/1.1\r\nHost: h\r\n" % target + (framed or b"\r\n")

    said, stays = agreed(engines, raw, "POST")
    assert stays
    if target == b"/echo" and b"gzip" not in framed:
        assert said[0].status == 200


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"64\r\n%b\r\n" % (b"x" * 100) * 11 + b"0\r\n\r\n",
    ],
)
def test_a_body_above_the_limit_is_refused(engines: tuple[Running, Running], framed: bytes) -> None:
    for server in engines:
        with Client(server) as client:
            client.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n", framed)
            said = client.answer("POST")
        assert (said.status, b"1,000 bytes" in said.body) == (413, True)


# Expect: 100-continue


def test_a_client_that_waits_is_told_to_go_on(engines: tuple[Running, Running]) -> None:
    for framing, body in (
        (b"Content-Length: 3", b"abc"),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ):
        for server in engines:
            with Client(server) as client:
                client.send(
                    b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                    + framing
                    + b"\r\n\r\n"
                )
                assert (client.line(), client.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
                client.send(body)
                assert client.answer("POST").body == b"abc"
                client.send(LAST)
                assert client.rest().endswith(b"Hello, World!")


def test_a_client_that_waits_with_too_much_is_refused_before_it_sends_it(
    engines: tuple[Running, Running],
) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n"
    for server in engines:
        with Client(server) as client:
            client.send(head)
            assert client.line() == b"HTTP/1.1 413 Request Entity Too Large\r\n"


def test_a_client_that_waits_where_no_body_is_taken_is_answered(
    engines: tuple[Running, Running],
) -> None:
    for server in engines:
        with Client(server) as client:
            client.send(
                b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            assert client.answer("POST").status == 405


# What is no request


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /x HTTP/1.1\r\n: no name\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA: \0\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    engines: tuple[Running, Running], raw: bytes
) -> None:
    for server in engines:
        with Client(server) as client:
            client.send(raw)
            said = client.answer("GET")
            assert (said.status, said.headers["content-type"]) == (400, "text/plain; charset=utf-8")
            assert client.rest() == b""


def test_requests_before_what_is_no_request_are_answered_first() -> None:
    # aiohttp's parser refuses all of a segment of which it cannot read a part.
    with serving(engine="wire") as server, Client(server) as client:
        client.send(requests("/delay/0.02", "/bytes/1") + b"nonsense\r\n\r\n" + requests("/x"))
        assert client.answer("GET").body == b"Hello, World!"
        assert client.answer("GET").body == b"0"
        assert client.answer("GET").status == 400
        assert client.rest() == b""
        left = server.wait_for(in_flight=0, connections_open=0)
    assert left["requests"] == 2


# Only the engine `wire`: back-pressure, and clients that go away


def rss_bytes(pid: int) -> int:
    """The most memory that the process has had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("/x", {"body_bytes": 200_000}),
        ("/x", {"body_bytes": 200_000, "delay": "0.0001"}),
        ("/bytes/200000", {}),
        ("/stream/200000", {}),
        ("/bytes/1500000", {}),
    ],
)
def test_a_client_that_does_not_read_fills_no_memory(
    loop: str, target: str, settings: dict[str, Any]
) -> None:
    count = 2000
    with serving(engine="wire", loop=loop, **settings) as server, Client(server) as client:
        client.socket.settimeout(0.5)
        one = requests(target)
        with suppress(TimeoutError):  # the server takes no more than it can hold
            client.socket.sendall(one)
            client.socket.sendall(one * count)
        with Client(server) as other:  # another client is answered meanwhile
            other.send(LAST)
            assert other.rest()[-1:]
        assert rss_bytes(server.pid) < 150 * MIB


@pytest.mark.parametrize("target", ["/x", "/bytes/50000", "/stream/50000", "/x?rate=1000000000"])
def test_a_client_that_reads_late_gets_every_answer_in_order(target: str) -> None:
    count = 1000
    with serving(engine="wire", body_bytes=50_000) as server, Client(server) as client:
        client.send(requests(target))
        expected = client.answer("GET").body
        # Few enough bytes for the buffers of the sockets: nobody has to read for this to be sent.
        client.send(requests(target) * count + LAST)
        assert server.stats()["bytes_out"] < count * 25_000
        for number in range(count):
            assert client.answer("GET").body == expected, number
        assert len(client.answer("GET").body) == 50_000
        assert client.rest() == b""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize(
    "raw",
    [
        requests("/delay/60"),
        requests("/delay/60") + requests("/x") * 100,
        requests("/bytes/100000000"),
        requests("/stream/100000000"),
        requests("/stream/100000000") + requests("/x") * 100,
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        requests("/x") + b"GET /y HT",
        b"",
    ],
    ids=lambda raw: repr(raw[:70]),
)
def test_a_client_that_goes_away_leaves_nothing_behind(loop: str, how: str, raw: bytes) -> None:
    with serving(engine="wire", loop=loop) as server:
        with Client(server) as client:
            client.send(raw)
            seen = server.wait_for(connections_open=1)
            assert seen["connections_open"] == 1
            if how == "half":
                client.socket.shutdown(socket.SHUT_WR)
                client.rest()
            elif how == "reset":
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        left = server.wait_for(in_flight=0, connections_open=0)
        assert (left["in_flight"], left["connections_open"]) == (0, 0)
