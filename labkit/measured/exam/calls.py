"""What a strategy is given in an exam: calls that count themselves, and items that are counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from typing import Any, overload
from weakref import WeakSet


class ItemFailed(Exception):
    """Raised by a call on a failing item, as by a server that answers with an error."""


class Calls:
    """Counts of calls made, begun and ended. A call takes a few turns, more for some items."""

    def __init__(self, *, failing: Collection[int] = ()) -> None:
        self.failing = failing
        self.made = self.in_flight = self.max_in_flight = self.begun = self.ended = 0
        self.fetched: Counter[int] = Counter()
        """How often each item was fetched to its end."""
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.tasks_referenced = 0
        self.gate: asyncio.Event | None = None
        """While it is closed no call is answered."""
        self.through: Callable[[int], Awaitable[object]] | None = None
        """What really fetches an item, if anything does."""

    @property
    def open(self) -> int:
        """Calls that were made and have not ended, begun or not."""
        return self.made - self.ended

    def fetch(self, item: int) -> Coroutine[Any, Any, None]:
        """Make one call: the strategy's `fetch`."""
        self.made += 1
        return self._call(item)

    async def _call(self, item: int) -> None:
        self.begun += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self.tasks_referenced = max(self.tasks_referenced, len(self._tasks))
        try:
            if self.gate is not None:
                await self.gate.wait()
            elif self.through is not None:
                await self.through(item)
            for _ in range(1 + item * 7 % 5):
                await asyncio.sleep(0)
            self.fetched[item] += 1
            if item in self.failing:
                raise ItemFailed(f"item {item} failed")
        finally:
            self.in_flight -= 1
            self.ended += 1


class Items(Sequence[int]):
    """A range that counts how many of its items were read: a trial gives a strategy a range."""

    def __init__(self, items: range, count: list[int] | None = None) -> None:
        self._items = items
        self.start, self.stop, self.step = items.start, items.stop, items.step
        self._count = [0] if count is None else count

    @property
    def read(self) -> int:
        """How many items were read so far, also through slices."""
        return self._count[0]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[int]:
        for item in self._items:
            self._count[0] += 1
            yield item

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Items: ...
    def __getitem__(self, index: int | slice) -> int | Items:
        """Return an item, which counts as read, or a slice, which counts with this one."""
        if isinstance(index, slice):
            return Items(self._items[index], self._count)
        self._count[0] += 1
        return self._items[index]
