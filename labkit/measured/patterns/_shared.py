"""What patterns share: checks of arguments, and a call that several callers wait for.

The checks are not those of `labkit.spec.validation`, which need msgspec.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from labkit.errors import BadInput, LabError

T = TypeVar("T")


def check_whole(field: str, value: int, minimum: float = -math.inf) -> None:
    """Raise `BadInput` unless `value` is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        limit = f" of at least {minimum:g}" if math.isfinite(minimum) else ""
        raise BadInput(f"{field} is {value!r}: it must be a whole number{limit}")


def check_seconds(field: str, value: float) -> None:
    """Raise `BadInput` unless `value` is a finite number of seconds, of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BadInput(f"{field} is {value!r}: it must be a number of seconds of at least 0")


class CallCancelled(LabError):
    """A call that callers shared was cancelled, though none of these callers was."""


class Flight(Generic[T]):
    """A call in a task of its own, so that the cancellation of one caller does not cancel it.

    `ending` is true once the last caller has left: a new caller needs another flight.
    """

    def __init__(self, call: Coroutine[Any, Any, T]) -> None:
        self.ending = False
        self._callers: set[asyncio.Future[None]] = set()
        self.task = asyncio.create_task(call)
        self.task.add_done_callback(self._wake_callers)

    async def result(self) -> T:
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
                    await self.ended()
                raise
        if self.task.cancelled():
            raise CallCancelled("the call was cancelled while others waited for it: call again")
        return self.task.result()

    async def ended(self) -> None:
        """Wait until the call has ended, in whatever way."""
        await asyncio.wait([self.task])

    def _wake_callers(self, task: asyncio.Task[T]) -> None:
        for caller in self._callers:
            if not caller.done():
                caller.set_result(None)
        if not task.cancelled() and not self.ending:
            # Retrieve it: callers cancelled in this very turn will not, and asyncio would warn.
            task.exception()
