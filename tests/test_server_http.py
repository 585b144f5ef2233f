"""The synthetic server's answers and connections, byte by byte; the oracle is `http.client`."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPException, HTTPResponse
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from machines import checks, raws
from servers import LOOPS, MIB, Running, serving
from test_requests import REFUSED

from labkit.measured.targets.http import documents
from labkit.measured.targets.http.behaviour import Behaviour
from labkit.measured.targets.http.connections import Connections, Wait
from labkit.measured.targets.http.messages import Chunks, Request
from labkit.record.interference import high_water_bytes
from labkit.spec.targets import HttpServer


def closing(line: bytes) -> bytes:
    """A request, the last one of its connection."""
    return b"%b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % line


LAST = closing(b"GET /sentinel")
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b"Hello, World!"
TALK_S = 10.0  # a server that has sent nothing for so long hangs
Answers = list[tuple[int, bytes]]
GROWN = ("requests", "bytes_out", "connections_opened")


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(loop=request.param, client_max_size=1000) as running:
        yield running


class Unclosed(io.BufferedReader):
    """A file that outlives the `HTTPResponse` which reads from it."""

    def close(self) -> None:
        """Leave the socket open."""


class Client:
    """A connection, and what comes on it, read by the standard library's parser."""

    def __init__(self, server: Running) -> None:
        self.socket = socket.create_connection(server.address, timeout=TALK_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = Unclosed(socket.SocketIO(self.socket, "r"))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What `HTTPResponse` reads from."""
        return self._file

    def send(self, *pieces: bytes) -> None:
        # A server that has refused what came before may be gone already.
        with suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)

    def answer(self, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of the next answer."""
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        response.begin()
        return response.status, response.read()

    def body(self, method: str = "GET") -> bytes:
        return self.answer(method)[1]

    def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        received = bytearray()
        with suppress(ConnectionError):
            while data := self._file.read1(MIB):
                received += data
        return bytes(received)


def talk(server: Running, raw: bytes, *methods: str) -> tuple[Answers, bool]:
    """The answers to requests of these methods, and whether the connection is there after them.

    The same whether they come in one piece or, where they are short, in single bytes.
    """
    splits: list[Sequence[bytes]] = [[raw]]
    if len(raw) < 300:
        splits.append([raw[at : at + 1] for at in range(len(raw))])
    found = []
    for pieces in splits:
        with Client(server) as client:
            client.send(*pieces)
            answers = [client.answer(method) for method in methods]
            client.send(LAST)
            rest = client.rest()
        assert rest == b"" or rest.endswith(b"\r\n\r\n" + HELLO)
        found.append((answers, bool(rest)))
    assert all(one == found[0] for one in found)
    return found[0]


def expected(method: str, target: str) -> tuple[int, bytes]:
    """Status and body of the answer that `behaviour` decides on."""
    answer = Behaviour(HttpServer()).answer(Request(method=method, target=target))
    body = answer.body
    whole = b"".join(body.pieces()) if isinstance(body, Chunks) else body
    return answer.status, b"" if method == "HEAD" else whole


def requests(*targets: str) -> bytes:
    return b"".join(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % one.encode() for one in targets)


# Answers


@pytest.mark.parametrize("target", checks("server_http.toml", "targets"))
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_what_is_sent_is_what_behaviour_answers(
    server: Running, method: str, target: str
) -> None:
    answer = Behaviour(HttpServer()).answer(Request(method=method, target=target))
    status, whole = expected("GET" if method == "HEAD" else method, target)
    headers = {"Accept-Encoding": "identity"}
    async with aiohttp.request(method, server.url + target, headers=headers) as response:
        assert response.status == status
        assert await response.read() == (b"" if method == "HEAD" else whole)
        assert dict(answer.headers).items() <= dict(response.headers).items()
        chunked = isinstance(answer.body, Chunks) and answer.body.framed and method == "GET"
        assert (response.headers.get("Transfer-Encoding") == "chunked") == chunked
        if method == "GET" and status not in (204, 304) and not chunked:
            assert int(response.headers["Content-Length"]) == len(whole)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity"])
async def test_a_client_reads_every_coding(server: Running, coding: str) -> None:
    headers = {"Accept-Encoding": coding}
    async with aiohttp.request("GET", f"{server.url}/json/50", headers=headers) as response:
        assert response.headers.get("Content-Encoding", "identity") == coding
        assert await response.read() == documents.records(50)


# A header that comes twice counts as one.
TWICE = b"GET /json/9 HTTP/1.0\r\nAccept-Encoding: br;q=0.5\r\nAccept-Encoding: zstd\r\n\r\n"
IN_CHUNKS = b"\r\n\r\n4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "header", "end"),
    [
        (TWICE, b"Content-Encoding: zstd", b""),
        (closing(b"GET /stream/10?chunk=4"), b"Transfer-Encoding: chunked", IN_CHUNKS),
        (closing(b"HEAD /bytes/2000000"), b"Content-Length: 2000000", b"\r\n\r\n"),
        (b"GET /stream/5 HTTP/1.0\r\n\r\n", b"Content-Length: 5", b"\r\n\r\n01234"),
        (REFUSED[0], b"Content-Type: text/plain; charset=utf-8", b""),
    ],
)
def test_the_bytes_of_an_answer(server: Running, sent: bytes, header: bytes, end: bytes) -> None:
    with Client(server) as client:
        client.send(sent)
        answer = client.rest()
    assert b"\r\n" + header + b"\r\n" in answer
    assert answer.endswith(end)


