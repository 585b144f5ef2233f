"""A cache that holds a value for as long as somebody else does, and loads each once at a time.

An entry goes when the last reference to its value does. So nothing has to be thrown out, and what
nobody holds is loaded again: it shares what is in use, and is no store of what was.

Only objects of classes with room for a weak reference can be values: those of one's own, not str,
bytes, int, tuple, list, dict or None. `WeakCache(boxed(load))` takes any: its values are `Box`es,
and whoever wants to keep the entry keeps the box.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from labkit.errors import LabError
from labkit.measured.patterns._flight import Flight

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Unreferable(LabError, TypeError):
    """A value that no weak reference can be made to."""


class WeakCache(Generic[Key, Value]):
    """`get(key)` is a `fetch` over `load(key)`: one load of a key at a time, whoever asks.

    A load that fails raises in all who waited for it and is not remembered. It is cancelled when
    the last of them has left, not before, and a new one begins only when it has ended. Nothing is
    kept of a key but its value. Raises `Unreferable` for a value without weak references.
    """

    def __init__(self, load: Callable[[Key], Awaitable[Value]]) -> None:
        self._load = load
        self._held: WeakValueDictionary[Key, Value] = WeakValueDictionary()
        self._flights: dict[Key, Flight[Value]] = {}

    def __len__(self) -> int:
        """How many values it holds now."""
        return len(self._held)

    @property
    def loading(self) -> int:
        """How many keys are being loaded now."""
        return len(self._flights)

    async def get(self, key: Key) -> Value:
        """The value of `key`: the one in use, or one that is loaded."""
        while (value := self._held.get(key)) is None:
            flight = self._flights.get(key) or self._begin(key)
            if not flight.ending:
                return await flight.result()
            await flight.ended()
        return value

    def _begin(self, key: Key) -> Flight[Value]:
        flight = self._flights[key] = Flight(self._loaded(key))
        # Not in the call itself: one that is cancelled before it starts never comes to its end.
        flight.task.add_done_callback(lambda _: self._flights.pop(key))
        return flight

    async def _loaded(self, key: Key) -> Value:
        value = await self._load(key)
        try:
            self._held[key] = value
        except TypeError:
            raise Unreferable(
                f"the value of {key!r} is of type {type(value).__name__}, which has no weak "
                "references: load an object of a class of your own, or wrap load in boxed()"
            ) from None
        return value


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Box(Generic[Value]):
    """Any value, in an object that can be referred to weakly."""

    value: Value


def boxed(
    load: Callable[[Key], Awaitable[Value]],
) -> Callable[[Key], Coroutine[Any, Any, Box[Value]]]:
    """`load`, whose values come in a `Box` each."""

    async def load_boxed(key: Key) -> Box[Value]:
        return Box(await load(key))

    return load_boxed
