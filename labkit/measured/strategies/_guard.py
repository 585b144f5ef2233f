"""What strategies are made with: the decorator, its tally, and the end of their tasks.

Errors are counted here; how calls are scheduled is in the strategies, one file each. The measuring
worker bypasses this guard (`__wrapped__`), because its own `fetch` counts already.
"""

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from labkit.spec import trial
from labkit.spec.validation import AtLeastOne, check, refusal

T = TypeVar("T")

# One operation on the target, for one item.
Fetch: TypeAlias = Callable[[T], Awaitable[object]]

# What a strategy applies its `fetch` to.
Items: TypeAlias = Iterable[T]

# A strategy as it is written, without the guard.
Bare: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many items succeeded and how many failed, by the name of the exception's class."""

    ok: int
    failed: int
    kinds: Mapping[str, int]
    first_error: BaseException | None


class Strategy(Protocol):
    """A decorated coroutine; `__wrapped__` is the same one without the guard."""

    __name__: str
    __wrapped__: Bare

    def __call__(
        self, fetch: Fetch[T], items: Iterable[T], limit: int, **options: Any
    ) -> Coroutine[Any, Any, Tally]: ...


def this_task() -> asyncio.Task[Any]:
    """Return the task that runs the calling coroutine."""
    return cast("asyncio.Task[Any]", asyncio.current_task())


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel those of `tasks` that still run, and wait until they have ended."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        # `gather` passes a cancellation on: a second one would interrupt the task's own clean-up.
        if not (isinstance(task, asyncio.Task) and task.cancelling()):
            task.cancel()
    if running:
        await asyncio.wait(running)


async def gather_all(calls: Iterable[Awaitable[object]]) -> None:
    """Run each of `calls` in a task, as `asyncio.gather` does, and leave none behind at the end."""
    tasks: list[asyncio.Future[object]] = []
    try:
        tasks.extend(asyncio.ensure_future(call) for call in calls)
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(tasks)


# The plan of the guard. One failing item must neither stop the strategy nor lose other items, so
# what the strategy is given as `fetch` never raises for an item; the `Tally` counts instead. Only a
# real cancellation goes through, or a strategy could not be ended.
#
# This is a function of its own, apart from the decorator, because a learner's decorated function is
# sent to the measured process by value: what stands here is not sent, but found there by name.
async def tallied(
    function: Bare, fetch: Fetch[T], items: Iterable[T], limit: int, options: dict[str, Any]
) -> Tally:
    """Run `function` over a guarded `fetch`, and return the counts."""
    __tracebackhide__ = True  # of what the function raises IPython shows its own lines alone
    check("limit", limit, AtLeastOne)
    ok, kinds = 0, Counter[str]()
    first_error: BaseException | None = None

    def fail(error: BaseException) -> None:
        nonlocal first_error
        kinds[type(error).__name__] += 1
        first_error = error if first_error is None else first_error

    async def guarded(item: T) -> None:
        nonlocal ok
        try:
            await fetch(item)
        except asyncio.CancelledError as error:
            # A library may leak the cancellation of its own inner task: that is one failed item,
            # whereas a request to cancel this task must go through.
            if this_task().cancelling():
                raise
            fail(error)
        except Exception as error:  # noqa: BLE001  # whatever an item raises is counted
            fail(error)
        else:
            ok += 1

    await function(guarded, items, limit, **options)
    return Tally(ok=ok, failed=kinds.total(), kinds=dict(kinds), first_error=first_error)


def strategy(function: Bare) -> Strategy:
    """Make `async def name(fetch, items, limit)` a strategy.

    A trial takes it as it is, or once made by its name. Awaiting it validates `limit`, applies
    `fetch` to every item and returns a `Tally`: an exception in one item is counted there and
    neither loses nor stops the others. Cancelling it cancels what `function` started, if `function`
    itself does so. `BadInput` is raised for a `function` that is not a coroutine
    function and for a `limit` that is not a whole number of at least 1.
    """
    if not inspect.iscoroutinefunction(function):
        raise refusal("decorated", function=function)

    @wraps(function)
    async def guarded(fetch: Fetch[T], items: Iterable[T], limit: int, **options: Any) -> Tally:
        __tracebackhide__ = True
        return await tallied(function, fetch, items, limit, options)

    # For `help`: the parameters are the function's, the result is the guard's.
    signature = inspect.signature(function).replace(return_annotation="Tally")
    guarded.__signature__ = signature  # type: ignore[attr-defined]
    made = cast("Strategy", guarded)
    # The measuring worker bypasses exactly this guard, and no wrapper of the user's own.
    guarded.__labkit_guard__ = guarded  # type: ignore[attr-defined]
    if not function.__module__.startswith("labkit.measured.strategies."):
        # From here on a trial takes it by name, too.
        trial.OWN[function.__name__] = made
    return made
