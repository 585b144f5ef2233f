"""The calls that a strategy is examined on: each notes when it begins and how it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from typing import Any, overload
from weakref import WeakSet

Fetch = Callable[[int], Awaitable[object]]


class ItemFailed(Exception):
    """What a call on a failing item raises: a server that answers with an error would do so."""


class Calls:
    """Counts of calls made, begun and ended. A call takes a few turns, more for some items."""

    def __init__(self, *, failing: Collection[int] = (), fetch: Fetch | None = None) -> None:
        self.failing, self._fetch = failing, fetch
        self.made = self.in_flight = self.most_in_flight = self.begun = self.ended = 0
        self.came: Counter[int] = Counter()
        """How often each item was fetched to its end."""
        self.kept: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.most_kept = 0
        self.gate: asyncio.Event | None = None
        """While it is closed no call is answered."""

    @property
    def open(self) -> int:
        """Calls that were made, and have not ended; begun or not."""
        return self.made - self.ended

    def fetch(self, item: int) -> Coroutine[Any, Any, None]:
        """One call; what a strategy is given."""
        self.made += 1
        return self._call(item)

    async def _call(self, item: int) -> None:
        self._begin()
        try:
            await self._work(item)
            self.came[item] += 1
            if item in self.failing:
                raise ItemFailed(f"item {item} failed")
        finally:
            self.in_flight -= 1
            self.ended += 1

    def _begin(self) -> None:
        self.begun += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        task = asyncio.current_task()
        if task is not None:
            self.kept.add(task)
        self.most_kept = max(self.most_kept, len(self.kept))

    async def _work(self, item: int) -> None:
        if self.gate is not None:
            await self.gate.wait()
        elif self._fetch is not None:
            await self._fetch(item)
        for _ in range(1 + item * 7 % 5):
            await asyncio.sleep(0)


class Items(Sequence[int]):
    """A range that counts how many of its items were taken: a trial gives a strategy a range."""

    def __init__(self, items: range, taken: list[int] | None = None) -> None:
        self._items = items
        self._taken = taken if taken is not None else [0]

    @property
    def read(self) -> int:
        """How many items were taken so far."""
        return self._taken[0]

    @property
    def start(self) -> int:
        """As a range has it."""
        return self._items.start

    @property
    def stop(self) -> int:
        """As a range has it."""
        return self._items.stop

    @property
    def step(self) -> int:
        """As a range has it."""
        return self._items.step

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[int]:
        for item in self._items:
            self._taken[0] += 1
            yield item

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Items: ...
    def __getitem__(self, place: int | slice) -> int | Items:
        """An item, which counts as taken, or a part, which counts what is taken of it."""
        if isinstance(place, slice):
            return Items(self._items[place], self._taken)
        self._taken[0] += 1
        return self._items[place]
