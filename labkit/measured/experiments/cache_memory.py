"""What a cache holds once nobody uses its values: one of weak references, and a plain dict."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from labkit.measured import patterns
from labkit.measured.experiments import Figures
from labkit.measured.probes.memory import Watched
from labkit.spec import validation

VALUE_BYTES = 1 << 20
"""So large that the allocator takes it from the system alone, and gives it back."""
HOWS = ("weak", "dict")


class Document:
    """A value of a megabyte, all of it written to."""

    def __init__(self, key: int) -> None:
        self.text = bytes([key % 255 + 1]) * VALUE_BYTES


async def load(key: int) -> Document:
    """The document of `key`, made anew."""
    return Document(key)


class Kept:
    """A cache that keeps all that it ever loaded."""

    def __init__(self) -> None:
        self.held: dict[int, Document] = {}

    async def get(self, key: int) -> Document:
        """The document of `key`, loaded once."""
        if key not in self.held:
            self.held[key] = await load(key)
        return self.held[key]


async def measure(url: str | None, *, how: str, values: int = 50) -> Figures:
    """Growth of this process while a caller holds the values, and when it has let them go."""
    if how not in HOWS:
        raise validation.unknown("how", how, HOWS)
    cache: Any = patterns.WeakCache(load) if how == "weak" else Kept()
    get: Callable[[int], Awaitable[Document]] = cache.get
    before = _held_bytes()
    used = [await get(key) for key in range(values)]
    in_use = _held_bytes()
    used.clear()
    return {
        "in_use_bytes": float(max(in_use - before, 0)),
        "left_bytes": float(max(_held_bytes() - before, 0)),
    }


def _held_bytes() -> int:
    own = Watched(os.getpid())
    try:
        return own.rss_bytes() or 0
    finally:
        own.close()
