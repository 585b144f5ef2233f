"""Count and time each request. This is the hot path of every measurement, and so it is short.

`metered` wraps a transport's `fetch`; strategies call the wrapper, which returns the answer, and
none for an item that failed: no strategy can lose an item to another item's failure. Only a plain
function of the user's own sees what failed, as its own code would (`raises` True).

A function of the user's own (`raises` not None) may try again. An attempt is counted where it ends,
an item once: `_unmet` has those whose last attempt failed or was cancelled, and to send one of them
is a retry. While there is one the window ends with the strategy, as another try may come.

The plan. Timed is the `await fetch(item)` alone, of requests that succeed: from the call to the
return, with the transport's own queue and without the strategy's. Not timed: failed and cancelled
requests, which are counted, and the meter's own counting, which lies outside the two clock reads.
The first send opens the window and the last answer closes it, whatever the strategy does before and
after.

Each item is to be sent once, and that is counted exactly. Nearly every strategy sends the items in
their order; then the number of the next one says all, and a send costs one comparison and no
memory. An item that is not the next goes to `note`: from the first that leaves one out, each is a
byte that is looked up. Measured: 10 ns a request less than the sum of the items that it replaced,
and 140 ns more where they come in another order. Rejected: that sum, which some wrong sets of
items have too; a byte for each from the start, which grows with the items in every trial.

Of several clients each has every n-th item: then the next one is that much further.

A latency is first appended to a list, the cheapest thing that Python can do with it. Adding it to
the histogram at once costs several times as much, because the processor's caches are full of the
request's work then; so `settle`, called by the sampler's timer, does it for many at a time. Floats
become 16-bit words, and a list has a count for each word: measured at two thirds of the time of a
`Counter`, and no thousands of them ever keep the loop waiting.
"""

from __future__ import annotations

import mmap
from array import array
from asyncio import CancelledError, current_task, sleep
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter

from labkit.measured.probes.window import Window
from labkit.record import histogram
from labkit.record.record import Counts
from labkit.spec.delays import Share

Fetch = Callable[[int], Awaitable[object]]
MAX_EXAMPLES = 5
# Items up to which each has a byte at once; of more a page is made when an item of it is sent.
MAX_SEEN = 1 << 24
WHOLE = Share()


