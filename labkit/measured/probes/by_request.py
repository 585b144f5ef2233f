"""Count and time the answers to each of several requests apart: which of the URLs is the slow one.

The plan. `meter` times all requests alike, in the fewest steps. Here is one coroutine more for each
request, within what the meter times, and only where a trial has several requests. A latency is
appended to a list of its request, which is counted where it is `BATCH` long: so memory does not
grow with the run. Latency is from the send, of an open workload too.

Requests of the same method and path are one, whatever their query (which may hold a password),
headers and body. Of more than `MAX_REQUESTS` the last are one too: a log may have a million.
"""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING

from labkit.measured.probes.meter import Fetch
from labkit.record import histogram
from labkit.record.record import OfRequest

if TYPE_CHECKING:
    from labkit.measured.transports.client import Calls

MAX_REQUESTS, MAX_LETTERS, BATCH, OTHERS = 100, 200, 1_000, "others"


class _Tally:
    """What was counted of one request: how many failed, and how many latencies have each word."""

    def __init__(self) -> None:
        self.failed, self.unsettled, self._counted = 0, list[float](), Counter[int]()

    def settle(self) -> Counter[int]:
        self._counted.update(histogram.words(self.unsettled))
        self.unsettled.clear()
        return self._counted


class ByRequest:
    """Usage: `await strategy(metered(by_request.noting(fetch), meter), items, limit)`."""

    def __init__(self, calls: Calls, *, timed: bool = True) -> None:
        self._tallies, self._calls, self._of_each = dict[str, _Tally](), calls, list[_Tally]()
        for one in calls.requests if timed and len(calls.requests) > 1 else ():
            name = f"{one.method} {one.path.partition('?')[0]}"[:MAX_LETTERS]
            if name not in self._tallies and len(self._tallies) >= MAX_REQUESTS:
                name = OTHERS
            self._of_each.append(self._tallies.setdefault(name, _Tally()))

    def noting(self, fetch: Fetch) -> Fetch:
        """Wrap `fetch` so that each of several requests is counted and timed on its own."""
        if not self._tallies:
            return fetch
        of_each, which, clock = self._of_each, self._calls.which, perf_counter

        async def noted(item: int) -> object:
            tally, start = of_each[which(item)], clock()
            try:
                answer = await fetch(item)
            except Exception:
                tally.failed += 1
                raise
            tally.unsettled.append(clock() - start)
            if len(tally.unsettled) == BATCH:
                tally.settle()
            return answer

        return noted

    @property
    def histograms(self) -> dict[str, dict[int, int]]:
        """Return how many latencies of each request are in each bucket."""
        named = self._tallies.items()
        return {of: histogram.sparse(histogram.of_words(one.settle())) for of, one in named}

    def summary(self) -> list[OfRequest]:
        """Return a row a request, in the order of the trial's."""
        found = []
        for name, counted in self.histograms.items():
            ok, latency_s = sum(counted.values()), histogram.summary(counted)
            failed = self._tallies[name].failed
            found.append(OfRequest(request=name, ok=ok, failed=failed, latency_s=latency_s))
        return found
