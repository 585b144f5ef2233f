"""Wrappers of `fetch` (batches, priorities, a weak cache), and chunks and streams of results.

`fetch(item)` is one operation, as a transport yields it. `Batcher(call).get`, `WeakCache(load).get`
and `prioritised(fetch, ...)` are such a `fetch` again, so that any strategy takes them: the
strategy decides when calls start, the pattern what a call does. `in_order` and `as_completed` are
loops of their own, and yield results.

None needs a lock: what must not be interrupted has no `await` in it. Each survives the cancellation
of any of its callers, and leaves no task behind. The standard library is all they need.
"""

from __future__ import annotations

from labkit.measured.patterns._shared import CallCancelled
from labkit.measured.patterns.batcher import Batcher
from labkit.measured.patterns.priorities import PriorityQueue, PrioritySlots, prioritised
from labkit.measured.patterns.streams import as_completed, in_chunks, in_order
from labkit.measured.patterns.weak_cache import Box, Unreferable, WeakCache, boxed

__all__ = [
    "Batcher",
    "Box",
    "CallCancelled",
    "PriorityQueue",
    "PrioritySlots",
    "Unreferable",
    "WeakCache",
    "as_completed",
    "boxed",
    "in_chunks",
    "in_order",
    "prioritised",
]
