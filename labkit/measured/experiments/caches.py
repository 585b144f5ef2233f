"""Caches with weak references: which values they store, and what memory they give back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from labkit.measured import patterns
from labkit.measured.experiments import Figures
from labkit.measured.probes.window import own_rss_bytes
from labkit.spec import validation

VALUE_BYTES = 1 << 20
"""So large that the allocator takes it from the system alone, and gives it back."""
KEYS = 100
HOWS = ("weak", "dict")
KINDS = ("str", "dict", "object")


class Document:
    """A value of a megabyte, all of it written to."""

    def __init__(self, key: int) -> None:
        self.text = bytes([key % 255 + 1]) * VALUE_BYTES


async def cache_memory(url: str | None, *, how: str, values: int = 50) -> Figures:
    """Measure the growth of this process while a caller refers to the values, and afterwards.

    In a cache of weak references, or in a plain dict.
    """
    if how not in HOWS:
        raise validation.unknown("how", how, HOWS)

    async def load(key: int) -> Document:
        return Document(key)

    stored: dict[int, Document] = {}

    async def get_stored(key: int) -> Document:
        if key not in stored:
            stored[key] = await load(key)
        return stored[key]

    get = patterns.WeakCache(load).get if how == "weak" else get_stored
    before = own_rss_bytes()
    used = [await get(key) for key in range(values)]
    in_use = own_rss_bytes()
    used.clear()
    return {
        "in_use_bytes": float(max(in_use - before, 0)),
        "left_bytes": float(max(own_rss_bytes() - before, 0)),
    }


class Value:
    """A value of a class of one's own: it supports weak references."""


class PrintedCache:
    """The cache that the claim `weak-cache` means: a lock for each key, which is never deleted."""

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
    if kind not in KINDS:
        raise validation.unknown("kind", kind, KINDS)

    async def load(key: int) -> Any:
        return {"str": f"value {key}", "dict": {"key": key}, "object": Value()}[kind]

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
