"""A cache of weak references with a lock for each key: the shape that the claim `weak-cache` means.

What it holds is kept alive by the caller, so whatever is not kept was refused, not collected.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakValueDictionary

from labkit import fields
from labkit.experiments import Figures

KEYS = 100


class Value:
    """A value of a class of one's own: it can be referred to weakly."""


class Cache:
    """Fetches what it does not hold, under a lock for each key that is never given up."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.locks: dict[int, asyncio.Lock] = {}
        self.fetched: list[Any] = []

    async def get(self, key: int, kind: str) -> Any:
        """The value of `key`, fetched once. Raises `TypeError` for what has no weak references."""
        async with self.locks.setdefault(key, asyncio.Lock()):
            if key not in self._held:
                value = _value(kind, key)
                self.fetched.append(value)
                self._held[key] = value
            return self._held[key]


def _value(kind: str, key: int) -> Any:
    return {"str": f"value {key}", "dict": {"key": key}, "object": Value()}[kind]


async def measure(url: str | None, *, kind: str) -> Figures:
    """How many of 100 values it keeps, and how many locks are left once nobody holds a value."""
    if kind not in ("str", "dict", "object"):
        raise fields.unknown("kind", kind, ("str", "dict", "object"))
    cache, kept = Cache(), 0
    for key in range(KEYS):
        try:
            kept += await cache.get(key, kind) is await cache.get(key, kind)
        except TypeError:
            continue
    cache.fetched.clear()
    return {"kept": float(kept), "locks_left": float(len(cache.locks))}
