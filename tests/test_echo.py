"""The target and the transport `echo`: bytes come back, whatever happens to them on the way."""

import asyncio
import select
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvloop
from calls import alone, nobody, outcome
from counted import cancel
from machines import checks
from scripted import LINGER, Peer, Scripted, scripted
from servers import PATIENCE_S, ran
from targets import Target, ended, running, started

from labkit.errors import TrialFailed
from labkit.launch import environment, launcher
from labkit.measured.targets.echo import MAX_LINE
from labkit.measured.transports import Fetch, open_transport
from labkit.measured.transports.echo import NUMBER_BYTES
from labkit.spec.transports import EchoTransport
from labkit.spec.trial import Trial

LOOPS = ("asyncio", "uvloop")
ECHOES = [(api, loop) for api in ("sockets", "streams", "protocol") for loop in LOOPS]


# The target


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[tuple[str, str], Target]]:
    """A target of each style on each loop."""
    with ExitStack() as stack:
        yield {
            (api, loop): stack.enter_context(running("echo", api=api, loop=loop))
            for api, loop in ECHOES
        }


@pytest.fixture(params=ECHOES, ids="-".join)
def port(targets: dict[tuple[str, str], Target], request: pytest.FixtureRequest) -> int:
    """The port of each of them."""
    return targets[request.param].port


