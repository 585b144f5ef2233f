"""A batcher, chunks, priority queues and a cache as they were printed, beside the lab's own."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import accumulate
from time import perf_counter
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from labkit.measured import patterns
from labkit.measured.probes.window import own_rss_bytes
from labkit.record.record import Figures
from labkit.spec.validation import choose

# Seconds that a batch waits for more keys; and after which an answer will never come.
DELAY_S, PATIENCE_S = 0.01, 0.5
LIMIT, CHUNK, MEAN_S = 10, 20, 0.004
WORKERS, PIECE_S = 4, 0.004
URGENT, OTHER = 0, 1
# A value is so large that the allocator takes it from the system alone, and gives it back.
KEYS, VALUE_BYTES = 100, 1 << 20


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


class Value:
    """A value of a class of one's own: it supports weak references."""


async def chunk_results(url: str | None, *, how: str, items: int = 400) -> Figures:
    """Count the most results in memory at once, and time all items: in chunks, or as a stream.

    As `printed`, a barrier follows each chunk, and a list has every result until the end. In the
    stream the next item takes the place of the first that is done, and its consumer stores nothing.
    Items take times drawn from a seed.
    """
    chance = random.Random(0)
    takes_s = [chance.expovariate(1 / MEAN_S) for _ in range(items)]
    alive: WeakSet[Value] = WeakSet()
    max_alive = 0

    async def fetch(item: int) -> Value:
        nonlocal max_alive
        await asyncio.sleep(takes_s[item])
        result = Value()
        alive.add(result)
        max_alive = max(max_alive, len(alive))
        return result

    async def as_printed() -> int:
        slots, results = asyncio.Semaphore(LIMIT), list[Value]()

        async def fetch_in_slot(item: int) -> Value:
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

    run = choose("how", how, {"printed": as_printed, "stream": as_stream})
    began_s = perf_counter()
    done = await run()
    if done != items:
        raise ValueError(f"{done} results came of {items} items")
    return {"most_held": float(max_alive), "all_s": perf_counter() - began_s}


@dataclass(frozen=True, order=True)
class _Ranked:
    rank: int
    piece: int = field(compare=False)


class PrintedQueue:
    """A queue of pieces of work, of which ranks alone are compared, if anything is.

    On a heap that leaves the order of equals to chance.
    """

    def __init__(self, entries: asyncio.Queue[_Ranked]) -> None:
        self._entries = entries

    async def put(self, rank: int, piece: int) -> None:
        """Add a piece."""
        await self._entries.put(_Ranked(rank, piece))

    async def get(self) -> int:
        """Take the next piece."""
        return (await self._entries.get()).piece


QUEUES: dict[str, Callable[[], PrintedQueue | patterns.PriorityQueue[int]]] = {
    "fifo": lambda: PrintedQueue(asyncio.Queue()),
    "printed": lambda: PrintedQueue(asyncio.PriorityQueue()),
    "priority": patterns.PriorityQueue,
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
    waiting = choose("queue", queue, QUEUES)()
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
    return sum(piece < latest for piece, latest in zip(order, accumulate(order, max), strict=True))


# Caches


class Document:
    """A value of a megabyte, all of it written to."""

    def __init__(self, key: int) -> None:
        self.text = bytes([key % 255 + 1]) * VALUE_BYTES


async def cache_memory(url: str | None, *, how: str, values: int = 50) -> Figures:
    """Measure the growth of this process while a caller refers to the values, and afterwards.

    In a cache of weak references, or in a plain dict.
    """

    async def load(key: int) -> Document:
        return Document(key)

    stored: dict[int, Document] = {}

    async def get_stored(key: int) -> Document:
        if key not in stored:
            stored[key] = await load(key)
        return stored[key]

    get = choose("how", how, {"weak": patterns.WeakCache(load).get, "dict": get_stored})
    before = own_rss_bytes()
    used = [await get(key) for key in range(values)]
    in_use = own_rss_bytes()
    used.clear()
    return {
        "in_use_bytes": float(max(in_use - before, 0)),
        "left_bytes": float(max(own_rss_bytes() - before, 0)),
    }


class PrintedCache:
    """The cache of the claim `weak-cache`: a lock for each key, which is never deleted."""

    def __init__(self, load: Callable[[int], Awaitable[Any]]) -> None:
        self._load = load
        self._values: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.locks: dict[int, asyncio.Lock] = {}

    async def get(self, key: int) -> Any:
        """Return the value of `key`, loaded once; `TypeError` if it supports no weak references."""
        async with self.locks.setdefault(key, asyncio.Lock()):
            if key not in self._values:
                value = await self._load(key)
                self._values[key] = value
            return self._values[key]


async def weak_cache(url: str | None, *, kind: str, printed: bool = True) -> Figures:
    """Count how many of 100 values a cache stores, and the locks left when nobody uses a value.

    The caller refers to each value, so what is not stored was refused, not collected. Not
    `printed`: the lab's own cache, with its values in boxes.
    """

    async def load(key: int) -> Any:
        kinds = {"str": f"value {key}", "dict": {"key": key}, "object": Value()}
        return choose("kind", kind, kinds)

    printed_cache, own = PrintedCache(load), patterns.WeakCache(patterns.boxed(load))
    get: Callable[[int], Awaitable[Any]] = printed_cache.get if printed else own.get
    stored = 0
    for key in range(KEYS):
        try:
            first = await get(key)
        except TypeError:
            continue
        stored += await get(key) is first
    locks = len(printed_cache.locks) if printed else own.loading
    return {"kept": float(stored), "locks_left": float(locks)}
