"""Helpers with which a strategy leaves no task behind when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast


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
