"""Urgent work among much that is not: how long it waits in a queue of either kind.

All work comes at once, one piece in ten urgent, in an order drawn from a seed; each piece takes
the same time of one of few workers.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
from time import perf_counter

from labkit import fields
from labkit.experiments import Figures

WORKERS, PIECE_S = 4, 0.004
URGENT, OTHER = 0, 1

Queue = asyncio.Queue[tuple[int, int, int]]


async def measure(url: str | None, *, queue: str, pieces: int = 200) -> Figures:
    """The median wait of urgent pieces until a worker takes them, and the time for all pieces."""
    waiting, began = _filled(queue, pieces), perf_counter()
    waits: list[float] = []

    async def work() -> None:
        while not waiting.empty():
            _, _, kind = waiting.get_nowait()
            if kind == URGENT:
                waits.append(perf_counter() - began)
            await asyncio.sleep(PIECE_S)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return {"urgent_wait_s": statistics.median(waits), "all_s": perf_counter() - began}


def _filled(queue: str, pieces: int) -> Queue:
    """Entries are rank, place and kind: a plain queue takes them as they came."""
    if queue not in ("fifo", "priority"):
        raise fields.unknown("queue", queue, ("fifo", "priority"))
    waiting: Queue = asyncio.PriorityQueue() if queue == "priority" else asyncio.Queue()
    kinds = [URGENT] * (pieces // 10) + [OTHER] * (pieces - pieces // 10)
    random.Random(0).shuffle(kinds)
    for place, kind in zip(itertools.count(), kinds, strict=False):
        waiting.put_nowait((kind, place, kind))
    return waiting
