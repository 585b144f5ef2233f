"""Calls that several callers share: batches of keys, and a cache with weak references.

`Batcher`: many calls for one key each become one call for many keys. A batch is sent once it has
`max_size` keys, or `delay_s` after its first. So `n` callers at a time make about
`total / min(n, max_size)` calls: with fewer callers than `max_size` no batch fills, and each waits
for the delay.

`WeakCache`: an entry lives as long as something else refers to its value. So nothing has to be
evicted, and a value that is no longer in use is loaded again: the cache shares what is in use, and
stores nothing beyond that. A key is loaded by one call at a time. Values must support weak
references: objects of classes of one's own do; str, bytes, int, tuple, list, dict and None do not.
`WeakCache(boxed(load))` takes any: its values are `Box`es, and a caller that wants the entry to
stay keeps a reference to the box.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from labkit.errors import LabError
from labkit.spec.validation import AtLeastOne, ShortSeconds, check, refusal

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class CallCancelled(LabError):
    """A call that callers shared was cancelled, though none of these callers was."""


class Flight(Generic[Value]):
    """A call in a task of its own, so that the cancellation of one caller does not cancel it.

    `ending` is true once the last caller has left: a new caller needs another flight.
    """

    def __init__(self, call: Coroutine[Any, Any, Value]) -> None:
        self.ending = False
        self._callers: set[asyncio.Future[None]] = set()
        self.task = asyncio.create_task(call)
        self.task.add_done_callback(self._wake_callers)

    async def result(self) -> Value:
        """Return or raise what the call does; `CallCancelled` if something else cancelled it."""
        if not self.task.done():
            caller = asyncio.get_running_loop().create_future()
            self._callers.add(caller)
            try:
                await caller
            except asyncio.CancelledError:
                self._callers.discard(caller)
                if not self._callers and not self.task.done():
                    self.ending = True
                    self.task.cancel()
                    await asyncio.wait([self.task])
                raise
        if self.task.cancelled():
            raise CallCancelled("the call was cancelled while others waited for it: call again")
        return self.task.result()

    def _wake_callers(self, task: asyncio.Task[Value]) -> None:
        for caller in self._callers:
            if not caller.done():
                caller.set_result(None)
        if not task.cancelled() and not self.ending:
            # Retrieve it: callers cancelled in this very turn will not, and asyncio would warn.
            task.exception()


class Batcher(Generic[Key, Value]):
    """`get(key)` is a `fetch` over `call(keys)`, which answers many keys with a mapping.

    Callers for one key in a batch share its answer. A key that is missing from the mapping is a
    `KeyError` for its callers alone, a batch that fails raises in all of its own, and neither
    touches another batch. A key that nobody waits for any more is not sent, and a batch without
    callers is cancelled. Batches may overlap: how many, the number of callers bounds.
    """

    def __init__(
        self,
        call: Callable[[tuple[Key, ...]], Awaitable[Mapping[Key, Value]]],
        *,
        max_size: int = 100,
        delay_s: float = 0.01,
    ) -> None:
        check("max_size", max_size, AtLeastOne)
        check("delay_s", delay_s, ShortSeconds)
        self._call, self._max_size, self._delay_s = call, max_size, delay_s
        self._batch: _Batch[Key, Value] | None = None

    async def get(self, key: Key) -> Value:
        """Return the answer to one key, which is sent together with others."""
        hash(key)  # raises for an unhashable key before there is a batch for it
        batch = self._batch
        if batch is None or batch.closed.done():
            batch = self._batch = _Batch(self._send)
        batch.callers[key] += 1
        try:
            if len(batch.callers) >= self._max_size:
                batch.close()
            found = await batch.flight.result()
        finally:
            batch.callers[key] -= 1
            if not batch.callers[key]:
                del batch.callers[key]
        return found[key]

    async def _send(self, batch: _Batch[Key, Value]) -> Mapping[Key, Value]:
        timer = asyncio.get_running_loop().call_later(self._delay_s, batch.close)
        try:
            await batch.closed
        finally:
            timer.cancel()
            if self._batch is batch:  # else its answers would stay in memory until the next batch
                self._batch = None
        return await self._call(tuple(batch.callers))


class _Batch(Generic[Key, Value]):
    """Keys that are sent together, each with the number of its callers, and the call for them."""

    def __init__(
        self, send: Callable[[_Batch[Key, Value]], Coroutine[Any, Any, Mapping[Key, Value]]]
    ) -> None:
        self.callers: Counter[Key] = Counter()
        # Cancelled, and so done, when all callers have left.
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flight = Flight(send(self))

    def close(self) -> None:
        """Take no more keys."""
        if not self.closed.done():
            self.closed.set_result(None)


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
            await asyncio.wait([flight.task])  # until it has ended, in whatever way
        return value

    async def _load_and_store(self, key: Key) -> Value:
        value = await self._load(key)
        try:
            self._values[key] = value
        except TypeError:
            raise refusal("unreferable", Unreferable, key=key, type=type(value).__name__) from None
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
