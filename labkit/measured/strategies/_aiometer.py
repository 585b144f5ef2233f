"""The peer aiometer as its users call it: `run_on_each`, which keeps no results."""

from collections.abc import Sequence

from aiometer import run_on_each

from labkit.measured.strategies._guard import Fetch, Items, T, strategy


@strategy
async def aiometer(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Run aiometer's `run_on_each` with `max_at_once=limit`."""
    # Its contract asks for a sequence: a range is one, a generator has to become a list.
    every = items if isinstance(items, Sequence) else list(items)
    await run_on_each(fetch, every, max_at_once=limit)
