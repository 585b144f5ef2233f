"""How a strategy leaves no task behind; what it starts and when is in its own file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def cancel_and_wait(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel those of `tasks` that still run, and wait until they have ended.

    Costs nothing but the look at each where all have ended.
    """
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
