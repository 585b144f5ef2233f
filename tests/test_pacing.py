"""Answers at a rate: never sooner than a link of so many bytes a second would bring them."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Running, serving

from labkit.measured.targets.http import pacing
from labkit.measured.targets.http.messages import PIECE_BYTES, Chunks, body_of

S = 1_000_000_000
bodies = st.one_of(
    st.binary(max_size=2_000),
    st.builds(
        Chunks,
        total_bytes=st.integers(0, 3_000),
        chunk_bytes=st.integers(1, 700),
        framed=st.booleans(),
    ),
)


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
                assert self.now_ns < piece <= self.now_ns + pacing.MAX_NAP_NS
                self.now_ns = piece
            else:
                found.append((self.now_ns, piece))
        return found


@given(body=bodies, rate=st.integers(1, 10_000))
def test_no_byte_comes_before_a_link_would_have_brought_it(body: bytes | Chunks, rate: int) -> None:
    clock = Waiting()
    sent = clock.sent(pacing.paced(pacing.pieces(body, rate), rate, clock))
    passed = 0
    for at_ns, piece in sent:
        passed += len(piece)
        assert at_ns * rate >= passed * S > (at_ns - 1) * rate
    whole = body if isinstance(body, bytes) else b"".join(body.pieces())
    assert b"".join(piece for _, piece in sent) == whole
    assert clock.now_ns * rate >= len(whole) * S


@given(body=bodies)
def test_without_a_rate_nothing_waits(body: bytes | Chunks) -> None:
    pieces = list(pacing.paced(pacing.pieces(body, None), None))
    assert all(isinstance(piece, bytes) for piece in pieces)


@given(size=st.integers(0, 3_000), chunk=st.integers(1, 700), rate=st.integers(1, 10_000))
def test_chunks_stay_as_large_as_asked(size: int, chunk: int, rate: int) -> None:
    body = Chunks(total_bytes=size, chunk_bytes=chunk, framed=True)
    assert list(pacing.pieces(body, rate)) == list(body.pieces())


def test_what_came_late_is_caught_up_with() -> None:
    clock = Waiting()
    pieces = pacing.paced(iter([b"x" * 100] * 5), 100, clock)
    assert next(pieces) == 1 * S
    clock.now_ns = 3 * S
    assert [next(pieces) for _ in range(4)] == [b"x" * 100] * 3 + [4 * S]


@pytest.mark.parametrize(("rate", "size"), [(1, 1), (99, 1), (10_000, 100), (1 << 40, PIECE_BYTES)])
def test_a_piece_takes_a_hundredth_of_a_second(rate: int, size: int) -> None:
    assert len(next(pacing.pieces(body_of(1 << 30), rate))) == size


# On the wire

TARGETS = [
    "/bytes/20000", "/bytes/2000000", "/stream/20000?chunk=3000", "/json/300?encoding=gzip",
    "/x", "/status/404",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


def got(server: Running, target: str, method: str = "GET") -> tuple[int, bytes, float]:
    """Status and body, and how long they took, in seconds."""
    connection = server.connect()
    try:
        began = perf_counter()
        connection.request(method, target)
        response = connection.getresponse()
        body = response.read()
        return response.status, body, perf_counter() - began
    finally:
        connection.close()


def at_rate(target: str, rate: int) -> str:
    return f"{target}{'&' if '?' in target else '?'}rate={rate}"


@pytest.mark.parametrize("target", TARGETS)
def test_a_body_takes_its_time_and_stays_the_same(server: Running, target: str) -> None:
    status, body, _ = got(server, target)
    rate = max(len(body) * 20, 1)
    paced = got(server, at_rate(target, rate))
    assert paced[:2] == (status, body)
    assert paced[2] >= len(body) / rate


def test_a_head_waits_for_nothing(server: Running) -> None:
    assert got(server, "/bytes/1000000?rate=1", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize("target", ["/bytes/1000000", "/stream/1000000", "/json/1000"])
def test_others_are_answered_meanwhile_and_a_client_may_leave(server: Running, target: str) -> None:
    before = server.stats()
    slow = server.connect()
    slow.request("GET", at_rate(target, 1))
    assert slow.getresponse().status == 200
    assert got(server, "/x")[1] == b"Hello, World!"
    assert server.stats()["in_flight"] == 1
    slow.close()
    after = server.wait_for(in_flight=0, connections_open=0)
    assert (after["in_flight"], after["connections_open"]) == (0, 0)
    assert after["bytes_out"] - before["bytes_out"] < 20_000
