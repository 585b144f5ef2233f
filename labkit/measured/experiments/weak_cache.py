"""A cache of weak references with a lock for each key: the shape that the claim `weak-cache` means.

And beside it the lab's own, with its values in boxes. What either holds is kept alive by the
caller, so whatever is not kept was refused, not collected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from labkit.measured import patterns
from labkit.measured.experiments import Figures
from labkit.spec import validation

KEYS = 100


class Value:
    """A value of a class of one's own: it can be referred to weakly."""


class Cache:
    """Loads what it does not hold, under a lock for each key that is never given up."""

    def __init__(self, load: Callable[[int], Awaitable[Any]]) -> None:
        self._load = load
        self._held: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.locks: dict[int, asyncio.Lock] = {}

    async def get(self, key: int) -> Any:
        """The value of `key`, loaded once. Raises `TypeError` for what has no weak references."""
        async with self.locks.setdefault(key, asyncio.Lock()):
            if key not in self._held:
                value = await self._load(key)
                self._held[key] = value
            return self._held[key]


def loader(kind: str) -> Callable[[int], Awaitable[Any]]:
    """What loads a value of this kind for any key."""

    async def load(key: int) -> Any:
        return {"str": f"value {key}", "dict": {"key": key}, "object": Value()}[kind]

    return load


async def measure(url: str | None, *, kind: str, printed: bool = True) -> Figures:
    """How many of 100 values it keeps, and how many locks are left once nobody holds a value."""
    if kind not in ("str", "dict", "object"):
        raise validation.unknown("kind", kind, ("str", "dict", "object"))
    if printed:
        cache = Cache(loader(kind))
        return {"kept": await _kept(cache.get), "locks_left": float(len(cache.locks))}
    own = patterns.WeakCache(patterns.boxed(loader(kind)))
    return {"kept": await _kept(own.get), "locks_left": float(own.loading)}


async def _kept(get: Callable[[int], Awaitable[Any]]) -> float:
    kept = 0
    for key in range(KEYS):
        try:
            first = await get(key)
        except TypeError:
            continue
        kept += await get(key) is first
    return float(kept)