# Connections


@pytest.mark.parametrize(("raw", "kept"), raws("server_http.toml", "kept"))
def test_a_connection_is_kept_as_asked(server: Running, raw: bytes, kept: bool) -> None:
    method, target = raw.decode().split()[:2]
    assert talk(server, raw, method) == ([expected(method, target)], kept)


MANY = ["/delay/0.05", *(f"/stream/{size}" for size in range(1000))]


@pytest.mark.parametrize("targets", [*checks("server_http.toml", "pipelined"), MANY])
def test_pipelined_requests_are_answered_in_order(server: Running, targets: list[str]) -> None:
    answers, stays = talk(server, requests(*targets), *["GET"] * len(targets))

    assert stays
    assert answers == [expected("GET", target) for target in targets]


AGAIN = ["/", "/x", "/posts", "/json/9", "/bytes/70000", "/stream/10", "/fault/refuse_once?n=2"]
AGAIN += ["/status/404", "/status/204", "/delay/0.001", "/bytes/9?rate=9000"]


def test_what_is_asked_again_is_answered_and_counted_each_time(server: Running) -> None:
    asked, here = [one for one in AGAIN for _ in range(4)] + AGAIN, Behaviour(HttpServer())
    made = [here.answer(Request(target=one)) for one in asked]
    before = server.stats()
    with Client(server) as client:
        answers = []
        for one in asked:
            client.send(requests(one))
            answers.append(client.answer())
    grown = {name: value - before[name] for name, value in server.stats().items() if name in GROWN}
    bodies = [b"".join(a.body.pieces()) if isinstance(a.body, Chunks) else a.body for a in made]
    assert answers == [(a.status, body) for a, body in zip(made, bodies, strict=True)]
    assert [answers[at][0] for at, one in enumerate(asked) if "once" in one] == [503, 200] * 2 + [
        503
    ]
    sizes = sum(map(len, bodies))
    assert grown == {"requests": len(asked), "bytes_out": sizes, "connections_opened": 1}


def test_what_follows_the_last_is_not_answered(server: Running) -> None:
    with Client(server) as client:
        client.send(requests("/bytes/1") + LAST + requests("/bytes/2", "/bytes/3"))
        assert [client.body() for _ in range(2)] == [b"0", HELLO]
        assert client.rest() == b""


def test_heads_and_bodies_among_pipelined_requests(server: Running) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    head = b"HEAD /bytes/1500000 HTTP/1.1\r\nHost: h\r\n\r\n"
    raw = requests("/delay/0.01") + head + post + requests("/x") + post + head

    answers, stays = talk(server, raw, "GET", "HEAD", "POST", "GET", "POST", "HEAD")
    hello, abc, nothing = (200, HELLO), (200, b"abc"), (200, b"")
    assert (answers, stays) == ([hello, nothing, abc, hello, abc, nothing], True)


def test_what_comes_in_during_a_delay_is_answered_after_it() -> None:
    following = requests("/b", "/bytes/7", "/c") + LAST
    with serving(delay="0.03") as server:
        for count, cut in enumerate([1, 5, 20, 40], start=1):
            with Client(server) as client:
                client.send(requests("/a"))
                assert client.answer()[0] == 200  # from now on the header block is known
                client.send(requests("/x"), following[:cut])
                assert client.body() == HELLO
                client.send(following[cut:])
                assert [client.body() for _ in range(4)] == [HELLO, b"0123456", HELLO, HELLO]
                assert client.rest() == b""
            assert {"in_flight": 0, "requests": 6 * count}.items() <= server.stats().items()


