"""Baseline of the posts of 2016 and 2017: no concurrency at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from labkit.measured.strategies import Fetch, strategy

T = TypeVar("T")


@strategy
async def sequential(fetch: Fetch[T], items: Iterable[T], limit: int) -> None:
    """Call one item after another; one is in flight, whatever `limit` is."""
    for item in items:
        await fetch(item)
