"""Many calls for one key each become one call for many keys.

A batch is sent once it has `max_size` keys, or `delay_s` after its first. So `n` callers at a time
make about `total / min(n, max_size)` calls: with fewer callers than `max_size` no batch fills, and
each waits for the delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from labkit.measured.patterns._shared import Flight, check_seconds, check_whole

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


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
        check_whole("max_size", max_size, 1)
        check_seconds("delay_s", delay_s)
        self._call, self._max_size, self._delay_s = call, max_size, delay_s
        self._batch: _Batch[Key, Value] | None = None

    async def get(self, key: Key) -> Value:
        """Return the answer to one key, which is sent together with others."""
        hash(key)  # raises for an unhashable key before there is a batch for it
        batch = self._batch
        if batch is None or batch.closed.done():
            batch = self._batch = _Batch(self._send)
        with batch.waiting_for(key):
            if len(batch.callers) >= self._max_size:
                batch.close()
            found = await batch.flight.result()
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
        self.callers: dict[Key, int] = {}
        # Cancelled, and so done, when all callers have left.
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flight = Flight(send(self))

    def close(self) -> None:
        """Take no more keys."""
        if not self.closed.done():
            self.closed.set_result(None)

    @contextmanager
    def waiting_for(self, key: Key) -> Iterator[None]:
        """Count a caller of `key` within the block."""
        self.callers[key] = self.callers.get(key, 0) + 1
        try:
            yield
        finally:
            self.callers[key] -= 1
            if not self.callers[key]:
                del self.callers[key]
