"""Items in chunks with all results in a list, as printed, and the same items as a stream.

In chunks a barrier follows each, and the list holds every result until the end. The stream has
neither: the next item takes the place of the first that is done, and who takes the results lets
each go.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from time import perf_counter
from weakref import WeakSet

from labkit.measured import patterns
from labkit.measured.experiments import Figures
from labkit.spec import validation

LIMIT, CHUNK, MEAN_S = 10, 20, 0.004
HOWS = ("printed", "stream")


class Result:
    """What one item comes to."""


class _Work:
    """Items that take times drawn from a seed, and how many of their results there are at once."""

    def __init__(self, items: int) -> None:
        chance = random.Random(0)
        self._takes_s = [chance.expovariate(1 / MEAN_S) for _ in range(items)]
        self._results: WeakSet[Result] = WeakSet()
        self.most_held = 0

    async def fetch(self, item: int) -> Result:
        await asyncio.sleep(self._takes_s[item])
        result = Result()
        self._results.add(result)
        self.most_held = max(self.most_held, len(self._results))
        return result


async def measure(url: str | None, *, how: str, items: int = 400) -> Figures:
    """The most results that there were at once, and the time for all items."""
    if how not in HOWS:
        raise validation.unknown("how", how, HOWS)
    work, began = _Work(items), perf_counter()
    done = await (_as_printed if how == "printed" else _streamed)(work, items)
    if done != items:
        raise ValueError(f"{done} results came of {items} items")
    return {"most_held": float(work.most_held), "all_s": perf_counter() - began}


async def _as_printed(work: _Work, items: int) -> int:
    slots, results = asyncio.Semaphore(LIMIT), list[Result]()

    async def one(item: int) -> Result:
        async with slots:
            return await work.fetch(item)

    for chunk in patterns.in_chunks(range(items), CHUNK):
        results += await asyncio.gather(*map(one, chunk))
    return len(results)


async def _streamed(work: _Work, items: int) -> int:
    done = 0
    async with aclosing(patterns.as_completed(work.fetch, range(items), LIMIT)) as results:
        async for _ in results:
            done += 1
    return done