@contextmanager
def connected(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def read(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where the peer ends before."""
    parts = []
    while size and (data := connection.recv(min(size, 1 << 16))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def line(size: int) -> bytes:
    """So many bytes, no two neighbours alike, with a newline at the end only."""
    return (b"abcdefghijklmnopqrstuvw" * (size // 23 + 1))[: size - 1] + b"\n"


@pytest.mark.parametrize("size", [1, 16, 1_024, 102_400, MAX_LINE])
def test_what_is_sent_comes_back(port: int, size: int) -> None:
    with connected(port) as connection:
        for _ in range(2):
            sender = threading.Thread(target=connection.sendall, args=[line(size)])
            sender.start()
            came = read(connection, size)
            sender.join()

            assert came == line(size)


def test_a_message_may_come_in_any_pieces(port: int) -> None:
    message = line(20)
    with connected(port) as connection:
        for cut in range(1, 20):
            connection.sendall(message[:cut])
            connection.sendall(message[cut:])
            assert read(connection, 20) == message
        connection.sendall(message * 50)
        # A peer that ends its side still gets what it sent.
        connection.sendall(line(1 << 18))
        connection.shutdown(socket.SHUT_WR)
        assert read(connection, 1 << 19) == message * 50 + line(1 << 18)


def test_a_peer_that_reads_late_gets_all(port: int) -> None:
    """It sends far more than any buffer holds, and the target has to wait for it to read."""
    with connected(port) as connection:
        connection.setblocking(False)
        sent, rest = 0, memoryview(line(1 << 16) * 1_000)
        stuck = 0
        while stuck < 3 and sent < len(rest):
            try:
                sent += connection.send(rest[sent : sent + (1 << 16)])
                stuck = 0
            except BlockingIOError:
                # Nobody reads here: whatever is still taken goes into a buffer somewhere.
                stuck += not select.select([], [connection], [], 0.1)[1]
        assert sent < len(rest)
        connection.settimeout(PATIENCE_S)
        sender = threading.Thread(target=connection.sendall, args=[rest[sent:]])
        sender.start()
        came = read(connection, len(rest))
        sender.join()

    assert came == rest


def test_peers_that_vanish_disturb_no_other(port: int) -> None:
    with connected(port) as other:
        for sent in (b"", b"half a mess", line(1 << 18)):
            with connected(port) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                gone.sendall(sent)
            other.sendall(b"still there\n")
            assert read(other, 12) == b"still there\n"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_line_that_never_ends_is_given_up(
    targets: dict[tuple[str, str], Target], loop: str
) -> None:
    with connected(targets["streams", loop].port) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"x" * (1 << 26))


@pytest.mark.parametrize(("api", "loop"), ECHOES)
def test_it_announces_what_is_in_force_and_ends_at_a_signal(api: str, loop: str) -> None:
    with running("echo", api=api, loop=loop) as target:
        assert target.pid == target.process.pid
        assert target.url.startswith("tcp://127.0.0.1:")
        assert target.in_force == {
            "api": api,
            "loop": loop,
            "python": sys.version.split()[0],
            "uvloop": uvloop.__version__ if loop == "uvloop" else None,
        }
        with connected(target.port) as busy, connected(target.port) as idle:
            for one in (busy, idle):
                one.sendall(b"here\n")
                assert read(one, 5) == b"here\n"
            busy.sendall(b"half a mess")
            target.process.send_signal(signal.SIGTERM)

            assert target.process.wait(PATIENCE_S) == 0
            assert idle.recv(1) == b""


@pytest.mark.parametrize(("settings", "says"), checks("echo.toml", "refused"))
def test_what_cannot_start_says_why(settings: dict[str, Any], says: str) -> None:
    status, errors = ended(started("echo", **settings))

    assert status == 2
    assert errors.startswith(f"error: {says}")
    assert errors.count("\n") == 1


# The transport


@asynccontextmanager
async def against(
    answer: Callable[[bytes], bytes | None], **settings: Any
) -> AsyncIterator[tuple[Any, Fetch, Scripted]]:
    """A transport on a server that answers each message by `answer`; None ends the connection."""
    named = EchoTransport(**settings)

    async def script(peer: Peer) -> None:
        while (data := answer(await peer.exactly(named.message_bytes))) is not None:
            await peer.send(data)

    async with asyncio.timeout(PATIENCE_S), scripted(script) as server:
        transport = open_transport(named, f"tcp://127.0.0.1:{server.port}")
        async with transport as fetch:
            yield transport, fetch, server


@pytest.mark.parametrize("size", [16, 1_024, 300_000])
async def test_a_call_sends_a_message_and_awaits_it(size: int) -> None:
    messages: list[bytes] = []

    def answer(data: bytes) -> bytes:
        messages.append(data)
        return data

    async with against(answer, message_bytes=size) as (transport, fetch, server):
        assert [await fetch(item) for item in (0, 7, 99_999_999)] == [size] * 3

        assert [int(one[:NUMBER_BYTES]) for one in messages] == [0, 7, 99_999_999]
        assert all(one.index(b"\n") == size - 1 for one in messages)
        assert server.connections == transport.effective["connections_opened"] == 1
        assert transport.effective["message_bytes"] == size


@pytest.mark.parametrize(("connections", "opened"), [(0, 20), (3, 3)])
async def test_a_connection_has_one_message_at_a_time(connections: int, opened: int) -> None:
    async with against(lambda data: data, connections=connections) as (transport, fetch, server):
        for _ in range(3):
            await asyncio.gather(*map(fetch, range(20)))

        assert server.connections == transport.effective["connections_opened"] == opened
        assert len(transport.connections) == opened
    assert transport.connections == set()


WRONG = {
    "another's": (lambda data: b"9" * NUMBER_BYTES + data[NUMBER_BYTES:], "payload"),
    "too long": (lambda data: data + b"!", "payload"),
    "twice": (lambda data: data * 2, "payload"),
    "cut": (lambda data: None, "unanswered"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_what_does_not_come_back_as_it_went_is_a_failure(kind: str) -> None:
    garbled, expected = WRONG[kind]
    wrong = [False, True]

    def answer(data: bytes) -> bytes | None:
        return garbled(data) if wrong.pop() else data

    async with against(answer) as (transport, fetch, server):
        assert await outcome(transport, fetch(1)) == expected
        # Its connection is not used again, and the next call has another.
        assert await fetch(2) == 1_024
        assert server.connections == 2


async def test_what_comes_unasked_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(await peer.exactly(16))
        await asked.wait()
        await peer.send(b"more")
        await peer.end()

    asked = asyncio.Event()
    async with scripted(script) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        opened: Any = open_transport(EchoTransport(message_bytes=16), url)
        async with opened as fetch:
            assert await fetch(1) == 16
            asked.set()
            await server.until(lambda: not server.open)

            assert (opened.idle, opened.connections) == ([], set())


async def test_where_nobody_listens_a_call_fails_to_connect() -> None:
    assert await alone(open_transport(EchoTransport(), f"tcp://{nobody()}")) == "connect"


async def test_an_echo_that_does_not_come_is_a_timeout() -> None:
    async with against(lambda data: b"", timeout_s=0.05) as (transport, fetch, server):
        assert await outcome(transport, fetch(0)) == "timeout"
        assert await outcome(transport, fetch(1)) == "timeout"
        assert server.connections == 2


async def test_a_call_that_is_cancelled_takes_its_connection_along() -> None:
    reached, silent = asyncio.Event(), [True]

    def answer(data: bytes) -> bytes:
        reached.set()
        return b"" if silent.pop() else data

    async with against(answer) as (transport, fetch, server):
        task = asyncio.ensure_future(fetch(0))
        await reached.wait()
        await cancel(task)
        silent.append(False)

        assert await fetch(1) == 1_024
        assert (server.connections, transport.effective["connections_opened"]) == (2, 2)


# Whole trials


@pytest.mark.parametrize(
    ("api", "loop"), [("protocol", "uvloop"), ("streams", "asyncio"), ("sockets", "rloop")]
)
async def test_a_trial_counts_every_message(api: str, loop: str) -> None:
    if loop == "rloop":
        pytest.importorskip("rloop", reason="rloop is not installed")
    named = {"target.api": api, "target.loop": loop, "message_bytes": 10_240}
    trial = Trial(target="echo", loop=loop, requests=300, limit=10, **named)

    record = (await ran(trial)).record

    assert (record.counts.ok, record.counts.failed) == (300, {})
    assert (record.floor_s, record.efficiency) == (None, None)
    in_force = record.effective["server"]
    assert (in_force["loop"], in_force["api"], record.effective["loop"]) == (loop, api, loop)
    assert loop == "asyncio" or in_force[loop] == record.effective["versions"][loop]
    assert record.effective["transport"]["connections_opened"] == 10
    assert record.server is not None
    assert record.server.requests is None
    assert Trial.from_dict(record.trial) == trial


async def test_a_target_that_dies_loses_no_count() -> None:
    trial = Trial(target="echo", requests=10_000, limit=1)
    counts = (await ran(trial, killing="labkit.measured.targets.echo")).record.counts

    assert counts.ok + counts.failures == counts.planned == 10_000
    assert set(counts.failed) <= {"unanswered", "connect", "reset"}


async def test_a_target_that_cannot_start_is_a_failed_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: [0, 10**6])
    with pytest.raises(TrialFailed, match=r"serve\.core is 1000000"):
        await launcher.run(Trial(target="echo"), keep=lambda _: None)
