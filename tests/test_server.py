import asyncio
import os
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from time import monotonic, perf_counter

import aiohttp
import httptools
import pytest
from machines import checks
from servers import LOOPS, MIB, PATIENCE_S, ROOT, SERVER, Running, launch, serving

import labkit as lab
from labkit.record.interference import high_water_bytes


def waiting(running: Running, count: int) -> list[socket.socket]:
    """That many connections, each with a request that waits for a minute, seen by the server."""
    peers = [socket.create_connection(running.address) for _ in range(count)]
    for peer in peers:
        peer.sendall(b"GET /delay/60 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert running.wait_for(in_flight=count)["in_flight"] == count
    return peers


# Bodies


async def test_a_large_body_is_never_held_whole() -> None:
    size = 64 * MIB
    with serving() as server:
        for target in (f"/bytes/{size}", f"/stream/{size}?chunk=100000"):
            async with aiohttp.request("GET", server.url + target) as response:
                assert sum([len(piece) async for piece in response.content.iter_any()]) == size
        assert server.stats()["bytes_out"] == 2 * size
        # What the process needs at all is some 45 MiB.
        assert 0 < (high_water_bytes(server.pid) or 0) < 45 * MIB + size // 2


# Delays


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_delay_lasts_its_whole_time(loop: str) -> None:
    with serving(loop=loop, delay="0.0304") as server:
        async with aiohttp.ClientSession(server.url) as session:
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
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector) as session:
            tasks = [asyncio.create_task(session.get(f"/{item}")) for item in range(200)]
            seen = await asyncio.to_thread(server.wait_for, in_flight=200)
            assert (seen["in_flight"], seen["max_in_flight"]) == (200, 200)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        left = await asyncio.to_thread(server.wait_for, in_flight=0, connections_open=0)
    assert (left["in_flight"], left["connections_open"]) == (0, 0)
    assert (left["requests"], left["connections_opened"], left["bytes_out"]) == (200, 200, 0)


# Counters


def test_connections_and_requests_are_counted_and_the_counting_is_not() -> None:
    with serving(body_bytes=10, delay="randint(0,3)*0.0", seed=7, loop="uvloop") as server:
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
    in_force = {"engine": "wire", "loop": "uvloop", "delay": "randint(0,3)*0.0", "seed": 7}
    python = ".".join(map(str, sys.version_info[:3]))
    in_force |= {"pid": server.pid, "python": python, "httptools": httptools.__version__}
    assert in_force.items() <= before.items()
    assert before["uvloop"]


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


def test_the_end_of_standard_input_ends_it_where_that_is_asked() -> None:
    with serving() as server:
        peers = waiting(server, 1)
        assert server.ended() == 0
        peers[0].close()
    with serving(stdin=subprocess.DEVNULL, die_with_stdin=False) as server:
        assert server.stats()["requests"] == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


def refused(*arguments: str) -> str:
    """What a server that cannot start says."""
    line = [sys.executable, "-m", SERVER, *arguments]
    process = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1
    return process.stderr


def test_a_port_that_is_taken_is_refused_in_a_sentence() -> None:
    with serving() as server:
        port = server.address[1]
        for settings in ('"loop":"uvloop"', '"loop":"asyncio"', '"workers":2'):
            assert f"port is {port}: it is taken" in refused(f'{{"port":{port},{settings}}}')


@pytest.mark.parametrize(("arguments", "says"), checks("server.toml", "refused"))
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
def test_it_runs_on_the_core_and_address_it_is_given_with_all_the_descriptors_there_are() -> None:
    core = max(os.sched_getaffinity(0))
    with serving(core=core, host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.stats()["requests"] == 0
        assert os.sched_getaffinity(server.pid) == {core}
        limits = Path(f"/proc/{server.pid}/limits").read_text(encoding="ascii")
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if "open files" in line)
    assert soft == hard


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


async def test_a_server_within_a_block_keeps_no_log_unless_asked_and_is_gone_after_it() -> None:
    async with lab.serving() as server:
        async with aiohttp.request("GET", f"{server.url}/a") as response:
            assert response.status == 200
        assert await server.log() == []
    with pytest.raises(lab.TrialFailed, match="no longer answers"):
        await server.stats()
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


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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