@pytest.mark.parametrize("how", ["route", "item"])
def test_a_stalled_server_stands_still_for_everyone(how: str) -> None:
    stall_s = 0.4
    with serving(stall_at=7, stall_s=stall_s) as server:
        with Client(server) as one, Client(server) as other:
            other.send(requests("/x"))
            other.answer()  # now the header block is known, and takes the short way
            began = time.monotonic()
            one.send(requests("/7" if how == "item" else f"/fault/stall?seconds={stall_s}"))
            assert one.body() == HELLO
            took_s = time.monotonic() - began
            other.send(requests("/x"))
            assert other.body() == HELLO
        assert took_s >= stall_s
        # All who come meanwhile wait as well: its own delays are the witness.
        with Client(server) as waiting, Client(server) as one:
            waiting.send(requests("/delay/0.05"))
            one.send(requests(f"/fault/stall?seconds={stall_s}"))
            waiting.answer()
            one.answer()
        assert server.stats()["requests"] == 5


# Bodies


@pytest.mark.parametrize("target", [b"/echo", b"/x", b"/-/stats"])
@pytest.mark.parametrize(
    ("framed", "body"),
    [
        (b"\r\n", b""),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, b"x" * 1000),
        (b"Content-Type: image/png\r\nContent-Length: 3\r\n\r\n\0\1\2", b"\0\1\2"),
        (b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (CHUNKED + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
        (CHUNKED + b'3;a="b"\r\nabc\r\n0\r\nX: y\r\n\r\n', b"abc"),
        (CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", b"x" * 1000),
    ],
)
def test_bodies_come_back_or_are_passed_over(
    server: Running, target: bytes, framed: bytes, body: bytes
) -> None:
    answers, stays = talk(server, b"POST %b HTTP/1.1\r\nHost: h\r\n" % target + framed, "POST")

    assert stays
    assert answers[0][0] == (200 if target == b"/echo" else 405)
    assert target != b"/echo" or answers[0][1] == body


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"Content-Length: %d\r\n\r\n" % (3 * MIB) + b"x" * 3 * MIB,
        CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        CHUNKED + b"64\r\n%b\r\n" % (b"x" * 100) * 11 + b"0\r\n\r\n",
    ],
    ids=["one more", "3 MiB", "one more in a chunk", "chunks"],
)
def test_a_body_above_the_limit_is_refused(server: Running, framed: bytes) -> None:
    with Client(server) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: h\r\n", framed)
        status, body = client.answer("POST")
    assert (status, b"1,000 bytes" in body) == (413, True)


WAITING = [(b"Content-Length: 3\r\n\r\n", b"abc"), (CHUNKED, b"3\r\nabc\r\n0\r\n\r\n")]


@pytest.mark.parametrize(("framing", "body"), WAITING)
def test_a_client_that_waits_is_told_to_go_on(server: Running, framing: bytes, body: bytes) -> None:
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    with Client(server) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + framing)
        assert client.makefile().read(len(go_on)) == go_on
        client.send(body)
        assert client.body("POST") == b"abc"
        client.send(LAST)
        assert client.rest().endswith(HELLO)


@pytest.mark.parametrize(("target", "length", "status"), [("/echo", 1001, 413), ("/x", 3, 405)])
def test_a_client_that_waits_in_vain_is_answered_before_it_sends(
    server: Running, target: str, length: int, status: int
) -> None:
    head = f"POST {target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
    with Client(server) as client:
        client.send(f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert client.answer("POST")[0] == status


# What is no request


@pytest.mark.parametrize("raw", REFUSED)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    server: Running, raw: bytes
) -> None:
    with Client(server) as client:
        client.send(raw)
        assert client.answer()[0] == 400
        assert client.rest() == b""


def test_requests_before_what_is_no_request_are_answered_first() -> None:
    with serving() as server, Client(server) as client:
        client.send(requests("/delay/0.02", "/bytes/1") + b"nonsense\r\n\r\n" + requests("/x"))
        assert [client.answer() for _ in range(2)] == [(200, HELLO), (200, b"0")]
        assert client.answer()[0] == 400
        assert client.rest() == b""
        left = server.wait_for(in_flight=0, connections_open=0)
    assert left["requests"] == 2


# Backpressure, and clients that go away


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("delay", ["0", "0.0001"])
def test_clients_that_do_not_read_fill_no_memory(loop: str, delay: str) -> None:
    echo = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (MIB, b"x" * MIB)
    deaf = [echo, *map(requests, ("/x", "/bytes/200000", "/stream/200000", "/bytes/1500000"))]
    with serving(loop=loop, body_bytes=200_000, delay=delay) as server, ExitStack() as stack:
        for raw in deaf:
            client = stack.enter_context(Client(server))
            client.socket.settimeout(0.3)
            with suppress(TimeoutError):  # the server takes no more than it can hold
                for _ in range(50):
                    client.socket.sendall(raw if raw is echo else raw * 40)
        with Client(server) as other:  # another client is answered meanwhile
            other.send(LAST)
            assert other.rest()[-1:]
        assert 0 < (high_water_bytes(server.pid) or 0) < 80 * MIB


