"""Chunk by chunk: memory is flat, and each chunk waits for its slowest item."""

import asyncio
from itertools import islice

from labkit.measured.strategies._guard import Fetch, Items, T, gather_all, strategy
from labkit.spec.validation import AtLeastOne, check


@strategy
async def chunked(fetch: Fetch[T], items: Items[T], limit: int, *, chunk_size: int = 1000) -> None:
    """Gather `chunk_size` items at a time, with a semaphore inside each task."""
    check("chunk_size", chunk_size, AtLeastOne)
    slots = asyncio.Semaphore(limit)
    source = iter(items)

    async def bounded(item: T) -> None:
        async with slots:
            await fetch(item)

    while chunk := list(islice(source, chunk_size)):
        await gather_all(bounded(item) for item in chunk)
