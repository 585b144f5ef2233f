"""Wrappers of `fetch` (batches, priorities, a weak cache), and chunks and streams of results.

`fetch(item)` is one operation, as a transport yields it. `Batcher(call).get`, `WeakCache(load).get`
and `prioritised(fetch, ...)` are such a `fetch` again, so that any strategy takes them: the
strategy decides when calls start, the pattern what a call does. `in_order` and `as_completed` are
loops of their own, and yield results.

None needs a lock: what must not be interrupted has no `await` in it. Each survives the cancellation
of any of its callers, and leaves no task behind. The public names are in `__init__.pyi`.
"""

from labkit import attach_stub

__getattr__, __dir__ = attach_stub(__name__, __file__)
