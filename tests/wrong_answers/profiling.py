from __future__ import annotations

import asyncio
from typing import Any


async def in_one_go(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in pieces]


async def keeps_nothing(compute: Any, pieces: Any) -> None:
    for piece in pieces:
        compute(piece)
        await asyncio.sleep(0)


async def in_threads(compute: Any, pieces: Any) -> list[int]:
    return [await asyncio.to_thread(compute, piece) for piece in pieces]


async def only_some(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in list(pieces)[:10]]


async def backwards(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in reversed(pieces)]


def plain(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in pieces]


WRONG = [
    ("ex-10-3", in_one_go, "95 pieces were computed in one go"),
    ("ex-10-3", in_threads, "a thread computes"),
    ("ex-10-3", keeps_nothing, "nothing returned"),
    ("ex-10-3", only_some, "10 pieces were computed of 95"),
    ("ex-10-3", backwards, "in their order"),
    ("ex-10-3", plain, "async def"),
]
