"""The naive way: memory and requests in flight grow with the number of items."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from labkit.measured.strategies import Fetch, strategy
from labkit.measured.strategies._tasks import cancel_and_wait

T = TypeVar("T")


@strategy
async def gather(fetch: Fetch[T], items: Iterable[T], limit: int) -> None:
    """Start everything at once; all items are in flight, whatever `limit` is."""
    tasks: list[asyncio.Future[object]] = []
    try:
        tasks.extend(asyncio.ensure_future(fetch(item)) for item in items)
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)
