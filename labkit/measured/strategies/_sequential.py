"""Baseline of the posts of 2016 and 2017: no concurrency at all."""

from labkit.measured.strategies._guard import Fetch, Items, T, strategy


@strategy
async def sequential(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Call one item after another; one is in flight, whatever `limit` is."""
    for item in items:
        await fetch(item)
