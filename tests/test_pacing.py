"""Answers at a rate, byte by byte, or broken by a fault; and the alarm that ends delays."""

import asyncio
import re
import socket
import sys
from collections.abc import Iterator
from time import perf_counter, perf_counter_ns

import pytest
import uvloop
from clocks import ByHand
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from servers import PATIENCE_S, Running, serving

from labkit import Trial
from labkit.measured import timerfd
from labkit.measured.targets.http import messages
from labkit.measured.targets.http.behaviour import FAULTS, Behaviour
from labkit.measured.targets.http.messages import PIECE_BYTES, Answer, Chunks, Request, body_of
from labkit.measured.timerfd import Alarm, LoopClock, SystemClock
from labkit.measured.transports import open_transport
from labkit.spec.targets import HttpServer

S = 1_000_000_000
rates, sizes, lengths = st.integers(1, 10_000), st.integers(0, 3_000), st.integers(1, 700)
chunks = st.builds(Chunks, total_bytes=sizes, chunk_bytes=lengths, framed=st.booleans())
bodies = st.binary(max_size=2_000) | chunks


class Waiting:
    """A clock of a virtual time in which only waiting takes any."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def sent(self, pieces: Iterator[bytes | int]) -> list[tuple[int, bytes]]:
        """Each piece, and when it was sent."""
        found = []
        for piece in pieces:
            if isinstance(piece, int):
                assert self.now_ns < piece <= self.now_ns + messages.MAX_NAP_NS
                self.now_ns = piece
            else:
                found.append((self.now_ns, piece))
        return found


@given(body=bodies, rate=rates)
def test_no_byte_comes_before_a_link_would_have_brought_it(body: bytes | Chunks, rate: int) -> None:
    clock = Waiting()
    sent = clock.sent(messages.paced(messages.pieces(body, rate), rate, clock))
    passed = 0
    for at_ns, piece in sent:
        passed += len(piece)
        assert at_ns * rate >= passed * S > (at_ns - 1) * rate
    whole = body if isinstance(body, bytes) else b"".join(body.pieces())
    assert b"".join(piece for _, piece in sent) == whole
    assert clock.now_ns * rate >= len(whole) * S


@given(body=bodies)
def test_without_a_rate_nothing_waits(body: bytes | Chunks) -> None:
    pieces = list(messages.paced(messages.pieces(body, None), None))
    assert all(isinstance(piece, bytes) for piece in pieces)


@given(body=chunks.filter(lambda body: body.framed), rate=rates)
def test_chunks_stay_as_large_as_asked(body: Chunks, rate: int) -> None:
    assert list(messages.pieces(body, rate)) == list(body.pieces())


def test_what_came_late_is_caught_up_with() -> None:
    clock = Waiting()
    pieces = messages.paced(iter([b"x" * 100] * 5), 100, clock)
    assert next(pieces) == 1 * S
    clock.now_ns = 3 * S
    assert [next(pieces) for _ in range(4)] == [b"x" * 100] * 3 + [4 * S]


def test_bytes_drip_evenly_and_never_early() -> None:
    clock = Waiting()
    sent = clock.sent(messages.dripped(b"abcd", 4e-6, clock))
    assert sent == [(1000, b"a"), (2000, b"b"), (3000, b"c"), (4000, b"d")]


@pytest.mark.parametrize(("rate", "size"), [(1, 1), (99, 1), (10_000, 100), (1 << 40, PIECE_BYTES)])
def test_a_piece_takes_a_hundredth_of_a_second(rate: int, size: int) -> None:
    assert len(next(messages.pieces(body_of(1 << 30), rate))) == size


# On the wire


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


def got(server: Running, target: str, method: str = "GET") -> tuple[int, bytes, float]:
    """Status and body, and how long they took, in seconds."""
    connection = server.connect()
    began = perf_counter()
    connection.request(method, target)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body, perf_counter() - began


TARGETS = ["/bytes/20000?", "/bytes/2000000?", "/stream/20000?chunk=3000&", "/x?", "/status/404?"]


@pytest.mark.parametrize("target", [*TARGETS, "/json/300?encoding=gzip&"])
def test_a_body_takes_its_time_and_stays_the_same(server: Running, target: str) -> None:
    status, body, _ = got(server, target)
    rate = max(len(body) * 20, 1)
    paced = got(server, f"{target}rate={rate}")
    assert paced[:2] == (status, body)
    assert paced[2] >= len(body) / rate


def test_a_head_waits_for_nothing(server: Running) -> None:
    assert got(server, "/bytes/1000000?rate=1", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize("target", ["/bytes/1000000", "/stream/1000000", "/json/1000"])
def test_others_are_answered_meanwhile_and_a_client_may_leave(server: Running, target: str) -> None:
    before = server.stats()
    slow = server.connect()
    slow.request("GET", f"{target}?rate=1")
    assert slow.getresponse().status == 200
    assert got(server, "/x")[1] == b"Hello, World!"
    assert server.stats()["in_flight"] == 1
    slow.close()
    after = server.wait_for(in_flight=0, connections_open=0)
    assert (after["in_flight"], after["connections_open"]) == (0, 0)
    assert after["bytes_out"] - before["bytes_out"] < 20_000


# Faults


def ask(target: str, seed: int = 0) -> Answer:
    return Behaviour(HttpServer(seed=seed)).answer(Request(method="GET", target=target))


ANSWERED = {
    "reset": b"",
    "close": b"",
    "truncate": rb"HTTP/1.1 200 OK\r\n.*Content-Length: 13\r\n.*\r\n\r\nHello,",
    "garbage": re.escape(messages.GARBAGE),
    "slow_headers": rb"HTTP/1.1 200 OK\r\n.*Connection: close.*\r\n\r\nHello, World!",
    # Nothing is answered after any other.
    "drip": rb"HTTP/1.1 200 OK\r\n.*Hello, World!HTTP/1.1 200 .*\r\n\r\n01234",
}


@pytest.mark.parametrize("kind", ANSWERED)
def test_a_fault_on_the_wire(server: Running, kind: str) -> None:
    began, received, was_reset = perf_counter(), bytearray(), False
    with socket.create_connection(server.address, timeout=PATIENCE_S) as client:
        client.sendall(
            b"GET /fault/%b?seconds=0.3 HTTP/1.1\r\nHost: h\r\n\r\n" % kind.encode()
            + b"GET /bytes/5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        try:
            while data := client.recv(1 << 16):
                received += data
        except ConnectionResetError:
            was_reset = True
    assert perf_counter() - began >= (0.3 if kind in ("slow_headers", "drip") else 0)
    assert re.fullmatch(ANSWERED[kind], received, re.DOTALL)
    assert was_reset == (kind == "reset")
    assert server.wait_for(in_flight=0, connections_open=0)["in_flight"] == 0


def test_the_same_items_fail_every_time_and_about_as_many_as_asked() -> None:
    def statuses(seed: int) -> list[int]:
        targets = [f"/fault/error_rate?p=0.2&item={i}" for i in range(2000)]
        return [ask(target, seed).status for target in targets]

    found = statuses(0)
    assert found == statuses(0) != statuses(1)
    # Six standard deviations of a binomial of 2,000 draws.
    assert 293 <= found.count(500) <= 507
    assert set(found) == {200, 500}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_sent_is_a_beginning_of_the_answer_or_none_of_it(kind: str) -> None:
    answer = ask(f"/fault/{kind}?seconds=0&p=0")
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"
    counted: list[int] = []
    pieces = messages.broken(answer, whole, counted.append)
    sent = b"".join(one for one in pieces if isinstance(one, bytes))

    assert sent == messages.GARBAGE or whole.startswith(sent)
    assert sum(counted) == len(sent.partition(b"\r\n\r\n")[2])
    assert (answer.fault in messages.BROKEN) == (kind in messages.BROKEN)
    assert len(set(FAULTS)) == len(FAULTS)


@pytest.fixture(scope="module")
def faulty() -> Iterator[Running]:
    with serving() as server:
        yield server


@pytest.mark.parametrize("transport", ["aiohttp", "streams", "wire"])
@pytest.mark.parametrize(("kind", "counted"), checks("pacing.toml", "faults"))
async def test_clients_name_each_fault(
    transport: str, kind: str, counted: list[str], faulty: Running
) -> None:
    settings = Trial(transport=transport).transport
    async with (client := open_transport(settings, faulty.url, f"/fault/{kind}")) as fetch:
        found = await asyncio.gather(*(fetch(item) for item in range(20)), return_exceptions=True)

    assert {isinstance(one, Exception) and client.kind_of(one) for one in found} <= {*counted}


# The alarm that ends delays: in order, never early, on every clock that there is

CLOCKS = (SystemClock, LoopClock) if sys.platform == "linux" else (LoopClock,)
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def test_what_falls_due_in_a_ring_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, called = ByHand(), list[int]()
    monkeypatch.setattr(timerfd, "perf_counter_ns", lambda: hand.now_ns)
    rings = Alarm(hand)

    def again(now_ns: int) -> None:
        called.append(now_ns)
        hand.now_ns += 5
        rings.at(hand.now_ns - 1, again)

    rings.at(10, again)
    hand.now_ns = 10
    hand.ring()
    assert called == [10]
    assert hand.due_ns == 14


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("clock", CLOCKS)
def test_never_early_and_none_forgotten(clock: type[LoopClock], loop: str) -> None:
    delays_ns = [(i * 7919) % 30_000 * 1_000 for i in range(200)]

    async def lateness() -> list[int]:
        rings, late, done = Alarm(clock), list[int](), asyncio.Event()
        start_ns = perf_counter_ns()
        for delay_ns in delays_ns:
            due_ns = start_ns + delay_ns
            rings.at(due_ns, lambda now, due=due_ns: late.append(now - due))
        rings.at(start_ns + max(delays_ns) + 1, lambda _: done.set())
        await asyncio.wait_for(done.wait(), timeout=20)
        return late

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        late = runner.run(lateness())
    assert len(late) == len(delays_ns)
    assert min(late) >= 0


def test_without_a_timerfd_the_loop_keeps_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(_: object) -> object:
        raise OSError

    async def clock() -> object:
        return timerfd.best_clock(lambda: None)

    assert isinstance(asyncio.run(clock()), CLOCKS[0])
    monkeypatch.setattr(timerfd, "SystemClock", none_here)
    assert isinstance(asyncio.run(clock()), LoopClock)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=40))
def test_every_call_is_made_once_in_order_at_the_first_ring_that_is_late_enough(
    steps: list[tuple[int, int]],
) -> None:
    clock, called, expected = ByHand(), list[tuple[int, int, int]](), list[tuple[int, int]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timerfd, "perf_counter_ns", lambda: clock.now_ns)
        rings = Alarm(clock)
        for number, (wait, step) in enumerate(steps):
            due = (clock.now_ns + wait, number)
            rings.at(due[0], lambda now, due=due: called.append((*due, now)))
            expected.append(due)
            before = len(called)
            clock.now_ns += step
            clock.ring()
            assert called[before:] == sorted(called[before:])
            assert all(now == clock.now_ns for _, _, now in called[before:])
            done = sorted(due for due in expected if due[0] <= clock.now_ns)
            assert sorted((due, number) for due, number, _ in called) == done
            left = [due for due, _ in expected if due > clock.now_ns]
            assert clock.due_ns == min(left, default=None)
