from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import monotonic, perf_counter

import aiohttp
import httptools
import pytest
from servers import PATIENCE_S, ROOT, Running, command, launch, serving

import labkit as lab
from labkit.measured.targets.http import documents
from labkit.measured.targets.http.behaviour import Behaviour
from labkit.measured.targets.http.messages import Chunks, Request
from labkit.spec.targets import HttpServer

LOOPS = ["uvloop", "asyncio"]
MIB = 1 << 20


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """One server for all tests that do not look at its counters."""
    with serving(loop=request.param, client_max_size=1000) as running:
        yield running


def exchange(running: Running, sent: bytes) -> bytes:
    """All that the server says to these bytes until it closes the connection."""
    with socket.create_connection(running.address, timeout=PATIENCE_S) as peer:
        peer.sendall(sent)
        return b"".join(iter(lambda: peer.recv(MIB), b""))


def waiting(running: Running, count: int) -> list[socket.socket]:
    """That many connections, each with a request that waits for a minute, seen by the server."""
    peers = [socket.create_connection(running.address) for _ in range(count)]
    for peer in peers:
        peer.sendall(b"GET /delay/60 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert running.wait_for(in_flight=count)["in_flight"] == count
    return peers


# Answers


@pytest.mark.parametrize(
    "target",
    [
        "/x", "/a%20b?c", "/%ff", "/posts", "/users", "/posts/7", "/posts/0", "/posts/x",
        "/users/3", "/delay/0.001", "/delay/x", "/bytes/0", "/bytes/70000", "/bytes/1500000",
        "/stream/0", "/stream/20000", "/stream/10?chunk=3", "/stream/10?chunk=0", "/json/0",
        "/json/3?encoding=identity", "/json/3?encoding=x", "/message/1000", "/x?rate=10000",
        "/bytes/3000?rate=300000", "/stream/3000?rate=300000", "/x?rate=0", "/status/204?rate=9",
        "/status/200", "/status/204", "/status/205", "/status/304", "/status/503", "/status/700",
        "/fault/stall?seconds=0", "/fault/x", "/fault/drip?seconds=0.01", "/echo", "/a/b", "/",
        "/fault/error_rate?p=0.5", "/fault/error_rate?p=1", "//", "/-/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_what_is_sent_is_what_behaviour_answers(
    server: Running, method: str, target: str
) -> None:
    expected = Behaviour(HttpServer()).answer(Request(method=method, target=target))
    body = expected.body
    whole = b"".join(body.pieces()) if isinstance(body, Chunks) else body
    headers = {"Accept-Encoding": "identity"}
    async with aiohttp.request(method, server.url + target, headers=headers) as response:
        assert response.status == expected.status
        assert await response.read() == (b"" if method == "HEAD" else whole)
        assert dict(expected.headers).items() <= dict(response.headers).items()
        chunked = isinstance(body, Chunks) and body.framed and method == "GET"
        assert (response.headers.get("Transfer-Encoding") == "chunked") == chunked
        if method == "GET" and expected.status not in (204, 304) and not chunked:
            assert int(response.headers["Content-Length"]) == len(whole)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity"])
async def test_a_client_reads_every_coding(server: Running, coding: str) -> None:
    headers = {"Accept-Encoding": coding}
    async with aiohttp.request("GET", f"{server.url}/json/50", headers=headers) as response:
        assert response.headers.get("Content-Encoding", "identity") == coding
        assert await response.read() == documents.records(50)


def test_a_header_that_comes_twice_counts_as_one(server: Running) -> None:
    headers = b"Accept-Encoding: br;q=0.5\r\nAccept-Encoding: zstd\r\n"
    answer = exchange(server, b"GET /json/9 HTTP/1.0\r\n" + headers + b"\r\n")
    assert b"Content-Encoding: zstd\r\n" in answer


def test_each_chunk_is_as_long_as_asked(server: Running) -> None:
    answer = exchange(
        server, b"GET /stream/10?chunk=4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )
    assert answer.endswith(b"\r\n\r\n4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n")


def test_head_has_the_length_and_no_body(server: Running) -> None:
    request = b"HEAD /bytes/2000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answer = exchange(server, request)
    assert b"Content-Length: 2000000\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_gets_a_length_instead_of_chunks(server: Running) -> None:
    head, _, body = exchange(server, b"GET /stream/5 HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Content-Length: 5" in head
    assert body == b"01234"


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    requests = [b"GET /bytes/%d HTTP/1.1\r\nHost: h\r\n\r\n" % size for size in (1, 2, 3)] + [
        b"GET /bytes/4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    ]
    answers = exchange(server, b"".join(requests)).split(b"HTTP/1.1 200 OK\r\n")[1:]
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert bodies == [b"0", b"01", b"012", b"0123"]


def test_a_connection_is_kept_alive(server: Running) -> None:
    connection = server.connect()
    connection.connect()
    ours = connection.sock.getsockname()
    for target in ("/x", "/status/404", "/status/204", "/stream/9", "/posts/1"):
        connection.request("GET", target)
        connection.getresponse().read()
        assert connection.sock.getsockname() == ours
    connection.close()


# Bodies


@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_echo_returns_what_is_posted(server: Running, size: int, chunked: bool) -> None:
    assert await posted(server, size, chunked) == (200, b"x" * size)


@pytest.mark.parametrize("size", [1001, 3 * MIB])
@pytest.mark.parametrize("chunked", [False, True])
async def test_echo_refuses_a_body_above_client_max_size(
    server: Running, size: int, chunked: bool
) -> None:
    status, body = await posted(server, size, chunked)
    assert status == 413
    assert b"1,000 bytes" in body


async def posted(server: Running, size: int, chunked: bool) -> tuple[int, bytes]:
    async with aiohttp.request(
        "POST", f"{server.url}/echo", data=io.BytesIO(b"x" * size), chunked=chunked or None
    ) as response:
        return response.status, await response.read()


async def test_a_client_that_expects_100_is_told_to_continue(server: Running) -> None:
    async with aiohttp.request(
        "POST", f"{server.url}/echo", data=b"abc", expect100=True
    ) as response:
        assert await response.read() == b"abc"


def test_a_compressed_body_comes_back_as_it_is(server: Running) -> None:
    head = b"POST /echo HTTP/1.0\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
    assert exchange(server, head + b"abc").endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_400(server: Running, sent: bytes) -> None:
    answer = exchange(server, sent + b"zz\r\n\r\n")
    assert b" 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n" in answer


@pytest.mark.parametrize("size", [64 * MIB])
async def test_a_large_body_is_never_held_whole(size: int) -> None:
    with serving() as server:
        for target in (f"/bytes/{size}", f"/stream/{size}?chunk=100000"):
            assert await length(server, target) == size
        assert server.stats()["bytes_out"] == 2 * size
        # What the process needs at all is some 45 MiB.
        assert peak_rss_bytes(server.pid) < 45 * MIB + size // 2


async def length(server: Running, target: str) -> int:
    async with aiohttp.request("GET", server.url + target) as response:
        return sum([len(piece) async for piece in response.content.iter_any()])


def peak_rss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


# Delays


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_delay_lasts_its_whole_time(loop: str) -> None:
    with serving(loop=loop, delay="0.0304") as server:
        async with server_session(server) as session:
            for target, delay_s in (("/x", 0.0304), ("/delay/0.0507", 0.0507), ("/delay/0", 0)):
                began = perf_counter()
                async with session.get(target) as response:
                    assert await response.read() == b"Hello, World!"
                assert perf_counter() - began >= delay_s
        errors = server.stats()["delay_error_s"]
    assert 0 <= errors["p50"] <= errors["p99"] <= errors["max"]


@pytest.mark.parametrize("loop", LOOPS)
async def test_two_hundred_requests_wait_together(loop: str) -> None:
    with serving(loop=loop, delay="uniform(60,61)") as server:
        async with server_session(server) as session:
            tasks = [asyncio.create_task(session.get(f"/{item}")) for item in range(200)]
            seen = await asyncio.to_thread(server.wait_for, in_flight=200)
            assert (seen["in_flight"], seen["max_in_flight"]) == (200, 200)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        left = await asyncio.to_thread(server.wait_for, in_flight=0, connections_open=0)
    assert (left["in_flight"], left["connections_open"]) == (0, 0)
    assert (left["requests"], left["connections_opened"], left["bytes_out"]) == (200, 200, 0)


def server_session(server: Running) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(server.url, connector=connector)


# Counters


def test_counters_say_what_is_in_force() -> None:
    with serving(delay="randint(0,3)*0.0", seed=7, loop="uvloop") as server:
        stats = server.stats()
    in_force = {"engine": "wire", "loop": "uvloop", "delay": "randint(0,3)*0.0", "seed": 7}
    assert in_force.items() <= stats.items()
    assert stats["pid"] == server.pid
    assert stats["python"] == ".".join(map(str, sys.version_info[:3]))
    assert stats["httptools"] == httptools.__version__
    assert stats["uvloop"]


def test_connections_and_requests_are_counted_and_the_counting_is_not() -> None:
    with serving(body_bytes=10) as server:
        first, second = server.connect(), server.connect()
        for connection, method in ((first, "GET"), (first, "HEAD"), (second, "GET")):
            connection.request(method, "/x")
            connection.getresponse().read()
        before = server.stats()
        first.close()
        second.close()
        after = server.wait_for(connections_open=0)
    counted = {"requests": 3, "in_flight": 0, "max_in_flight": 1, "connections_opened": 2}
    assert {**counted, "connections_open": 2, "bytes_out": 20}.items() <= before.items()
    assert {**counted, "connections_open": 0}.items() <= after.items()
    assert before["delay_error_s"] == {"p50": None, "p99": None, "max": None}


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /delay/60 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /stream/1073741824 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /bytes/1073741824 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    ],
)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_goes_away_takes_its_request_with_it(loop: str, sent: bytes) -> None:
    with serving(loop=loop) as server:
        with socket.create_connection(server.address) as peer:
            peer.sendall(sent)
            assert server.wait_for(in_flight=1)["in_flight"] == 1
        left = server.wait_for(in_flight=0, connections_open=0)
    assert (left["in_flight"], left["connections_open"], left["requests"]) == (0, 0, 1)


# The process


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_mid_delay(loop: str, number: int) -> None:
    with serving(loop=loop) as server:
        peers = waiting(server, 20)
        server.process.send_signal(number)
        assert server.ended() == 0
        assert server.stderr == ""
        for peer in peers:
            peer.close()


def test_the_end_of_standard_input_ends_it() -> None:
    with serving() as server:
        peers = waiting(server, 1)
        assert server.ended() == 0
        peers[0].close()


def test_standard_input_is_left_alone_unless_asked() -> None:
    with serving(stdin=subprocess.DEVNULL, die_with_stdin=False) as server:
        assert server.stats()["requests"] == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


def refused(*arguments: str) -> str:
    """What a server that cannot start says."""
    process = subprocess.run(
        [*command("")[:-1], *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1
    return process.stderr


def test_a_port_that_is_taken_is_refused_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for loop in LOOPS:
            assert f"port is {port}: it is taken" in refused(f'{{"port":{port},"loop":"{loop}"}}')


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "usage"),
        (["{"], "settings"),
        (['{"prt": 1}'], "prt"),
        (['{"port": 70000}'], "port"),
        (['{"delay": "sometimes"}'], "randint(0,3)"),
        (['{"core": 100000}'], "core is 100000"),
        (['{"host": "192.0.2.1"}'], "host is '192.0.2.1'"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(arguments: list[str], says: str) -> None:
    assert says in refused(*arguments)


def test_a_person_is_told_where_and_how_to_stop() -> None:
    with launch(announce_json=False, delay="0.5") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.communicate(timeout=PATIENCE_S)
    for part in ("http://127.0.0.1:", "0.5", "uvloop", "Ctrl-C"):
        assert part in line


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_it_runs_on_the_core_it_is_given_with_all_the_descriptors_there_are() -> None:
    core = max(os.sched_getaffinity(0))
    with serving(core=core) as server:
        assert os.sched_getaffinity(server.pid) == {core}
        limits = Path(f"/proc/{server.pid}/limits").read_text(encoding="ascii")
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if "open files" in line)
    assert soft == hard


def test_it_listens_on_ipv6_too() -> None:
    with serving(host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.stats()["requests"] == 0


def test_the_process_loads_nothing_heavy() -> None:
    heavy = "{'IPython', 'aiohttp', 'matplotlib', 'numpy', 'pandas', 'psutil', 'rich', 'typer'}"
    module = "labkit.measured.targets.http.__main__"
    code = f"import sys, {module}; print({heavy} & set(sys.modules))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert process.stdout == "set()\n"


# The log


async def test_the_log_shows_connections_and_order() -> None:
    async with lab.serving(keep_log=3) as server:
        async with aiohttp.ClientSession() as session:
            for name in ("a", "b", "c", "d"):
                async with session.get(f"{server.url}/{name}") as response:
                    await response.read()
        found = await server.log()
        assert (await server.stats())["requests"] == 4
    assert [entry["target"] for entry in found] == ["/b", "/c", "/d"]
    assert {entry["connection"] for entry in found} == {1}
    for earlier, later in pairwise(found):
        assert earlier["began_s"] <= earlier["ended_s"] <= later["began_s"]


async def test_without_a_log_nothing_is_kept() -> None:
    async with lab.serving() as server:
        async with aiohttp.request("GET", f"{server.url}/a") as response:
            assert response.status == 200
        assert await server.log() == []


async def test_a_server_that_is_gone_answers_no_questions() -> None:
    async with lab.serving() as server:
        pass
    with pytest.raises(lab.TrialFailed, match="no longer answers"):
        await server.stats()


async def test_an_unknown_setting_of_a_server_is_named() -> None:
    with pytest.raises(lab.BadInput, match="did you mean 'delay'"):
        async with lab.serving(dealy="1"):
            raise AssertionError


# Several workers


def test_workers_share_a_port_and_add_up_their_counters() -> None:
    with serving(workers=2) as server:
        # The system deals connections out by address: of so many, each worker gets some.
        clients = [server.connect() for _ in range(64)]
        for client in clients:
            client.request("GET", "/x")
            assert client.getresponse().read() == b"Hello, World!"
        stats = server.wait_for(requests=64, connections_open=64)
        assert (stats["requests"], stats["connections_opened"], stats["workers"]) == (64, 64, 2)
        for client in clients:
            client.close()
        assert server.wait_for(connections_open=0)["connections_open"] == 0
        assert len(children(server.pid)) == 2
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


def test_workers_die_with_whoever_started_them() -> None:
    with serving(workers=2) as server:
        workers = children(server.pid)
        server.process.kill()
        assert server.ended() == -signal.SIGKILL
        deadline = monotonic() + PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and monotonic() < deadline:
            pass
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_worker_that_dies_ends_the_server() -> None:
    process = launch(workers=2)
    assert process.stdout is not None
    assert process.stdout.readline()
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert process.wait(PATIENCE_S) == 1
    assert "ended by itself" in process.communicate()[1]


def test_workers_do_not_take_a_port_that_is_taken() -> None:
    with serving() as server:
        process = launch(workers=2, port=server.address[1])
        assert process.wait(PATIENCE_S) == 2
    assert f"serve.port is {server.address[1]}: it is taken" in process.communicate()[1]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
