"""Structured concurrency: the group owns its tasks, so cancelling them needs no code here."""

import asyncio

from labkit.measured.strategies._guard import Fetch, Items, T, strategy


@strategy
async def task_group(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Create tasks in a `TaskGroup`, each once a semaphore has a slot for it."""
    slots = asyncio.Semaphore(limit)

    async def release_after(item: T) -> None:
        try:
            await fetch(item)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        for item in items:
            await slots.acquire()
            group.create_task(release_after(item))
