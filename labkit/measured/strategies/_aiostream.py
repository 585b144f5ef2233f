"""The peer aiostream as its users call it: a `map` with a task limit, drained.

Results are taken as they come: in order, which is its default, a slow item would hold the slots of
those behind it.
"""

from aiostream import Stream, stream

from labkit.measured.strategies._guard import Fetch, Items, T, strategy


@strategy
async def aiostream(fetch: Fetch[T], items: Items[T], limit: int) -> None:
    """Drain aiostream's `map` over the items with `task_limit=limit`."""

    async def call(item: T, *_: T) -> None:
        # `map` looks at the kind of function that it is given, and a `fetch` may be any callable.
        await fetch(item)

    source: Stream[T] = stream.iterate(items)
    calls: Stream[None] = stream.map(source, call, ordered=False, task_limit=limit)
    async with calls.stream() as results:
        async for _ in results:
            pass
