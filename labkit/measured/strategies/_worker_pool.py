"""The leanest, and the lab's default: a task for each slot instead of one for each item."""

from itertools import islice

from labkit.measured.strategies._guard import Fetch, Items, T, gather_all, strategy


@strategy
async def worker_pool(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Let at most `limit` workers take items from one shared iterator until it is empty."""
    source = iter(items)

    async def work(first: T) -> None:
        await fetch(first)
        for item in source:
            await fetch(item)

    await gather_all(work(first) for first in islice(source, limit))
