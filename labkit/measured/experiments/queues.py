"""A batcher, chunks and priority queues as they were printed, beside the lab's own."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Protocol
from weakref import WeakSet

from labkit.measured import patterns
from labkit.measured.experiments import Figures
from labkit.spec import validation

DELAY_S, PATIENCE_S = 0.01, 0.5
"""How long a batch waits for more keys; and after how long an answer will never come."""
LIMIT, CHUNK, MEAN_S = 10, 20, 0.004
HOWS = ("printed", "stream")
WORKERS, PIECE_S = 4, 0.004
URGENT, OTHER = 0, 1


class PrintedBatcher:
    """Collects keys for `DELAY_S`, then calls for all at once; as in the claim `batch-as-printed`.

    The fault: a caller awaits its answer inside the lock that sending the batch needs.
    """

    def __init__(self, call: Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]) -> None:
        self._call = call
        self._lock = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._sender: asyncio.Task[None] | None = None

    async def get(self, key: str) -> str:
        """Return the answer to one key, asked for together with others."""
        async with self._lock:
            if key in self._waiting:
                return await self._waiting[key]  # the fault
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._waiting[key] = answer
            if self._sender is None:
                self._sender = asyncio.create_task(self._send_later())
        return await answer

    async def _send_later(self) -> None:
        await asyncio.sleep(DELAY_S)
        async with self._lock:
            waiting, self._waiting, self._sender = self._waiting, {}, None
        found = await self._call(list(waiting))
        for key, answer in waiting.items():
            answer.set_result(found[key])


async def held_lock(url: str | None, *, twice: bool, printed: bool = True) -> Figures:
    """Count how many of two callers are answered within `PATIENCE_S`, and by how many calls.

    With `twice` both ask for one key; with two keys nobody waits inside the lock.
    """
    calls: list[Sequence[str]] = []

    async def call(keys: Sequence[str]) -> dict[str, str]:
        calls.append(keys)
        return {key: key.upper() for key in keys}

    get = PrintedBatcher(call).get if printed else patterns.Batcher(call, delay_s=DELAY_S).get
    keys = ["a", "a"] if twice else ["a", "b"]
    callers = [asyncio.ensure_future(get(key)) for key in keys]
    done, pending = await asyncio.wait(callers, timeout=PATIENCE_S)
    for one in pending:
        one.cancel()
    return {"answered": float(len(done)), "calls": float(len(calls))}


class Result:
    """The result of one item."""


async def chunk_results(url: str | None, *, how: str, items: int = 400) -> Figures:
    """Count the most results in memory at once, and time all items: in chunks, or as a stream.

    As `printed`, a barrier follows each chunk, and a list has every result until the end. In the
    stream the next item takes the place of the first that is done, and its consumer stores nothing.
    Items take times drawn from a seed.
    """
    if how not in HOWS:
        raise validation.unknown("how", how, HOWS)
    chance = random.Random(0)
    takes_s = [chance.expovariate(1 / MEAN_S) for _ in range(items)]
    alive: WeakSet[Result] = WeakSet()
    most_alive = 0

    async def fetch(item: int) -> Result:
        nonlocal most_alive
        await asyncio.sleep(takes_s[item])
        result = Result()
        alive.add(result)
        most_alive = max(most_alive, len(alive))
        return result

    async def as_printed() -> int:
        slots, results = asyncio.Semaphore(LIMIT), list[Result]()

        async def fetch_in_slot(item: int) -> Result:
            async with slots:
                return await fetch(item)

        for chunk in patterns.in_chunks(range(items), CHUNK):
            results += await asyncio.gather(*map(fetch_in_slot, chunk))
        return len(results)

    async def as_stream() -> int:
        done = 0
        async with aclosing(patterns.as_completed(fetch, range(items), LIMIT)) as results:
            async for _ in results:
                done += 1
        return done

    began_s = perf_counter()
    done = await (as_printed if how == "printed" else as_stream)()
    if done != items:
        raise ValueError(f"{done} results came of {items} items")
    return {"most_held": float(most_alive), "all_s": perf_counter() - began_s}


class Queue(Protocol):
    """A queue of pieces of work, each with a rank; a piece is the number at which it came."""

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
        self.get = self._pieces.get

    async def put(self, rank: int, piece: int) -> None:
        """Add a piece."""
        await self._pieces.put(piece)


@dataclass(frozen=True)
class _Ranked:
    rank: int
    piece: int

    def __lt__(self, other: _Ranked) -> bool:
        return self.rank < other.rank


class PrintedHeap:
    """A heap that compares ranks alone, which leaves the order of equals to chance."""

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
    "printed": PrintedHeap,
    "priority": patterns.PriorityQueue[int],
}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A piece in the order in which the workers took them, and how long it had waited."""

    piece: int
    rank: int
    wait_s: float


async def priority(url: str | None, *, queue: str, pieces: int = 200) -> Figures:
    """Measure median waits of urgent and other work, the time for all, and how many overtook.

    All work comes at once, one piece in ten urgent, in an order drawn from a seed; each piece takes
    the same time of one of few workers.
    """
    began_s = perf_counter()
    taken = await work_off(queue, pieces)
    all_s = perf_counter() - began_s
    waits_s = {rank: [one.wait_s for one in taken if one.rank == rank] for rank in (URGENT, OTHER)}
    return {
        "urgent_wait_s": statistics.median(waits_s[URGENT]),
        "other_wait_s": statistics.median(waits_s[OTHER]),
        "all_s": all_s,
        "overtaken": float(sum(overtaken(taken, rank) for rank in waits_s)),
    }


async def work_off(queue: str, pieces: int) -> list[Taken]:
    """Let workers take all pieces from such a queue; return them in that order. `BadInput`."""
    if queue not in QUEUES:
        raise validation.unknown("queue", queue, QUEUES)
    waiting: Queue = QUEUES[queue]()
    ranks = [URGENT] * (pieces // 10) + [OTHER] * (pieces - pieces // 10)
    random.Random(0).shuffle(ranks)
    for piece, rank in enumerate(ranks):
        await waiting.put(rank, piece)
    taken: list[Taken] = []
    left, began_s = iter(range(pieces)), perf_counter()

    async def work() -> None:
        for _ in left:
            piece = await waiting.get()
            wait_s = perf_counter() - began_s
            taken.append(Taken(piece=piece, rank=ranks[piece], wait_s=wait_s))
            await asyncio.sleep(PIECE_S)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return taken


def overtaken(taken: list[Taken], rank: int) -> int:
    """Count the pieces of a rank that were taken after one of the same rank that came later."""
    order = [one.piece for one in taken if one.rank == rank]
    return sum(piece < most for piece, most in zip(order, accumulate(order, max), strict=True))
