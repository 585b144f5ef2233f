"""Exercises of `14_bytes_on_the_wire`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from . import grading, sandbox
from .register import Wrong, exercise

PLAIN_BYTES, PACKED_BYTES, CPU_S = 100_000, 20_000, 0.002
BODY_BYTES = 13_015
CHUNK_BYTES, CHUNKS = 4_096, 40


@exercise("ex-14-1")
def rate_that_breaks_even(answer: object) -> str:
    """Check the rate of a link below which a coding pays, in megabytes per second."""
    saved = PLAIN_BYTES - PACKED_BYTES
    mistakes = {
        PLAIN_BYTES / CPU_S / 1e6: "that is with all bytes: only those that are saved count",
        PACKED_BYTES / CPU_S / 1e6: "that is with the bytes that are still sent: which are saved?",
        8 * saved / CPU_S / 1e6: "that is in megabits: megabytes are asked for",
        CPU_S / saved * 1e6: "that is seconds per byte: turn it round",
    }
    rate = grading.number(answer, "megabytes per second")
    grading.near(rate, saved / CPU_S / 1e6, unit="megabytes per second", mistakes=mistakes)
    return (
        "over a slower link the bytes saved take longer than the CPU added, and over a faster one "
        "the answer comes later for being packed. 100 Mbit/s are 12.5 MB/s"
    )


class _Chunk(bytes):
    """Bytes that count how many of them exist."""

    alive = 0

    def __new__(cls, data: bytes) -> _Chunk:
        cls.alive += 1
        return super().__new__(cls, data)

    def __del__(self) -> None:
        type(self).alive -= 1


class _File:
    """Keeps nothing but what is needed to judge what was written to it."""

    def __init__(self, kind: type[_Chunk]) -> None:
        self.kind, self.firsts = kind, bytearray()
        self.written = self.longest = self.most_alive = 0

    def write(self, data: Any) -> int:
        self.firsts += bytes(data[:1])
        self.written += len(data)
        self.longest = max(self.longest, len(data))
        self.most_alive = max(self.most_alive, self.kind.alive)
        return len(data)


@exercise("ex-14-2")
def pass_on_what_comes(answer: object) -> str:
    """Check a coroutine function that writes chunks to a file, keeps none, and counts bytes."""
    pass_on = grading.function(answer, "(chunks, file)", is_async=True)
    kind = type("Chunk", (_Chunk,), {"alive": 0})
    file = _File(kind)
    total = sandbox.call(pass_on, _chunks(kind), file)
    if not file.written:
        raise Wrong("nothing was written to the file: is the function still to be written?")
    if file.longest > CHUNK_BYTES:
        raise Wrong(f"it wrote {file.longest:,} bytes at once: all of them were in memory then")
    if file.most_alive > 2:
        raise Wrong(f"{file.most_alive} chunks existed at once: something still refers to them")
    if file.firsts != bytes(range(CHUNKS)):
        raise Wrong("what is in the file is not what came: each chunk once, in the order they came")
    if grading.number(total, "bytes, from the function") != file.written:
        raise Wrong(f"{file.written:,} bytes were written, and it returned {grading.shown(total)}")
    return (
        "one chunk is there at a time, however long the answer is. The file may be anything that "
        "takes bytes: a hash, a parser, another connection"
    )


async def _chunks(kind: type[_Chunk]) -> AsyncIterator[bytes]:
    for number in range(CHUNKS):
        # The last one is shorter, as it is where bodies come from a network.
        yield kind(bytes([number]) * (CHUNK_BYTES if number < CHUNKS - 1 else 100))


@exercise("ex-14-3")
def small_on_the_wire(answer: object) -> str:
    """Check a run whose bodies had at most a tenth of their bytes on the wire."""
    record = grading.record(answer)
    received = record.received
    if not record.counts.ok or received is None or not received.bodies:
        raise Wrong("nothing was answered, or no bodies were counted: take the transport 'aiohttp'")
    if received.decoded_bytes != received.bodies * BODY_BYTES:
        raise Wrong(
            f"its bodies were not those of {BODY_BYTES:,} bytes: set path to the one of the task"
        )
    if received.wire_bytes == received.decoded_bytes:
        raise Wrong("its bodies came as they are: does the client say that it can unpack a coding?")
    if 10 * received.wire_bytes > received.decoded_bytes:
        raise Wrong("its bodies are packed, but to more than a tenth: try another coding")
    return (
        "the client offers codings, the server chooses one, and both count the same bytes. This "
        "body repeats itself: do not expect as much from yours"
    )
