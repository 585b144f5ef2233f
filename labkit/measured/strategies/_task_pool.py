"""Garcia 2018: the semaphore bounds the tasks, not only the requests, so memory is flat."""

import asyncio

from labkit.measured.strategies._guard import Fetch, Items, T, cancel_and_wait, strategy


@strategy
async def task_pool(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Take a semaphore before a task is created, and release it in the task's done callback."""
    slots = asyncio.Semaphore(limit)
    # The event loop refers to a task weakly: this set keeps those that run alive.
    tasks: set[asyncio.Future[object]] = set()

    def release(task: asyncio.Future[object]) -> None:
        tasks.discard(task)
        slots.release()

    try:
        for item in items:
            await slots.acquire()
            task = asyncio.ensure_future(fetch(item))
            tasks.add(task)
            task.add_done_callback(release)
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)
