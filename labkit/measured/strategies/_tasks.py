"""How a strategy leaves no task behind; what it starts, and when, is in its own file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast


def this_task() -> asyncio.Task[Any]:
    """The task that runs the caller, which has to be a coroutine."""
    return cast("asyncio.Task[Any]", asyncio.current_task())


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel those of `tasks` that still run, and wait until they have ended.

    Costs no more than a look at each where all have ended.
    """
    running = [task for task in tasks if not task.done()]
    for task in running:
        # `gather` passes a cancellation on: one more would cut the task's own cleaning up short.
        if not (isinstance(task, asyncio.Task) and task.cancelling()):
            task.cancel()
    if running:
        await asyncio.wait(running)
