"""A cache with weak references: an entry lives as long as something else refers to its value.

So nothing has to be evicted, and a value that is no longer in use is loaded again: the cache shares
what is in use, and stores nothing beyond that. A key is loaded by one call at a time.

Values must support weak references: objects of classes of one's own do; str, bytes, int, tuple,
list, dict and None do not. `WeakCache(boxed(load))` takes any: its values are `Box`es, and a caller
that wants the entry to stay keeps a reference to the box.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from labkit.errors import LabError
from labkit.measured.patterns._shared import Flight

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Unreferable(LabError, TypeError):
    """A value that no weak reference can be made to."""


class WeakCache(Generic[Key, Value]):
    """`get(key)` is a `fetch` over `load(key)`; callers of one key share one load.

    A load that fails raises in all callers that waited for it and is not remembered. It is
    cancelled when the last of them has left, and a new one begins only when it has ended. Raises
    `Unreferable` for a value without weak references.
    """

    def __init__(self, load: Callable[[Key], Awaitable[Value]]) -> None:
        self._load = load
        self._values: WeakValueDictionary[Key, Value] = WeakValueDictionary()
        self._loads: dict[Key, Flight[Value]] = {}

    def __len__(self) -> int:
        """Return how many values are in the cache now."""
        return len(self._values)

    @property
    def loading(self) -> int:
        """Return how many keys are being loaded now."""
        return len(self._loads)

    async def get(self, key: Key) -> Value:
        """Return the value of `key`: the one in use, or one that is loaded now."""
        while (value := self._values.get(key)) is None:
            flight = self._loads.get(key)
            if flight is None:
                flight = self._loads[key] = Flight(self._load_and_store(key))
                # Not in the call itself: one cancelled before it starts never reaches its end.
                flight.task.add_done_callback(lambda _: self._loads.pop(key))
            if not flight.ending:
                return await flight.result()
            await flight.ended()
        return value

    async def _load_and_store(self, key: Key) -> Value:
        value = await self._load(key)
        try:
            self._values[key] = value
        except TypeError:
            raise Unreferable(
                f"the value of {key!r} is of type {type(value).__name__}, which has no weak "
                "references: load an object of a class of your own, or wrap load in boxed()"
            ) from None
        return value


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Box(Generic[Value]):
    """Any value, in an object that supports weak references."""

    value: Value


def boxed(
    load: Callable[[Key], Awaitable[Value]],
) -> Callable[[Key], Coroutine[Any, Any, Box[Value]]]:
    """Wrap `load` so that it returns each value in a `Box`."""

    async def load_boxed(key: Key) -> Box[Value]:
        return Box(await load(key))

    return load_boxed
