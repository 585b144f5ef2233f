"""The pieces in which an answer goes out: at a rate, byte by byte, or broken by a fault.

A rate is that of a link, which has delivered a piece when all of it has passed. So no piece is due
before the time that all bytes up to its end take, and n bytes take at least n / rate. What came
late is caught up with, so that the rate holds on average. Nothing here waits or sends: an iterator
yields pieces to send, and times (ns) until when to wait; the clock is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import TypeVar

import msgspec

from labkit.measured.targets.http import messages
from labkit.measured.targets.http.messages import PIECE_BYTES, Answer, Body

# How long a piece takes where the size of pieces is free.
SLICE_S = 0.01
# After so long the server looks again, so that nothing waits long for a client that is gone.
MAX_NAP_NS = 1_000_000_000
# The faults of which a connection is the victim: nothing is answered after them.
BROKEN = frozenset({"reset", "close", "truncate", "garbage", "slow_headers"})
Piece = TypeVar("Piece", bound=bytes | int)
GARBAGE = b"\x00\xff this is no HTTP \xfe\r\n\r\n"


def body_pieces(
    answer: Answer, count: Callable[[int], None], *, chunked: bool
) -> Iterator[bytes | int]:
    """Return the pieces of an answer's body; `count` gets the bytes of each that goes out."""

    def counted(pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if isinstance(piece, bytes):
                count(len(piece))
            yield piece

    if answer.drip_s is not None:
        assert isinstance(answer.body, bytes)
        return counted(dripped(answer.body, answer.drip_s))
    parts = counted(pieces(answer.body, answer.rate))
    return paced(messages.encode_chunks(parts) if chunked else parts, answer.rate)


def pieces(body: Body, rate: int | None) -> Iterator[bytes]:
    """Return the pieces of `body`, at a rate small ones; chunks keep the size asked for."""
    size = PIECE_BYTES if rate is None else max(1, min(PIECE_BYTES, int(rate * SLICE_S)))
    if isinstance(body, bytes):
        return (body[at : at + size] for at in range(0, len(body), size))
    if not body.framed:
        body = msgspec.structs.replace(body, chunk_bytes=min(body.chunk_bytes, size))
    return body.pieces()


def paced(
    pieces: Iterator[bytes], rate: int | None, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """Yield each piece once it is due; before that, as often as asked, until when to wait.

    Times are nanoseconds of `clock`, and count from the first call of `next`.
    """
    if rate is None:
        yield from pieces
        return
    began_ns, passed = clock(), 0
    for piece in pieces:
        passed += len(piece)
        due_ns = began_ns - (-passed * 1_000_000_000 // rate)
        yield from _wait_until(due_ns, clock)
        yield piece


def dripped(
    data: bytes, over_s: float, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """Yield each byte of `data` alone, the last one after `over_s` seconds."""
    began_ns = clock()
    for at in range(len(data)):
        yield from _wait_until(began_ns + round((at + 1) * over_s * 1e9 / len(data)), clock)
        yield data[at : at + 1]


def broken(answer: Answer, encoded: bytes, count: Callable[[int], None]) -> Iterator[bytes | int]:
    """Yield what goes out of an answer with a fault that is in `BROKEN`; count its body's bytes."""
    head, blank, body = encoded.partition(b"\r\n\r\n")
    if answer.fault == "truncate":
        count(len(body) // 2)
        yield head + blank + body[: len(body) // 2]
    elif answer.fault == "garbage":
        yield GARBAGE
    elif answer.fault == "slow_headers":
        yield from dripped(head + blank, answer.fault_s)
        count(len(body))
        yield body


def _wait_until(due_ns: int, clock: Callable[[], int]) -> Iterator[int]:
    while (now_ns := clock()) < due_ns:
        yield min(due_ns, now_ns + MAX_NAP_NS)
