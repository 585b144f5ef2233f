"""What one poll of the client `as_completed` costs where so many requests are waiting.

The strategy is the lab's own; nothing is sent, so that the turns of the loop are the polls alone.
"""

from __future__ import annotations

import asyncio
from time import process_time

from labkit.measured import strategies
from labkit.measured.experiments import Figures

WAIT_S = 0.3


async def measure(url: str | None, *, limit: int) -> Figures:
    """CPU of a turn of the loop while `limit` calls wait."""
    loop, turns, over = asyncio.get_running_loop(), 0, False

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not over:
            loop.call_soon(turn)

    over_at: asyncio.Future[None] = loop.create_future()

    async def wait(_: int) -> None:
        await over_at

    began_s = process_time()
    loop.call_soon(turn)
    loop.call_later(WAIT_S, over_at.set_result, None)
    work = asyncio.ensure_future(
        strategies.load("as_completed").__wrapped__(wait, range(limit), limit)
    )
    await over_at
    cost_us = 1e6 * (process_time() - began_s) / turns
    over = True
    await work
    return {"poll_us": cost_us}
