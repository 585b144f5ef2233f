"""A batcher whose caller awaits its answer with the lock in hand that sending the batch needs.

The fault that the claim `batch-as-printed` is about, written here to be seen, and beside it the
lab's own batcher. `twice` asks for one key from two callers; with two keys nobody waits inside the
lock, and both are answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from labkit.measured import patterns
from labkit.measured.experiments import Figures

DELAY_S = 0.01
PATIENCE_S = 0.5
"""Fifty times what the batch waits for company: who is not answered by then never will be."""


class Batcher:
    """Collects keys for `DELAY_S`, then has `call` answer all of them at once."""

    def __init__(self, call: Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]) -> None:
        self._call = call
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
        found = await self._call(list(waiting))
        for key, answer in waiting.items():
            answer.set_result(found[key])


async def measure(url: str | None, *, twice: bool, printed: bool = True) -> Figures:
    """How many of two callers are answered within `PATIENCE_S`, and by how many calls."""
    calls: list[Sequence[str]] = []

    async def call(keys: Sequence[str]) -> dict[str, str]:
        calls.append(keys)
        return {key: key.upper() for key in keys}

    get = Batcher(call).get if printed else patterns.Batcher(call, delay_s=DELAY_S).get
    keys = ["a", "a"] if twice else ["a", "b"]
    callers = [asyncio.ensure_future(get(key)) for key in keys]
    done, pending = await asyncio.wait(callers, timeout=PATIENCE_S)
    for one in pending:
        one.cancel()
    return {"answered": float(len(done)), "calls": float(len(calls))}
