"""Items in chunks, taken from their source no earlier than they are asked for.

`for chunk in in_chunks(items, 100): await gather(...)` has a barrier: each chunk waits for its
slowest item, and nothing takes the place of those that are done. Without it:
`as_completed(call, in_chunks(items, 100), limit)` for a call that takes a chunk, or
`as_completed(fetch, items, limit)`, which needs no chunks at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from labkit.measured.patterns import _checked

Item = TypeVar("Item")


def in_chunks(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """`items` in order, `size` at a time; the last chunk may be shorter."""
    _checked.at_least_one("size", size)
    source = iter(items)
    return iter(lambda: tuple(islice(source, size)), ())
