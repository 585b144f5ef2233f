"""Exercises of `15_large_answers`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from . import grading, sandbox
from .register import Wrong, exercise

CHUNK_BYTES, CHUNKS = 4_096, 40
STREAMS, BUFFER_KIB = 2_000, 256


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


@exercise("ex-15-1")
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


@exercise("ex-15-2")
def memory_of_streams(answer: object) -> str:
    """Check how many MiB streams hold at most that nobody reads."""
    right = STREAMS * 2 * BUFFER_KIB / 1_024
    mistakes = {
        right / 2: "that is one buffer for each: a stream stops at twice as much",
        right * 1_024: "that is in KiB: MiB are asked for",
        2 * BUFFER_KIB / 1_024: "that is what one stream holds: how many are there?",
    }
    grading.near(grading.number(answer, "MiB"), right, unit="MiB", mistakes=mistakes)
    return (
        "a buffer is small, and there is one for each connection. Backpressure bounds what a "
        "stream holds, and the number of streams has to be bounded as well"
    )
