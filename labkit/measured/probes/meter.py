"""Counting and timing each request. This is the hot path of every measurement: it is kept short.

`metered` wraps a transport's `fetch`; strategies call the wrapper. It never raises but for
cancellation, so that no strategy can lose an item to another item's failure.
"""

from __future__ import annotations

from array import array
from asyncio import CancelledError, current_task
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter

from labkit.measured.probes.window import Window
from labkit.record import histogram
from labkit.record.record import Counts

Fetch = Callable[[int], Awaitable[object]]
MOST_EXAMPLES = 5
MOST_WORDS = 32_768
"""Latencies kept, in 64 KiB, before they are counted: by then the histogram's cost is shared."""


class Meter:
    """What happened to the requests so far; opens and closes the window that is measured."""

    __slots__ = (
        "_counted",
        "_words",
        "cancelled",
        "examples",
        "failed",
        "items",
        "kind_of",
        "left",
        "ok",
        "planned",
        "sent",
        "unsettled",
        "window",
    )

    def __init__(
        self, planned: int, kind_of: Callable[[BaseException], str], window: Window
    ) -> None:
        self.planned = self.left = planned
        self.kind_of, self.window = kind_of, window
        self.sent = self.ok = self.cancelled = self.items = 0
        self.failed: dict[str, int] = {}
        self.examples: list[str] = []
        self.unsettled: list[float] = []
        self._words = array("H")
        self._counted: Counter[int] = Counter()

    def fail(self, error: BaseException) -> None:
        """Count a request that failed, by kind."""
        kind = self.kind_of(error)
        self.failed[kind] = self.failed.get(kind, 0) + 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"{kind}: {type(error).__name__}: {error}"[:300])

    def cancel(self, error: CancelledError) -> None:
        """Count a request that was cancelled, and go on being cancelled.

        A `CancelledError` that nobody asked this task for leaked out of the call: a failure.
        """
        task = current_task()
        if task is None or not task.cancelling():
            self.fail(error)
            return
        self.cancelled += 1
        raise error

    def drop(self) -> None:
        """One request less is to come: it will never be sent."""
        self.left -= 1
        if not self.left:
            self.window.close()

    @property
    def latencies(self) -> array[int]:
        """The histogram of the requests that succeeded so far."""
        self.settle()
        self._count()
        return histogram.of_words(self._counted)

    def settle(self) -> None:
        """Put away what took how long since the last time, in one go.

        Counting each request as it ends would cost several times as much: by then the processor's
        caches hold the request's work, and not the histogram. Called often, this keeps little.
        """
        self._words.extend(histogram.words(self.unsettled))
        self.unsettled.clear()
        if len(self._words) >= MOST_WORDS:
            self._count()

    def _count(self) -> None:
        self._counted.update(self._words)
        del self._words[:]

    @property
    def done(self) -> int:
        """Requests that came to an end, of whatever kind."""
        return self.ok + sum(self.failed.values()) + self.cancelled

    @property
    def in_flight(self) -> int:
        """Requests sent that have not come to an end."""
        return self.sent - self.done

    @property
    def each_item_once(self) -> bool:
        """Whether what was sent is items 0 to planned - 1, as far as a sum can tell."""
        return self.items == self.planned * (self.planned - 1) // 2

    def counts(self) -> Counts:
        """The counts as the record holds them. Requests still in flight are counted cancelled."""
        return Counts(
            planned=self.planned,
            sent=self.sent,
            not_sent=max(self.planned - self.sent, 0),
            ok=self.ok,
            failed=dict(self.failed),
            cancelled=self.cancelled + self.in_flight,
        )


def metered(fetch: Fetch, meter: Meter) -> Fetch:
    """`fetch`, counted, timed and never raising but for cancellation."""
    # A list, because the interpreter has an instruction of its own for appending to one.
    clock, took = perf_counter, meter.unsettled

    async def measured(item: int) -> None:
        if not meter.sent:
            meter.window.open()
        meter.sent += 1
        meter.items += item
        start = clock()
        try:
            await fetch(item)
        except Exception as error:  # noqa: BLE001  # whatever fails is one failed request
            meter.fail(error)
        except CancelledError as error:
            meter.cancel(error)
        else:
            took.append(clock() - start)
            meter.ok += 1
        meter.left -= 1
        if not meter.left:
            meter.window.close()

    return measured


def counted(fetch: Fetch, meter: Meter) -> Fetch:
    """`fetch`, counted but not timed: what remains when the probes are switched off."""

    async def measured(item: int) -> None:
        if not meter.sent:
            meter.window.open()
        meter.sent += 1
        meter.items += item
        try:
            await fetch(item)
        except Exception as error:  # noqa: BLE001  # whatever fails is one failed request
            meter.fail(error)
        except CancelledError as error:
            meter.cancel(error)
        else:
            meter.ok += 1
        meter.left -= 1
        if not meter.left:
            meter.window.close()

    return measured
