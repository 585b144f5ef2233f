"""An interrupt: noticed at once, and a sentence on what is kept instead of a traceback.

The kernel's handler of the signal leaves word in the kernel's loop without waking it. A loop that
nothing else wakes, where the strategy blocks and no progress comes, would sleep on: so it is woken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from labkit.lab.progress.reporter import Reporter

AWAKE_S = 0.1
"""The longest that the loop sleeps meanwhile."""


@contextlib.contextmanager
def told_if_interrupted(show: Reporter, says: Callable[[], str]) -> Iterator[None]:
    """Around work that may be cancelled: then the error goes on, and says what `says` gives.

    The very error goes on, since asyncio tells by its class and identity who asked for the end.
    """
    awake = _Awake(asyncio.get_running_loop())
    try:
        yield
    except asyncio.CancelledError as error:
        sentence = says()
        show.interrupted(sentence)
        error.args = (sentence,)
        # IPython asks an error for this before it makes a traceback of it.
        error.__dict__["_render_traceback_"] = lambda: [sentence]
        raise
    finally:
        awake.end()


class _Awake:
    """Wakes a loop again and again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wake()

    def _wake(self) -> None:
        self._next = self._loop.call_later(AWAKE_S, self._wake)

    def end(self) -> None:
        """Let it sleep."""
        self._next.cancel()