def test_answers_that_take_long_let_other_connections_go_first() -> None:
    with serving() as server, Client(server) as client, Client(server) as other:
        client.send(requests("/json/100?encoding=br&level=11") * 15)
        other.send(requests("/-/stats"))
        assert json.loads(other.body())["requests"] < 15
        answers = [client.body() for _ in range(15)]
        assert answers == [answers[0]] * 15


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_that_keeps_the_server_waiting_is_ended(loop: str) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
    late = [b"GET /x HT", requests("/x") + b"GET", post + b"ab", b"GET /x HTTP/1.1\r\nHost: h\r\n"]
    with serving(loop=loop, request_timeout_s=0.2, idle_timeout_s=0.3) as server:
        clients = [Client(server) for _ in range(8)]
        *halves, fresh, idle, deaf, patient = clients
        for client, sent in zip(halves, late, strict=True):
            client.send(sent)
        idle.send(requests("/x"))
        deaf.send(requests("/bytes/100000000"))
        patient.send(requests("/delay/1") + LAST)  # it is the server that lets it wait
        for client in halves:
            assert b" 408 Request Timeout\r\n" in client.rest()
        assert (fresh.rest(), idle.body(), idle.rest()) == (b"", HELLO, b"")
        assert (patient.body(), patient.body(), patient.rest()) == (HELLO, HELLO, b"")
        assert len(deaf.rest()) < 100_000_000
        assert server.wait_for(connections_open=0)["in_flight"] == 0
        for client in clients:
            client.socket.close()


def test_what_goes_on_is_given_up_by_no_timeout() -> None:
    gone: list[object] = []
    head, idle = Wait(idle=False, mark=(1, 0)), Wait(idle=True, mark=None)

    def connection(waits: Sequence[Wait | None]) -> Any:
        one = Mock()
        one.waits_for.side_effect, one.give_up.side_effect = waits, lambda _: gone.append(one)
        return one

    late, still, busy = connection([head] * 9), connection([idle] * 9), connection([idle, None] * 5)
    slow = connection([Wait(idle=False, mark=(1, size)) for size in range(9)])
    connections = Connections(request_s=2.0, idle_s=6.0)
    connections.open.update([late, slow, busy, still])
    for now_s in range(8):
        connections.look(list(connections.open), float(now_s))
        for one in gone:
            connections.forget(one)
        assert gone == [late, still][: (now_s >= 2) + (now_s >= 6)]


@pytest.mark.parametrize("loop", LOOPS)
def test_connections_end_before_descriptors_do(loop: str) -> None:
    with serving(loop=loop, descriptors=128) as server:
        clients = [Client(server) for _ in range(200)]
        answered = 0
        for client in clients:
            with suppress(ConnectionError, HTTPException):
                client.send(LAST)
                answered += client.body() == HELLO
            client.socket.close()
        assert 50 <= answered < 200
        assert server.wait_for(connections_open=0)["requests"] == answered


def test_a_client_that_reads_late_gets_every_answer_in_order() -> None:
    count = 500
    with serving(body_bytes=50_000) as server:
        for target in ("/x", "/bytes/50000", "/stream/50000", "/x?rate=1000000000"):
            with Client(server) as client:
                client.send(requests(target))
                first, sent = client.body(), server.stats()["bytes_out"]
                # Few enough bytes for the buffers of the sockets: nobody has to read meanwhile.
                client.send(requests(target) * count + LAST)
                assert server.stats()["bytes_out"] < sent + count * 25_000
                assert [client.body() == first for _ in range(count)] == [True] * count
                assert len(client.body()) == 50_000
                assert client.rest() == b""


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize(
    ("in_flight", "raw"),
    [
        (1, requests("/delay/60")),
        (1, requests("/delay/60") + requests("/x") * 100),
        (1, requests("/bytes/100000000")),
        (1, requests("/stream/100000000")),
        (1, requests("/stream/100000000") + requests("/x") * 100),
        (1, b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab"),
        (1, b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"),
        (1, b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"),
        (0, requests("/x") + b"GET /y HT"),
        (0, b""),
    ],
    ids=lambda raw: repr(raw)[:70],
)
def test_a_client_that_goes_away_takes_its_request_with_it(
    server: Running, how: str, in_flight: int, raw: bytes
) -> None:
    idle = {"in_flight": 0, "connections_open": 0}
    before = server.wait_for(**idle)["requests"] + bool(raw)
    with Client(server) as client:
        client.send(raw)
        busy = {"in_flight": in_flight, "connections_open": 1, "requests": before}
        assert busy.items() <= server.wait_for(**busy).items()
        if how == "half":
            client.socket.shutdown(socket.SHUT_WR)
            client.rest()
        elif how == "reset":
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    idle["requests"] = before
    assert idle.items() <= server.wait_for(**idle).items()
