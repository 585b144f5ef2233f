"""Feeds garbage to both readers: `python tests/fuzz_responses.py -runs=20000 -max_total_time=20`.

No test itself: `test_fuzz.py` runs it for a while. Anything but `BadMessage` is a finding, and so
is a body or a buffer above its limit, or bytes that mean something else when they come split.
"""

from __future__ import annotations

import sys

import atheris

from labkit.measured import http_framing
from labkit.measured.targets.http import requests
from labkit.measured.transports import responses

MAX_HEAD, MAX_BODY, MAX_KEPT = 256, 512, 64
SEEDS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 304 X\r\nConnection: keep-alive\r\n\r\nHTTP/1.1 200 OK\r\n\r\nto the end",
    b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
)
heads: dict[bytes, responses.ResponseHead] = {}
plains: dict[bytes, responses.ResponseHead] = {}
blocks: set[bytes] = set()


class Listener:
    """Keeps what the reader of requests tells."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def plain_received(self, name: bytes) -> None:
        self.told.append(("GET", "/" + name.decode("ascii"), b""))

    def head_received(self, head: requests.Request) -> int:
        return MAX_KEPT

    def request_received(self, head: requests.Request, body: bytes) -> None:
        assert len(body) <= MAX_KEPT + 1
        self.told.append((head.method, head.target, body))


def answers(pieces: list[bytes], known: bool) -> list[object]:
    """What the reader of responses tells, and last why it tells no more."""
    told: list[object] = []

    def answered(head: responses.ResponseHead, body: bytes) -> None:
        assert len(body) <= MAX_BODY
        assert head.status >= 200
        told.append((head, body))

    reader = responses.ResponseReader(
        answered,
        max_head_bytes=MAX_HEAD,
        max_body_bytes=MAX_BODY,
        known=heads if known else None,
        plain=plains if known else None,
    )
    try:
        for piece in pieces:
            reader.receive(piece)
        reader.end()
    except http_framing.BadMessage:
        told.append("refused")
    assert len(heads) <= responses.MAX_HEADS_KNOWN
    return told


def asked(pieces: list[bytes], known: bool) -> list[object]:
    """What the reader of requests tells, and last how it stands."""
    listener = Listener()
    reader = requests.RequestReader(listener, blocks if known else set())
    try:
        for piece in pieces:
            reader.receive(piece)
        listener.told.append(reader.between)
    except http_framing.BadMessage:
        listener.told.append("refused")
    assert len(blocks) <= requests.MAX_BLOCKS_KNOWN
    return listener.told


def one_input(data: bytes) -> None:
    """The first two bytes choose where the rest is split; the rest is read as either."""
    if len(data) < 2:
        return
    raw = data[2:]
    first = data[0] % (len(raw) + 1)
    second = first + data[1] % (len(raw) + 1 - first)
    pieces = [raw[:first], raw[first:second], raw[second:]]
    whole = answers([raw], known=False)
    assert answers(pieces, known=True) == whole == answers([raw], known=True)
    whole = asked([raw], known=False)
    assert asked(pieces, known=True) == whole == asked([raw], known=True)


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """What the fuzzer makes of its input, or now and then of an example."""
    if seed % 8 == 0:
        data = b"\0\0" + SEEDS[seed // 8 % len(SEEDS)] + data[2:]
    return atheris.Mutate(data[:most], most)


def guide() -> None:
    """Let the fuzzer see which branches an input takes."""
    for owner, names in (
        (responses.ResponseReader, ("receive", "plain_answer", "on_header", "on_headers_complete")),
        (requests.RequestReader, ("receive", "on_header", "on_headers_complete")),
        (requests, ("plain_names",)),
        (http_framing.MessageReader, ("feed",)),
    ):
        for name in names:
            setattr(owner, name, atheris.instrument_func(getattr(owner, name)))


if __name__ == "__main__":
    guide()
    for example in SEEDS:
        one_input(b"\7\5" + example * 2)
    atheris.Setup(sys.argv, one_input, custom_mutator=mutated)
    atheris.Fuzz()