class Meter:
    """Counts the requests and their latencies; opens and closes the window that is measured.

    `items` are those of the trial's `requests` that this `share` of it takes.
    """

    def __init__(
        self,
        requests: int,
        kind_of: Callable[[BaseException], str],
        window: Window,
        *,
        raises: bool | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.items = share.items(requests)
        self.planned = self.left = len(self.items)
        self.kind_of, self.window, self.raises = kind_of, window, raises
        self._unmet, self.retried = set[int](), 0
        # The next item of a strategy that sends them in order; None where it does not.
        self.next: int | None = None
        self.settled = self.cancelled = self._noted = self._again = 0
        self._in_order = 0
        self._seen: bytearray | mmap.mmap = bytearray()
        # Counts the items that were taken, where the clock ends them.
        self.taken: Callable[[], int] | None = None
        self.failed: dict[str, int] = {}
        self.statuses: Counter[int] = Counter()
        self.examples: list[str] = []
        self.unsettled: list[float] = []
        self._counted = [0] * histogram.WORDS

    def note(self, item: int) -> None:
        """Count the first item that is sent, and each that is not the next; see the plan above."""
        if item in self._unmet:
            self._unmet.remove(item)
            self.retried += 1
            self._noted += 1
            return
        if not hasattr(item, "__index__"):
            raise TypeError(f"fetch was called with {item!r}, which is none of `items`")
        place = item if self.items.step == 1 else self._place(item)
        seen, is_new = self._seen, self._in_order <= place < self.planned
        if seen and is_new and not seen[place]:
            seen[place] = 1
            self._noted += 1
            return
        if not self.sent:
            self.window.open()
            if place == 0:
                self.next = item + self.items.step
                return
        if is_new and not seen and item >= (self.next or 0):
            self._in_order, self.next = self.sent - self._noted, None
            few = self.planned <= MAX_SEEN
            self._seen = bytearray(self.planned) if few else mmap.mmap(-1, self.planned)
            self.note(item)
            return
        self._noted += 1
        self._again += 1
        self.left += 1

    def _place(self, item: int) -> int:
        """Return which of the share's items it is; -1 for an item of another client, or of none."""
        place, between = divmod(item - self.items.start, self.items.step)
        return -1 if between else int(place)  # an array's number, or a float behind a whole one

    def fail(self, error: BaseException, item: int) -> None:
        """Count a request that failed, by kind; raise its error where the strategy is to see it.

        One that was cancelled is counted apart, and raises again. A `CancelledError` in a task that
        nobody cancelled leaked out of the call: a failure.
        """
        if self.raises is not None:
            self._unmet.add(item)
        task = current_task() if isinstance(error, CancelledError) else None
        if task is not None and task.cancelling():
            self.cancelled += 1
            raise error
        kind = self.kind_of(error)
        self.failed[kind] = self.failed.get(kind, 0) + 1
        if kind == "status" and (status := getattr(error, "status", None)) is not None:
            self.statuses[status] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{kind}: {type(error).__name__}: {error}"[:300])
        if self.raises:
            raise error
        if self.raises is False:
            self.left += 1  # it may be sent again: it is not over with this end

    def drop(self) -> None:
        """Note that one request will never be sent; close the window if it was the last one."""
        self.left -= 1
        if not self.left:
            self.window.close()

    @property
    def latencies(self) -> array[int]:
        """Return the histogram of the requests that succeeded so far."""
        self.settle()
        return histogram.of_words(histogram.sparse(self._counted))

    def settle(self) -> None:
        """Count the latencies since the last call; see the plan above."""
        counted = self._counted
        for word in histogram.words(self.unsettled):
            counted[word] += 1
        self.settled += len(self.unsettled)
        self.unsettled.clear()

    def coarse(self) -> array[int]:
        """Return how many latencies up to the last `settle` have each `COARSE` words: 4 kB."""
        wide, counted = histogram.COARSE, self._counted
        return array("I", [sum(counted[at : at + wide]) for at in range(0, histogram.WORDS, wide)])

    @property
    def sent(self) -> int:
        """Count the requests that were sent."""
        in_order = self._in_order if self.next is None else self._place(self.next)
        return in_order + self._noted

    @property
    def ok(self) -> int:
        """Count the requests that succeeded: one that is timed is counted by its latency."""
        return self.settled + len(self.unsettled)

    @property
    def done(self) -> int:
        """Count the requests that came to an end, of whatever kind."""
        return self.ok + sum(self.failed.values()) + self.cancelled

    @property
    def in_flight(self) -> int:
        """Count the requests sent that have not come to an end."""
        return self.sent - self.done

    def counts(self) -> Counts:
        """Return the counts as in a record. Requests still in flight are counted as cancelled."""
        # In order there may be more items than were planned.
        repeated = self._again + max(self.sent - self._noted - self.planned, 0)
        planned = self.planned if self.taken is None else self.taken()
        return Counts(
            planned=planned,
            done=self.ok - repeated,
            sent=self.sent,
            not_sent=planned - (self.sent - repeated - self.retried),
            repeated=repeated,
            ok=self.ok,
            failed=dict(self.failed),
            statuses=dict(self.statuses),
            cancelled=self.cancelled + self.in_flight,
            retried=self.retried,
        )


def metered(fetch: Fetch, meter: Meter) -> Fetch:
    """Wrap `fetch` so that it is counted and timed, and raises what the meter lets through."""
    # A list, because the interpreter has an instruction of its own for appending to one.
    clock, took, step = perf_counter, meter.unsettled, meter.items.step

    async def measured(item: int) -> object:
        answer = None
        if item == meter.next:
            meter.next = item + step
        else:
            meter.note(item)
        start = clock()
        try:
            answer = await fetch(item)
        except (Exception, CancelledError) as error:  # noqa: BLE001  # one request failed
            meter.fail(error, item)
            await sleep(0)  # the loop's turn, also where all calls fail at once
        else:
            took.append(clock() - start)
        meter.left -= 1
        if not meter.left:
            meter.window.close()
        return answer

    return measured


def counted(fetch: Fetch, meter: Meter) -> Fetch:
    """Wrap `fetch` so that it is counted but not timed, for trials with the probes switched off."""
    step = meter.items.step

    async def measured(item: int) -> object:
        answer = None
        if item == meter.next:
            meter.next = item + step
        else:
            meter.note(item)
        try:
            answer = await fetch(item)
        except (Exception, CancelledError) as error:  # noqa: BLE001  # one request failed
            meter.fail(error, item)
            await sleep(0)  # the loop's turn, also where all calls fail at once
        else:
            meter.settled += 1
        meter.left -= 1
        if not meter.left:
            meter.window.close()
        return answer

    return measured
