"""An interrupt in a sentence: what is kept, and how to get at it, instead of a traceback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from labkit.progress.reporter import Reporter


@contextlib.contextmanager
def told_if_interrupted(show: Reporter, says: Callable[[], str]) -> Iterator[None]:
    """Around work that may be cancelled: then the error goes on, and says what `says` gives.

    The very error goes on, since asyncio tells by its class and identity who asked for the end.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        sentence = says()
        show.interrupted(sentence)
        error.args = (sentence,)
        # IPython asks an error for this before it makes a traceback of it.
        error.__dict__["_render_traceback_"] = lambda: [sentence]
        raise
