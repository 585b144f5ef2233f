from __future__ import annotations

import asyncio
from typing import Any

LOOKS = ["wall", "cpu", "none", "lag", "wall"]


def but(place: int, word: str) -> list[str]:
    return [*LOOKS[: place - 1], word, *LOOKS[place:]]


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


async def unwritten(compute: Any, pieces: Any) -> Any: ...


def plain(compute: Any, pieces: Any) -> list[int]:
    return [compute(piece) for piece in pieces]


WRONG = [
    ("ex-10-1", but(1, "cpu"), "question 1"),
    ("ex-10-1", but(2, "wall"), "question 2"),
    ("ex-10-1", but(3, "wall"), "question 3"),
    ("ex-10-1", but(4, "cpu"), "question 4"),
    ("ex-10-1", but(5, "cpu"), "question 5"),
    ("ex-10-1", but(5, "time"), "choose one of"),
    ("ex-10-2", 50, "all of them"),
    ("ex-10-2", 0.12, "how long one call took"),
    ("ex-10-2", 1 / 30, "turn it round"),
    ("ex-10-2", 250, "a rate"),
    ("ex-10-2", 10, "as long as the whole"),
    ("ex-10-3", in_one_go, "95 pieces were computed in one go"),
    ("ex-10-3", in_threads, "a thread computes"),
    ("ex-10-3", keeps_nothing, "nothing returned"),
    ("ex-10-3", only_some, "10 pieces were computed of 95"),
    ("ex-10-3", backwards, "in their order"),
    ("ex-10-3", unwritten, "still to be written"),
    ("ex-10-3", plain, "async def"),
]
