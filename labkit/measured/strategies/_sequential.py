"""Baseline of the posts of 2016 and 2017: no concurrency at all."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.measured.strategies._guard import Fetch, T, strategy


@strategy
async def sequential(fetch: Fetch[T], items: Iterable[T], limit: int) -> None:
    """Call one item after another; one is in flight, whatever `limit` is."""
    for item in items:
        await fetch(item)
