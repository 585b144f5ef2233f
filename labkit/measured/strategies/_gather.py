"""The naive way: memory and requests in flight grow with the number of items."""

from labkit.measured.strategies._guard import Fetch, Items, T, gather_all, strategy


@strategy
async def gather(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Start everything at once; all items are in flight, whatever `limit` is."""
    await gather_all(fetch(item) for item in items)
