"""At what pace a body goes out where the client asks for a rate: as over a link of so many bytes/s.

A link has delivered a piece when all of it has passed. So no piece is due before the time that all
bytes up to its end take, and n bytes take at least n / rate. What came late is caught up with, so
that the rate holds on average. Nothing here waits or sends: engines do, and give the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter_ns

import msgspec

from labkit.measured.targets.http.messages import PIECE_BYTES, Answer, Body, Chunks

SLICE_S = 0.01
"""How long a piece takes where the size of pieces is free."""
LONGEST_NAP_NS = 1_000_000_000
"""After so long an engine looks again, so that nothing waits for long for a client that is gone."""


def sent(answer: Answer) -> Iterator[bytes | int]:
    """The body of `answer` at its pace: pieces to send, and times (ns) until when to wait."""
    if answer.drip_s is None:
        return paced(pieces(answer.body, answer.rate), answer.rate)
    assert isinstance(answer.body, bytes)
    return dripped(answer.body, answer.drip_s)


def pieces(body: Body, rate: int | None) -> Iterator[bytes]:
    """The pieces of `body`, at `rate` bytes a second small ones; chunks keep the size asked for."""
    if isinstance(body, bytes):
        size = slice_bytes(rate)
        return (body[at : at + size] for at in range(0, len(body), size))
    if not body.framed:
        body = msgspec.structs.replace(body, chunk_bytes=min(body.chunk_bytes, slice_bytes(rate)))
    assert isinstance(body, Chunks)
    return body.pieces()


def slice_bytes(rate: int | None) -> int:
    """How many bytes are sent at once."""
    return PIECE_BYTES if rate is None else max(1, min(PIECE_BYTES, int(rate * SLICE_S)))


def paced(
    pieces: Iterator[bytes], rate: int | None, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """Each piece once it is due; before that, as often as asked, until when to wait.

    Times are nanoseconds of `clock`, and count from the first call of `next`.
    """
    if rate is None:
        yield from pieces
        return
    began_ns, passed = clock(), 0
    for piece in pieces:
        passed += len(piece)
        due_ns = began_ns - (-passed * 1_000_000_000 // rate)
        yield from _until(due_ns, clock)
        yield piece


def dripped(
    data: bytes, over_s: float, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """Each byte of `data` alone, the last one after `over_s` seconds."""
    began_ns = clock()
    for at in range(len(data)):
        yield from _until(began_ns + round((at + 1) * over_s * 1e9 / len(data)), clock)
        yield data[at : at + 1]


def _until(due_ns: int, clock: Callable[[], int]) -> Iterator[int]:
    while (now_ns := clock()) < due_ns:
        yield min(due_ns, now_ns + LONGEST_NAP_NS)
