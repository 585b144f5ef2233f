"""The faults of `/fault/{kind}`: as bytes on the wire, and as clients count them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest
from servers import Running, serving

from labkit import Trial
from labkit.launch.launcher import run
from labkit.measured.targets.http import pacing
from labkit.measured.targets.http.behaviour import FAULTS, Behaviour
from labkit.measured.targets.http.messages import Answer, Request
from labkit.spec.targets import HttpServer

PATIENCE_S = 10.0
RAW = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"


def ask(target: str, seed: int = 0) -> Answer:
    return Behaviour(HttpServer(seed=seed)).answer(Request(method="GET", target=target))


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


def heard(server: Running, *targets: str) -> tuple[bytes, bool]:
    """All that comes after these requests until the connection ends, and whether by a reset."""
    with socket.create_connection(server.address, timeout=PATIENCE_S) as client:
        client.sendall(b"".join(f"GET {t} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for t in targets))
        received = bytearray()
        try:
            while data := client.recv(1 << 16):
                received += data
        except ConnectionResetError:
            return bytes(received), True
        return bytes(received), False


def test_a_connection_that_is_reset(server: Running) -> None:
    assert heard(server, "/fault/reset") == (b"", True)


def test_a_connection_that_ends_without_an_answer(server: Running) -> None:
    assert heard(server, "/fault/close") == (b"", False)


def test_an_answer_that_ends_too_soon(server: Running) -> None:
    said, was_reset = heard(server, "/fault/truncate")

    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Content-Length: 13" in head
    assert body == b"Hello,"
    assert not was_reset


def test_garbage_is_no_http(server: Running) -> None:
    said, was_reset = heard(server, "/fault/garbage")

    assert said == pacing.GARBAGE
    assert not said.startswith(b"HTTP/")
    assert not was_reset


def test_a_head_that_comes_slowly_is_whole_in_the_end(server: Running) -> None:
    began = time.monotonic()
    said, _ = heard(server, "/fault/slow_headers?seconds=0.3")

    assert time.monotonic() - began >= 0.3
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\nHello, World!")
    assert b"Connection: close" in said


@pytest.mark.parametrize("kind", sorted(pacing.BROKEN))
def test_nothing_is_answered_after_a_broken_answer(server: Running, kind: str) -> None:
    said, _ = heard(server, f"/fault/{kind}?seconds=0", "/bytes/5", "/bytes/5")

    assert b"01234" not in said
    assert server.wait_for(in_flight=0, connections_open=0)["in_flight"] == 0


def test_a_body_that_drips_leaves_the_connection_as_it_was(server: Running) -> None:
    began = time.monotonic()
    with socket.create_connection(server.address, timeout=PATIENCE_S) as client:
        client.sendall(b"GET /fault/drip?seconds=0.3 HTTP/1.1\r\nHost: h\r\n\r\n")
        client.sendall(b"GET /bytes/5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: client.recv(1 << 16), b""))

    assert time.monotonic() - began >= 0.3
    assert b"Hello, World!HTTP/1.1 200" in said
    assert said.endswith(b"01234")


def test_bytes_drip_evenly_and_never_early() -> None:
    now = [1000]

    def waited() -> Iterator[tuple[int, bytes]]:
        for piece in pacing.dripped(b"abcd", 4e-6, lambda: now[0]):
            if isinstance(piece, int):
                assert piece > now[0]
                now[0] = piece
            else:
                yield now[0] - 1000, piece

    assert list(waited()) == [(1000, b"a"), (2000, b"b"), (3000, b"c"), (4000, b"d")]


def test_the_same_items_fail_every_time_and_about_as_many_as_asked() -> None:
    def statuses(seed: int) -> list[int]:
        targets = [f"/fault/error_rate?p=0.2&item={i}" for i in range(2000)]
        return [ask(target, seed).status for target in targets]

    assert statuses(0) == statuses(0)
    assert statuses(0) != statuses(1)
    # Six standard deviations of a binomial of 2,000 draws.
    assert 293 <= statuses(0).count(500) <= 507
    assert set(statuses(0)) == {200, 500}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_sent_is_a_beginning_of_the_answer_or_none_of_it(kind: str) -> None:
    answer = ask(f"/fault/{kind}?seconds=0&p=0")
    pieces = pacing.broken(answer, RAW, lambda _: None)
    sent = b"".join(one for one in pieces if isinstance(one, bytes))

    assert sent == pacing.GARBAGE or RAW.startswith(sent)
    assert (answer.fault in pacing.BROKEN) == (kind in pacing.BROKEN)
    assert len(set(FAULTS)) == len(FAULTS)


def test_an_unknown_fault_lists_those_there_are() -> None:
    answer = ask("/fault/x")
    assert answer.status == 400
    assert re.fullmatch(rb"fault is 'x': there are reset, close, .*error_rate", answer.body)  # type: ignore[arg-type]


@pytest.mark.parametrize("transport", ["aiohttp", "streams", "wire"])
@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        # The lab's own clients call all three unanswered: sent, and nothing whole came back.
        ("reset", {"reset", "unanswered"}),
        ("close", {"disconnected", "unanswered"}),
        ("truncate", {"payload", "unanswered"}),
        ("garbage", {"payload"}),
        ("error_rate?p=1", {"status"}),
    ],
)
async def test_clients_count_each_fault(transport: str, kind: str, counted: set[str]) -> None:
    trial = Trial(requests=20, limit=4, transport=transport, **{"workload.path": f"/fault/{kind}"})
    record = await run(trial, keep=lambda _: None)

    assert record.counts.ok == 0
    assert set(record.counts.failed) <= counted
    assert sum(record.counts.failed.values()) == record.counts.sent == 20
