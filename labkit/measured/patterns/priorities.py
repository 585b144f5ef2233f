"""The lowest number first, and equals in the order in which they came.

Strict: as long as there is something urgent, what is not waits. A place in flight is never taken
away again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Generic, TypeVar

from labkit.measured.patterns import _checked

Item = TypeVar("Item")
Result = TypeVar("Result")


class PriorityQueue(Generic[Item]):
    """A queue of items with a priority each; the items are never compared.

    With a `maxsize` those who put wait for room in the order in which they came, whatever their
    priority: an urgent item behind a full queue is not yet urgent.
    """

    def __init__(self, maxsize: int = 0) -> None:
        _checked.whole("maxsize", maxsize)
        self._entries: asyncio.PriorityQueue[tuple[int, int, Item]] = asyncio.PriorityQueue(maxsize)
        # A heap alone lets equals overtake each other: the ticket is what keeps them in order.
        self._tickets = count()

    def __len__(self) -> int:
        """How many items wait."""
        return self._entries.qsize()

    async def put(self, priority: int, item: Item) -> None:
        """Add an item, once there is room."""
        _checked.whole("priority", priority)
        await self._entries.put((priority, next(self._tickets), item))

    async def get(self) -> Item:
        """Take the next item, once there is one."""
        return (await self._entries.get())[2]


class PrioritySlots:
    """A semaphore whose next free place goes to the lowest priority, first come among equals.

    Priorities are classes, few of them: giving a place away looks at each that waits.
    """

    def __init__(self, number: int) -> None:
        _checked.at_least_one("number", number)
        self._free = number
        self._lines: dict[int, OrderedDict[asyncio.Future[None], None]] = {}

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def at(self, priority: int) -> AsyncIterator[None]:
        """`async with slots.at(priority)`: a place for as long as this lasts."""
        _checked.whole("priority", priority)
        await self._take(priority)
        try:
            yield
        finally:
            self._give()

    async def _take(self, priority: int) -> None:
        if self._free:  # then nobody waits
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(priority, OrderedDict())[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(priority, turn)
            else:
                self._give()  # its turn came as it was cancelled: the place is another's
            raise

    def _give(self) -> None:
        """Hand a place to who is next, without setting it free in between."""
        while self._lines:
            line = self._lines[first := min(self._lines)]
            turn = next(iter(line))
            self._leave(first, turn)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _leave(self, priority: int, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(priority, OrderedDict())
        line.pop(turn, None)
        if not line:
            self._lines.pop(priority, None)


def prioritised(
    fetch: Callable[[Item], Awaitable[Result]],
    slots: PrioritySlots,
    priority_of: Callable[[Item], int],
) -> Callable[[Item], Awaitable[Result]]:
    """`fetch` in a place of `slots`.

    The strategy around it lets more calls begin than there are places, or nobody waits here and
    there is nothing to choose from.
    """

    async def in_turn(item: Item) -> Result:
        async with slots.at(priority_of(item)):
            return await fetch(item)

    return in_turn
