"""Where a panel lives: in a kernel its main loop, whichever thread a message comes in.

A front end may send the messages of widgets to a subshell: a thread with an event loop of its own,
which can end while a trial runs. So all that a panel does, it does in the kernel's main loop, and
nothing of it needs a lock. What it says there belongs to the cell that made it: the answer to
something said for a message of a subshell is sent to that subshell, which may be gone by then.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Home:
    """The loop of the kernel and the context of the cell; outside of a kernel whatever runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or _of_kernel()
        self._context = contextvars.copy_context()

    def do(self, work: Callable[[], None]) -> None:
        """Call it in the loop: at once where that is this thread's, else as soon as it turns."""
        context, loop = self._context.copy(), self._elsewhere()
        if loop is None:
            context.run(work)
        else:
            loop.call_soon_threadsafe(work, context=context)

    async def awaited(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What it gives once it was awaited in the loop; cancelled, it is cancelled there."""
        loop = self._elsewhere()
        if loop is None:
            return await work()
        context = self._context.copy()
        return await asyncio.wrap_future(
            context.run(asyncio.run_coroutine_threadsafe, work(), loop)
        )

    def _elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The loop, where it is not the one that runs in this thread."""
        if self._loop is None or self._loop.is_closed() or self._loop is _running():
            return None
        return self._loop


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _of_kernel() -> asyncio.AbstractEventLoop | None:
    """The loop in which the kernel runs cells; None where this is no kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    loop = getattr(getattr(shell, "kernel", None), "io_loop", None)
    found: asyncio.AbstractEventLoop | None = getattr(loop, "asyncio_loop", None)
    return found
