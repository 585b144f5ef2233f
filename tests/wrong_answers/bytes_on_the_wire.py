from __future__ import annotations

from typing import Any

from factories import make_record

from labkit.record.record import Received, Record


async def joins(chunks: Any, file: Any) -> int:
    body = b"".join([chunk async for chunk in chunks])
    return int(file.write(body))


async def lists(chunks: Any, file: Any) -> int:
    held = [chunk async for chunk in chunks]
    for chunk in held:
        file.write(chunk)
    return sum(map(len, held))


async def counts_chunks(chunks: Any, file: Any) -> int:
    number = 0
    async for chunk in chunks:
        file.write(chunk)
        number += 1
    return number


async def returns_nothing(chunks: Any, file: Any) -> None:
    async for chunk in chunks:
        file.write(chunk)


async def twice(chunks: Any, file: Any) -> int:
    total = 0
    async for chunk in chunks:
        total += file.write(chunk) + file.write(chunk)
    return total


async def writes_nothing(chunks: Any, file: Any) -> int:
    return sum([len(chunk) async for chunk in chunks])


def received(wire_bytes: int, decoded_bytes: int = 13_015) -> Record:
    bodies = Received(bodies=5, wire_bytes=5 * wire_bytes, decoded_bytes=5 * decoded_bytes)
    return make_record(settings={"requests": 5, "limit": 1}, received=bodies)


WRONG = [
    ("ex-06-2", joins, "bytes at once"),
    ("ex-06-2", lists, "chunks existed at once"),
    ("ex-06-2", counts_chunks, "and it returned 40"),
    ("ex-06-2", returns_nothing, "bytes, from the function"),
    ("ex-06-2", twice, "not what came"),
    ("ex-06-2", writes_nothing, "nothing was written"),
    ("ex-06-2", lambda chunks, file: 0, "async def"),
]
