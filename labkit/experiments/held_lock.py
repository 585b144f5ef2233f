"""A batcher whose caller awaits its answer with the lock in hand that sending the batch needs.

The fault that the claim `batch-as-printed` is about, written here to be seen. `twice` asks for one
key from two callers; with two keys nobody waits inside the lock, and both are answered.
"""

from __future__ import annotations

import asyncio

from labkit.experiments import Figures

DELAY_S = 0.01
PATIENCE_S = 0.5
"""Fifty times what the batch waits for company: who is not answered by then never will be."""


class Batcher:
    """Collects keys for `DELAY_S`, then answers all of them at once."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._sender: asyncio.Task[None] | None = None

    async def get(self, key: str) -> str:
        """The answer to one key, asked for together with others."""
        async with self._lock:
            if key in self._waiting:
                # The fault: the sender needs this lock before it can answer what is awaited here.
                return await self._waiting[key]
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._waiting[key] = answer
            if self._sender is None:
                self._sender = asyncio.create_task(self._send_later())
        return await answer

    async def _send_later(self) -> None:
        await asyncio.sleep(DELAY_S)
        async with self._lock:
            waiting, self._waiting, self._sender = self._waiting, {}, None
        for key, answer in waiting.items():
            answer.set_result(key.upper())


async def measure(url: str | None, *, twice: bool) -> Figures:
    """How many of two callers are answered within `PATIENCE_S`."""
    batcher = Batcher()
    keys = ["a", "a"] if twice else ["a", "b"]
    callers = [asyncio.ensure_future(batcher.get(key)) for key in keys]
    done, pending = await asyncio.wait(callers, timeout=PATIENCE_S)
    for one in pending:
        one.cancel()
    return {"answered": float(len(done))}
