"""A priority queue and a semaphore with priorities: lowest number first, equals in their order.

Strict: as long as something urgent waits, nothing else starts. What is in flight is never
interrupted.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Generic, TypeVar

from labkit.spec.validation import AtLeastOne, check

Item = TypeVar("Item")
Result = TypeVar("Result")


class PriorityQueue(Generic[Item]):
    """A queue of items with a priority each; the items are never compared.

    With a `maxsize` those who put wait for room in the order in which they came, whatever their
    priority: an urgent item behind a full queue is not yet urgent.
    """

    def __init__(self, maxsize: int = 0) -> None:
        check("maxsize", maxsize, int)
        self._entries: asyncio.PriorityQueue[tuple[int, int, Item]] = asyncio.PriorityQueue(maxsize)
        # A heap alone lets equals overtake each other: the ticket number keeps them in order.
        self._tickets = count()

    def __len__(self) -> int:
        """Return how many items wait."""
        return self._entries.qsize()

    async def put(self, priority: int, item: Item) -> None:
        """Add an item, once there is room."""
        check("priority", priority, int)
        await self._entries.put((priority, next(self._tickets), item))

    async def get(self) -> Item:
        """Take the next item, once there is one."""
        return (await self._entries.get())[2]


class PrioritySlots:
    """A semaphore whose next free slot goes to the lowest priority, first come among equals.

    Priorities are meant as a few classes: freeing a slot looks at each class that waits.
    """

    def __init__(self, number: int) -> None:
        check("number", number, AtLeastOne)
        self._free = number
        self._lines: dict[int, OrderedDict[asyncio.Future[None], None]] = {}

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a slot."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def at(self, priority: int) -> AsyncIterator[None]:
        """Occupy a slot within the block: `async with slots.at(priority)`."""
        check("priority", priority, int)
        if self._free:  # then nobody waits
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._lines.setdefault(priority, OrderedDict())[turn] = None
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._leave(priority, turn)
                else:
                    self._pass_on()  # its turn came just as it was cancelled
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give a slot to the next that waits; it is free only if nobody does."""
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
    """Wrap `fetch` so that each call occupies a slot of `slots`.

    The strategy around it has to start more calls than there are slots: else nobody waits here, and
    there is nothing to choose from.
    """

    async def in_turn(item: Item) -> Result:
        async with slots.at(priority_of(item)):
            return await fetch(item)

    return in_turn
