"""The decorator that makes a coroutine a strategy, and the tally that a person gets back.

Here errors are counted; how calls are scheduled is in the strategies, one file each. The measuring
worker goes round this guard (`__wrapped__`), because its own `fetch` already counts.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar, cast

from msgspec import Meta

from labkit.errors import BadInput
from labkit.measured.strategies._tasks import this_task
from labkit.spec import trial
from labkit.spec.validation import check

T = TypeVar("T")

Fetch: TypeAlias = Callable[[T], Awaitable[object]]
"""One operation on the target, for one item."""

_BUILT_IN = "labkit.measured.strategies."
AtLeastOne = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many items were done and how many failed, by name of the exception's class."""

    ok: int
    failed: int
    kinds: Mapping[str, int]
    first_error: BaseException | None


class Strategy(Protocol):
    """A decorated coroutine; `__wrapped__` is the same one without the guard."""

    __name__: str
    __wrapped__: Callable[..., Coroutine[Any, Any, None]]

    def __call__(
        self, fetch: Fetch[T], items: Iterable[T], limit: int, **options: Any
    ) -> Coroutine[Any, Any, Tally]: ...


@dataclass(slots=True)
class _Counts:
    ok: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    first_error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        self.kinds[type(error).__name__] += 1
        if self.first_error is None:
            self.first_error = error

    def tally(self) -> Tally:
        return Tally(
            ok=self.ok,
            failed=self.kinds.total(),
            kinds=dict(self.kinds),
            first_error=self.first_error,
        )


def _guard(fetch: Fetch[T], counts: _Counts) -> Fetch[T]:
    """`fetch` that counts how each item ends and raises only when it is really cancelled."""

    async def guarded(item: T) -> None:
        try:
            await fetch(item)
        except asyncio.CancelledError as error:
            # A library may leak the cancellation of its own inner task: that is one failed item,
            # whereas a request to cancel this task must go through.
            if this_task().cancelling():
                raise
            counts.fail(error)
        except Exception as error:  # noqa: BLE001  # whatever an item raises is counted
            counts.fail(error)
        else:
            counts.ok += 1

    return guarded


# Apart from the decorator, because a learner's decorated function goes to the measured process by
# value: what stands here stays behind, and is found there by name.
async def tallied(
    function: Callable[..., Coroutine[Any, Any, None]],
    fetch: Fetch[T],
    items: Iterable[T],
    limit: int,
    options: dict[str, Any],
) -> Tally:
    """What a decorated strategy does: run `function` under the guard, and count."""
    check("limit", limit, AtLeastOne)
    counts = _Counts()
    await function(_guard(fetch, counts), items, limit, **options)
    return counts.tally()


def strategy(function: Callable[..., Coroutine[Any, Any, None]]) -> Strategy:
    """Make `async def name(fetch, items, limit)` a strategy.

    A trial takes it as it is, or once made by its name. Awaiting it validates `limit`, applies
    `fetch` to every item and returns a `Tally`: an exception in one item is counted there and
    neither loses nor stops the others. Cancelling it cancels what `function` started, as far as
    `function` itself sees to that. `BadInput` is raised for a `function` that is not a coroutine
    function and for a `limit` that is not a whole number of at least 1.
    """
    if not inspect.iscoroutinefunction(function):
        raise BadInput(
            f"strategy is {function!r}: it must be a coroutine function; "
            "write 'async def name(fetch, items, limit)'"
        )

    @wraps(function)
    async def guarded(fetch: Fetch[T], items: Iterable[T], limit: int, **options: Any) -> Tally:
        return await tallied(function, fetch, items, limit, options)

    # What `help` shows: the parameters are the function's, the result is the guard's.
    signature = inspect.signature(function).replace(return_annotation="Tally")
    guarded.__signature__ = signature  # type: ignore[attr-defined]
    made = cast("Strategy", guarded)
    # The measuring worker goes round this very guard, and round no wrapper of the user's own.
    guarded.__labkit_guard__ = guarded  # type: ignore[attr-defined]
    if not function.__module__.startswith(_BUILT_IN):
        # From here on a trial takes it by name, too.
        trial.OWN[function.__name__] = made
    return made
