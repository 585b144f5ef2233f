"""Urgent work among much that is not: how long each waits in a queue of some kind.

All work comes at once, one piece in ten urgent, in an order drawn from a seed; each piece takes
the same time of one of few workers. The queue `printed` is a heap that compares ranks alone, which
leaves the order of equals to chance: the claim's own. `priority` is the lab's.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Protocol

from labkit.measured import patterns
from labkit.measured.experiments import Figures
from labkit.spec import validation

WORKERS, PIECE_S = 4, 0.004
URGENT, OTHER = 0, 1


class Queue(Protocol):
    """A queue of pieces of work, each with a rank; the piece is the place at which it came."""

    async def put(self, rank: int, piece: int, /) -> None:
        """Add a piece."""
        ...

    async def get(self) -> int:
        """Take a piece."""
        ...


class Fifo:
    """A plain queue, whatever the rank."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[int] = asyncio.Queue()

    async def put(self, rank: int, piece: int) -> None:
        """Add a piece."""
        await self._pieces.put(piece)

    async def get(self) -> int:
        """Take the piece that came first."""
        return await self._pieces.get()


@dataclass(frozen=True)
class _Ranked:
    rank: int
    piece: int

    def __lt__(self, other: _Ranked) -> bool:
        return self.rank < other.rank


class Heap:
    """A heap in which nothing tells equals apart."""

    def __init__(self) -> None:
        self._pieces: asyncio.PriorityQueue[_Ranked] = asyncio.PriorityQueue()

    async def put(self, rank: int, piece: int) -> None:
        """Add a piece."""
        await self._pieces.put(_Ranked(rank, piece))

    async def get(self) -> int:
        """Take a piece of the lowest rank: any of them."""
        return (await self._pieces.get()).piece


QUEUES: dict[str, Callable[[], Queue]] = {
    "fifo": Fifo,
    "printed": Heap,
    "priority": patterns.PriorityQueue[int],
}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A piece in the order in which the workers took them, and how long it had waited."""

    piece: int
    rank: int
    wait_s: float


async def measure(url: str | None, *, queue: str, pieces: int = 200) -> Figures:
    """Median waits until a worker takes a piece, the time for all, and how many were overtaken."""
    began = perf_counter()
    taken = await work_off(queue, pieces)
    all_s = perf_counter() - began
    waits = {rank: [one.wait_s for one in taken if one.rank == rank] for rank in (URGENT, OTHER)}
    return {
        "urgent_wait_s": statistics.median(waits[URGENT]),
        "other_wait_s": statistics.median(waits[OTHER]),
        "all_s": all_s,
        "overtaken": float(sum(overtaken(taken, rank) for rank in waits)),
    }


async def work_off(queue: str, pieces: int) -> list[Taken]:
    """All pieces, as the workers took them from such a queue. Raises `BadInput`."""
    if queue not in QUEUES:
        raise validation.unknown("queue", queue, QUEUES)
    waiting: Queue = QUEUES[queue]()
    ranks = [URGENT] * (pieces // 10) + [OTHER] * (pieces - pieces // 10)
    random.Random(0).shuffle(ranks)
    for piece, rank in enumerate(ranks):
        await waiting.put(rank, piece)
    taken: list[Taken] = []
    left, began = iter(range(pieces)), perf_counter()

    async def work() -> None:
        for _ in left:
            piece = await waiting.get()
            wait_s = perf_counter() - began
            taken.append(Taken(piece=piece, rank=ranks[piece], wait_s=wait_s))
            await asyncio.sleep(PIECE_S)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return taken


def overtaken(taken: list[Taken], rank: int) -> int:
    """How many pieces of a rank were taken after one of the same rank that had come later."""
    order = [one.piece for one in taken if one.rank == rank]
    return sum(piece < most for piece, most in zip(order, accumulate(order, max), strict=True))
