"""The peer anyio's idiom: a task for every item in one group, a capacity limiter inside each."""

from anyio import CapacityLimiter, create_task_group

from labkit.measured.strategies._guard import Fetch, Items, T, strategy


@strategy
async def anyio(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Start every item in anyio's task group, and let each wait for one `CapacityLimiter`."""
    slots = CapacityLimiter(limit)

    async def bounded(item: T) -> None:
        async with slots:
            await fetch(item)

    async with create_task_group() as group:
        for item in items:
            group.start_soon(bounded, item)
